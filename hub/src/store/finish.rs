//! How jobs end: failed, cancelled or expired, and what every end does. Each is one transaction that also settles or refunds the
//! quota and records what must be posted.

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Texts, Tx, all, execute, on, one, optional},
    illegal,
    learn::{blame, had_no_room},
    list, no_job, turn,
};
use crate::{
    job::{Job, State},
    seam::Millis,
};

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
    /// The worker has too little memory for the job: it is left for others, and nobody is to blame.
    Elsewhere {
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
        if let Retry::Elsewhere { .. } = retry {
            had_no_room(&mut tx, &job.id, worker, now).await?;
        }
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
pub(super) async fn cancel(tx: &mut Tx, job: &Job, now: Millis) -> Result<Job, StoreError> {
    if job.state == State::Queued {
        close_gap(tx, job).await?;
    }
    End::cancelled(job, now).only(tx).await
}

/// What the member of a withheld result reads.
const WITHHELD: &str = "the result was withheld, because a classifier takes it for nudity; age-restricted channels show it, and \
                        elsewhere another prompt may help";

/// Ends a job whose results are not to be shown. It is a failure, so it is refunded; the worker is not to blame.
pub(super) async fn withhold(tx: &mut Tx, job: &Job, now: Millis) -> Result<Job, StoreError> {
    if !job.state.is_held() {
        return Err(illegal(&job.id, job.state, State::Failed));
    }
    End::failed(job, WITHHELD, now).only(tx).await
}

async fn by_id(tx: &mut Tx, job: &str) -> Result<Job, StoreError> {
    turn::of_jobs(tx, &[job]).await?;
    optional!(tx, "SELECT * FROM job WHERE id = $1", job)?.ok_or_else(|| no_job(job))
}

async fn held(tx: &mut Tx, job: &str, worker: &str, attempt: u32) -> Result<Job, StoreError> {
    let found = by_id(tx, job).await?;
    let holds = found.state.is_held()
        && found.attempt == i64::from(attempt)
        && found.worker.as_deref() == Some(worker);
    if !holds {
        return Err(StoreError::LeaseLost { job: job.to_owned(), attempt });
    }
    Ok(found)
}

/// The end of a job.
#[derive(Debug, Serialize)]
pub(super) struct End {
    /// The job.
    pub job: String,
    channel: String,
    state: State,
    reason: Option<String>,
    cost_ms: Option<i64>,
    /// How much of the reservation is not given back.
    charge_ms: i64,
    at: Millis,
}

impl End {
    fn of(job: &Job, state: State, reason: Option<String>, at: Millis) -> Self {
        let (job, channel) = (job.id.clone(), job.channel.clone());
        Self { job, channel, state, reason, cost_ms: None, charge_ms: 0, at }
    }

    /// With its outputs. Charged is what the member had left, at most.
    pub fn success(job: &Job, cost_ms: i64, charge_ms: i64, at: Millis) -> Self {
        Self { cost_ms: Some(cost_ms), charge_ms, ..Self::of(job, State::Succeeded, None, at) }
    }

    /// For a reason.
    fn failed(job: &Job, reason: impl Into<String>, at: Millis) -> Self {
        Self::of(job, State::Failed, Some(reason.into()), at)
    }

    /// Given up.
    fn expired(job: &Job, at: Millis) -> Self {
        Self::of(job, State::Expired, Some("no worker was free for it in time".to_owned()), at)
    }

    /// By its member or a moderator. Nothing is posted; a surface that has shown it waiting shows that.
    fn cancelled(job: &Job, at: Millis) -> Self {
        Self::of(job, State::Cancelled, None, at)
    }

    async fn only(self, tx: &mut Tx) -> Result<Job, StoreError> {
        end(tx, std::slice::from_ref(&self)).await?.pop().ok_or_else(|| no_job(&self.job))
    }
}

/// Ends jobs: their state, what is settled or refunded of the reservation, and what is owed to the surface that each one's
/// channel is on.
pub(super) async fn end(tx: &mut Tx, ends: &[End]) -> Result<Vec<Job>, StoreError> {
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    Ok(all!(tx, END, list(ends))?)
}

const END: Texts = Texts {
    sqlite: "
    INSERT INTO ledger (member, period, job, kind, gpu_ms, at)
        SELECT member, period, job, CASE WHEN value ->> 'state' = 'succeeded' THEN 'settle' ELSE 'refund' END,
               -gpu_ms - (value ->> 'charge_ms'), value ->> 'at'
        FROM json_each($1) JOIN ledger ON job = value ->> 'job' AND kind = 'reserve';
    INSERT INTO outbox (job, surface, created_at, next_at)
        SELECT value ->> 'job', surface, value ->> 'at', value ->> 'at'
        FROM json_each($1) JOIN channel ON channel.id = value ->> 'channel'
        WHERE value ->> 'state' <> 'cancelled' OR surface <> 'web' ON CONFLICT DO NOTHING;
    UPDATE job SET state = value ->> 'state', reason = value ->> 'reason', cost_ms = value ->> 'cost_ms',
                   finished_at = value ->> 'at', lease_until = NULL
        FROM json_each($1) WHERE job.id = value ->> 'job' RETURNING *",
    postgres: "
    WITH ended AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST($1 AS JSON))
            AS t (job TEXT, channel TEXT, state TEXT, reason TEXT, cost_ms BIGINT, charge_ms BIGINT, at BIGINT)
    ), account AS (
        INSERT INTO ledger (member, period, job, kind, gpu_ms, at)
        SELECT member, period, ended.job, CASE WHEN state = 'succeeded' THEN 'settle' ELSE 'refund' END,
               -gpu_ms - charge_ms, ended.at
        FROM ended CROSS JOIN LATERAL
            (SELECT member, period, gpu_ms FROM ledger WHERE ledger.job = ended.job AND kind = 'reserve' LIMIT 1) AS reserve
    ), post AS (
        INSERT INTO outbox (job, surface, created_at, next_at)
        SELECT job, surface, at, at FROM ended JOIN channel ON channel.id = ended.channel
        WHERE state <> 'cancelled' OR surface <> 'web' ON CONFLICT DO NOTHING
    ), live AS (
        DELETE FROM live USING ended WHERE live.job = ended.job
    )
    UPDATE job SET state = ended.state, reason = ended.reason, cost_ms = ended.cost_ms, finished_at = ended.at,
                   lease_until = NULL
    FROM ended WHERE job.id = ended.job RETURNING job.*",
};

