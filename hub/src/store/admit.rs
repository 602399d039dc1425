//! Admitting a request: the recipes, the jobs with their place in the fair queue, and the quota they reserve.

use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError};
use crate::{
    canonical,
    job::{Job, Lane},
    recipe::Recipe,
    seam::Millis,
};

/// A job to be enqueued.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// ULID.
    pub id: String,
    /// What to run.
    pub recipe: Recipe,
    /// Expected cost in milliseconds of the device.
    pub estimate_ms: i64,
    /// The surface's own note on how to answer.
    pub reply: Option<String>,
}

/// For whom and under which limits.
#[derive(Debug, Clone)]
pub struct Admitted<'a> {
    /// Who asks.
    pub member: &'a str,
    /// Where.
    pub channel: &'a str,
    /// Whether its member alone sees what comes of it.
    pub private: bool,
    /// Which lane.
    pub lane: Lane,
    /// Share of the fleet relative to others; 1 is ordinary.
    pub weight: f64,
    /// Milliseconds of the device the member may use in a period.
    pub allowance_ms: i64,
    /// The period (day since the epoch).
    pub period: i64,
    /// Unfinished jobs a member may have.
    pub max_waiting: i64,
    /// Now.
    pub now: Millis,
    /// When to give up waiting for a worker.
    pub expires_at: Millis,
}

impl Store {
    /// Enqueues all of `jobs`, or none: recipes, fair-queue tags and quota reservations in one transaction.
    ///
    /// # Errors
    /// [`StoreError::QuotaExceeded`], [`StoreError::TooManyWaiting`], or the database's own.
    pub async fn enqueue(&self, admitted: &Admitted<'_>, jobs: &[NewJob]) -> Result<Vec<Job>, StoreError> {
        let mut tx = self.begin().await?;
        check_waiting(&mut tx, admitted, jobs.len()).await?;
        check_quota(&mut tx, admitted, jobs).await?;
        let mut enqueued = Vec::with_capacity(jobs.len());
        for job in jobs {
            insert_recipe(&mut tx, &job.recipe, admitted.now).await?;
            enqueued.push(insert_job(&mut tx, admitted, job).await?);
            sqlx::query(
                "INSERT INTO ledger (member, period, job, kind, gpu_ms, at) VALUES (?, ?, ?, 'reserve', ?, ?)",
            )
            .bind(admitted.member)
            .bind(admitted.period)
            .bind(&job.id)
            .bind(-job.estimate_ms)
            .bind(admitted.now)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(enqueued)
    }

    /// What is left of a member's allowance, in milliseconds of the device.
    pub async fn quota_left(&self, member: &str, period: i64, allowance_ms: i64) -> Result<i64, StoreError> {
        let sum: i64 =
            sqlx::query_scalar(SUM_OF_PERIOD).bind(member).bind(period).fetch_one(&self.read).await?;
        Ok(allowance_ms + sum)
    }
}

pub(super) const SUM_OF_PERIOD: &str =
    "SELECT COALESCE(SUM(gpu_ms), 0) FROM ledger WHERE member = ? AND period = ?";

async fn check_waiting(
    tx: &mut Transaction<'_, Sqlite>,
    admitted: &Admitted<'_>,
    more: usize,
) -> Result<(), StoreError> {
    let waiting: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM job WHERE member = ? AND state IN ('queued', 'leased', 'running')",
    )
    .bind(admitted.member)
    .fetch_one(&mut **tx)
    .await?;
    if waiting + more as i64 > admitted.max_waiting {
        return Err(StoreError::TooManyWaiting { waiting });
    }
    Ok(())
}

async fn check_quota(
    tx: &mut Transaction<'_, Sqlite>,
    admitted: &Admitted<'_>,
    jobs: &[NewJob],
) -> Result<(), StoreError> {
    let sum: i64 = sqlx::query_scalar(SUM_OF_PERIOD)
        .bind(admitted.member)
        .bind(admitted.period)
        .fetch_one(&mut **tx)
        .await?;
    let left_ms = admitted.allowance_ms + sum;
    let needed_ms = jobs.iter().map(|job| job.estimate_ms).sum();
    if needed_ms > left_ms {
        return Err(StoreError::QuotaExceeded { needed_ms, left_ms });
    }
    Ok(())
}

async fn insert_recipe(
    tx: &mut Transaction<'_, Sqlite>,
    recipe: &Recipe,
    now: Millis,
) -> Result<(), StoreError> {
    let id = recipe.id().to_string();
    let inserted = sqlx::query(
        "INSERT INTO recipe (id, body, model, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&id)
    .bind(canonical::to_string(recipe))
    .bind(recipe.model.to_string())
    .bind(now)
    .execute(&mut **tx)
    .await?;
    let Some(origin) = recipe.origin.as_ref().filter(|_| inserted.rows_affected() > 0) else {
        return Ok(());
    };
    for (position, parent) in origin.parents.iter().enumerate() {
        sqlx::query(
            "INSERT INTO recipe_parent (child, position, parent, idx, made_by) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&id)
        .bind(position as i64)
        .bind(parent.recipe.to_string())
        .bind(i64::from(parent.index))
        .bind(origin.made_by.as_str())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): the start tag is the later of virtual time and the
/// member's last finish tag, the finish tag is the start tag plus cost over weight.
async fn insert_job(
    tx: &mut Transaction<'_, Sqlite>,
    admitted: &Admitted<'_>,
    job: &NewJob,
) -> Result<Job, StoreError> {
    let start_tag: i64 =
        sqlx::query_scalar("SELECT MAX(virtual_time, last_finish) FROM fairness, member WHERE member.id = ?")
            .bind(admitted.member)
            .fetch_one(&mut **tx)
            .await?;
    let finish_tag = start_tag + (job.estimate_ms as f64 * 1_000.0 / admitted.weight) as i64;
    sqlx::query("UPDATE member SET last_finish = ? WHERE id = ?")
        .bind(finish_tag)
        .bind(admitted.member)
        .execute(&mut **tx)
        .await?;
    let enqueued = sqlx::query_as(
        "INSERT INTO job (id, recipe, model, member, channel, state, lane, start_tag, finish_tag, estimate_ms,
                          expires_at, created_at, private, reply, allowance_ms, shape, amount)
         VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
    )
    .bind(&job.id)
    .bind(job.recipe.id().to_string())
    .bind(job.recipe.model.to_string())
    .bind(admitted.member)
    .bind(admitted.channel)
    .bind(admitted.lane as i64)
    .bind(start_tag)
    .bind(finish_tag)
    .bind(job.estimate_ms)
    .bind(admitted.expires_at)
    .bind(admitted.now)
    .bind(admitted.private)
    .bind(&job.reply)
    .bind(admitted.allowance_ms)
    .bind(job.recipe.shape().to_string())
    .bind(job.recipe.amount())
    .fetch_one(&mut **tx)
    .await?;
    Ok(enqueued)
}
