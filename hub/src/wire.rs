//! What hub and workers say to each other, as JSON over HTTP. `docs/worker-protocol.md` is the reference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    canonical::Digest,
    model::ModelSpec,
    recipe::{Recipe, RecipeId},
};

/// Version of the protocol; a hub refuses a worker that speaks another.
pub const PROTOCOL: u32 = 1;

/// `POST /worker/v1/hello`: a worker announces itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Every model version it can load.
    pub models: Vec<ModelSpec>,
    /// How many jobs run at once. Models that none of these names run one job at a time between them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Pool>,
}

/// Models whose jobs run beside those of other models, so many at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Their names.
    pub models: Vec<String>,
    /// How many of their jobs run at once.
    pub jobs: u32,
}

/// The answer to [`Hello`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// The name that the token was made for: what the hub calls this worker.
    pub worker: String,
    /// Send a report at least this often while running a job, in milliseconds.
    pub heartbeat_ms: u64,
    /// A lease without a report for this long is lost, in milliseconds.
    pub lease_ms: u64,
}

/// `POST /worker/v1/lease`: asks for work; the hub holds the request open until there is some.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// How long to hold the request, in milliseconds; the hub may answer 204 sooner.
    pub wait_ms: u64,
    /// Names of the models whose jobs are wanted; empty: of all that were announced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Names of the models whose weights are in memory. A job of theirs comes first until another has waited as long as it
    /// takes to load its model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loaded: Vec<String>,
    /// By model: most jobs to run together, which differ in prompt and seed alone. One, if left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub batch: BTreeMap<String, u32>,
    /// Whether the worker is still busy and wants the job for later: it then gets none that an idle worker waits for, and
    /// the request is not held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ahead: bool,
}

/// A job given to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lease {
    /// The job.
    pub job: String,
    /// Which attempt at the job this is, from 1. Every later call names it; a stale one is refused.
    pub attempt: u32,
    /// Id of the recipe.
    pub recipe_id: RecipeId,
    /// What to run.
    pub recipe: Recipe,
    /// The trace that the attempt belongs to (<https://www.w3.org/TR/trace-context/#traceparent-header>).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Further jobs to run together with it, where the request allows that. Each is an attempt of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Lease>,
}

/// `POST /worker/v1/jobs/{job}/report`: heartbeat and progress in one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Attempt of the lease.
    pub attempt: u32,
    /// Part done, 0 to 1.
    pub progress: f32,
    /// A small preview picture, JPEG or PNG as base64, where there is a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// All text so far, for language models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What the hub wants of the worker; the answer to a report and to `GET …/signal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Go on.
    Continue,
    /// The member cancelled: stop and forget the job.
    Cancel,
}

/// The body of an answer that carries a [`Signal`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Signalled {
    /// The signal.
    pub signal: Signal,
}

/// The answer to `PUT /worker/v1/jobs/{job}/outputs/{index}?attempt=N`, whose body is the bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stored {
    /// Name of the stored blob.
    pub blob: Digest,
}

/// `POST /worker/v1/jobs/{job}/complete`: all outputs are uploaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Complete {
    /// Attempt of the lease.
    pub attempt: u32,
    /// How many outputs were uploaded.
    pub outputs: u32,
    /// Seconds of the device that the run took, loading left out.
    pub gpu_seconds: f64,
    /// Seconds spent loading weights for this job; 0 if they were in memory.
    #[serde(default)]
    pub load_seconds: f64,
}

/// `POST /worker/v1/jobs/{job}/release`: the worker gives the job back without having begun it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Release {
    /// Attempt of the lease.
    pub attempt: u32,
}

/// `POST /worker/v1/jobs/{job}/fail`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fail {
    /// Attempt of the lease.
    pub attempt: u32,
    /// What went wrong, as a sentence for the operator and the member.
    pub reason: String,
    /// Whether another attempt may go better.
    pub retry: bool,
    /// What kind of failure it is.
    #[serde(default)]
    pub kind: FailKind,
}

/// Failures that the hub treats in ways of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailKind {
    /// The device has too little memory for the job. Nobody is to blame; another worker is asked, as long as there is one.
    OutOfMemory,
    /// Any other.
    #[default]
    #[serde(other)]
    Other,
}

/// `GET /worker/v1/me`: how the hub sees a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// [`PROTOCOL`] of the hub.
    pub protocol: u32,
    /// The name that the token was made for.
    pub worker: String,
    /// Attempts that failed in a row.
    pub failures: u32,
    /// For how long it is given no work because of them, in milliseconds; 0 if it is.
    pub set_aside_ms: u64,
}
