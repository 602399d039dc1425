//! How jobs end: completed with outputs, failed, cancelled or expired. Each ending is one transaction that also
//! settles or refunds the quota and records what must be posted.

use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError, admit::SUM_OF_PERIOD, illegal};
use crate::{
    job::{Job, Output, State},
    seam::Millis,
};

type Tx<'a, 'c> = &'a mut Transaction<'c, Sqlite>;

/// A worker's word that a job is done.
#[derive(Debug, Clone)]
pub struct Completion<'a> {
    /// The job.
    pub job: &'a str,
    /// The worker that holds it.
    pub worker: &'a str,
    /// The attempt that holds it.
    pub attempt: u32,
    /// How many outputs the recipe makes.
    pub asked: i64,
    /// How many outputs the worker says it stored.
    pub outputs: i64,
    /// Measured cost.
    pub cost_ms: i64,
    /// Allowance of a member's period where the job has none of its own, so that settling never goes below zero.
    pub allowance_ms: i64,
}

/// Whether a failed attempt is followed by another.
#[derive(Debug, Clone, Copy)]
pub enum Retry {
    /// The job is at fault: another attempt would fail alike, and the worker is not to blame.
    Never,
    /// The attempt is at fault.
    UpTo {
        /// Attempts in all.
        attempts: i64,
        /// Wait before the second attempt; doubles each time.
        backoff_ms: i64,
    },
}

/// What a finishing step did.
#[derive(Debug, Clone)]
pub enum Ending {
    /// The step ended the job now.
    Now(Job),
    /// The same step had ended it before: a repeated request.
    Before(Job),
}

impl Ending {
    /// The job, whichever it was.
    pub fn job(&self) -> &Job {
        match self {
            Self::Now(job) | Self::Before(job) => job,
        }
    }
}

