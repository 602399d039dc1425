//! How many jobs run at once, and when the next one may be asked for.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use riff_hub::canonical::Digest;
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::Instant,
};

/// A job is asked for ahead when a run is about to be over within this. No longer: a job that waits here could begin on
/// another worker, or be overtaken by nobody who comes meanwhile.
const AHEAD: Duration = Duration::from_secs(1);
/// Jobs in hand for each slot, those included whose results are being sent: more would pile up where sending is slower
/// than running.
const IN_HAND: usize = 3;

/// The places at which jobs run, and what is known of the runs there.
pub(super) struct Slots {
    free: Semaphore,
    size: usize,
    state: Mutex<State>,
    /// Told when a run begins or ends.
    pub changed: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    running: HashMap<u64, Progress>,
    /// How long the last run of each version took.
    took: HashMap<Digest, Duration>,
    /// Jobs that wait for a slot.
    waiting: usize,
    /// Nothing came of asking ahead since a run began or ended.
    in_vain: bool,
}

struct Progress {
    model: Digest,
    begun: Instant,
    done: f32,
}

/// What may be asked of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// A job to run at once.
    Now,
    /// A job for when the one that runs is over.
    Ahead,
}

/// A job's place in the line for a slot.
pub(super) struct Waiting<'a>(&'a Slots);

/// A run at its slot; the slot is free again when this is dropped.
pub(super) struct Run<'a> {
    slots: &'a Slots,
    number: u64,
    _permit: SemaphorePermit<'a>,
}

impl Slots {
    pub fn new(size: usize) -> Self {
        Self { free: Semaphore::new(size), size, state: Mutex::default(), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may be asked for, with so many jobs in hand, finished ones included whose results are being sent.
    pub fn wish(&self, in_hand: usize) -> Option<Wish> {
        let state = self.state();
        if in_hand >= IN_HAND * self.size {
            return None;
        }
        if state.running.len() + state.waiting < self.size {
            return Some(Wish::Now);
        }
        let soon =
            || state.running.values().any(|run| run.left(&state.took).is_some_and(|left| left < AHEAD));
        (state.waiting == 0 && !state.in_vain && soon()).then_some(Wish::Ahead)
    }

    /// Notes that there was nothing to run ahead.
    pub fn in_vain(&self) {
        self.state().in_vain = true;
    }

    /// Joins the line.
    pub fn wait(&self) -> Waiting<'_> {
        self.state().waiting += 1;
        Waiting(self)
    }
}

impl<'a> Waiting<'a> {
    /// Waits for a slot and takes it.
    pub async fn begin(self, model: Digest) -> Run<'a> {
        let slots = self.0;
        let permit = slots.free.acquire().await.unwrap_or_else(|_| unreachable!("it is never closed"));
        let mut state = slots.state();
        let number = state.next;
        state.next += 1;
        state.running.insert(number, Progress { model, begun: Instant::now(), done: 0.0 });
        state.in_vain = false;
        drop(state);
        Run { slots, number, _permit: permit }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
        self.0.changed.notify_one();
    }
}

impl Run<'_> {
    /// Notes how far the run is, 0 to 1.
    pub fn progress(&self, done: f32) {
        if let Some(run) = self.slots.state().running.get_mut(&self.number) {
            run.done = done;
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        if let Some(run) = state.running.remove(&self.number) {
            state.took.insert(run.model, run.begun.elapsed());
        }
        state.in_vain = false;
        drop(state);
        self.slots.changed.notify_one();
    }
}

impl Progress {
    /// How long it still takes: by its progress, or else by how long the last one of its version took.
    fn left(&self, took: &HashMap<Digest, Duration>) -> Option<Duration> {
        let elapsed = self.begun.elapsed();
        let by_progress = (self.done > 0.1).then(|| elapsed.mul_f32((1.0 - self.done).max(0.0) / self.done));
        by_progress.or_else(|| took.get(&self.model).map(|took| took.saturating_sub(elapsed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Digest {
        Digest::of_bytes(b"model")
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_job_is_asked_for_when_the_run_is_about_to_end() {
        let slots = Slots::new(1);
        assert_eq!(slots.wish(0), Some(Wish::Now));
        let run = slots.wait().begin(model()).await;
        assert_eq!(slots.wish(1), None, "nobody knows how long it takes");
        tokio::time::advance(Duration::from_secs(5)).await;
        run.progress(0.5);
        assert_eq!(slots.wish(1), None, "five seconds are left");
        run.progress(0.9);
        assert_eq!(slots.wish(1), Some(Wish::Ahead));
        slots.in_vain();
        assert_eq!(slots.wish(1), None, "there was none");
        drop(run);
        assert_eq!(slots.wish(1), Some(Wish::Now));
        let _run = slots.wait().begin(model()).await;
        assert_eq!(slots.wish(1), None, "the last one took five seconds");
        tokio::time::advance(Duration::from_millis(4_500)).await;
        assert_eq!(slots.wish(1), Some(Wish::Ahead));
        let _ahead = slots.wait();
        assert_eq!(slots.wish(2), None, "one waits already");
    }

    #[tokio::test]
    async fn results_that_are_not_sent_hold_the_next_jobs_back() {
        let slots = Slots::new(2);
        assert_eq!(slots.wish(5), Some(Wish::Now));
        assert_eq!(slots.wish(6), None);
        let _one = slots.wait().begin(model()).await;
        assert_eq!(slots.wish(1), Some(Wish::Now), "one slot is free");
    }
}
