//! Chaos: hubs, workers and connections to the database are killed, stopped and cut off, one a second, while people on every
//! surface go on asking for pictures. Then everything comes back, and once all is settled, a checker that shares no code with
//! the hub looks whether anything was lost, doubled or done by who had no right to. It must be able to find that: with
//! `unfenced`, hubs cannot tell a late attempt from the current one, and it does.
//!
//! `cargo build --release -p riff-bot -p riff-worker && cargo run --release -p riff-benches --bin chaos [SECONDS [SEED [unfenced]]]`

mod asked;
mod balancer;
mod calls;
mod check;
mod community;
mod history;
mod people;
mod report;
mod strike;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use crate::{
    asked::Asked,
    community::{Community, Fenced, Size},
    strike::Striker,
};

const SECONDS: u64 = 600;
const SEED: u64 = 1;
const SIZE: Size = Size { hubs: 2, workers: 8 };
/// Where the programs are that are struck.
const PROGRAMS: &str = "target/release";
/// Longest wait for everything to settle, and how often that is looked at.
const SETTLES_WITHIN: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(250);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // What is dropped ends its processes.
    tokio::select! {
        done = run() => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted: nothing was checked"),
    }
}

async fn run() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what: &str, unless| match arguments.next() {
        Some(number) => number.parse().with_context(|| format!("{what}: expected a number")),
        None => anyhow::Ok(unless),
    };
    let (seconds, seed) = (number("SECONDS", SECONDS)?, number("SEED", SEED)?);
    let fenced = match arguments.next().as_deref() {
        None => Fenced::Yes,
        Some("unfenced") => Fenced::No,
        Some(other) => bail!("{other:?}: expected unfenced, or nothing"),
    };
    // Workers run in folders of their own.
    let programs = std::fs::canonicalize(PROGRAMS)
        .context("cargo build --release -p riff-bot -p riff-worker makes the programs that are struck")?;
    let mut community = Community::start(&programs.display().to_string(), SIZE, fenced).await?;
    let asked = Arc::new(Asked::default());
    let stop = CancellationToken::new();
    let people = people::begin(&community, &asked, seed, &stop).await?;
    let mut striker = Striker::new(seed);
    striker.strike(&mut community, Duration::from_secs(seconds)).await?;
    stop.cancel();
    people.join_all().await;
    let settled = settle(&community).await;
    community.stop().await?;
    report::print(&community, &asked, &striker.done, settled.as_ref().ok()).await?;
    let violations = check::check(&community, &asked).await?;
    if let Err(error) = settled {
        println!("\n{error:#}");
    } else if violations.is_empty() {
        println!("\nNothing was lost, doubled or done by who had no right to.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nViolations\n{violations}");
    report::keep_logs(&community)?;
    Ok(ExitCode::FAILURE)
}

/// Waits until every job has ended and every post is made; gives how long that took.
async fn settle(community: &Community) -> anyhow::Result<Duration> {
    let left = "SELECT (SELECT COUNT(*) FROM job WHERE state IN ('queued', 'leased', 'running')),
                       (SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL)";
    let begun = Instant::now();
    loop {
        let (jobs, posts): (i64, i64) = sqlx::query_as(left).fetch_one(&community.database).await?;
        if jobs == 0 && posts == 0 {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > SETTLES_WITHIN {
            bail!("{jobs} jobs and {posts} posts are not over {SETTLES_WITHIN:?} after the last strike");
        }
        tokio::time::sleep(LOOK).await;
    }
}
