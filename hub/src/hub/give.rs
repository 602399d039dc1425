//! Giving work to workers: they say what they serve, ask for jobs, and give back what they do not begin.

use std::{collections::HashSet, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    Change, Hub, Presence,
    work::{MAX_HOLD, WorkError},
};
use crate::{
    canonical::Digest,
    schema,
    seam::Millis,
    span::Span,
    step,
    store::{Leased, Present, Search, Served, StoreError},
    trace, wire,
};

/// How often a worker whose request is held counts as heard of.
const STILL_HERE: Duration = Duration::from_secs(1);
/// Most jobs that run together, whatever a worker says.
const MOST_TOGETHER: u32 = 64;

impl Hub {
    /// Takes in a worker's announcement.
    pub async fn hello(&self, worker: &str, hello: &wire::Hello) -> Result<wire::Welcome, WorkError> {
        if hello.protocol != wire::PROTOCOL {
            return Err(WorkError::Protocol(hello.protocol));
        }
        for spec in &hello.models {
            schema::check_spec(spec).map_err(|source| WorkError::Spec { name: spec.name.clone(), source })?;
        }
        self.store.hello(worker, hello, self.seam.now()).await?;
        self.heard_of(worker);
        let names: Vec<&str> = hello.models.iter().map(|spec| spec.name.as_str()).collect();
        tracing::info!(worker, models = names.join(" "), "worker is here");
        self.look_at_models().await?;
        Ok(wire::Welcome {
            worker: worker.to_owned(),
            heartbeat_ms: self.settings.heartbeat.as_millis() as u64,
            lease_ms: self.settings.lease.as_millis() as u64,
        })
    }

    /// Gives the worker its next job, waiting for one to be enqueued as long as the request says. A new job wakes it if it
    /// serves that as no overflow; for the rest, [`Self::wake_for_what_is_left`] does.
    pub async fn lease(
        &self,
        worker: &str,
        request: &wire::LeaseRequest,
    ) -> Result<Option<wire::Lease>, WorkError> {
        let served = self.served(worker).await?;
        self.note_loaded(worker, &served, request);
        if request.ahead {
            return self.lease_ahead(&served, self.search(worker, &served, request).await?).await;
        }
        let serves: HashSet<Digest> = wanted(&served, request).into_iter().collect();
        // One that is given nothing is not idle: it would keep jobs from those that fetch them ahead.
        let idle_for = match served.set_aside {
            true => HashSet::new(),
            false => serves.iter().copied().filter(|model| !served.overflow.contains_key(model)).collect(),
        };
        let waiting = self.idle.place(serves, idle_for, named(&served, &request.loaded));
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms).min(MAX_HOLD);
        let mut served = Some(served);
        loop {
            waiting.wait();
            self.heard_of(worker);
            let now = match served.take() {
                Some(served) => served,
                // What it serves, and has memory for, may have changed while it waited.
                None => self.served(worker).await?,
            };
            let search = self.search(worker, &now, request).await?;
            let leased = self.store.lease(search, self.lease_until()).await?;
            if !leased.is_empty() {
                return Ok(self.leased(worker, &now, leased));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            while Instant::now() < deadline
                && timeout_at(deadline.min(Instant::now() + STILL_HERE), waiting.woken()).await.is_err()
            {
                self.heard_of(worker);
            }
        }
    }

    /// Wakes the workers that wait for versions of which jobs can be given.
    pub(super) async fn wake_for_what_is_left(&self) -> Result<(), StoreError> {
        let wanted: Vec<Digest> = self.idle.wanted().into_iter().collect();
        if !wanted.is_empty() {
            self.idle.wake_all_for(&self.store.waiting_of(&wanted, self.seam.now()).await?);
        }
        Ok(())
    }

    async fn served(&self, worker: &str) -> Result<Served, WorkError> {
        let served = self.store.served_by_worker(worker, self.seam.now()).await?;
        served.ok_or_else(|| WorkError::Unknown(worker.to_owned()))
    }

    async fn search(
        &self,
        worker: &str,
        served: &Served,
        request: &wire::LeaseRequest,
    ) -> Result<Search, StoreError> {
        let batch = |(digest, name): (&Digest, &String)| {
            Some((*digest, (*request.batch.get(name)?).min(MOST_TOGETHER)))
        };
        Ok(Search {
            worker: worker.to_owned(),
            wanted: wanted(served, request),
            loaded: named(served, &request.loaded),
            overflowing: self.overflowing(&served.overflow).await?,
            elsewhere: self.loaded_elsewhere(worker),
            swap_share: self.settings.swap_share,
            batch: served.models.iter().filter_map(batch).collect(),
            present: if served.short { self.present_workers() } else { Vec::new() },
            now: self.seam.now(),
        })
    }

    /// The versions that workers other than this one, which are here, have in memory or load.
    fn loaded_elsewhere(&self, worker: &str) -> HashSet<Digest> {
        let mut elsewhere = HashSet::new();
        for other in self.presence.iter().filter(|entry| entry.key() != worker && self.is_here(entry)) {
            elsewhere.extend(other.loaded.union(&other.loading));
        }
        elsewhere
    }

