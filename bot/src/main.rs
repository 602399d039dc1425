//! The `riff` binary.

use std::process::ExitCode;

/// The system's allocator keeps ever more freed memory back while its threads free what others allocated.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    riff_bot::cli::main().await
}
