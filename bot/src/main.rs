//! The `riff` binary.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = riff_bot::cli::arm_failpoints();
    match riff_bot::cli::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("riff: {error:#}");
            ExitCode::FAILURE
        }
    }
}
