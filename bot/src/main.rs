//! The `riff` binary.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    riff_bot::cli::main().await
}
