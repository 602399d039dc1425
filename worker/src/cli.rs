//! The command line of `riff-worker`: serve a hub, or say what is wrong.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    client::Client,
    doctor,
    engines::Engines,
    runner,
    settings::{Chosen, Settings},
};

/// Leases jobs from a Riff hub and runs them on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// File with settings; config/worker.toml has every one with its default.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Address of the hub [variable: RIFF_HUB] [default: http://127.0.0.1:7433].
    #[arg(long, global = true)]
    hub: Option<String>,
    /// Token from `riff token create --worker NAME` [variable: RIFF_TOKEN].
    #[arg(long, global = true)]
    token: Option<String>,
    /// Folder with weights [variable: RIFF_WEIGHTS] [default: weights].
    #[arg(long, global = true)]
    weights: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Looks at everything that a worker needs, and says in plain words what is wrong.
    Doctor,
}

/// Runs what the command line says. The status is 1 if that did not work, or if the doctor found trouble.
pub async fn main() -> ExitCode {
    let Arguments { config, hub, token, weights, command } = Arguments::parse();
    let settings = Settings::load(config.as_deref(), &Chosen { hub, token, weights });
    let Some(Command::Doctor) = command else {
        let served = match settings {
            Ok(settings) => serve(&settings).await,
            Err(error) => Err(error.into()),
        };
        return served.map_or_else(
            |error| {
                eprintln!("riff-worker: {error:#}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    };
    let report = match settings {
        Ok(settings) => doctor::examine(&settings).await,
        Err(error) => doctor::Report::of_bad_settings(&error),
    };
    println!("{report}");
    if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log)
        .with_context(|| format!("log {:?} is no filter; try log = \"info\"", settings.log))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let engines = Engines::open(settings.sources());
    let client = Client::new(&settings.hub, settings.token.expose())?;
    let stop = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM cannot be listened to")?;
    let told = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
        tracing::info!("finishing the jobs in hand; interrupt again to stop at once");
        stop.cancel();
        let _ = tokio::signal::ctrl_c().await;
        std::process::exit(130);
    };
    tokio::select! {
        ended = runner::run(&client, &engines, &stop) => ended.context("the worker stops"),
        () = told => Ok(()),
    }
}
