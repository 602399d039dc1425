//! How jobs end: completed with outputs, failed, cancelled or expired. Each ending is one transaction that also
//! settles or refunds the quota and records what must be posted.

use super::{
    Store, StoreError,
    db::{Texts, Tx, execute, on, one, optional},
    illegal,
    learn::{blame, had_no_room, learn},
    read_json, turn,
};
use crate::{
    job::{Job, Output, State},
    model::Cost,
    recipe::Recipe,
    seam::Millis,
};

/// A worker's word that a job is done.
#[derive(Debug, Clone)]
pub struct Completion<'a> {
    /// The job.
    pub job: &'a str,
    /// The worker that holds it.
    pub worker: &'a str,
    /// The attempt that holds it.
    pub attempt: u32,
    /// How many outputs the worker says it stored.
    pub outputs: i64,
    /// Time of the device, in milliseconds.
    pub run_ms: i64,
    /// Time to load the weights, in milliseconds; 0 if they were in memory.
    pub load_ms: i64,
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
    /// Records one stored output of a running attempt. Repeating it replaces it.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if that attempt no longer holds the job.
    pub async fn add_output(
        &self,
        job: &str,
        worker: &str,
        attempt: u32,
        output: &Output,
    ) -> Result<(), StoreError> {
        let added = execute!(
            self.write,
            ADD_OUTPUT,
            job,
            worker,
            i64::from(attempt),
            output.idx,
            output.blob.to_string(),
            &output.media_type,
            output.bytes,
            output.width,
            output.height,
            &output.safety
        )?;
        if added == 0 {
            return Err(StoreError::LeaseLost { job: job.to_owned(), attempt });
        }
        Ok(())
    }

    /// Ends a job in success: state, settled cost, measured model cost and the posts to make, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] for a late result; [`StoreError::Missing`] if not every output was stored.
    pub async fn complete(&self, done: &Completion<'_>, now: Millis) -> Result<Ending, StoreError> {
        let mut tx = self.begin().await?;
        let account = account(&mut tx, done.job).await?;
        let job = &account.job;
        let is_its = job.attempt == i64::from(done.attempt) && job.worker.as_deref() == Some(done.worker);
        if is_its && job.state == State::Succeeded {
            return Ok(Ending::Before(account.job));
        }
        if !is_its || !job.state.is_held() {
            return Err(StoreError::LeaseLost { job: done.job.to_owned(), attempt: done.attempt });
        }
        let recipe: Recipe = read_json("recipe", &account.body)?;
        let asked = i64::from(recipe.count());
        let stored = account.stored;
        if stored != asked || stored != done.outputs {
            let what = format!(
                "full set of outputs: {asked} were asked for, {stored} are stored and the worker says {}",
                done.outputs
            );
            return Err(StoreError::Missing(what));
        }
        // A worker is not trusted: it cannot charge for longer than it held the job.
        let held_ms = now - job.leased_at.unwrap_or(now);
        let cost_ms = done.run_ms.min(held_ms).max(0);
        let announced_ms = read_json::<Cost>("model", &account.announced)?.estimate_ms(&recipe, 1.0);
        let ratio = (cost_ms as f64 / announced_ms as f64).clamp(0.01, 100.0);
        learn(&mut tx, job, ratio, done.load_ms.min(held_ms).max(0), now).await?;
        let charge_ms = account.charge_ms(cost_ms, done.allowance_ms);
        let job = end(&mut tx, job, End::Success { cost_ms, charge_ms }, now).await?;
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
    end(tx, job, End::Cancelled, now).await
}

/// What the member of a withheld result reads.
const WITHHELD: &str = "the result was withheld, because a classifier takes it for nudity; age-restricted channels show it, and \
                        elsewhere another prompt may help";

/// Ends a job whose results are not to be shown. It is a failure, so it is refunded; the worker is not to blame.
pub(super) async fn withhold(tx: &mut Tx, job: &Job, now: Millis) -> Result<Job, StoreError> {
    if !job.state.is_held() {
        return Err(illegal(&job.id, job.state, State::Failed));
    }
    end(tx, job, End::Failed(WITHHELD), now).await
}

