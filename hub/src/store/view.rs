//! What surfaces show: jobs, outputs, and the posts of a channel.

use std::collections::HashMap;

use ulid::Ulid;

use super::{
    Store, StoreError,
    db::{all, execute, on, one, optional, scalars},
    read_json,
};
use crate::{
    canonical::Digest,
    job::{Job, Output},
    model::ModelSpec,
    queue::{Arrival, Coming, Standing, Turn, Waiting},
    recipe::{Recipe, RecipeId},
    seam::Millis,
};

/// A place where people prompt.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Short name in addresses, `[a-z0-9-]`.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// What it is for.
    pub topic: String,
}

/// A post of a channel.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct PostRow {
    /// Grows with every post: the key to page by.
    pub id: i64,
    /// The job that it shows.
    pub job: String,
}

/// A job with what it belongs to.
#[derive(Debug, Clone)]
pub struct Whole {
    /// The job.
    pub job: Job,
    /// What it runs.
    pub recipe: Recipe,
    /// What runs it.
    pub model: ModelSpec,
    /// The name of who asked.
    pub member: String,
}

#[derive(sqlx::FromRow)]
struct WholeRow {
    #[sqlx(flatten)]
    job: Job,
    body: String,
    spec: String,
    who: String,
}

#[derive(sqlx::FromRow)]
struct WaitingRow {
    id: String,
    community: String,
    member: String,
    #[sqlx(try_from = "String")]
    model: Digest,
    estimate_ms: i64,
    lane: i64,
    start_tag: i64,
    due: Millis,
}

#[derive(sqlx::FromRow)]
struct ComingRow {
    community: String,
    member: String,
    weight: f64,
    #[sqlx(try_from = "String")]
    model: Digest,
    estimate_ms: i64,
    lane: i64,
    created_at: Millis,
}

impl Store {
    /// A job by id, with its recipe, its model and its member.
    pub async fn whole(&self, id: &str) -> Result<Option<Whole>, StoreError> {
        let row: Option<WholeRow> = optional!(
            self.read,
            "SELECT job.*, recipe.body, model.spec, member.name AS who FROM job
             JOIN recipe ON recipe.id = job.recipe JOIN model ON model.digest = job.model
             JOIN member ON member.id = job.member WHERE job.id = $1",
            id
        )?;
        let Some(row) = row else {
            return Ok(None);
        };
        Ok(Some(Whole {
            recipe: read_json("recipe", &row.body)?,
            model: read_json("model", &row.spec)?,
            member: row.who,
            job: row.job,
        }))
    }

