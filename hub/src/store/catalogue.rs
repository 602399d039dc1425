//! Model versions, the workers that serve them, and channels.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Store, StoreError,
    db::{all, execute, on, optional, scalars},
    read_json,
    view::Channel,
};
use crate::{
    canonical::Digest,
    model::{ModelSpec, Overflow},
    queue::{Pace, Server},
    seam::Millis,
    wire::Hello,
};

/// Most jobs at once that a pool of a worker counts for.
const MOST_JOBS: u32 = 256;

/// What a worker serves.
#[derive(Debug, Clone)]
pub struct Served {
    /// The versions, with their names.
    pub models: HashMap<Digest, String>,
    /// Those of them that it serves as overflow, each with the expected milliseconds beyond which it does.
    pub overflow: HashMap<Digest, i64>,
    /// Whether it is given nothing for now, because of its failures.
    pub set_aside: bool,
    /// Whether there are jobs for which it had too little memory.
    pub short: bool,
}

/// A worker that is there.
#[derive(Debug, Clone)]
pub struct Present {
    /// Its name.
    pub worker: String,
    /// The versions that it had in memory when it last asked for work.
    pub loaded: HashSet<Digest>,
    /// Those that it has to load for what it was given since.
    pub loading: HashSet<Digest>,
    /// When it was last heard of.
    pub seen_at: Millis,
}

/// A model version with what the hub has learnt of it.
#[derive(Debug, Clone)]
pub struct KnownModel {
    /// The version.
    pub digest: Digest,
    /// What it says of itself.
    pub spec: ModelSpec,
    /// Measured cost over announced cost.
    pub cost_ratio: f64,
}

