//! The engines `doodle`, on random weights, and `diffusion`, on the tiny checkpoints that `make_tiny.py` made: what members get, and what operators are told
//! when something is wrong. That its numbers are those of diffusers is tested beside the engine, in `parity.rs`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod doodle;
#[path = "../doodle/files.rs"]
mod doodle_files;
mod faults;
#[path = "../conformance/files.rs"]
mod files;
mod flow;
mod flow_faults;
mod hub;
mod moves;
mod pictures;
mod single;
mod support;
