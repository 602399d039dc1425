//! What the benches share: the hub that is measured, and how figures are printed.

use std::time::Duration;

use riff_tests::Riff;

/// The binary that is measured: the one that `./run` starts.
pub const BINARY: &str = "target/release/riff";

/// Makes a hub wait for the disk as a real one does, with allowances that are never used up.
pub fn unlimited(riff: &mut Riff) -> &mut Riff {
    riff.set("RIFF_STORE__FULL_SYNC", true)
        .set("RIFF_QUOTA__GPU_SECONDS_PER_DAY", 31_536_000)
        .set("RIFF_QUEUE__MAX_QUEUED_PER_MEMBER", 1_000_000)
        .set("RIFF_RATE__PROMPTS_PER_MINUTE_MEMBER", 1_000_000)
        .set("RIFF_RATE__BURST_MEMBER", 1_000_000)
        .set("RIFF_RATE__PROMPTS_PER_MINUTE_CHANNEL", 1_000_000)
        .set("RIFF_RATE__BURST_CHANNEL", 1_000_000)
}

/// The time at a part of all times: 0.5 is the median.
pub fn at(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * part).round() as usize]
}

/// One row of the table.
pub fn print(what: &str, time: Duration, goal: &str) {
    println!("| {what} | {:.2} ms | {goal} |", time.as_secs_f64() * 1_000.0);
}
