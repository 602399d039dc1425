//! The `riff` binary with failpoints compiled in: what the stories start, stop and kill.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let _scenario = riff_bot::cli::arm_failpoints();
    riff_bot::cli::main().await
}
