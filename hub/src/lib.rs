//! The domain of Riff: what a prompt means, who may run it, in which order, and what came of it.
//!
//! This crate owns recipes, the prompt grammar, model descriptions, admission, the queue with its
//! fairness and leases, lineage, the store and the blobs, and the wire types that workers speak.
//! It never talks to a chat platform, renders a page or serves HTTP.

pub mod admission;
pub mod affinity;
pub mod blobs;
pub mod canonical;
pub mod community;
pub mod embed;
mod fair;
pub mod hub;
pub mod job;
pub mod measure;
pub mod media;
pub mod model;
pub mod pictures;
pub mod prompt;
pub mod queue;
pub mod recipe;
pub mod riff;
pub mod safety;
pub mod schema;
pub mod seam;
pub mod simulate;
pub mod sound;
pub mod span;
pub mod step;
pub mod store;
pub mod trace;
pub mod wire;
