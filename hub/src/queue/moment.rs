//! What is known at the moment at which the queue is looked at, apart from the queue and the fleet.

use std::{collections::HashMap, sync::Arc};

use crate::{canonical::Digest, seam::Millis};

/// What is known at the moment at which the queue is looked at.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// Now.
    pub now: Millis,
    /// Most part of its time that a worker loads models for, while there is work that it could do without.
    pub swap_share: f64,
    /// How those stand who wait.
    pub standing: Standing,
    /// What is expected to come.
    pub coming: Arc<Coming>,
}

/// How members and communities stand in the fair order.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Start tag of the job that was last put into service.
    pub virtual_time: i64,
    /// Shares of communities, where they are not 1, by id.
    pub weights: HashMap<String, f64>,
    /// The communities' own clocks, where they are ahead of virtual time, by id.
    pub clocks: HashMap<String, i64>,
    /// The members who have jobs waiting.
    pub flows: Vec<Flowing>,
}

/// What a member asks for in a community.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Flowing {
    /// Where.
    pub community: String,
    /// Who.
    pub member: String,
    /// Share relative to the community's other members.
    pub weight: f64,
    /// What those weighed together who waited in the community when the tags were made.
    pub crowd: f64,
    /// Start tag of the last job.
    pub last_start: i64,
    /// Its finish tag.
    pub last_finish: i64,
}

/// Jobs that are expected to come: those of late once more, and again.
#[derive(Debug, Clone, Default)]
pub struct Coming {
    /// How many milliseconds after a job one like it comes; above 0 if there are any.
    pub within_ms: i64,
    /// The jobs.
    pub jobs: Vec<Arrival>,
}

/// A job that is expected to come.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When.
    pub at: Millis,
    /// From which community.
    pub community: String,
    /// From whom.
    pub member: String,
    /// Their share relative to the community's other members.
    pub weight: f64,
    /// The model version that it needs.
    pub model: Digest,
    /// Expected cost in milliseconds of the device.
    pub estimate_ms: i64,
    /// Priority lane.
    pub lane: i64,
}
