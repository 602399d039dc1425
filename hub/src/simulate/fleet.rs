//! A GPU that is only sums of times: what it has in memory, and how long things take on it.

use super::{GpuKind, Job, Model};

/// A GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    /// Work that it does in a second; 1 is what models announce their costs for.
    pub speed: f64,
    memory_gb: f64,
    /// Numbers of the models in memory, the one used last at the end.
    loaded: Vec<usize>,
}

/// What a job takes on a GPU, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    /// To load its model; 0 if that was in memory.
    pub load_ms: i64,
    /// To run.
    pub run_ms: i64,
}

impl Gpu {
    /// One of a kind, with nothing in memory.
    pub fn new(kind: &GpuKind) -> Self {
        Self { speed: kind.speed, memory_gb: kind.memory_gb, loaded: Vec::new() }
    }

    /// Whether a model fits into its memory.
    pub fn fits(&self, model: &Model) -> bool {
        model.memory_gb <= self.memory_gb
    }

    /// The models in memory.
    pub fn loaded(&self) -> &[usize] {
        &self.loaded
    }

    /// Begins a job: models that were not used for longest make room for its own.
    pub fn begin(&mut self, job: &Job, models: &[Model]) -> Takes {
        let was_loaded = self.loaded.contains(&job.model);
        self.loaded.retain(|model| *model != job.model);
        let used_gb = |loaded: &[usize]| loaded.iter().map(|model| models[*model].memory_gb).sum::<f64>();
        while used_gb(&self.loaded) + models[job.model].memory_gb > self.memory_gb && !self.loaded.is_empty()
        {
            self.loaded.remove(0);
        }
        self.loaded.push(job.model);
        let load_ms = if was_loaded { 0 } else { models[job.model].load_ms };
        Takes { load_ms, run_ms: ((job.work_ms as f64 / self.speed) as i64).max(1) }
    }
}
