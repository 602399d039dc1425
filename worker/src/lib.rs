//! Riff's worker: leases jobs from a hub, runs them on engines, and sends back what came out.
//!
//! It owns the lease loop and the engines' weights. It keeps no state that outlives it but the ledger of what it spent,
//! trusts nobody with its address (it dials out), and never decides what runs next: the hub does.

pub mod cli;
pub mod client;
pub mod doctor;
pub mod engine;
pub mod engines;
pub mod http;
pub mod runner;
#[cfg(feature = "candle")]
pub mod safety;
pub mod settings;
mod trust;
