//! The `riff-worker` binary: one worker process, serving one hub.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    riff_worker::cli::main().await
}
