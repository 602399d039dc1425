//! The `riff-worker` binary: one worker process, serving one hub.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use riff_worker::{
    client::Client,
    engines::Engines,
    runner,
    settings::{Chosen, Settings},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Leases jobs from a Riff hub and runs them on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// File with settings; config/worker.toml has every one with its default.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Address of the hub [variable: RIFF_HUB] [default: http://127.0.0.1:7433].
    #[arg(long)]
    hub: Option<String>,
    /// Token from `riff token create --worker NAME` [variable: RIFF_TOKEN].
    #[arg(long)]
    token: Option<String>,
    /// Name for operators: the one that the token was made for [variable: RIFF_NAME] [default: worker].
    #[arg(long)]
    name: Option<String>,
    /// Folder with weights [variable: RIFF_WEIGHTS] [default: weights].
    #[arg(long)]
    weights: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { config, hub, token, name, weights } = Arguments::parse();
    let settings = Settings::load(config.as_deref(), &Chosen { hub, token, name, weights })?;
    let filter = EnvFilter::try_new(&settings.log)
        .with_context(|| format!("log {:?} is no filter; try log = \"info\"", settings.log))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let engines = Engines::open(settings.sources());
    let client = Client::new(&settings.hub, settings.token.expose())?;
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
    runner::run(&client, &settings.name, &engines, &stop).await.context("the worker stops")
}
