//! The command line for operators.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use riff_hub::{hub::Hub, seam::System, store::Store};

use crate::{
    serve,
    settings::Settings,
    simulate::{self, Simulate},
};

#[derive(Parser)]
#[command(name = "riff", version, about = "The generation hub that a chat community runs for itself.")]
struct Arguments {
    /// Settings that differ from the defaults; see config/riff.toml.
    #[arg(long, global = true, env = "RIFF_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the web channel, the API and the workers (the default).
    Serve,
    /// Tokens for programs and workers.
    #[command(subcommand)]
    Token(Token),
    /// Create the database, or bring it up to date, and end.
    Migrate,
    /// Copy the SQLite database in the data folder into the empty PostgreSQL database of store.postgres, all of it or
    /// nothing. Stop every hub before; the blobs stay where they are.
    Move,
    /// Copy database (SQLite) and results into a folder, which is brought up to date if it is an earlier backup. Hubs may run
    /// meanwhile; a hub can be started on the copy.
    Backup {
        /// The folder.
        folder: PathBuf,
    },
    /// Put away results and pictures that nothing names and that were stored longer ago than that, and delete those that have
    /// been away for as long. Hubs may run meanwhile.
    SweepBlobs {
        /// How long, in hours.
        #[arg(long, default_value_t = 72, value_parser = clap::value_parser!(u32).range(1..))]
        unused_hours: u32,
    },
    /// Print every setting with its default.
    Settings,
    /// Run the scheduling code on a simulated fleet, beside other schedulers.
    Simulate(Simulate),
}

#[derive(Subcommand)]
enum Token {
    /// Make a token and print it. It is stored hashed: there is no way to see it again.
    Create(Subject),
    /// Revoke every token of a worker.
    Revoke {
        /// Name of the worker.
        #[arg(long)]
        worker: String,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// For the JSON API, speaking for the member of this name.
    #[arg(long)]
    member: Option<String>,
    /// For a worker of this name.
    #[arg(long)]
    worker: Option<String>,
}

/// Runs what the process's arguments ask for; a sentence for the operator where that does not work.
pub async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("riff: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Command::Settings) = arguments.command {
        print!("{}", crate::settings::DEFAULTS);
        return Ok(());
    }
    if let Some(Command::Simulate(asked)) = arguments.command {
        return simulate::run(asked).await;
    }
    let settings = Settings::load(arguments.config.as_deref())?;
    match arguments.command {
        None | Some(Command::Serve) => serve::run(settings).await,
        Some(Command::Token(command)) => token(settings, command).await,
        Some(Command::Migrate) => migrate(&settings).await,
        Some(Command::Move) => transfer(&settings).await,
        Some(Command::Backup { folder }) => backup(&settings, &folder).await,
        Some(Command::SweepBlobs { unused_hours }) => sweep_blobs(&settings, unused_hours).await,
        Some(Command::Settings | Command::Simulate(_)) => Ok(()),
    }
}

async fn migrate(settings: &Settings) -> anyhow::Result<()> {
    let hub = Hub::open(&settings.data, settings.hub(), Arc::new(System)).await?;
    hub.store.close().await;
    println!("the database is up to date");
    Ok(())
}

async fn backup(settings: &Settings, folder: &Path) -> anyhow::Result<()> {
    let hub = Hub::open(&settings.data, settings.hub(), Arc::new(System)).await?;
    let done = hub.backup(folder).await?;
    hub.store.close().await;
    let key = settings.data.join(serve::COOKIE_KEY);
    if key.exists() {
        // With its rights: nobody else reads it here either.
        std::fs::copy(&key, folder.join(serve::COOKIE_KEY))?;
    }
    if !done.database {
        println!("the database is PostgreSQL's: save it with pg_dump, before the results");
    }
    println!("{} results copied, {} were there", done.copied, done.there);
    let damaged: Vec<String> = done.damaged.iter().map(ToString::to_string).collect();
    anyhow::ensure!(
        damaged.is_empty(),
        "left out because they are damaged: {}; restore them from an earlier backup",
        damaged.join(", ")
    );
    Ok(())
}

async fn sweep_blobs(settings: &Settings, unused_hours: u32) -> anyhow::Result<()> {
    let hub = Hub::open(&settings.data, settings.hub(), Arc::new(System)).await?;
    let swept = hub.sweep_blobs(Duration::from_secs(u64::from(unused_hours) * 3_600)).await?;
    hub.store.close().await;
    println!(
        "{} kept, {} put away, {} deleted, {} brought back",
        swept.kept, swept.put_away, swept.deleted, swept.brought_back
    );
    Ok(())
}

async fn transfer(settings: &Settings) -> anyhow::Result<()> {
    for table in Store::transfer(&settings.data, &settings.hub().store).await? {
        println!("{:>10} {}", table.rows, table.table);
    }
    println!("moved; start the hubs with the same store.postgres");
    Ok(())
}

async fn token(settings: Settings, command: Token) -> anyhow::Result<()> {
    let hub = Hub::open(&settings.data, settings.hub(), Arc::new(System)).await?;
    match command {
        Token::Create(Subject { member: Some(name), .. }) => println!("{}", hub.member_token(&name).await?),
        Token::Create(Subject { worker: Some(name), .. }) => println!("{}", hub.worker_token(&name).await?),
        Token::Create(_) => anyhow::bail!("name a --member or a --worker"),
        Token::Revoke { worker } => {
            let revoked = hub.revoke_worker(&worker).await?;
            println!("{revoked} revoked");
        }
    }
    hub.store.close().await;
    Ok(())
}

/// Kills this process, as `kill -9` does, at the step that `RIFF_FAILPOINT` names; or, where it names `lost STEP`, has that
/// step fail once after it was done.
#[cfg(feature = "failpoints")]
pub fn arm_failpoints() -> Option<fail::FailScenario<'static>> {
    let step = std::env::var("RIFF_FAILPOINT").ok()?;
    let scenario = fail::FailScenario::setup();
    if let Some(step) = step.strip_prefix("lost ") {
        fail::cfg(step, "1*return").ok()?;
        return Some(scenario);
    }
    let kill = || {
        let pid = std::process::id().to_string();
        let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
        std::thread::park();
    };
    fail::cfg_callback(step, kill).ok()?;
    Some(scenario)
}
