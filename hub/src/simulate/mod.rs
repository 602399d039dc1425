//! The scheduling code on a simulated fleet: a whole [`Hub`](crate::hub::Hub) with its database, whose clock jumps from one
//! event to the next, is asked for jobs by GPUs that are only sums of times. What it reaches is set beside schedulers of the
//! textbook on the same fleet and the same jobs, and beside what no scheduler can exceed.
//!
//! It owns the workload, the fleet and the figures. It never decides what runs next: that is the hub's, or a peer's.
//! Everything is drawn from one seed, so the same scenario gives the same report, byte for byte.

mod bound;
mod fairness;
mod fleet;
mod measure;
mod peers;
mod report;
mod riff;
mod run;
mod scenario;
mod workload;

use std::path::Path;

pub use bound::bound;
pub use fairness::{Share, Shares, WINDOW_MS, jain, max_min};
pub use fleet::Gpu;
pub use measure::{Eta, Figures};
pub use report::{CSV_HEADER, Comparison, Row};
pub use run::{Ran, Trace};
pub use scenario::{Adversary, BadScenario, Community, GpuKind, Models, Scenario};
pub use workload::{Job, Member, Model, Workload};

use crate::{
    admission::Refusal,
    hub::{OpenError, WorkError},
    store::StoreError,
};

/// Why a simulation stopped.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The scenario makes no sense.
    #[error(transparent)]
    Scenario(#[from] BadScenario),
    /// The hub cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The hub refused a prompt: it is made so that it refuses none.
    #[error("the hub refused a prompt of the simulation: {0}")]
    Refused(#[from] Refusal),
    /// The hub refused a worker.
    #[error("the hub refused a worker of the simulation: {0}")]
    Work(#[from] WorkError),
    /// The hub's database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Jobs wait, and nobody will ever take them.
    #[error(
        "after {seconds} s, {waiting} jobs wait and no GPU takes one: some model fits on none of the fleet"
    )]
    Stuck {
        /// Simulated seconds.
        seconds: i64,
        /// How many wait.
        waiting: usize,
    },
}

/// A scheduler of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    /// Riff's hub.
    Riff,
    /// Whoever came first is served first, by the first GPU that is free.
    Fifo,
    /// A GPU stays with what it has in memory while there are jobs for that, then takes the oldest.
    PerModelFifo,
    /// The same, but the oldest job goes first once it waited for a minute.
    PerModelFifoTimeout,
}

impl Scheduler {
    /// All of them, Riff first.
    pub const ALL: [Self; 4] = [Self::Riff, Self::Fifo, Self::PerModelFifo, Self::PerModelFifoTimeout];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Riff => "riff",
            Self::Fifo => "fifo",
            Self::PerModelFifo => "per-model fifo",
            Self::PerModelFifoTimeout => "per-model fifo, 60 s",
        }
    }
}

/// Runs a workload under a scheduler until every job is done. The hub's database lies in `folder`, which should be empty.
///
/// # Errors
/// If the hub fails, or some job can never run.
pub async fn simulate(
    scheduler: Scheduler,
    workload: &Workload,
    folder: &Path,
) -> Result<Trace, SimulateError> {
    const TIMEOUT_MS: i64 = 60_000;
    match scheduler {
        Scheduler::Riff => run::run(workload, riff::Riff::open(workload, folder).await?).await,
        Scheduler::Fifo => run::run(workload, peers::Fifo::new(workload)).await,
        Scheduler::PerModelFifo => run::run(workload, peers::PerModel::new(workload, i64::MAX)).await,
        Scheduler::PerModelFifoTimeout => {
            run::run(workload, peers::PerModel::new(workload, TIMEOUT_MS)).await
        }
    }
}

/// Runs a scenario under every scheduler. Databases lie in new folders within `folder`.
///
/// # Errors
/// If the scenario makes no sense, or the hub fails.
pub async fn compare(scenario: &Scenario, folder: &Path) -> Result<Comparison, SimulateError> {
    let workload = Workload::draw(scenario)?;
    let mut rows = Vec::new();
    for scheduler in Scheduler::ALL {
        let trace = simulate(scheduler, &workload, &folder.join(scheduler.name())).await?;
        rows.push(Row { scheduler, figures: Figures::of(&workload, &trace) });
    }
    Ok(Comparison { scenario: scenario.clone(), bound: bound(&workload), jobs: workload.jobs.len(), rows })
}
