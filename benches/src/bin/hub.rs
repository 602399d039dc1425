//! The hub from outside: how soon it is ready, what it weighs, how soon a prompt is acknowledged and leased, and how
//! many jobs a second go through the queue.
//!
//! `cargo build --release -p riff-bot && cargo run --release -p riff-benches --bin hub`

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use riff_benches::{BINARY, at, print, unlimited};
use riff_tests::{Riff, Worker};
use tokio::task::JoinSet;

const STARTS: usize = 10;
/// Prompts a second, and for how long.
const RATE: u64 = 200;
const ACKNOWLEDGED: u64 = 2_000;
const LEASED: usize = 500;
const JOBS: usize = 2_000;
const WORKERS: usize = 8;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!("| what | measured | goal |\n|---|---|---|");
    start_and_rest().await?;
    acknowledge().await?;
    lease().await?;
    throughput().await
}

async fn hub() -> anyhow::Result<Riff> {
    let mut riff = Riff::new(BINARY)?;
    unlimited(&mut riff);
    riff.start().await.context("cargo build --release -p riff-bot makes the binary that is measured")?;
    Ok(riff)
}

async fn start_and_rest() -> anyhow::Result<()> {
    let mut starts = Vec::new();
    let mut riff = hub().await?;
    for _ in 0..STARTS {
        riff.stop().await?;
        let begun = Instant::now();
        riff.start().await?;
        starts.push(begun.elapsed());
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", riff.pid()?))?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = memory.trim().trim_end_matches(" kB").parse()?;
    print("start to ready, p50", at(&mut starts, 0.5), "200 ms");
    println!("| idle memory without models | {:.1} MB | 60 MB |", kib / 1_000.0 * 1.024);
    Ok(())
}

/// Prompts come on time whether or not earlier ones were answered: a slow answer is not hidden by waiting for it.
async fn acknowledge() -> anyhow::Result<()> {
    let riff = hub().await?;
    let _worker = riff.worker("w").await?;
    let program = Arc::new(riff.program("robot").await?);
    let mut due = tokio::time::interval(Duration::from_nanos(1_000_000_000 / RATE));
    let mut calls = JoinSet::new();
    for i in 0..ACKNOWLEDGED {
        let asked = due.tick().await;
        let program = program.clone();
        calls.spawn(async move {
            program.job(&format!("a lighthouse --seed {i}")).await?;
            anyhow::Ok(asked.elapsed())
        });
    }
    let mut took = calls.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    print(&format!("prompt to acknowledged at {RATE}/s, p50"), at(&mut took, 0.5), "");
    print(&format!("prompt to acknowledged at {RATE}/s, p99"), at(&mut took, 0.99), "");
    Ok(())
}

/// From the sending of a prompt to its lease in the hands of a worker that was waiting.
async fn lease() -> anyhow::Result<()> {
    let riff = hub().await?;
    let worker = riff.worker("w").await?;
    let program = riff.program("robot").await?;
    let mut took = Vec::new();
    for i in 0..LEASED {
        let begun = Instant::now();
        let line = format!("a lighthouse --seed {i}");
        let (lease, job) = tokio::join!(
            async { worker.lease().await.map(|lease| (lease, begun.elapsed())) },
            program.job(&line)
        );
        let (lease, elapsed) = lease?;
        anyhow::ensure!(lease.job == job?, "another job was leased");
        took.push(elapsed);
        worker.finish(&lease).await?;
    }
    print("prompt sent to leased by an idle worker, p50", at(&mut took, 0.5), "");
    print("prompt sent to leased by an idle worker, p99", at(&mut took, 0.99), "10 ms");
    Ok(())
}

/// Jobs that are queued already go through lease, upload of one tiny picture, completion and posting.
async fn throughput() -> anyhow::Result<()> {
    let riff = hub().await?;
    let mut workers = Vec::new();
    for i in 0..WORKERS {
        workers.push(riff.worker(&format!("w{i}")).await?);
    }
    let program = riff.program("robot").await?;
    let begun = Instant::now();
    for i in 0..JOBS {
        program.job(&format!("a lighthouse --seed {i} --width 8 --height 8")).await?;
    }
    let queued = begun.elapsed();
    let begun = Instant::now();
    let mut drained = JoinSet::new();
    for worker in workers {
        drained.spawn(drain(worker));
    }
    let done: usize = drained.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?.iter().sum();
    let took = begun.elapsed();
    anyhow::ensure!(done == JOBS, "{done} of {JOBS} jobs were done");
    let rate = |took: Duration| JOBS as f64 / took.as_secs_f64();
    println!("| prompts queued one after another | {:.0}/s | |", rate(queued));
    println!("| jobs leased, uploaded, completed by {WORKERS} workers | {:.0}/s | |", rate(took));
    Ok(())
}

async fn drain(worker: Worker) -> anyhow::Result<usize> {
    let mut done = 0;
    while let Some(lease) = worker.lease_now().await? {
        worker.finish(&lease).await?;
        done += 1;
    }
    Ok(done)
}
