//! What operators see of the store: how much waits, for how long, and how busy the connections are. Each is one statement that
//! reads only what is unfinished, however much is done.

use std::collections::HashMap;

use super::{
    Store, StoreError,
    db::{Pool, all, on},
};
use crate::{job::State, seam::Millis};

/// Jobs of a model version in a lane that are in the same state: queued, or (as [`State::Leased`]) held by a worker.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Depth {
    /// The model's name.
    pub model: String,
    /// See [`crate::job::Lane`].
    pub lane: i64,
    /// Queued or leased.
    #[sqlx(try_from = "String")]
    pub state: State,
    /// How many.
    pub jobs: i64,
    /// When the oldest was enqueued.
    pub since: Millis,
}

/// Posts that a surface owes.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Backlog {
    /// The surface.
    pub surface: String,
    /// How many.
    pub posts: i64,
    /// When the oldest was recorded.
    pub since: Option<Millis>,
}

/// Connections to the database.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// What they are for.
    pub pool: &'static str,
    /// How many are open.
    pub open: u32,
    /// How many of those nobody uses.
    pub idle: u32,
    /// How many there may be.
    pub most: u32,
}

const DEPTHS: &str = "
    SELECT model.name AS model, line.lane, line.state, line.jobs, line.since FROM (
        SELECT model, lane, 'queued' AS state, COUNT(*) AS jobs, MIN(created_at) AS since
            FROM job WHERE state = 'queued' GROUP BY model, lane
        UNION ALL SELECT model, lane, 'leased', COUNT(*), MIN(created_at)
            FROM job WHERE state IN ('leased', 'running') GROUP BY model, lane
    ) AS line JOIN model ON model.digest = line.model";

const BACKLOGS: &str = "
    SELECT known.surface, COALESCE(posts, 0) AS posts, since
    FROM (SELECT DISTINCT surface FROM channel) AS known LEFT JOIN (
        SELECT surface, COUNT(*) AS posts, MIN(created_at) AS since FROM outbox WHERE delivered_at IS NULL GROUP BY surface
    ) AS owed ON owed.surface = known.surface";

/// Counted by channel first: that is read from an index alone.
const UNFINISHED: &str = "
    SELECT community, CAST(SUM(jobs) AS BIGINT) FROM (
        SELECT channel, COUNT(*) AS jobs FROM job WHERE state IN ('queued', 'leased', 'running') GROUP BY channel
    ) AS line JOIN channel ON channel.id = line.channel GROUP BY community";

impl Store {
    /// How many jobs wait, and how many workers hold, by model version and lane.
    pub async fn depths(&self) -> Result<Vec<Depth>, StoreError> {
        Ok(all!(self.read, DEPTHS)?)
    }

    /// What each surface that has channels owes.
    pub async fn backlogs(&self) -> Result<Vec<Backlog>, StoreError> {
        Ok(all!(self.read, BACKLOGS)?)
    }

    /// Unfinished jobs by community.
    pub async fn unfinished(&self) -> Result<HashMap<String, i64>, StoreError> {
        let rows: Vec<(String, i64)> = all!(self.read, UNFINISHED)?;
        Ok(rows.into_iter().collect())
    }

    /// How busy the connections are.
    pub fn connections(&self) -> [Connections; 2] {
        [self.write.connections("write"), self.read.connections("read")]
    }
}

impl Pool {
    fn connections(&self, pool: &'static str) -> Connections {
        let (open, idle, most) = match self {
            Self::Sqlite(pool) => (pool.size(), pool.num_idle(), pool.options().get_max_connections()),
            Self::Postgres(pool) => (pool.size(), pool.num_idle(), pool.options().get_max_connections()),
        };
        Connections { pool, open, idle: idle as u32, most }
    }
}
