//! The hub through its public seams, on real SQLite, with a clock that the tests move.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod community;
mod database;
mod embed;
mod fairness;
mod give;
mod grammar;
mod overflow;
mod overload;
mod queue;
mod quota;
mod riffs;
mod safety;
mod sounds;
mod support;
mod together;
mod upscale;

/// Communities that a test of arbitrary ones makes.
const CASES: u32 = 24;
