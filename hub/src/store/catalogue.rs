//! Model versions, the workers that serve them, and channels.

use std::collections::{HashMap, HashSet};

use super::{Store, StoreError, read_json, view::Channel};
use crate::{
    canonical::Digest,
    model::{ModelSpec, Overflow},
    queue::Server,
    seam::Millis,
};

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
    pub async fn hello(&self, worker: &str, models: &[ModelSpec], now: Millis) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO worker (name, seen_at) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET seen_at = ?2",
        )
        .bind(worker)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM worker_model WHERE worker = ?").bind(worker).execute(&mut *tx).await?;
        for spec in models {
            let digest = spec.digest().to_string();
            let after_ms = spec.overflow.map(after_ms);
            sqlx::query(
                "INSERT INTO model (digest, name, spec, first_seen, last_seen) VALUES (?1, ?2, ?3, ?4, ?4)
                 ON CONFLICT (digest) DO UPDATE SET last_seen = ?4, spec = CASE WHEN ?5 IS NOT NULL AND EXISTS
                   (SELECT 1 FROM worker_model AS can WHERE can.model = ?1 AND can.overflow_after_ms IS NULL)
                   THEN spec ELSE ?3 END",
            )
            .bind(&digest)
            .bind(&spec.name)
            .bind(crate::canonical::to_string(&ModelSpec { overflow: None, ..spec.clone() }))
            .bind(now)
            .bind(after_ms)
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "INSERT OR IGNORE INTO worker_model (worker, model, overflow_after_ms) VALUES (?, ?, ?)",
            )
            .bind(worker)
            .bind(&digest)
            .bind(after_ms)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The versions that a worker serves as no overflow; nothing if it has not announced itself to this database.
    pub async fn served_by_worker(&self, worker: &str) -> Result<Option<HashSet<Digest>>, StoreError> {
        let models: Vec<Option<String>> = sqlx::query_scalar(
            "SELECT model FROM worker LEFT JOIN worker_model ON worker = name AND overflow_after_ms IS NULL
             WHERE name = ?",
        )
        .bind(worker)
        .fetch_all(&self.read)
        .await?;
        let served = models.iter().flatten().filter_map(|model| model.parse().ok()).collect();
        Ok((!models.is_empty()).then_some(served))
    }

    /// The versions that a worker serves as overflow, each with the expected milliseconds beyond which it does.
    pub async fn overflow_by_worker(&self, worker: &str) -> Result<HashMap<Digest, i64>, StoreError> {
        let offers: Vec<(String, i64)> = sqlx::query_as(
            "SELECT model, overflow_after_ms FROM worker_model WHERE worker = ? AND overflow_after_ms IS NOT NULL",
        )
        .bind(worker)
        .fetch_all(&self.read)
        .await?;
        Ok(offers.into_iter().filter_map(|(model, after_ms)| Some((model.parse().ok()?, after_ms))).collect())
    }

    /// The newest version of every model that a worker ever announced, newest first.
    pub async fn models(&self) -> Result<Vec<KnownModel>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT digest, spec, cost_ratio FROM model AS m
             WHERE digest = (SELECT digest FROM model WHERE name = m.name ORDER BY last_seen DESC, digest LIMIT 1)
             ORDER BY name",
        )
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(known).collect()
    }

    /// One version, however old.
    pub async fn model(&self, digest: Digest) -> Result<Option<KnownModel>, StoreError> {
        let row: Option<Row> = sqlx::query_as("SELECT digest, spec, cost_ratio FROM model WHERE digest = ?")
            .bind(digest.to_string())
            .fetch_optional(&self.read)
            .await?;
        row.map(known).transpose()
    }

    /// The versions that these workers serve, those set aside left out.
    pub async fn served_by(&self, present: &[String], now: Millis) -> Result<HashSet<Digest>, StoreError> {
        let served: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT model FROM worker_model JOIN worker ON worker.name = worker
             WHERE worker IN (SELECT value FROM json_each(?)) AND set_aside_until <= ?",
        )
        .bind(crate::canonical::to_string(&present))
        .bind(now)
        .fetch_all(&self.read)
        .await?;
        Ok(served.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// The workers that can be given work: those in `present`, with what they can serve and what keeps them busy.
    pub async fn fleet(&self, present: &[String], now: Millis) -> Result<Vec<Server>, StoreError> {
        let serves: Vec<(String, String, Option<i64>)> = sqlx::query_as(
            "SELECT worker, model, overflow_after_ms FROM worker_model JOIN worker ON worker.name = worker WHERE set_aside_until <= ?",
        )
        .bind(now)
        .fetch_all(&self.read)
        .await?;
        let busy: Vec<(String, i64)> = sqlx::query_as(
            "SELECT worker, SUM(MAX(0, estimate_ms - (? - leased_at))) FROM job
             WHERE state IN ('leased', 'running') GROUP BY worker",
        )
        .bind(now)
        .fetch_all(&self.read)
        .await?;
        let server = |worker: &String| {
            let own = || serves.iter().filter(move |(name, ..)| name == worker);
            Server {
                models: own().filter_map(|(_, model, _)| model.parse().ok()).collect(),
                overflow: own()
                    .filter_map(|(_, model, after_ms)| Some((model.parse().ok()?, (*after_ms)?)))
                    .collect(),
                busy_ms: busy.iter().find(|(name, _)| name == worker).map_or(0, |(_, busy_ms)| *busy_ms),
            }
        };
        Ok(present.iter().map(server).collect())
    }

    /// Makes the web channels those of the settings. A channel that is no longer there keeps its posts.
    pub async fn put_channels(&self, channels: &[Channel]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE channel SET position = -1 WHERE surface = 'web'").execute(&mut *tx).await?;
        for (position, channel) in channels.iter().enumerate() {
            sqlx::query(
                "INSERT INTO channel (id, title, topic, position) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (id) DO UPDATE SET title = ?2, topic = ?3, position = ?4 WHERE surface = 'web'",
            )
            .bind(&channel.id)
            .bind(&channel.title)
            .bind(&channel.topic)
            .bind(position as i64)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The web channels, in their order.
    pub async fn channels(&self) -> Result<Vec<Channel>, StoreError> {
        let channels = sqlx::query_as(
            "SELECT id, title, topic FROM channel WHERE position >= 0 AND surface = 'web' ORDER BY position",
        )
        .fetch_all(&self.read)
        .await?;
        Ok(channels)
    }
}

fn after_ms(overflow: Overflow) -> i64 {
    (overflow.after_seconds * 1_000.0) as i64
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