    /// A job by id.
    pub async fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        let job = optional!(self.read, "SELECT * FROM job WHERE id = $1", id)?;
        Ok(job)
    }

    /// The outputs of a job's current attempt, in order.
    pub async fn outputs(&self, job: &Job) -> Result<Vec<Output>, StoreError> {
        let outputs = all!(
            self.read,
            "SELECT * FROM output WHERE job = $1 AND attempt = $2 ORDER BY idx",
            &job.id,
            job.attempt
        )?;
        Ok(outputs)
    }

    /// Public jobs of a channel that have not ended, oldest first.
    pub async fn live_in(&self, channel: &str) -> Result<Vec<Job>, StoreError> {
        let jobs = all!(
            self.read,
            "SELECT * FROM job WHERE channel = $1 AND NOT private AND state IN ('queued', 'leased', 'running')
             ORDER BY id LIMIT 200",
            channel
        )?;
        Ok(jobs)
    }

    /// Jobs of a surface that have not ended and have a note on how to answer, oldest first.
    pub async fn live_on(&self, surface: &str) -> Result<Vec<String>, StoreError> {
        let jobs = scalars!(
            self.read,
            "SELECT job.id FROM job JOIN channel ON channel.id = job.channel
             WHERE surface = $1 AND reply IS NOT NULL AND state IN ('queued', 'leased', 'running') ORDER BY job.id",
            surface
        )?;
        Ok(jobs)
    }

    /// Keeps a surface's note on how to answer a job.
    pub async fn note_reply(&self, job: &str, reply: &str) -> Result<(), StoreError> {
        execute!(self.write, "UPDATE job SET reply = $1 WHERE id = $2", reply, job)?;
        Ok(())
    }

    /// Jobs a member has not got yet, oldest first.
    pub async fn live_of(&self, member: &str) -> Result<Vec<Job>, StoreError> {
        let jobs = all!(
            self.read,
            "SELECT * FROM job WHERE member = $1 AND state IN ('queued', 'leased', 'running') ORDER BY id",
            member
        )?;
        Ok(jobs)
    }

    /// Posts of a channel, newest first, those before `before` where it is given.
    pub async fn posts(
        &self,
        channel: &str,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<PostRow>, StoreError> {
        let posts = all!(
            self.read,
            "SELECT id, job FROM post WHERE channel = $1 AND deleted_at IS NULL AND id < $2 ORDER BY id DESC LIMIT $3",
            channel,
            before.unwrap_or(i64::MAX),
            limit
        )?;
        Ok(posts)
    }

    /// A successful job of a recipe: the newest public one, or else the newest private one.
    pub async fn success_of(&self, recipe: RecipeId) -> Result<Option<Job>, StoreError> {
        let job = optional!(
            self.read,
            "SELECT * FROM job WHERE recipe = $1 AND state = 'succeeded' ORDER BY private, id DESC LIMIT 1",
            recipe.to_string()
        )?;
        Ok(job)
    }

    /// The queue in the order in which it is served.
    pub async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let rows: Vec<WaitingRow> = all!(
            self.read,
            "SELECT job.id, community, member, model, estimate_ms, lane, start_tag, MAX(job.created_at, not_before) AS due
             FROM job JOIN channel ON channel.id = job.channel
             WHERE state = 'queued' ORDER BY lane, start_tag, job.id LIMIT 10000"
        )?;
        let waiting = |row: WaitingRow| {
            let WaitingRow { id: job, community, member, model, estimate_ms, lane, start_tag, due } = row;
            Waiting { turn: Turn { job, model, estimate_ms, lane, start_tag }, community, member, due }
        };
        Ok(rows.into_iter().map(waiting).collect())
    }

    /// How members and communities stand in the fair order who have jobs waiting.
    pub async fn standing_of_all(&self) -> Result<Standing, StoreError> {
        let (virtual_time,): (i64,) = one!(self.read, "SELECT virtual_time FROM fairness")?;
        let flows = all!(
            self.read,
            "SELECT community, member, weight, crowd, last_start, last_finish FROM flow
             WHERE last_start > $1 ORDER BY community, member",
            virtual_time
        )?;
        let clocks: Vec<(String, i64)> =
            all!(self.read, "SELECT id, next_tag FROM community WHERE next_tag > $1", virtual_time)?;
        Ok(Standing { virtual_time, flows, clocks: clocks.into_iter().collect(), weights: HashMap::new() })
    }

    /// The jobs of the last `within_ms` once more, as those that are expected to come: the newest ones, where they were very
    /// many, and again after a shorter time. Cancelled ones are as if nobody had asked.
    pub async fn coming(&self, now: Millis, within_ms: i64) -> Result<Coming, StoreError> {
        /// They are read again and again.
        const MOST: usize = 2_000;
        let since = Ulid::from_parts((now - within_ms).max(0) as u64, 0).to_string();
        let rows: Vec<ComingRow> = all!(
            self.read,
            "SELECT channel.community, job.member, COALESCE(weight, 1.0) AS weight, model, estimate_ms, lane, job.created_at
             FROM job JOIN channel ON channel.id = job.channel
             LEFT JOIN flow ON flow.community = channel.community AND flow.member = job.member
             WHERE job.id > $1 AND state <> 'cancelled' ORDER BY job.id DESC LIMIT $2",
            since,
            MOST as i64
        )?;
        let within_ms = match rows.last() {
            Some(oldest) if rows.len() == MOST => (now - oldest.created_at).clamp(1, within_ms),
            _ => within_ms,
        };
        let arrival = |row: ComingRow| {
            let ComingRow { community, member, weight, model, estimate_ms, lane, created_at } = row;
            Arrival { at: created_at + within_ms, community, member, weight, model, estimate_ms, lane }
        };
        Ok(Coming { within_ms, jobs: rows.into_iter().map(arrival).collect() })
    }
}
