//! Stories over the whole loop: the `riff` process, SQLite, the real engines, the web channel, the API, workers, a browser.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

#[path = "../../../worker/tests/conformance/support.rs"]
#[allow(dead_code, reason = "the suite of the engines uses the rest")]
mod cog;

mod api;
mod bad_input;
mod channel;
mod crash;
mod faults;
mod newcomer;
mod operate;
mod operator;
mod overflow;
mod protocol;
mod racks;
#[path = "../../../worker/tests/replicate/server.rs"]
mod replicate;
#[path = "../../../worker/tests/replicate/models.rs"]
mod replicate_models;
mod sounds;
mod workers;

use riff_tests::Riff;

/// A hub that is not started yet.
fn riff() -> Riff {
    Riff::new(env!("CARGO_BIN_EXE_riff-under-test")).unwrap()
}

/// A running hub whose only workers are those that the story makes.
async fn hub() -> Riff {
    let mut riff = riff();
    riff.start().await.unwrap();
    riff
}

/// A running hub with the real engines in its process.
async fn hub_with_engines() -> Riff {
    let mut riff = riff();
    riff.with_engines().start().await.unwrap();
    riff.engines_ready().await.unwrap();
    riff
}
