//! Everything that a community runs, as processes of its own: PostgreSQL, hubs, workers, and the balancer between them, with
//! Discord on the other side. Whatever of it dies is started again here.

use std::{collections::HashMap, time::Duration};

use anyhow::Context;
use fake_discord::{Channel, Discord, Guild};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use riff_tests::{Rack, Riff, rack::Running};
use sqlx::{PgPool, postgres::PgPoolOptions};
use temporary_postgres::{Durability, Server};

use crate::{
    balancer::{Balancer, Fencing},
    history,
};

/// How long a lease lasts. What is cut off is so for longer than that.
pub const LEASE: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Channels on Discord: each has a rate limit of its own.
const CHANNELS: usize = 12;
/// Unfinished jobs that a member may have, so that there is always a line, and it ends soon.
const UNFINISHED: u32 = 6;

/// How much of it there is, and where its programs are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub hubs: usize,
    pub workers: usize,
}

/// Whether hubs tell late attempts from current ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fenced {
    Yes,
    No,
}

/// A machine with a worker.
pub struct Machine {
    pub name: String,
    rack: Rack,
    running: Option<Running>,
}

/// All of it.
pub struct Community {
    pub hubs: Vec<Riff>,
    pub machines: Vec<Machine>,
    pub balancer: Balancer,
    pub discord: Discord,
    pub guild: Guild,
    pub channels: Vec<Channel>,
    pub database: PgPool,
    /// What processes logged that are gone, by name.
    pub logs: Vec<(String, String)>,
    _server: Server,
}

impl Community {
    /// All of it runs, and `/imagine` is on Discord.
    pub async fn start(programs: &str, size: Size, fenced: Fenced) -> anyhow::Result<Self> {
        let server = Server::start(Durability::Full, &[])?;
        let url = server.database()?;
        let discord = Discord::start().await?;
        let guild = discord.guild("Lighthouse").await?;
        let mut hubs = vec![hub(&format!("{programs}/riff"), &url, &discord)?];
        for _ in 1..size.hubs {
            hubs.push(hubs[0].another()?);
        }
        let mut machines = Vec::new();
        for number in 0..size.workers {
            let name = format!("w{number}");
            let rack = Rack::new(&format!("{programs}/riff-worker"), &hubs[0], &name, "").await?;
            machines.push(Machine { name, rack, running: None });
        }
        history::begin(&server, &url)?;
        let database = PgPoolOptions::new().max_connections(4).connect(&url).await?;
        let workers: HashMap<String, String> =
            machines.iter().map(|machine| (machine.rack.token().to_owned(), machine.name.clone())).collect();
        let fencing = match fenced {
            Fenced::Yes => Fencing::On,
            Fenced::No => Fencing::Off(database.clone()),
        };
        let balancer = Balancer::start(size.hubs, workers, fencing).await?;
        for machine in &mut machines {
            machine.rack.reach(&balancer.url);
        }
        let channels = (0..CHANNELS).map(|number| guild.channel(&format!("art{number}"))).collect();
        let logs = Vec::new();
        let mut community =
            Self { hubs, machines, balancer, discord, guild, channels, database, logs, _server: server };
        for number in 0..size.hubs {
            community.start_hub(number).await?;
        }
        for number in 0..size.workers {
            community.start_worker(number)?;
        }
        let offered = |request: &fake_discord::Request| {
            request.method == "PUT" && request.status == 200 && request.body.to_string().contains("\"seed\"")
        };
        community.discord.requested(offered).await?;
        Ok(community)
    }

    pub async fn start_hub(&mut self, number: usize) -> anyhow::Result<()> {
        self.hubs[number].start().await?;
        self.balancer.place(number, self.hubs[number].url());
        Ok(())
    }

    pub async fn kill_hub(&mut self, number: usize) -> anyhow::Result<()> {
        self.hubs[number].kill().await?;
        self.logs.push((format!("hub{number}"), self.hubs[number].log()));
        Ok(())
    }

    pub fn start_worker(&mut self, number: usize) -> anyhow::Result<()> {
        let machine = &mut self.machines[number];
        machine.running = Some(machine.rack.start()?);
        Ok(())
    }

    pub async fn kill_worker(&mut self, number: usize) -> anyhow::Result<()> {
        let machine = &mut self.machines[number];
        let mut running = machine.running.take().context("the worker does not run")?;
        running.kill().await?;
        self.logs.push((machine.name.clone(), running.log()));
        Ok(())
    }

    /// Stops a hub, as a machine does that swaps or is moved, or lets it go on.
    pub fn signal_hub(&self, number: usize, signal: Signal) -> anyhow::Result<()> {
        send(self.hubs[number].pid()?, signal)
    }

    /// The same of a worker.
    pub fn signal_worker(&self, number: usize, signal: Signal) -> anyhow::Result<()> {
        send(self.machines[number].running.as_ref().context("the worker does not run")?.pid()?, signal)
    }

    /// Ends every connection that a hub has to the database, or about half of them.
    pub async fn end_connections(&self, part: f64) -> anyhow::Result<()> {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'riff' AND random() < $1";
        sqlx::query(sql).bind(part).execute(&self.database).await?;
        Ok(())
    }

    /// Ends all processes but the database, so that nothing changes any more.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        for number in 0..self.machines.len() {
            self.kill_worker(number).await?;
        }
        for number in 0..self.hubs.len() {
            self.hubs[number].stop().await?;
            self.logs.push((format!("hub{number}"), self.hubs[number].log()));
        }
        Ok(())
    }
}

fn hub(binary: &str, database: &str, discord: &Discord) -> anyhow::Result<Riff> {
    let mut riff = Riff::new(binary)?;
    riff.on_postgres(database)
        .on_discord(discord)
        .set("RIFF_STORE__FULL_SYNC", true)
        .set("RIFF_QUEUE__LEASE_SECONDS", LEASE.as_secs_f64())
        .set("RIFF_QUEUE__HEARTBEAT_SECONDS", HEARTBEAT.as_secs_f64())
        .set("RIFF_QUEUE__RETRY_BACKOFF_SECONDS", 0.2)
        .set("RIFF_QUEUE__MAX_QUEUED_PER_MEMBER", UNFINISHED)
        .set("RIFF_QUOTA__GPU_SECONDS_PER_DAY", 86_400);
    Ok(riff)
}

fn send(pid: u32, signal: Signal) -> anyhow::Result<()> {
    Ok(kill(Pid::from_raw(pid as i32), signal)?)
}
