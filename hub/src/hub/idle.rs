//! Workers that wait for a job: who is woken when one is enqueued. One is woken for each job, of those that can serve it,
//! so that a fleet does not look for the same job all at once: one that has the model in memory before the others, and of
//! equals the one that waits longest. None looks by itself meanwhile: what can be given although nobody was woken for it (a
//! back-off that ran out, a wait that has grown long enough for overflow) is looked for once for all who wait.

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
    /// Everything that it serves.
    serves: Arc<HashSet<Digest>>,
    /// That for which it is idle: new jobs wake it.
    idle_for: Arc<HashSet<Digest>>,
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
    /// A place for a worker that serves these versions, is idle for some of them, and has those in memory.
    pub fn place(
        &self,
        serves: HashSet<Digest>,
        idle_for: HashSet<Digest>,
        loaded: Vec<Digest>,
    ) -> Waiting<'_> {
        let wake = Arc::new(Notify::new());
        let waiter = Waiter {
            serves: Arc::new(serves),
            idle_for: Arc::new(idle_for),
            loaded: loaded.into(),
            wake,
            woken: false,
        };
        Waiting { idle: self, ticket: self.next.fetch_add(1, Ordering::Relaxed), waiter }
    }

    /// Whether a worker is idle for the version.
    pub fn is_idle_for(&self, model: Digest) -> bool {
        self.waiting.iter().any(|waiting| waiting.idle_for.contains(&model))
    }

    /// The versions that somebody waits for.
    pub fn wanted(&self) -> HashSet<Digest> {
        let mut wanted = HashSet::new();
        for waiting in &self.waiting {
            wanted.extend(waiting.serves.iter().copied());
        }
        wanted
    }

    /// Wakes one worker that is idle for the version; `false` if there is none.
    pub fn wake_for(&self, model: Digest) -> bool {
        let able = self.waiting.iter().filter(|waiting| !waiting.woken && waiting.idle_for.contains(&model));
        let ticket = able.map(|waiting| (!waiting.loaded.contains(&model), *waiting.key())).min();
        let Some(mut waiter) = ticket.and_then(|(_, ticket)| self.waiting.get_mut(&ticket)) else {
            return false;
        };
        waiter.woken = true;
        waiter.wake.notify_one();
        true
    }

    /// Wakes all that serve one of the versions.
    pub fn wake_all_for(&self, models: &[Digest]) {
        self.wake_where(|waiter| models.iter().any(|model| waiter.serves.contains(model)));
    }

    /// Wakes everybody.
    pub fn wake_all(&self) {
        self.wake_where(|_| true);
    }

    fn wake_where(&self, wanted: impl Fn(&Waiter) -> bool) {
        for mut waiter in self.waiting.iter_mut().filter(|waiter| wanted(waiter)) {
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
        let place = |name| idle.place([model(name)].into(), [model(name)].into(), Vec::new());
        let flux = [place("flux"), place("flux")];
        let other = place("sd");
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
        let place = |loaded| idle.place(serves(), serves(), loaded);
        let (without, with) = (place(Vec::new()), place(vec![model("flux")]));
        [&without, &with].into_iter().for_each(Waiting::wait);
        idle.wake_for(model("flux"));
        assert!(is_woken(&with).await && !is_woken(&without).await);
    }

    #[tokio::test]
    async fn one_that_serves_a_version_as_overflow_is_woken_when_its_jobs_are_left_over() {
        let idle = Idle::default();
        let overflow = idle.place([model("flux")].into(), HashSet::new(), Vec::new());
        overflow.wait();
        assert!(!idle.wake_for(model("flux")) && !is_woken(&overflow).await);
        assert_eq!(idle.wanted(), [model("flux")].into());
        idle.wake_all_for(&[model("sd")]);
        assert!(!is_woken(&overflow).await);
        idle.wake_all_for(&[model("sd"), model("flux")]);
        assert!(is_woken(&overflow).await);
    }
}