    /// Notes what a worker has in memory, of the models that its request is about.
    fn note_loaded(&self, worker: &str, served: &Served, request: &wire::LeaseRequest) {
        self.heard_of(worker);
        let mut presence = self.presence.entry(worker.to_owned()).or_default();
        if !request.ahead {
            presence.loading.clear();
        }
        for (digest, name) in &served.models {
            if request.loaded.contains(name) {
                presence.loaded.insert(*digest);
            } else if request.models.is_empty() || request.models.contains(name) {
                presence.loaded.remove(digest);
            }
        }
    }

    /// A job for a worker that is busy for another moment. None that an idle worker can serve: it begins sooner there.
    async fn lease_ahead(&self, served: &Served, search: Search) -> Result<Option<wire::Lease>, WorkError> {
        match self.store.next_for(&search).await? {
            Some(model) if !self.idle.is_idle_for(model) => {
                let worker = search.worker.clone();
                let leased = self.store.lease(search, self.lease_until()).await?;
                Ok(self.leased(&worker, served, leased))
            }
            _ => Ok(None),
        }
    }

    /// One lease with the others in it.
    fn leased(&self, worker: &str, served: &Served, leased: Vec<Leased>) -> Option<wire::Lease> {
        step::done("leased");
        if let Some(mut presence) = self.presence.get_mut(worker) {
            let missing =
                leased.iter().map(|leased| leased.job.model).filter(|model| !presence.loaded.contains(model));
            let missing: Vec<Digest> = missing.collect();
            presence.loading.extend(missing);
        }
        let mut leases = leased.into_iter().map(|Leased { job, recipe }| {
            let trace = trace::of(&job.id);
            tracing::info!(job = job.id, worker, attempt = job.attempt, trace, "leased");
            self.traced(|now| Span::wait(&job, now));
            if let Some(model) = served.models.get(&job.model) {
                self.metrics.leased(model, &job);
            }
            self.tell(&job.channel, &job.id, Change::State);
            let (attempt, recipe_id) = (job.attempt as u32, job.recipe);
            let traceparent = Some(trace::parent(&job.id, attempt));
            wire::Lease { job: job.id, attempt, recipe_id, recipe, traceparent, others: Vec::new() }
        });
        let first = leases.next()?;
        Some(wire::Lease { others: leases.collect(), ..first })
    }

    /// Takes back a job that its worker has not begun.
    pub async fn release(&self, worker: &str, job: &str, release: wire::Release) -> Result<(), WorkError> {
        let job = self.store.release(job, worker, release.attempt).await?;
        step::done("released");
        tracing::info!(job = job.id, worker, "given back");
        self.ended(&job).await;
        Ok(())
    }

    /// Takes leave of a worker that stops: what it still holds goes back to the queue, and it is waited for no more.
    pub async fn bye(&self, worker: &str) -> Result<(), WorkError> {
        let released = self.store.release_all(worker).await?;
        step::done("released");
        self.presence.remove(worker);
        if self.peers.is_some() {
            self.store.left(worker).await?;
        }
        tracing::info!(worker, given_back = released.len(), "worker has left");
        for job in &released {
            self.ended(job).await;
        }
        self.look_at_models().await?;
        Ok(())
    }

    /// How the hub sees a worker.
    pub async fn standing(&self, worker: &str) -> Result<wire::Standing, StoreError> {
        let (failures, until) = self.store.standing(worker).await?.unwrap_or_default();
        Ok(wire::Standing {
            protocol: wire::PROTOCOL,
            worker: worker.to_owned(),
            failures: failures as u32,
            set_aside_ms: (until - self.seam.now()).max(0) as u64,
        })
    }

    /// The workers heard of within the last two leases.
    pub(super) fn present(&self) -> Vec<Present> {
        let here = self.presence.iter().filter(|entry| self.is_here(entry));
        let present = here.map(|entry| Present {
            worker: entry.key().clone(),
            loaded: entry.loaded.clone(),
            loading: entry.loading.clone(),
            seen_at: entry.at,
        });
        let mut present: Vec<Present> = present.collect();
        present.sort_unstable_by(|a, b| a.worker.cmp(&b.worker));
        present
    }

    /// Who was heard of since then is here: within the last two leases.
    pub(super) fn present_since(&self) -> Millis {
        self.seam.now() - 2 * self.settings.lease.as_millis() as Millis
    }

    fn is_here(&self, presence: &Presence) -> bool {
        presence.at >= self.present_since()
    }

    /// Their names.
    pub(super) fn present_workers(&self) -> Vec<String> {
        self.present().into_iter().map(|present| present.worker).collect()
    }
}

/// The versions that a worker serves under these names.
fn named(served: &Served, names: &[String]) -> Vec<Digest> {
    let named = served.models.iter().filter(|(_, name)| names.contains(name));
    named.map(|(digest, _)| *digest).collect()
}

/// The versions that a request for a job is about.
fn wanted(served: &Served, request: &wire::LeaseRequest) -> Vec<Digest> {
    match request.models.is_empty() {
        true => served.models.keys().copied().collect(),
        false => named(served, &request.models),
    }
}
