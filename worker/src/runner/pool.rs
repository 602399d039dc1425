//! A pool of engines that share their slots: it asks for jobs as slots become free, one ahead of time where a run is about
//! to end, and lets each job run its course beside the others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use riff_hub::{
    canonical::Digest,
    wire::{Lease, LeaseRequest},
};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    HOLD, Session, attempt, patiently,
    slots::{Slots, Wish},
};
use crate::client::CallError;

/// How often running jobs are looked at, whether one is about to end.
const LOOK: Duration = Duration::from_millis(100);

/// What the attempts of a pool share.
pub(super) struct Pool {
    number: usize,
    pub slots: Slots,
    /// Most jobs of a version that run together, where memory was too short for more.
    limits: Mutex<HashMap<Digest, usize>>,
}

impl Pool {
    /// Notes for how many jobs at once of a version memory suffices.
    pub fn limit(&self, model: Digest, most: usize) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).insert(model, most);
    }

    /// For how many jobs at once of a version memory suffices, where it was too short for more.
    pub fn most(&self, model: Digest) -> Option<usize> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).get(&model).copied()
    }

    /// How many jobs run together, by the model's name.
    fn batches(&self, session: &Session<'_>) -> BTreeMap<String, u32> {
        let mut batches = session.engines.batches_in(self.number);
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        for (model, most) in limits.iter() {
            if let Some(spec) = session.engines.spec(*model) {
                batches.entry(spec.name).and_modify(|batch| *batch = (*batch).min(*most as u32));
            }
        }
        batches
    }

    fn request(&self, session: &Session<'_>, wish: Wish) -> LeaseRequest {
        let engines = session.engines;
        let all = engines.pools().len() == 1;
        LeaseRequest {
            wait_ms: HOLD.as_millis() as u64,
            models: if all { Vec::new() } else { engines.names_in(self.number) },
            loaded: engines.loaded_in(self.number),
            batch: self.batches(session),
            ahead: wish == Wish::Ahead,
        }
    }
}

/// Serves until the worker stops: jobs in hand are finished, and those not begun are given back.
pub(super) async fn serve(session: &Session<'_>, number: usize) -> Result<(), CallError> {
    let slots = Slots::new(session.engines.pools()[number] as usize);
    let pool = Pool { number, slots, limits: Mutex::default() };
    let mut attempts = FuturesUnordered::new();
    // One request at a time, or none.
    let mut asking = FuturesUnordered::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !session.stop.is_cancelled() {
        if asking.is_empty() {
            asking.extend(pool.slots.wish(attempts.len()).map(|wish| ask(session, &pool, wish)));
        }
        tokio::select! {
            Some(answer) = asking.next() => match answer? {
                Some(lease) => attempts.push(attempt::run(session, &pool, pool.slots.wait(), lease)),
                None => pool.slots.in_vain(),
            },
            Some(()) = attempts.next() => {}
            () = pool.slots.changed.notified() => {}
            _ = look.tick(), if asking.is_empty() => {}
            () = session.stop.cancelled() => {}
        }
    }
    while attempts.next().await.is_some() {}
    Ok(())
}

/// One request for work.
async fn ask(session: &Session<'_>, pool: &Pool, wish: Wish) -> Result<Option<Lease>, CallError> {
    let lease = || async {
        // What is served and loaded may have changed since the last try.
        let request = pool.request(session, wish);
        match request.models.is_empty() && session.engines.pools().len() > 1 {
            // Its server is down, and an empty list would ask for the jobs of all others.
            true => {
                sleep(LOOK).await;
                Ok(None)
            }
            false => session.client.lease(&request).await,
        }
    };
    let answer = match wish {
        Wish::Now => patiently(session.stop, lease).await.map(Option::flatten),
        Wish::Ahead => lease().await,
    };
    match answer {
        Err(CallError::Unknown(_)) => session.greet().await.map(|()| None),
        Err(error) if error.is_passing() => Ok(None),
        answer => answer,
    }
}
