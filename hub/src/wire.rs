//! What hub and workers say to each other, as JSON over HTTP. `docs/worker-protocol.md` is the reference.

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
    /// Name for operators, unique in the fleet.
    pub name: String,
    /// Every model version it can load.
    pub models: Vec<ModelSpec>,
}

/// The answer to [`Hello`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// Send a report at least this often while running a job, in milliseconds.
    pub heartbeat_ms: u64,
    /// A lease without a report for this long is lost, in milliseconds.
    pub lease_ms: u64,
}

/// `POST /worker/v1/lease`: asks for work; the hub holds the request open until there is some.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// The name from [`Hello`].
    pub worker: String,
    /// Digests of the versions in memory now.
    #[serde(default)]
    pub loaded: Vec<Digest>,
    /// How long to hold the request, in milliseconds; the hub may answer 204 sooner.
    pub wait_ms: u64,
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

/// `POST /worker/v1/jobs/{job}/fail`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fail {
    /// Attempt of the lease.
    pub attempt: u32,
    /// What went wrong, as a sentence for the operator and the member.
    pub reason: String,
    /// Whether another attempt may go better.
    pub retry: bool,
}
