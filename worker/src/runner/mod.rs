//! What a worker does: say hello, ask for jobs, run them, send what came out.
//!
//! Whoever calls [`run`] owns all of it; it ends when the token it was given is cancelled, after the jobs in hand. While
//! a job runs, what the one before it made is sent, and the next one is fetched ([`pool`]).

mod attempt;
mod keep;
mod pool;
mod slots;

use std::{
    sync::{PoisonError, RwLock},
    time::Duration,
};

use futures::future::try_join_all;
use riff_hub::{
    model::ModelSpec,
    wire::{Hello, PROTOCOL, Welcome},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{CallError, Client},
    engines::Engines,
};

/// How long a request for work is held open.
const HOLD: Duration = Duration::from_secs(25);
/// First and longest wait before a call is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Longest wait for the hub to take note that this worker leaves.
const LEAVE: Duration = Duration::from_secs(3);

/// A worker that the hub knows.
struct Session<'a> {
    client: &'a Client,
    engines: &'a Engines,
    stop: &'a CancellationToken,
    welcome: RwLock<Welcome>,
}

/// Serves a hub until `stop` is cancelled; jobs in hand are finished first, and those not begun are given back.
///
/// # Errors
/// [`CallError`] if the hub refuses the worker for good: a wrong token, another protocol, a bad model.
pub async fn run(client: &Client, engines: &Engines, stop: &CancellationToken) -> Result<(), CallError> {
    engines.discover().await;
    let announced = engines.models();
    let Some(welcome) = greet(client, engines, announced.clone(), stop).await? else {
        return Ok(());
    };
    tracing::info!(worker = welcome.worker, models = announced.len(), "serving");
    let session = Session { client, engines, stop, welcome: RwLock::new(welcome) };
    let pools = (0..engines.pools().len()).map(|pool| pool::serve(&session, pool));
    tokio::select! {
        ended = try_join_all(pools) => drop(ended?),
        error = session.keep_announcing(announced) => return Err(error),
    }
    match timeout(LEAVE, client.bye()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "left without a word"),
        Err(_) => tracing::debug!("left without a word: the hub does not answer"),
    }
    Ok(())
}

impl Session<'_> {
    fn welcome(&self) -> Welcome {
        self.welcome.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says hello again, with what is served now. Gives up when the worker stops.
    async fn greet(&self) -> Result<(), CallError> {
        if let Some(welcome) = greet(self.client, self.engines, self.engines.models(), self.stop).await? {
            *self.welcome.write().unwrap_or_else(PoisonError::into_inner) = welcome;
        }
        Ok(())
    }

    /// Tells the hub whenever the engines serve something else. Returns only if the hub refuses it for good.
    async fn keep_announcing(&self, mut announced: Vec<ModelSpec>) -> CallError {
        loop {
            announced = self.engines.changed(&announced).await;
            let names: Vec<&str> = announced.iter().map(|spec| spec.name.as_str()).collect();
            tracing::info!(models = names.join(" "), "serving something else now");
            if let Err(error) = self.greet().await {
                return error;
            }
        }
    }
}

async fn greet(
    client: &Client,
    engines: &Engines,
    models: Vec<ModelSpec>,
    stop: &CancellationToken,
) -> Result<Option<Welcome>, CallError> {
    let hello = Hello { protocol: PROTOCOL, models, pools: engines.announced_pools() };
    patiently(stop, || client.hello(&hello)).await
}

/// Repeats a call with growing waits while it fails in passing; `None` once `stop` is cancelled.
async fn patiently<T, F>(
    stop: &CancellationToken,
    mut call: impl FnMut() -> F,
) -> Result<Option<T>, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut wait = BACKOFF.0;
    loop {
        let answer = tokio::select! {
            answer = call() => answer,
            () = stop.cancelled() => return Ok(None),
        };
        match answer {
            Err(error) if error.is_passing() => tracing::warn!(%error, retry_in = ?wait, "will try again"),
            answer => return answer.map(Some),
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => return Ok(None),
        }
        wait = (wait * 2).min(BACKOFF.1);
    }
}
