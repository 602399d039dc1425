//! The loop of events: jobs come, GPUs ask, jobs end. A GPU runs one job at a time and asks for the next when it is done.
//!
//! GPUs that are idle ask when a job comes, in the order in which the hub wakes them (those with its model in memory
//! first, then those that wait longest), until one takes a job; and all of them every second, as the hub's held requests do.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{SimulateError, Workload, fleet::Takes};

/// How often idle GPUs ask while jobs wait.
const LOOK_AGAIN_MS: i64 = 1_000;

/// What decides which job a GPU runs next.
pub(super) trait Decides {
    /// Time has come so far.
    fn advance(&mut self, by_ms: i64);

    /// A job is asked for; gives the milliseconds in which it is said to be done, if anything is said.
    async fn submit(&mut self, job: usize) -> Result<Option<i64>, SimulateError>;

    /// A GPU asks for a job, with these models in memory.
    async fn next(&mut self, gpu: usize, loaded: &[usize]) -> Result<Option<usize>, SimulateError>;

    /// A GPU is done with a job.
    async fn done(&mut self, gpu: usize, job: usize, took: Takes) -> Result<(), SimulateError>;
}

/// What became of a job. Times are milliseconds from the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ran {
    /// On which GPU.
    pub gpu: usize,
    /// When a GPU took it.
    pub taken_ms: i64,
    /// When it began to run, its model loaded.
    pub begun_ms: i64,
    /// When it was done.
    pub done_ms: i64,
    /// The milliseconds in which it was said to be done when it was asked for.
    pub eta_ms: Option<i64>,
}

/// What became of each job, in the workload's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// One for each job.
    pub ran: Vec<Ran>,
}

/// What happens next, earliest first; of the same moment, ends before arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends { gpu: usize },
    Arrives { job: usize },
    Look,
}

struct Simulation<'a, D> {
    workload: &'a Workload,
    decides: D,
    now_ms: i64,
    events: BinaryHeap<Reverse<(i64, Event)>>,
    gpus: Vec<super::Gpu>,
    /// What each GPU runs.
    runs: Vec<Option<(usize, Takes)>>,
    /// Since when each is idle.
    idle_ms: Vec<i64>,
    ran: Vec<Option<Ran>>,
    etas: Vec<Option<i64>>,
    waiting: usize,
    looks: bool,
}

/// Runs a workload until every job is done.
pub(super) async fn run(workload: &Workload, decides: impl Decides) -> Result<Trace, SimulateError> {
    let arrivals = workload.jobs.iter().enumerate();
    let mut simulation = Simulation {
        workload,
        decides,
        now_ms: 0,
        events: arrivals.map(|(job, at)| Reverse((at.at_ms, Event::Arrives { job }))).collect(),
        gpus: workload.gpus.clone(),
        runs: vec![None; workload.gpus.len()],
        idle_ms: vec![0; workload.gpus.len()],
        ran: vec![None; workload.jobs.len()],
        etas: vec![None; workload.jobs.len()],
        waiting: 0,
        looks: false,
    };
    while let Some(Reverse((at_ms, event))) = simulation.events.pop() {
        simulation.decides.advance(at_ms - simulation.now_ms);
        simulation.now_ms = at_ms;
        simulation.happens(event).await?;
        simulation.look_again()?;
    }
    Ok(Trace { ran: simulation.ran.into_iter().flatten().collect() })
}

impl<D: Decides> Simulation<'_, D> {
    async fn happens(&mut self, event: Event) -> Result<(), SimulateError> {
        match event {
            Event::Arrives { job } => {
                self.waiting += 1;
                self.etas[job] = self.decides.submit(job).await?;
                for gpu in self.idle_for(self.workload.jobs[job].model) {
                    if self.ask(gpu).await? {
                        break;
                    }
                }
            }
            Event::Ends { gpu } => {
                if let Some((job, took)) = self.runs[gpu].take() {
                    self.decides.done(gpu, job, took).await?;
                }
                self.idle_ms[gpu] = self.now_ms;
                self.ask(gpu).await?;
            }
            Event::Look => {
                self.looks = false;
                for gpu in self.idle() {
                    self.ask(gpu).await?;
                }
            }
        }
        Ok(())
    }

    /// The idle GPUs, longest first.
    fn idle(&self) -> Vec<usize> {
        let mut idle: Vec<usize> = (0..self.gpus.len()).filter(|&gpu| self.runs[gpu].is_none()).collect();
        idle.sort_by_key(|&gpu| self.idle_ms[gpu]);
        idle
    }

    /// Those of them on which a model fits, in the order in which they are woken for a job of it.
    fn idle_for(&self, model: usize) -> Vec<usize> {
        let mut idle = self.idle();
        idle.retain(|&gpu| self.gpus[gpu].fits(&self.workload.models[model]));
        idle.sort_by_key(|&gpu| !self.gpus[gpu].loaded().contains(&model));
        idle
    }

    /// Whether a GPU takes a job.
    async fn ask(&mut self, gpu: usize) -> Result<bool, SimulateError> {
        if self.waiting == 0 {
            return Ok(false);
        }
        let Some(job) = self.decides.next(gpu, self.gpus[gpu].loaded()).await? else {
            return Ok(false);
        };
        let takes = self.gpus[gpu].begin(&self.workload.jobs[job], &self.workload.models);
        let begun_ms = self.now_ms + takes.load_ms;
        let done_ms = begun_ms + takes.run_ms;
        self.ran[job] = Some(Ran { gpu, taken_ms: self.now_ms, begun_ms, done_ms, eta_ms: self.etas[job] });
        self.runs[gpu] = Some((job, takes));
        self.waiting -= 1;
        self.events.push(Reverse((done_ms, Event::Ends { gpu })));
        Ok(true)
    }

    /// Has idle GPUs look again while jobs wait.
    fn look_again(&mut self) -> Result<(), SimulateError> {
        /// Longer than any scheduler leaves a job to a GPU that is busy.
        const STUCK_MS: i64 = 24 * 3_600_000;
        if self.waiting == 0 || self.looks || self.runs.iter().all(Option::is_some) {
            return Ok(());
        }
        let newest = self.idle_ms.iter().max().copied().unwrap_or(0).max(self.workload.horizon_ms);
        if self.runs.iter().all(Option::is_none) && self.now_ms - newest > STUCK_MS {
            return Err(SimulateError::Stuck { seconds: self.now_ms / 1_000, waiting: self.waiting });
        }
        self.looks = true;
        self.events.push(Reverse((self.now_ms + LOOK_AGAIN_MS, Event::Look)));
        Ok(())
    }
}
