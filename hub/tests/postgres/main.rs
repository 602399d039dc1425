//! The hub's tests, all of them, on real PostgreSQL instead of SQLite.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup;
#[path = "../hub/community.rs"]
mod community;
mod database;
#[path = "../hub/embed.rs"]
mod embed;
#[path = "../hub/fairness.rs"]
mod fairness;
#[path = "../hub/give.rs"]
mod give;
#[path = "../hub/grammar.rs"]
mod grammar;
mod hubs;
#[path = "../hub/overflow.rs"]
mod overflow;
#[path = "../hub/overload.rs"]
mod overload;
#[path = "../hub/queue.rs"]
mod queue;
#[path = "../hub/quota.rs"]
mod quota;
#[path = "../hub/riffs.rs"]
mod riffs;
#[path = "../hub/safety.rs"]
mod safety;
#[path = "../hub/sounds.rs"]
mod sounds;
#[path = "../hub/support.rs"]
mod support;
#[path = "../hub/together.rs"]
mod together;
#[path = "../hub/upscale.rs"]
mod upscale;

/// Communities that a test of arbitrary ones makes: a step takes longer here.
const CASES: u32 = 4;