impl Store {
    /// Records one stored output of a running attempt. Repeating it replaces it.
    pub async fn add_output(
        &self,
        job: &str,
        worker: &str,
        attempt: u32,
        output: &Output,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        held(&mut tx, job, worker, attempt).await?;
        sqlx::query(
            "INSERT OR REPLACE INTO output (job, attempt, idx, blob, media_type, bytes, width, height, safety)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(job)
        .bind(attempt)
        .bind(output.idx)
        .bind(output.blob.to_string())
        .bind(&output.media_type)
        .bind(output.bytes)
        .bind(output.width)
        .bind(output.height)
        .bind(&output.safety)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends a job in success: state, settled cost, measured model cost and the posts to make, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] for a late result; [`StoreError::Missing`] if not every output was stored.
    pub async fn complete(&self, done: &Completion<'_>, now: Millis) -> Result<Ending, StoreError> {
        let mut tx = self.begin().await?;
        if let Some(job) = already(&mut tx, done, State::Succeeded).await? {
            return Ok(Ending::Before(job));
        }
        let job = held(&mut tx, done.job, done.worker, done.attempt).await?;
        let stored: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM output WHERE job = ? AND attempt = ?")
            .bind(done.job)
            .bind(done.attempt)
            .fetch_one(&mut *tx)
            .await?;
        if stored != done.asked || stored != done.outputs {
            let what = format!(
                "full set of outputs: {} were asked for, {stored} are stored and the worker says {}",
                done.asked, done.outputs
            );
            return Err(StoreError::Missing(what));
        }
        // A worker is not trusted: it cannot charge for longer than it held the job.
        let cost_ms = done.cost_ms.min(now - job.leased_at.unwrap_or(now)).max(0);
        settle(&mut tx, &job, cost_ms, done.allowance_ms, now).await?;
        learn_cost(&mut tx, &job, cost_ms).await?;
        worker_did(&mut tx, done.worker, Attempt::Good, now).await?;
        let job = end(&mut tx, &job, State::Succeeded, None, Some(cost_ms), now).await?;
        to_outbox(&mut tx, &job, now).await?;
        tx.commit().await?;
        Ok(Ending::Now(job))
    }

    /// Ends an attempt in failure: back to the queue with back-off, or the end of the job.
    pub async fn fail(
        &self,
        (job, worker, attempt): (&str, &str, u32),
        reason: &str,
        retry: Retry,
        now: Millis,
    ) -> Result<Job, StoreError> {
        let mut tx = self.begin().await?;
        let job = held(&mut tx, job, worker, attempt).await?;
        let job = put_back_or_fail(&mut tx, &job, reason, retry, now).await?;
        tx.commit().await?;
        Ok(job)
    }

    /// Cancels a job that has not ended: refunds it, and closes the gap it leaves in the member's tags.
    ///
    /// # Errors
    /// [`StoreError::IllegalTransition`] if it has ended otherwise.
    pub async fn cancel(&self, job: &str, now: Millis) -> Result<Ending, StoreError> {
        let mut tx = self.begin().await?;
        let job = by_id(&mut tx, job).await?;
        if job.state == State::Cancelled {
            return Ok(Ending::Before(job));
        }
        if job.state.is_final() {
            return Err(illegal(&job.id, job.state, State::Cancelled));
        }
        let job = cancel(&mut tx, &job, now).await?;
        tx.commit().await?;
        Ok(Ending::Now(job))
    }
}

/// Ends a job that has not ended, refunds it, and closes the gap it leaves in the member's tags.
pub(super) async fn cancel(tx: Tx<'_, '_>, job: &Job, now: Millis) -> Result<Job, StoreError> {
    if job.state == State::Queued {
        close_gap(tx, job).await?;
    }
    refund(tx, job, now).await?;
    end(tx, job, State::Cancelled, None, None, now).await
}

/// What the member of a withheld result reads.
const WITHHELD: &str = "the result was withheld, because a classifier takes it for nudity; age-restricted channels show it, and \
                        elsewhere another prompt may help";

/// Ends a job whose results are not to be shown. It is a failure, so it is refunded; the worker did well.
pub(super) async fn withhold(tx: Tx<'_, '_>, job: &Job, now: Millis) -> Result<Job, StoreError> {
    if !job.state.is_held() {
        return Err(illegal(&job.id, job.state, State::Failed));
    }
    refund(tx, job, now).await?;
    if let Some(worker) = &job.worker {
        worker_did(tx, worker, Attempt::Good, now).await?;
    }
    let job = end(tx, job, State::Failed, Some(WITHHELD), None, now).await?;
    to_outbox(tx, &job, now).await?;
    Ok(job)
}

async fn by_id(tx: Tx<'_, '_>, job: &str) -> Result<Job, StoreError> {
    sqlx::query_as("SELECT * FROM job WHERE id = ?")
        .bind(job)
        .fetch_optional(&mut **tx)
        .await?
        .ok_or_else(|| StoreError::Missing(format!("job {job}")))
}

async fn held(tx: Tx<'_, '_>, job: &str, worker: &str, attempt: u32) -> Result<Job, StoreError> {
    let found = by_id(tx, job).await?;
    let holds = found.state.is_held()
        && found.attempt == i64::from(attempt)
        && found.worker.as_deref() == Some(worker);
    if !holds {
        return Err(StoreError::LeaseLost { job: job.to_owned(), attempt });
    }
    Ok(found)
}

async fn already(tx: Tx<'_, '_>, done: &Completion<'_>, state: State) -> Result<Option<Job>, StoreError> {
    let job = by_id(tx, done.job).await?;
    let same = job.state == state
        && job.attempt == i64::from(done.attempt)
        && job.worker.as_deref() == Some(done.worker);
    Ok(same.then_some(job))
}

async fn end(
    tx: Tx<'_, '_>,
    job: &Job,
    state: State,
    reason: Option<&str>,
    cost_ms: Option<i64>,
    now: Millis,
) -> Result<Job, StoreError> {
    let job = sqlx::query_as(
        "UPDATE job SET state = ?, reason = ?, cost_ms = ?, finished_at = ?, lease_until = NULL
         WHERE id = ? RETURNING *",
    )
    .bind(state)
    .bind(reason)
    .bind(cost_ms)
    .bind(now)
    .bind(&job.id)
    .fetch_one(&mut **tx)
    .await?;
    Ok(job)
}

/// After the last attempt the job fails; before, it goes back with exponential back-off.
pub(super) async fn put_back_or_fail(
    tx: Tx<'_, '_>,
    job: &Job,
    reason: &str,
    retry: Retry,
    now: Millis,
) -> Result<Job, StoreError> {
    let again = match retry {
        Retry::Never => None,
        Retry::UpTo { attempts, backoff_ms } => {
            if let Some(worker) = &job.worker {
                worker_did(tx, worker, Attempt::Bad, now).await?;
            }
            (job.attempt < attempts).then(|| backoff_ms << (job.attempt - 1).clamp(0, 10))
        }
    };
    let Some(wait) = again else {
        refund(tx, job, now).await?;
        let job = end(tx, job, State::Failed, Some(reason), None, now).await?;
        to_outbox(tx, &job, now).await?;
        return Ok(job);
    };
    let job = sqlx::query_as(
        "UPDATE job SET state = 'queued', not_before = ?, reason = ?, worker = NULL, lease_until = NULL
         WHERE id = ? RETURNING *",
    )
    .bind(now + wait)
    .bind(reason)
    .bind(&job.id)
    .fetch_one(&mut **tx)
    .await?;
    Ok(job)
}

pub(super) async fn expire(tx: Tx<'_, '_>, job: &Job, now: Millis) -> Result<Job, StoreError> {
    refund(tx, job, now).await?;
    let reason = "no worker was free for it in time";
    let job = end(tx, job, State::Expired, Some(reason), None, now).await?;
    to_outbox(tx, &job, now).await?;
    Ok(job)
}

async fn refund(tx: Tx<'_, '_>, job: &Job, now: Millis) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ledger (member, period, job, kind, gpu_ms, at)
         SELECT member, period, job, 'refund', -gpu_ms, ? FROM ledger WHERE job = ? AND kind = 'reserve'",
    )
    .bind(now)
    .bind(&job.id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Charges the measured cost instead of the estimate, but never more than the member had.
async fn settle(
    tx: Tx<'_, '_>,
    job: &Job,
    cost_ms: i64,
    allowance_ms: i64,
    now: Millis,
) -> Result<(), StoreError> {
    let (period, reserved, own): (i64, i64, Option<i64>) = sqlx::query_as(
        "SELECT period, -gpu_ms, allowance_ms FROM ledger JOIN job ON job.id = job
         WHERE job.id = ? AND kind = 'reserve'",
    )
    .bind(&job.id)
    .fetch_one(&mut **tx)
    .await?;
    let sum: i64 =
        sqlx::query_scalar(SUM_OF_PERIOD).bind(&job.member).bind(period).fetch_one(&mut **tx).await?;
    let left = (own.unwrap_or(allowance_ms) + sum).max(0);
    let charge = cost_ms.min(reserved + left);
    sqlx::query(
        "INSERT INTO ledger (member, period, job, kind, gpu_ms, at) VALUES (?, ?, ?, 'settle', ?, ?)",
    )
    .bind(&job.member)
    .bind(period)
    .bind(&job.id)
    .bind(reserved - charge)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Corrects the model's announced cost by what was measured (exponential moving average over about ten runs).
async fn learn_cost(tx: Tx<'_, '_>, job: &Job, cost_ms: i64) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE model SET cost_ratio = MIN(100.0, MAX(0.01, cost_ratio * (0.9 + 0.1 * ?1 / MAX(1.0, ?2))))
         WHERE digest = ?3",
    )
    .bind(cost_ms as f64)
    .bind(job.estimate_ms as f64)
    .bind(job.model.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

enum Attempt {
    Good,
    Bad,
}

/// A worker that fails five times in a row is set aside, each time twice as long, up to an hour.
async fn worker_did(tx: Tx<'_, '_>, worker: &str, attempt: Attempt, now: Millis) -> Result<(), StoreError> {
    const TOLERATED: i64 = 5;
    let sql = match attempt {
        Attempt::Good => {
            sqlx::query("UPDATE worker SET failures = 0, set_aside_until = 0, seen_at = ?1 WHERE name = ?2")
        }
        Attempt::Bad => sqlx::query(
            "UPDATE worker SET failures = failures + 1,
                 set_aside_until = CASE WHEN failures + 1 < ?3 THEN 0
                     ELSE ?1 + MIN(3600000, 10000 << MIN(10, failures + 1 - ?3)) END
             WHERE name = ?2",
        ),
    };
    sql.bind(now).bind(worker).bind(TOLERATED).execute(&mut **tx).await?;
    Ok(())
}

/// A job cancelled before it was served must not cost the member its place: later tags move up.
async fn close_gap(tx: Tx<'_, '_>, job: &Job) -> Result<(), StoreError> {
    let gap = job.finish_tag - job.start_tag;
    sqlx::query(
        "UPDATE job SET start_tag = start_tag - ?1, finish_tag = finish_tag - ?1
         WHERE member = ?2 AND state = 'queued' AND start_tag >= ?3",
    )
    .bind(gap)
    .bind(&job.member)
    .bind(job.finish_tag)
    .execute(&mut **tx)
    .await?;
    sqlx::query("UPDATE member SET last_finish = MAX(0, last_finish - ?) WHERE id = ?")
        .bind(gap)
        .bind(&job.member)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// What ended is owed to the surface that its channel is on.
async fn to_outbox(tx: Tx<'_, '_>, job: &Job, now: Millis) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO outbox (job, surface, created_at, next_at)
         SELECT ?1, surface, ?2, ?2 FROM channel WHERE id = ?3 ON CONFLICT DO NOTHING",
    )
    .bind(&job.id)
    .bind(now)
    .bind(&job.channel)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