impl Store {
    /// Takes in a worker's announcement: its model versions, and what it can serve from now on. What a version's costs and
    /// card are is for workers to say that serve it as no overflow, while there are any.
    pub async fn hello(&self, worker: &str, hello: &Hello, now: Millis) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        execute!(
            tx,
            "INSERT INTO worker (name, seen_at) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET seen_at = $2",
            worker,
            now
        )?;
        execute!(tx, "DELETE FROM worker_model WHERE worker = $1", worker)?;
        for spec in &hello.models {
            let digest = spec.digest().to_string();
            let after_ms = spec.overflow.map(after_ms);
            execute!(
                tx,
                "INSERT INTO model (digest, name, spec, first_seen, last_seen) VALUES ($1, $2, $3, $4, $4)
                 ON CONFLICT (digest) DO UPDATE SET last_seen = $4, spec = CASE WHEN $5 IS NOT NULL AND EXISTS
                   (SELECT 1 FROM worker_model AS can WHERE can.model = $1 AND can.overflow_after_ms IS NULL)
                   THEN model.spec ELSE $3 END",
                &digest,
                &spec.name,
                crate::canonical::to_string(&ModelSpec { overflow: None, ..spec.clone() }),
                now,
                after_ms
            )?;
            let pool = hello.pools.iter().position(|pool| pool.models.contains(&spec.name));
            let jobs = pool.map_or(1, |at| i64::from(hello.pools[at].jobs.clamp(1, MOST_JOBS)));
            execute!(
                tx,
                "INSERT INTO worker_model (worker, model, pool, jobs, overflow_after_ms) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT DO NOTHING",
                worker,
                &digest,
                pool.map_or(0, |at| at as i64 + 1),
                jobs,
                after_ms
            )?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// What a worker serves; nothing if it has not announced itself to this database.
    pub async fn served_by_worker(&self, worker: &str, now: Millis) -> Result<Option<Served>, StoreError> {
        let rows: Vec<ServedRow> = all!(
            self.read,
            "SELECT model, model.name, overflow_after_ms, set_aside_until > $2,
                    EXISTS (SELECT 1 FROM shortage WHERE shortage.worker = worker.name)
             FROM worker LEFT JOIN worker_model ON worker_model.worker = worker.name LEFT JOIN model ON digest = model
             WHERE worker.name = $1",
            worker,
            now
        )?;
        let Some((.., set_aside, short)) = rows.first().cloned() else {
            return Ok(None);
        };
        let offers =
            rows.iter().filter_map(|(model, _, after, ..)| Some((model.as_ref()?.parse().ok()?, (*after)?)));
        let overflow = offers.collect();
        let served = rows.into_iter().filter_map(|(model, name, ..)| Some((model?.parse().ok()?, name?)));
        Ok(Some(Served { models: served.collect(), overflow, set_aside, short }))
    }

    /// The failures of a worker in a row, and until when it is set aside because of them; nothing of one that is unknown.
    pub async fn standing(&self, worker: &str) -> Result<Option<(i64, Millis)>, StoreError> {
        let standing =
            optional!(self.read, "SELECT failures, set_aside_until FROM worker WHERE name = $1", worker)?;
        Ok(standing)
    }

    /// The newest version of every model that a worker ever announced, newest first.
    pub async fn models(&self) -> Result<Vec<KnownModel>, StoreError> {
        let rows: Vec<Row> = all!(
            self.read,
            "SELECT digest, spec, cost_ratio FROM model AS m
             WHERE digest = (SELECT digest FROM model WHERE name = m.name ORDER BY last_seen DESC, digest LIMIT 1)
             ORDER BY name"
        )?;
        rows.into_iter().map(known).collect()
    }

    /// One version, however old.
    pub async fn model(&self, digest: Digest) -> Result<Option<KnownModel>, StoreError> {
        let row: Option<Row> = optional!(
            self.read,
            "SELECT digest, spec, cost_ratio FROM model WHERE digest = $1",
            digest.to_string()
        )?;
        row.map(known).transpose()
    }

    /// The versions that these workers serve, those set aside left out.
    pub async fn served_by(&self, present: &[String], now: Millis) -> Result<HashSet<Digest>, StoreError> {
        let served: Vec<String> = scalars!(
            self.read,
            "SELECT DISTINCT model FROM worker_model JOIN worker ON worker.name = worker
             WHERE worker IN (SELECT value FROM json_each($1)) AND set_aside_until <= $2",
            super::list(present),
            now
        )?;
        Ok(served.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// What can be given work: each place at which a job runs, of those workers that are present, with what it can serve
    /// and what keeps it busy.
    pub async fn fleet(&self, present: &[Present], now: Millis) -> Result<Vec<Server>, StoreError> {
        let serves: Vec<Serves> = all!(
            self.read,
            "SELECT worker_model.worker, worker_model.model, pool, jobs, overflow_after_ms, ratio / cost_ratio AS factor, swapped_at,
                    COALESCE(load_ms, CAST(1000 * CAST(COALESCE(spec -> 'cost' ->> 'load', '0') AS DOUBLE PRECISION) AS BIGINT)) AS load_ms
             FROM worker_model JOIN worker ON worker.name = worker_model.worker JOIN model ON digest = worker_model.model
             LEFT JOIN pace ON pace.worker = worker_model.worker AND pace.model = worker_model.model
             WHERE set_aside_until <= $1",
            now
        )?;
        let held: Vec<Held> = all!(
            self.read,
            "SELECT job.worker, job.model, pool, estimate_ms, $1 - leased_at AS since_ms FROM job
             JOIN worker_model ON worker_model.worker = job.worker AND worker_model.model = job.model
             WHERE state IN ('leased', 'running')",
            now
        )?;
        let mut pools: BTreeMap<(&str, i64), Vec<&Serves>> = BTreeMap::new();
        for row in &serves {
            pools.entry((row.worker.as_str(), row.pool)).or_default().push(row);
        }
        let mut fleet = Vec::new();
        for here in present {
            for (place, rows) in pools.range((here.worker.as_str(), 0)..=(here.worker.as_str(), i64::MAX)) {
                let jobs = rows.iter().map(|row| row.jobs).max().unwrap_or(1);
                let usual = usual_factor(rows);
                let models: HashMap<Digest, Pace> = rows.iter().filter_map(|row| row.pace(usual)).collect();
                let loaded = here.loaded.iter().filter(|model| models.contains_key(model)).copied().collect();
                let overflow = rows.iter().filter_map(|row| row.offer()).collect();
                let its = held.iter().filter(|held| (held.worker.as_str(), held.pool) == *place);
                let busy_ms = its.map(|held| held.left_ms(&models, &here.loading)).sum::<i64>() / jobs;
                let swapped_at = rows.first().map_or(0, |row| row.swapped_at);
                let server = Server { models, overflow, loaded, busy_ms, swapped_at };
                fleet.extend(std::iter::repeat_n(server, jobs as usize));
            }
        }
        Ok(fleet)
    }

    /// Makes the web channels those of the settings. A channel that is no longer there keeps its posts.
    pub async fn put_channels(&self, channels: &[Channel]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        execute!(tx, "UPDATE channel SET position = -1 WHERE surface = 'web'")?;
        for (position, channel) in channels.iter().enumerate() {
            execute!(
                tx,
                "INSERT INTO channel (id, title, topic, position) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (id) DO UPDATE SET title = $2, topic = $3, position = $4 WHERE channel.surface = 'web'",
                &channel.id,
                &channel.title,
                &channel.topic,
                position as i64
            )?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The web channels, in their order.
    pub async fn channels(&self) -> Result<Vec<Channel>, StoreError> {
        let channels = all!(
            self.read,
            "SELECT id, title, topic FROM channel WHERE position >= 0 AND surface = 'web' ORDER BY position"
        )?;
        Ok(channels)
    }
}

fn after_ms(overflow: Overflow) -> i64 {
    (overflow.after_seconds * 1_000.0) as i64
}

/// A version that a worker serves, its name, beyond which milliseconds as overflow, whether it is set aside, and whether it
/// ran out of memory.
type ServedRow = (Option<String>, Option<String>, Option<i64>, bool, bool);

#[derive(sqlx::FromRow)]
struct Serves {
    worker: String,
    model: String,
    pool: i64,
    jobs: i64,
    overflow_after_ms: Option<i64>,
    /// What it takes for what others take one second for; missing until it ran the model.
    factor: Option<f64>,
    load_ms: i64,
    swapped_at: Millis,
}

/// What a worker takes of models that it never ran: the geometric mean over the others.
fn usual_factor(rows: &[&Serves]) -> f64 {
    let known: Vec<f64> = rows.iter().filter_map(|row| row.factor).map(f64::ln).collect();
    if known.is_empty() { 1.0 } else { (known.iter().sum::<f64>() / known.len() as f64).exp() }
}

/// A job that a worker holds.
#[derive(sqlx::FromRow)]
struct Held {
    worker: String,
    #[sqlx(try_from = "String")]
    model: Digest,
    pool: i64,
    estimate_ms: i64,
    since_ms: i64,
}

impl Held {
    /// How long it is expected to take still, in milliseconds. One that takes longer than expected is not done by now.
    fn left_ms(&self, models: &HashMap<Digest, Pace>, loading: &HashSet<Digest>) -> i64 {
        const OVERDUE: i64 = 10;
        let Some(pace) = models.get(&self.model) else {
            return 0;
        };
        let run_ms = (self.estimate_ms as f64 * pace.factor) as i64;
        let load_ms = if loading.contains(&self.model) { pace.load_ms } else { 0 };
        (load_ms + run_ms - self.since_ms).max(run_ms / OVERDUE)
    }
}

impl Serves {
    fn offer(&self) -> Option<(Digest, i64)> {
        Some((self.model.parse().ok()?, self.overflow_after_ms?))
    }

    fn pace(&self, usual: f64) -> Option<(Digest, Pace)> {
        let factor = self.factor.unwrap_or(usual);
        Some((self.model.parse().ok()?, Pace { factor, load_ms: self.load_ms }))
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(try_from = "String")]
    digest: Digest,
    spec: String,
    cost_ratio: f64,
}

fn known(row: Row) -> Result<KnownModel, StoreError> {
    Ok(KnownModel { digest: row.digest, spec: read_json("model", &row.spec)?, cost_ratio: row.cost_ratio })
}