async fn by_id(tx: &mut Tx, job: &str) -> Result<Job, StoreError> {
    turn::of_job(tx, job).await?;
    optional!(tx, "SELECT * FROM job WHERE id = $1", job)?
        .ok_or_else(|| StoreError::Missing(format!("job {job}")))
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

/// An attempt that ends meanwhile adds nothing.
const ADD_OUTPUT: Texts = Texts {
    sqlite: "
    INSERT OR REPLACE INTO output (job, attempt, idx, blob, media_type, bytes, width, height, safety)
        SELECT id, attempt, $4, $5, $6, $7, $8, $9, $10 FROM job
        WHERE id = $1 AND worker = $2 AND attempt = $3 AND state IN ('leased', 'running')",
    postgres: "
    INSERT INTO output (job, attempt, idx, blob, media_type, bytes, width, height, safety)
        SELECT id, attempt, $4, $5, $6, $7, $8, $9, $10 FROM job
        WHERE id = $1 AND worker = $2 AND attempt = $3 AND state IN ('leased', 'running') FOR NO KEY UPDATE
        ON CONFLICT (job, attempt, idx) DO UPDATE SET blob = $5, media_type = $6, bytes = $7, width = $8, height = $9,
            safety = $10",
};

/// A job with what is needed to settle it.
#[derive(sqlx::FromRow)]
struct Account {
    #[sqlx(flatten)]
    job: Job,
    /// Its recipe, as stored.
    body: String,
    /// What its model announces of costs, as stored.
    announced: String,
    /// How many outputs its attempt has stored.
    stored: i64,
    /// What was reserved, in milliseconds of the device.
    reserved_ms: i64,
    /// Sum of the member's ledger in that period.
    balance_ms: i64,
    /// Allowance of the member's period, where the job has one of its own.
    allowance_ms: Option<i64>,
}

impl Account {
    /// The measured cost, but never more than the member had.
    fn charge_ms(&self, cost_ms: i64, allowance_ms: i64) -> i64 {
        let left_ms = (self.allowance_ms.unwrap_or(allowance_ms) + self.balance_ms).max(0);
        cost_ms.min(self.reserved_ms + left_ms)
    }
}

async fn account(tx: &mut Tx, job: &str) -> Result<Account, StoreError> {
    turn::of_job(tx, job).await?;
    optional!(
        tx,
        "SELECT job.*, body, model.spec -> 'cost' AS announced, -gpu_ms AS reserved_ms,
                (SELECT COUNT(*) FROM output WHERE output.job = job.id AND output.attempt = job.attempt) AS stored,
                (SELECT CAST(SUM(l.gpu_ms) AS BIGINT) FROM ledger AS l WHERE l.member = job.member AND l.period = reserve.period)
                    AS balance_ms
         FROM job JOIN recipe ON recipe.id = job.recipe JOIN model ON model.digest = job.model
         JOIN ledger AS reserve ON reserve.job = job.id AND kind = 'reserve' WHERE job.id = $1",
        job
    )?
    .ok_or_else(|| StoreError::Missing(format!("job {job}")))
}

/// How a job ends.
enum End<'a> {
    /// With its outputs. Charged is what the member had left, at most.
    Success { cost_ms: i64, charge_ms: i64 },
    /// With a reason.
    Failed(&'a str),
    /// Given up.
    Expired,
    /// By its member or a moderator. Nothing is posted; a surface that has shown it waiting shows that.
    Cancelled,
}

impl End<'_> {
    fn state(&self) -> State {
        match self {
            Self::Success { .. } => State::Succeeded,
            Self::Failed(_) => State::Failed,
            Self::Expired => State::Expired,
            Self::Cancelled => State::Cancelled,
        }
    }
}

/// The end of a job: its state, what is settled or refunded of the reservation, and what is owed to the surface that its
/// channel is on.
async fn end(tx: &mut Tx, job: &Job, end: End<'_>, now: Millis) -> Result<Job, StoreError> {
    let (reason, cost_ms, charge_ms) = match end {
        End::Success { cost_ms, charge_ms } => (None, Some(cost_ms), charge_ms),
        End::Failed(reason) => (Some(reason), None, 0),
        End::Expired => (Some("no worker was free for it in time"), None, 0),
        End::Cancelled => (None, None, 0),
    };
    let job = one!(tx, END, &job.id, end.state().as_str(), charge_ms, now, &job.channel, reason, cost_ms)?;
    Ok(job)
}

const END: Texts = Texts {
    sqlite: "
    INSERT INTO ledger (member, period, job, kind, gpu_ms, at)
        SELECT member, period, job, CASE WHEN $2 = 'succeeded' THEN 'settle' ELSE 'refund' END, -gpu_ms - $3, $4
        FROM ledger WHERE job = $1 AND kind = 'reserve';
    INSERT INTO outbox (job, surface, created_at, next_at)
        SELECT $1, surface, $4, $4 FROM channel WHERE id = $5 AND ($2 <> 'cancelled' OR surface <> 'web') ON CONFLICT DO NOTHING;
    UPDATE job SET state = $2, reason = $6, cost_ms = $7, finished_at = $4, lease_until = NULL
        WHERE id = $1 RETURNING *",
    postgres: "
    WITH account AS (
        INSERT INTO ledger (member, period, job, kind, gpu_ms, at)
        SELECT member, period, job, CASE WHEN $2 = 'succeeded' THEN 'settle' ELSE 'refund' END, -gpu_ms - $3, $4
        FROM ledger WHERE job = $1 AND kind = 'reserve'
    ), post AS (
        INSERT INTO outbox (job, surface, created_at, next_at)
        SELECT $1, surface, $4, $4 FROM channel WHERE id = $5 AND ($2 <> 'cancelled' OR surface <> 'web') ON CONFLICT DO NOTHING
    ), live AS (
        DELETE FROM live WHERE job = $1
    )
    UPDATE job SET state = $2, reason = $6, cost_ms = $7, finished_at = $4, lease_until = NULL
        WHERE id = $1 RETURNING *",
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
        return end(tx, job, End::Failed(&format!("{reason}{advice}")), now).await;
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
    end(tx, job, End::Expired, now).await
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
