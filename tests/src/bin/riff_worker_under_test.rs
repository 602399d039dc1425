//! The `riff-worker` binary, as the stories start it.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    riff_worker::cli::main().await
}
