//! Discord under load: interactions come on time whether or not earlier ones were answered, workers paint, and every result
//! is posted. The fake Discord, the people, the workers and the hub share the machine.
//!
//! `cargo build --release -p riff-bot && cargo run --release -p riff-benches --bin discord [INTERACTIONS [A_SECOND]]`

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use fake_discord::{Discord, Member, Shown};
use riff_benches::{BINARY, at, print, unlimited};
use riff_tests::{Checker, Riff, Worker};
use serde_json::json;
use tokio::{task::JoinSet, time::timeout};

/// Interactions a second, and how many unless the command line says otherwise: one minute of them.
const RATE: u64 = 200;
const INTERACTIONS: u64 = 60 * RATE;
const MEMBERS: usize = 200;
const CHANNELS: usize = 20;
const WORKERS: usize = 8;
/// Longest wait for the last post.
const LAST: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what, unless| match arguments.next() {
        Some(number) => number.parse().with_context(|| format!("{what}: expected a number")),
        None => anyhow::Ok(unless),
    };
    let interactions: u64 = number("INTERACTIONS", INTERACTIONS)?;
    let rate: u64 = number("A_SECOND", RATE)?;
    let discord = Discord::start().await?;
    let guild = discord.guild("Lighthouse").await?;
    let mut riff = Riff::new(BINARY)?;
    unlimited(&mut riff).on_discord(&discord);
    riff.start().await.context("cargo build --release -p riff-bot makes the binary that is measured")?;
    let painted = Arc::new(AtomicU64::new(0));
    let mut painting = JoinSet::new();
    for i in 0..WORKERS {
        painting.spawn(paint(riff.worker(&format!("w{i}")).await?, painted.clone()));
    }
    discord
        .requested(|request| request.method == "PUT" && request.body.to_string().contains("\"seed\""))
        .await?;
    discord.bench_mode();
    let members: Vec<Member> = (0..MEMBERS).map(|i| guild.member(&format!("member{i}"))).collect();
    let channels: Vec<_> = (0..CHANNELS).map(|i| guild.channel(&format!("art{i}"))).collect();

    let mut memory = Vec::new();
    let mut due = tokio::time::interval(Duration::from_nanos(1_000_000_000 / rate.max(1)));
    let mut calls = JoinSet::new();
    let mut took = Vec::new();
    let begun = Instant::now();
    for i in 0..interactions {
        let asked = due.tick().await;
        let member = members[i as usize % MEMBERS].clone();
        let channel = channels[i as usize % CHANNELS].clone();
        calls.spawn(async move {
            let options = json!({"prompt": format!("lighthouse {i}"), "width": 8, "height": 8});
            let shown = member.slash(&channel, "/imagine", options).await?;
            anyhow::ensure!(matches!(shown, Shown::Message(_) | Shown::Deferred { .. }), "{shown}");
            anyhow::Ok(asked.elapsed())
        });
        while let Some(done) = calls.try_join_next() {
            took.push(done??);
        }
        if i % (interactions / 10).max(1) == 0 {
            memory.push(resident(&riff)?);
        }
    }
    while let Some(done) = calls.join_next().await {
        took.push(done??);
    }
    let asked = begun.elapsed();
    let checker = riff.checker().await?;
    timeout(LAST, posted(&checker, interactions))
        .await
        .with_context(|| format!("{:?}", discord.statuses()))??;
    let posted = begun.elapsed();
    memory.push(resident(&riff)?);

    println!("| what | measured | goal |\n|---|---|---|");
    print(&format!("interaction to acknowledged at {rate}/s, p50"), at(&mut took, 0.5), "");
    print(&format!("interaction to acknowledged at {rate}/s, p99"), at(&mut took, 0.99), "50 ms");
    print(&format!("interaction to acknowledged at {rate}/s, longest"), at(&mut took, 1.0), "");
    println!(
        "| interactions asked, acknowledged, painted, posted | {interactions}, {}, {}, {} | all |",
        took.len(),
        painted.load(Ordering::Relaxed),
        delivered(&checker).await?
    );
    println!(
        "| asked within, all posted after | {:.1} s, {:.1} s | |",
        asked.as_secs_f64(),
        posted.as_secs_f64()
    );
    println!(
        "| rate limits exceeded, requests that Discord's description forbids | {}, {} | 0, 0 |",
        discord.exceeded(),
        discord.violations().len()
    );
    let memory: Vec<String> = memory.iter().map(|megabytes| format!("{megabytes:.0}")).collect();
    println!("| resident memory of the hub at each tenth, MB | {} | flat |", memory.join(" "));
    Ok(())
}

/// Takes jobs and uploads tiny pictures until the bench ends.
async fn paint(worker: Worker, painted: Arc<AtomicU64>) -> anyhow::Result<()> {
    loop {
        let lease = worker.lease().await?;
        worker.finish(&lease).await?;
        painted.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until every post was delivered.
async fn posted(checker: &Checker, wanted: u64) -> anyhow::Result<()> {
    while delivered(checker).await? < wanted {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn delivered(checker: &Checker) -> anyhow::Result<u64> {
    Ok(checker.count("SELECT COUNT(*) FROM outbox WHERE delivered_at IS NOT NULL").await? as u64)
}

fn resident(riff: &Riff) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", riff.pid()?))?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = memory.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1_000.0 * 1.024)
}
