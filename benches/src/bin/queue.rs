//! Riff's store on PostgreSQL with its default durability: jobs queued and worked off a second, beside graphile-worker and
//! pg-boss on the same server, and beside the least statements that a queue can do with (pgbench). Then how long a lease
//! takes with ever more finished jobs stored, and with ever more workers waiting. A job does nothing but go through the store:
//! enqueue, lease, one output, complete.
//!
//! `benches/queue/install && cargo run --release -p riff-benches --bin queue [STORED]`

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use riff_benches::at;
use riff_hub::{
    admission::Rate,
    blobs::Place,
    canonical::Digest,
    hub::{Ask, Fairness, Hub, Limits, Settings},
    job::{Job, Output},
    seam::System,
    sound,
    store::{Channel, Completion, Member, Postgres, Search, StoreOptions},
    wire::{Hello, LeaseRequest, PROTOCOL},
};
use riff_tests::worker::painter;
use serde::Deserialize;
use temporary_postgres::{Durability, Server};
use tokio::task::JoinSet;

const JOBS: usize = 5_000;
/// Steps at once, and connections of the others.
const AT_ONCE: [usize; 2] = [16, 64];
/// Riff's own connections.
const CONNECTIONS: u32 = 16;
const MEMBERS: usize = 200;
/// Jobs that members finish in a period of their allowances.
const A_DAY: u64 = 10_000;
/// What leases last.
const LEASE_MS: i64 = 15_000;
const MODEL_WORKERS: usize = 64;
/// Workers that report at once.
const REPORTING: usize = 16;
/// Leases of which the times are taken.
const LEASES: usize = 500;

/// Jobs a second.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Rates {
    queued: f64,
    worked: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stored: u64 = match std::env::args().nth(1) {
        Some(number) => number.parse().context("STORED: expected a number of jobs")?,
        None => 1_000_000,
    };
    let server = Server::start(Durability::Full, &[])?;
    println!("| | at once | queued a second | worked off a second |\n|---|---|---|---|");
    let community = Community::open(&server).await?;
    for at_once in AT_ONCE {
        let print = |what: &str, Rates { queued, worked }| {
            println!("| {what} | {at_once} | {queued:.0} | {worked:.0} |");
        };
        print("least statements (pgbench)", raw(&server, at_once)?);
        for peer in ["graphile-worker", "pg-boss"] {
            print(peer, measure_peer(&server, peer, at_once)?);
        }
        print("Riff", community.rates(at_once).await?);
    }
    println!("\n| reports | a second |\n|---|---|");
    println!("| each extends its lease | {:.0} |", community.reports(0).await?);
    println!(
        "| a lease is extended once a quarter of it is gone | {:.0} |",
        community.reports(LEASE_MS / 4).await?
    );
    println!("\n| finished jobs stored | lease p50 | lease p99 |\n|---|---|---|");
    let mut there = 0;
    for many in [1_000, 100_000, stored] {
        community.store_finished(&server, there, many)?;
        there = many;
        let mut times = community.lease_times().await?;
        println!("| {many} | {:.2?} | {:.2?} |", at(&mut times, 0.5), at(&mut times, 0.99));
    }
    println!("\n| workers that wait | queued to leased p50 | p99 |\n|---|---|---|");
    for workers in [1, 100, 1_000] {
        let mut times = community.waits(workers).await?;
        println!("| {workers} | {:.2?} | {:.2?} |", at(&mut times, 0.5), at(&mut times, 0.99));
    }
    Ok(())
}

/// What PostgreSQL does on this machine when nothing but a row's state is kept.
fn raw(server: &Server, at_once: usize) -> anyhow::Result<Rates> {
    let url = server.database()?;
    let database = url.rsplit('/').next().context("an address ends in a name")?;
    server.sql(
        database,
        "CREATE TABLE raw_job (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state TEXT NOT NULL DEFAULT 'queued',
                               payload TEXT NOT NULL);
         CREATE INDEX ON raw_job (id) WHERE state = 'queued'",
    )?;
    let run = |script: &str| {
        let script = Path::new("benches/queue").join(script);
        let each = (JOBS / at_once).to_string();
        let mut pgbench = server.program("pgbench");
        pgbench.args(["-n", "-M", "prepared", "-c", &at_once.to_string(), "-j", "2", "-t", &each, "-f"]);
        let done = pgbench.arg(script).arg(&url).output().context("pgbench does not start")?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        tps.with_context(|| format!("{said}{}", String::from_utf8_lossy(&done.stderr)))
    };
    Ok(Rates { queued: run("insert.sql")?, worked: run("work.sql")? })
}