/// After the last attempt the job fails; before, it goes back with exponential back-off.
pub(super) async fn put_back_or_fail(
    tx: &mut Tx,
    job: &Job,
    reason: &str,
    retry: Retry,
    now: Millis,
) -> Result<Job, StoreError> {
    let (attempts, backoff_ms) = match retry {
        Retry::Never => (0, 0),
        Retry::Elsewhere { attempts, backoff_ms } => (attempts, backoff_ms),
        Retry::UpTo { attempts, backoff_ms } => {
            if let Some(worker) = &job.worker {
                blame(tx, worker, now).await?;
            }
            (attempts, backoff_ms)
        }
    };
    let again = (job.tries() < attempts).then(|| backoff_ms << (job.tries() - 1).clamp(0, 10));
    let Some(wait) = again else {
        let advice = match retry {
            Retry::Elsewhere { .. } => ". Ask for less at once: a smaller size, fewer, or a shorter answer",
            Retry::Never | Retry::UpTo { .. } => "",
        };
        return End::failed(job, format!("{reason}{advice}"), now).only(tx).await;
    };
    let job = one!(
        tx,
        "UPDATE job SET state = 'queued', not_before = $1, reason = $2, worker = NULL, lease_until = NULL
         WHERE id = $3 RETURNING *",
        now + wait,
        reason,
        &job.id
    )?;
    Ok(job)
}

pub(super) async fn expire(tx: &mut Tx, job: &Job, now: Millis) -> Result<Job, StoreError> {
    End::expired(job, now).only(tx).await
}

/// A job cancelled before it was served must not cost the member its place: later tags move up.
async fn close_gap(tx: &mut Tx, job: &Job) -> Result<(), StoreError> {
    let gap = job.finish_tag - job.start_tag;
    execute!(tx, CLOSE_GAP, gap, &job.member, job.finish_tag, &job.channel)?;
    Ok(())
}

const CLOSE_GAP: Texts = Texts {
    sqlite: "
    UPDATE job SET start_tag = start_tag - $1, finish_tag = finish_tag - $1
        WHERE member = $2 AND state = 'queued' AND start_tag >= $3
          AND channel IN (SELECT c.id FROM channel AS c, channel AS own
                          WHERE c.community = own.community AND own.id = $4);
    UPDATE flow SET last_start = last_start - $1, last_finish = last_finish - $1
        WHERE member = $2 AND community = (SELECT community FROM channel WHERE id = $4)",
    postgres: "
    WITH later AS (
        UPDATE job SET start_tag = start_tag - $1, finish_tag = finish_tag - $1
        WHERE member = $2 AND state = 'queued' AND start_tag >= $3
          AND channel IN (SELECT c.id FROM channel AS c, channel AS own
                          WHERE c.community = own.community AND own.id = $4)
    )
    UPDATE flow SET last_start = last_start - $1, last_finish = last_finish - $1
        WHERE member = $2 AND community = (SELECT community FROM channel WHERE id = $4)",
};
