//! Workers that wait for a job: who is woken when one is enqueued. One is woken for each job, of those that can serve it,
//! so that a fleet does not look for the same job all at once: one that has the model in memory before the others, and of
//! equals the one that waits longest. It owns nothing that must survive; a worker that is never
//! woken looks again by itself.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dashmap::DashMap;
use tokio::sync::Notify;

use crate::canonical::Digest;

/// The workers that wait.
#[derive(Default)]
pub(super) struct Idle {
    waiting: DashMap<u64, Waiter>,
    next: AtomicU64,
}

#[derive(Clone)]
struct Waiter {
    serves: Arc<HashSet<Digest>>,
    loaded: Arc<[Digest]>,
    wake: Arc<Notify>,
    /// Woken, and about to look: it is idle still, but not to be woken for another job.
    woken: bool,
}

/// A worker's place among those that wait; left when it is dropped.
pub(super) struct Waiting<'a> {
    idle: &'a Idle,
    ticket: u64,
    waiter: Waiter,
}

impl Idle {
    /// A place for a worker that serves these versions and has those in memory.
    pub fn place(&self, serves: HashSet<Digest>, loaded: Vec<Digest>) -> Waiting<'_> {
        let wake = Arc::new(Notify::new());
        let waiter = Waiter { serves: Arc::new(serves), loaded: loaded.into(), wake, woken: false };
        Waiting { idle: self, ticket: self.next.fetch_add(1, Ordering::Relaxed), waiter }
    }

    /// Whether a worker is idle that can serve the version.
    pub fn is_idle_for(&self, model: Digest) -> bool {
        self.waiting.iter().any(|waiting| waiting.serves.contains(&model))
    }

    /// Wakes one worker that can serve the version; `false` if there is none.
    pub fn wake_for(&self, model: Digest) -> bool {
        let able = self.waiting.iter().filter(|waiting| !waiting.woken && waiting.serves.contains(&model));
        let ticket = able.map(|waiting| (!waiting.loaded.contains(&model), *waiting.key())).min();
        let Some(mut waiter) = ticket.and_then(|(_, ticket)| self.waiting.get_mut(&ticket)) else {
            return false;
        };
        waiter.woken = true;
        waiter.wake.notify_one();
        true
    }

    /// Wakes everybody.
    pub fn wake_all(&self) {
        for mut waiter in self.waiting.iter_mut() {
            waiter.woken = true;
            waiter.wake.notify_one();
        }
    }
}

impl Waiting<'_> {
    /// Waits from now on. To be called before the worker looks, so that what comes after the look wakes it.
    pub fn wait(&self) {
        self.idle.waiting.insert(self.ticket, self.waiter.clone());
    }

    /// Resolves when the worker was woken since it waits.
    pub async fn woken(&self) {
        self.waiter.wake.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.idle.waiting.remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn model(name: &str) -> Digest {
        Digest::of_bytes(name.as_bytes())
    }

    async fn is_woken(waiting: &Waiting<'_>) -> bool {
        timeout(Duration::ZERO, waiting.woken()).await.is_ok()
    }

    #[tokio::test]
    async fn one_worker_is_woken_for_each_job_and_only_one_that_can_serve_it() {
        let idle = Idle::default();
        let flux =
            [idle.place([model("flux")].into(), Vec::new()), idle.place([model("flux")].into(), Vec::new())];
        let other = idle.place([model("sd")].into(), Vec::new());
        flux.iter().chain([&other]).for_each(Waiting::wait);
        idle.wake_for(model("flux"));
        assert!(is_woken(&flux[0]).await && !is_woken(&flux[1]).await, "the one that waits longest");
        idle.wake_for(model("flux"));
        assert!(is_woken(&flux[1]).await, "the next job wakes the other");
        assert!(idle.is_idle_for(model("flux")), "they are about to look");
        assert!(!is_woken(&other).await);
        idle.wake_all();
        assert!(is_woken(&other).await);
        drop((flux, other));
        assert!(!idle.is_idle_for(model("flux")) && idle.waiting.is_empty());
    }

    #[tokio::test]
    async fn one_that_has_the_model_in_memory_is_woken_first() {
        let idle = Idle::default();
        let serves = || HashSet::from([model("flux"), model("sd")]);
        let (without, with) = (idle.place(serves(), Vec::new()), idle.place(serves(), vec![model("flux")]));
        [&without, &with].into_iter().for_each(Waiting::wait);
        idle.wake_for(model("flux"));
        assert!(is_woken(&with).await && !is_woken(&without).await);
    }
}
