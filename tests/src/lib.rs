//! What the stories are told with: one `riff` process with real SQLite and real engines behind it, and people, programs,
//! workers and a browser in front of it. Verbs are those of the domain (`alice.imagine`, `alice.click`, `worker.finish`).
//!
//! Nothing here sleeps to wait for something: waiting is on the channel's event stream, on a held request, or on a line
//! that the process prints, each within [`PATIENCE`].

#![allow(missing_docs, reason = "the verbs say what they do")]

pub mod browser;
pub mod card;
pub mod checker;
pub mod feed;
pub mod member;
pub mod process;
pub mod program;
pub mod rack;
pub mod worker;

use std::time::Duration;

pub use card::Card;
pub use checker::Checker;
pub use member::Member;
pub use process::Riff;
pub use program::Program;
pub use rack::Rack;
pub use worker::Worker;

/// Longest wait for anything; a story that needs longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