fn measure_peer(server: &Server, peer: &str, at_once: usize) -> anyhow::Result<Rates> {
    let url = server.database()?;
    let mut node = Command::new("node");
    node.args(["benches/queue/peers.mjs", peer, &url, &JOBS.to_string(), &at_once.to_string()]);
    let done = node.output().context("node does not start")?;
    ensure!(done.status.success(), "{peer}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// A hub in this process, with members and workers.
struct Community {
    hub: Arc<Hub>,
    members: Vec<Member>,
    database: String,
    model: Digest,
    _data: tempfile::TempDir,
}

impl Community {
    async fn open(server: &Server) -> anyhow::Result<Self> {
        let url = server.database()?;
        let data = tempfile::tempdir()?;
        let plenty = Rate { per_minute: 1_000_000.try_into()?, burst: 1_000_000.try_into()? };
        let settings = Settings {
            store: StoreOptions {
                full_sync: true,
                busy_timeout: Duration::from_secs(5),
                postgres: Some(Postgres {
                    url: url.clone(),
                    connections: CONNECTIONS,
                    statement_timeout: Duration::from_secs(60),
                }),
            },
            blobs: Place::Folder,
            limits: Limits { all: i64::MAX, community: i64::MAX },
            sounds: sound::Limits { bytes: 0, seconds: 0.0 },
            fairness: Fairness::default(),
            swap_share: 0.05,
            member_rate: plenty,
            channel_rate: plenty,
            allowance_ms: i64::MAX / 4,
            max_waiting: i64::MAX / 4,
            lease: Duration::from_secs(3_600),
            heartbeat: Duration::from_secs(2),
            max_attempts: 3,
            backoff: Duration::from_secs(2),
            expire_after: Duration::from_secs(86_400),
            default_models: Vec::new(),
            blocked_words: Vec::new(),
        };
        let hub = Arc::new(Hub::open(data.path(), settings, Arc::new(System)).await?);
        let general = Channel { id: "general".into(), title: "general".into(), topic: String::new() };
        hub.store.put_channels(&[general]).await?;
        let mut members = Vec::new();
        for i in 0..MEMBERS {
            members.push(hub.join(&format!("member{i}")).await?);
        }
        for i in 0..MODEL_WORKERS {
            let hello = Hello { protocol: PROTOCOL, models: vec![painter()], pools: Vec::new() };
            hub.hello(&format!("w{i}"), &hello).await?;
        }
        let database = url.rsplit('/').next().context("an address ends in a name")?.to_owned();
        Ok(Self { hub, members, database, model: painter().digest(), _data: data })
    }

    async fn submit(&self, i: usize) -> anyhow::Result<()> {
        let line = format!("a lighthouse, the {i}th --n 1");
        let ask = Ask::public(&self.members[i % MEMBERS], "general");
        self.hub.submit(&ask, &line).await.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        Ok(())
    }

    fn search(&self, worker: &str) -> Search {
        Search {
            worker: worker.to_owned(),
            wanted: vec![self.model],
            loaded: vec![self.model],
            elsewhere: Default::default(),
            swap_share: 0.1,
            overflowing: Vec::new(),
            batch: Default::default(),
            present: Vec::new(),
            now: self.hub.seam.now(),
        }
    }

    /// A job from the line to its end, if there is one.
    async fn work(&self, worker: &str) -> anyhow::Result<()> {
        let store = &self.hub.store;
        let now = self.hub.seam.now();
        let leased = store.lease(self.search(worker), now + 3_600_000).await?;
        self.finish(&leased.first().context("the line is empty")?.job, worker).await
    }

    async fn finish(&self, job: &Job, worker: &str) -> anyhow::Result<()> {
        let store = &self.hub.store;
        let attempt = job.attempt as u32;
        let output = Output {
            idx: 0,
            blob: Digest::of_bytes(job.id.as_bytes()),
            media_type: "image/png".into(),
            bytes: 1_000_000,
            width: Some(512),
            height: Some(512),
            safety: None,
        };
        store.add_output(&job.id, worker, attempt, output).await?;
        let (outputs, run_ms, load_ms, allowance_ms) = (1, 1, 0, i64::MAX / 4);
        let (job, worker, now) = (job.id.clone(), worker.to_owned(), self.hub.seam.now());
        let done = Completion { job, worker, attempt, outputs, run_ms, load_ms, allowance_ms, now };
        store.complete(done).await?;
        Ok(())
    }

    async fn rates(&self, at_once: usize) -> anyhow::Result<Rates> {
        let queued = many(JOBS, at_once, |i, _| self.submit(i)).await?;
        let names: Vec<String> = (0..at_once).map(|i| format!("w{i}")).collect();
        let worked = many(JOBS, at_once, |_, lane| self.work(&names[lane])).await?;
        Ok(Rates { queued, worked })
    }

    /// Reports a second on running jobs, one of each worker, whose leases gain at least so many milliseconds.
    async fn reports(&self, least: i64) -> anyhow::Result<f64> {
        let mut held = Vec::new();
        for i in 0..REPORTING {
            self.submit(i).await?;
            let worker = format!("w{i}");
            let until = self.hub.seam.now() + LEASE_MS;
            let leased = self.hub.store.lease(self.search(&worker), until).await?;
            held.push((leased.first().context("the line is empty")?.job.clone(), worker));
        }
        let rate = many(JOBS, REPORTING, |_, lane| self.report(&held[lane], least)).await?;
        for (job, worker) in &held {
            self.finish(job, worker).await?;
        }
        Ok(rate)
    }

    async fn report(&self, (job, worker): &(Job, String), least: i64) -> anyhow::Result<()> {
        let until = self.hub.seam.now() + LEASE_MS;
        self.hub.store.report((&job.id, worker, job.attempt as u32), until, least).await?;
        Ok(())
    }

    /// Fills the store with jobs that are over, as the loop leaves them, of all members and many days. Foreign keys are not checked
    /// meanwhile, which takes longer than all the rest.
    fn store_finished(&self, server: &Server, from: u64, to: u64) -> anyhow::Result<()> {
        let members = "(SELECT array_agg(id) AS members FROM member) AS everyone";
        let sql = format!(
            "SET session_replication_role = replica;
             INSERT INTO recipe (id, body, model, created_at)
                 SELECT 'r' || n, body, model, 0 FROM (SELECT body, model FROM recipe LIMIT 1) AS one,
                        generate_series({from}, {to} - 1) AS n;
             INSERT INTO job (id, recipe, model, member, channel, state, lane, start_tag, finish_tag, estimate_ms, attempt,
                              expires_at, worker, created_at, leased_at, finished_at, cost_ms)
                 SELECT '00' || n, 'r' || n, model, members[n % {MEMBERS} + 1], channel, 'succeeded', 1, n, n + 1, 1000, 1, 0, 'w0',
                        0, 0, 0, 1000
                 FROM (SELECT model, channel FROM job LIMIT 1) AS one, {members}, generate_series({from}, {to} - 1) AS n;
             INSERT INTO ledger (member, period, job, kind, gpu_ms, at)
                 SELECT members[n % {MEMBERS} + 1], n / {A_DAY}, '00' || n, kind, sum, 0
                 FROM {members}, generate_series({from}, {to} - 1) AS n,
                      (VALUES ('reserve', -1000), ('settle', 0)) AS of (kind, sum);
             ANALYZE"
        );
        server.sql(&self.database, &sql)?;
        Ok(())
    }

    /// How long leases take, one after the other, with jobs in the line.
    async fn lease_times(&self) -> anyhow::Result<Vec<Duration>> {
        for i in 0..LEASES {
            self.submit(i).await?;
        }
        let mut times = Vec::with_capacity(LEASES);
        for _ in 0..LEASES {
            let begun = Instant::now();
            let leased = self.hub.store.lease(self.search("w0"), i64::MAX / 2).await?;
            times.push(begun.elapsed());
            ensure!(leased.len() == 1, "the line is empty");
        }
        Ok(times)
    }

    /// From a prompt to the lease of one of so many waiting workers, while the hub also does what it does every second.
    async fn waits(&self, workers: usize) -> anyhow::Result<Vec<Duration>> {
        let mut waiting = JoinSet::new();
        for i in 0..workers {
            let name = format!("waiting{i}");
            let hello = Hello { protocol: PROTOCOL, models: vec![painter()], pools: Vec::new() };
            self.hub.hello(&name, &hello).await?;
            wait(&mut waiting, &self.hub, name);
        }
        tokio::task::yield_now().await;
        let measured = async {
            let mut times = Vec::with_capacity(LEASES);
            for i in 0..LEASES {
                let begun = Instant::now();
                self.submit(i).await?;
                let name = waiting.join_next().await.context("a worker waits")??;
                times.push(begun.elapsed());
                wait(&mut waiting, &self.hub, name);
            }
            Ok(times)
        };
        tokio::select! {
            times = measured => times,
            failed = sweep(&self.hub) => Err(failed),
        }
    }
}

/// Sweeps every second until that fails.
async fn sweep(hub: &Hub) -> anyhow::Error {
    loop {
        if let Err(error) = hub.sweep().await {
            return error.into();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A worker asks until it has a job; gives its name.
fn wait(waiting: &mut JoinSet<String>, hub: &Arc<Hub>, name: String) {
    let hub = hub.clone();
    waiting.spawn(async move {
        let request = LeaseRequest { wait_ms: 60_000, ..LeaseRequest::default() };
        while !matches!(hub.lease(&name, &request).await, Ok(Some(_))) {}
        name
    });
}

/// Does so much, so many at a time; gives how many a second.
async fn many<'a, F>(count: usize, at_once: usize, work: impl Fn(usize, usize) -> F) -> anyhow::Result<f64>
where
    F: Future<Output = anyhow::Result<()>> + 'a,
{
    let next = AtomicUsize::new(0);
    let (next, work) = (&next, &work);
    let begun = Instant::now();
    let lanes = (0..at_once).map(async |lane| {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return anyhow::Ok(());
            }
            work(i, lane).await?;
        }
    });
    futures::future::try_join_all(lanes).await?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
