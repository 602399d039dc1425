//! The engine `replicate` against a service that holds every request to the published reference, and against one that is
//! throttled, broke, down, slow or talks nonsense.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "../conformance/bodies.rs"]
mod bodies;
mod cancel;
mod faults;
#[path = "../conformance/files.rs"]
mod files;
mod money;
mod predictions;
#[path = "models.rs"]
mod replicate_models;
mod server;
mod support;
