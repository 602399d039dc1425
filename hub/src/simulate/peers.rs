//! Schedulers of the textbook, on the same fleet.

use std::collections::{BTreeSet, VecDeque};

use super::{SimulateError, Workload, fleet::Takes, run::Decides};

/// First come, first served: a GPU gets the oldest job that fits into its memory.
pub(super) struct Fifo<'a> {
    workload: &'a Workload,
    /// Numbers of jobs, which grow with time.
    waiting: BTreeSet<usize>,
}

impl<'a> Fifo<'a> {
    pub fn new(workload: &'a Workload) -> Self {
        Self { workload, waiting: BTreeSet::new() }
    }
}

impl Decides for Fifo<'_> {
    fn advance(&mut self, _: i64) {}

    async fn submit(&mut self, job: usize) -> Result<Option<i64>, SimulateError> {
        self.waiting.insert(job);
        Ok(None)
    }

    async fn next(&mut self, gpu: usize, _: &[usize]) -> Result<Option<usize>, SimulateError> {
        let Workload { gpus, models, jobs, .. } = self.workload;
        let oldest = self.waiting.iter().copied().find(|&job| gpus[gpu].fits(&models[jobs[job].model]));
        Ok(oldest.inspect(|job| {
            self.waiting.remove(job);
        }))
    }

    async fn done(&mut self, _: usize, _: usize, _: Takes) -> Result<(), SimulateError> {
        Ok(())
    }
}

/// First come, first served for each model: a GPU stays with the models in its memory while there are jobs of theirs, the
/// oldest first, then takes the oldest of all. A job that has waited for a time-out goes before.
pub(super) struct PerModel<'a> {
    workload: &'a Workload,
    timeout_ms: i64,
    now_ms: i64,
    /// By model.
    waiting: Vec<VecDeque<usize>>,
}

impl<'a> PerModel<'a> {
    pub fn new(workload: &'a Workload, timeout_ms: i64) -> Self {
        Self { workload, timeout_ms, now_ms: 0, waiting: vec![VecDeque::new(); workload.models.len()] }
    }

    fn oldest(&self, models: impl Iterator<Item = usize>) -> Option<usize> {
        models.filter_map(|model| self.waiting[model].front()).min().copied()
    }
}

impl Decides for PerModel<'_> {
    fn advance(&mut self, by_ms: i64) {
        self.now_ms += by_ms;
    }

    async fn submit(&mut self, job: usize) -> Result<Option<i64>, SimulateError> {
        self.waiting[self.workload.jobs[job].model].push_back(job);
        Ok(None)
    }

    async fn next(&mut self, gpu: usize, loaded: &[usize]) -> Result<Option<usize>, SimulateError> {
        let Workload { gpus, models, jobs, .. } = self.workload;
        let oldest = self.oldest((0..models.len()).filter(|&model| gpus[gpu].fits(&models[model])));
        let overdue = oldest.filter(|&job| self.now_ms - jobs[job].at_ms >= self.timeout_ms);
        let job = overdue.or_else(|| self.oldest(loaded.iter().copied())).or(oldest);
        Ok(job.inspect(|&job| {
            self.waiting[jobs[job].model].pop_front();
        }))
    }

    async fn done(&mut self, _: usize, _: usize, _: Takes) -> Result<(), SimulateError> {
        Ok(())
    }
}
