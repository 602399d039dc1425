//! The `riff-worker` binary: one worker process, serving one hub.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use riff_worker::{
    client::Client,
    engines::{Engines, Sources},
    runner,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Leases jobs from a Riff hub and runs them on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address of the hub.
    #[arg(long, env = "RIFF_HUB", default_value = "http://127.0.0.1:7433")]
    hub: String,
    /// Token from `riff token create --worker NAME`.
    #[arg(long, env = "RIFF_TOKEN", hide_env_values = true)]
    token: String,
    /// Name for operators: the one that the token was made for.
    #[arg(long, env = "RIFF_NAME", default_value = "worker")]
    name: String,
    /// Folder with weights.
    #[arg(long, env = "RIFF_WEIGHTS", default_value = "weights")]
    weights: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RIFF_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let engines = Engines::open(&Sources { weights: arguments.weights });
    let client = Client::new(&arguments.hub, &arguments.token)?;
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM cannot be listened to")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
        tracing::info!("finishing the job in hand; interrupt again to stop at once");
        interrupted.cancel();
        let _ = tokio::signal::ctrl_c().await;
        std::process::exit(130);
    });
    runner::run(&client, &arguments.name, &engines, &stop).await.context("the worker stops")
}
