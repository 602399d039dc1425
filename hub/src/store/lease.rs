//! Giving jobs to workers, and taking them back when a worker falls silent.

use super::{
    Store, StoreError,
    db::{Texts, Tx, all, execute, on, optional, scalar_optional, scalars},
    finish::{Retry, expire, put_back_or_fail},
    pick::{Search, pick},
    turn,
};
use crate::{
    job::{Job, State},
    recipe::Recipe,
    seam::Millis,
    store::read_json,
};

/// A job put into a worker's hands.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The job after the step; its `attempt` is the fence.
    pub job: Job,
    /// What it runs.
    pub recipe: Recipe,
}

#[derive(sqlx::FromRow)]
struct HeldRow {
    #[sqlx(flatten)]
    job: Job,
    body: String,
}

impl Store {
    /// Leases to a worker the first job in the fair order that it can serve, with those that run together with it, and
    /// moves virtual time to them. Gives none if there is none.
    pub async fn lease(&self, search: &Search<'_>, lease_until: Millis) -> Result<Vec<Leased>, StoreError> {
        // A look does not take SQLite's only writer from the others.
        if self.is_alone() && self.next_for(search).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut tx = self.write.begin_in_line().await?;
        let mut leased = Vec::new();
        let picked = pick(&mut tx, search).await?;
        if picked.swaps {
            execute!(tx, "UPDATE worker SET swapped_at = $1 WHERE name = $2", search.now, search.worker)?;
        }
        for id in picked.jobs {
            leased.extend(take(&mut tx, search, &id, lease_until).await?);
        }
        tx.commit().await?;
        for Leased { job, .. } in &leased {
            self.keep_up(&job.member, &job.channel).await?;
        }
        Ok(leased)
    }

    /// Takes back a job that its worker has not begun: it counts as no attempt, and nobody is to blame.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if that attempt does not hold the job.
    pub async fn release(&self, job: &str, worker: &str, attempt: u32) -> Result<Job, StoreError> {
        let released: Option<Job> = optional!(
            self.write,
            "UPDATE job SET state = 'queued', worker = NULL, lease_until = NULL, returned = returned + 1
             WHERE id = $1 AND worker = $2 AND attempt = $3 AND state IN ('leased', 'running') RETURNING *",
            job,
            worker,
            i64::from(attempt)
        )?;
        released.ok_or_else(|| StoreError::LeaseLost { job: job.to_owned(), attempt })
    }

    /// Takes back every job that a worker holds, which stops. None of them counts as an attempt.
    pub async fn release_all(&self, worker: &str) -> Result<Vec<Job>, StoreError> {
        let released = all!(
            self.write,
            "UPDATE job SET state = 'queued', worker = NULL, lease_until = NULL, returned = returned + 1
             WHERE worker = $1 AND state IN ('leased', 'running') RETURNING *",
            worker
        )?;
        Ok(released)
    }

    /// Extends a lease because its worker reported; the first report makes the job running. Each extension is a commit that
    /// waits for the disk, so a lease that would gain less than `least` is left as it is. Gives the job.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if that attempt no longer holds the job.
    pub async fn report(
        &self,
        (job, worker, attempt): (&str, &str, u32),
        lease_until: Millis,
        least: Millis,
    ) -> Result<Job, StoreError> {
        let running: Option<Job> = optional!(
            self.read,
            "SELECT * FROM job
             WHERE id = $1 AND worker = $2 AND attempt = $3 AND state = 'running' AND lease_until > $4",
            job,
            worker,
            i64::from(attempt),
            lease_until - least
        )?;
        if let Some(job) = running {
            return Ok(job);
        }
        optional!(
            self.write,
            "UPDATE job SET state = 'running', lease_until = $1
             WHERE id = $2 AND worker = $3 AND attempt = $4 AND state IN ('leased', 'running') RETURNING *",
            lease_until,
            job,
            worker,
            i64::from(attempt)
        )?
        .ok_or_else(|| StoreError::LeaseLost { job: job.to_owned(), attempt })
    }

    /// The job that an attempt holds, with its recipe; nothing if it no longer does.
    pub async fn held(
        &self,
        job: &str,
        worker: &str,
        attempt: u32,
    ) -> Result<Option<(Job, Recipe)>, StoreError> {
        let row: Option<HeldRow> = optional!(
            self.read,
            "SELECT job.*, body FROM job JOIN recipe ON recipe.id = recipe
             WHERE job.id = $1 AND worker = $2 AND attempt = $3 AND state IN ('leased', 'running')",
            job,
            worker,
            i64::from(attempt)
        )?;
        row.map(|row| Ok((row.job, read_json("recipe", &row.body)?))).transpose()
    }

    /// Whether that attempt holds the job.
    pub async fn holds(&self, job: &str, worker: &str, attempt: u32) -> Result<bool, StoreError> {
        let held: Option<i64> = scalar_optional!(
            self.read,
            "SELECT CAST(1 AS BIGINT) FROM job WHERE id = $1 AND worker = $2 AND attempt = $3 AND state IN ('leased', 'running')",
            job,
            worker,
            i64::from(attempt)
        )?;
        Ok(held.is_some())
    }

    /// Takes back every job whose lease ran out, and gives up those that waited too long for a worker.
    /// Returns the jobs as they now are.
    pub async fn sweep(&self, now: Millis, retry: Retry) -> Result<Vec<Job>, StoreError> {
        let overdue: Vec<String> = scalars!(
            self.read,
            "SELECT id FROM job WHERE state IN ('leased', 'running') AND lease_until < $1
             UNION ALL SELECT id FROM job WHERE state = 'queued' AND expires_at <= $1 ORDER BY id",
            now
        )?;
        let mut changed = Vec::new();
        for job in overdue {
            changed.extend(self.take_back(&job, now, retry).await?);
        }
        Ok(changed)
    }

    /// Takes back a job that is overdue, if it still is.
    async fn take_back(&self, job: &str, now: Millis, retry: Retry) -> Result<Option<Job>, StoreError> {
        let mut tx = self.begin().await?;
        turn::of_job(&mut tx, job).await?;
        let job: Option<Job> = optional!(
            tx,
            "SELECT * FROM job WHERE id = $1 AND (state IN ('leased', 'running') AND lease_until < $2
                                                  OR state = 'queued' AND expires_at <= $2)",
            job,
            now
        )?;
        let Some(job) = job else {
            return Ok(None);
        };
        let mut job = job;
        if job.state.is_held() {
            let worker = job.worker.clone().unwrap_or_default();
            let reason = format!("the worker {worker} fell silent while running it");
            job = put_back_or_fail(&mut tx, &job, &reason, retry, now).await?;
        }
        if job.state == State::Queued && job.expires_at <= now {
            job = expire(&mut tx, &job, now).await?;
        }
        tx.commit().await?;
        Ok(Some(job))
    }
}

/// Nothing, if another hub gave the job away meanwhile.
async fn take(
    tx: &mut Tx,
    search: &Search<'_>,
    id: &str,
    lease_until: Millis,
) -> Result<Option<Leased>, StoreError> {
    let row: Option<HeldRow> = optional!(tx, TAKE, search.worker, lease_until, search.now, id)?;
    row.map(|HeldRow { job, body }| Ok(Leased { job, recipe: read_json("recipe", &body)? })).transpose()
}

/// Virtual time moves on to what is served. On PostgreSQL it is a sequence, for which no transaction waits; that of two hubs
/// at the same moment the lesser may win does no harm, as the next job moves it on.
const TAKE: Texts = Texts {
    sqlite: "
    UPDATE fairness SET virtual_time = MAX(virtual_time, start_tag) FROM job WHERE job.id = $4;
    UPDATE job SET state = 'leased', worker = $1, lease_until = $2, leased_at = $3, attempt = attempt + 1
        WHERE id = $4 RETURNING *, (SELECT body FROM recipe WHERE recipe.id = job.recipe) AS body",
    postgres: "
    WITH taken AS (
        UPDATE job SET state = 'leased', worker = $1, lease_until = $2, leased_at = $3, attempt = attempt + 1
        WHERE id = (SELECT id FROM job WHERE id = $4 AND state = 'queued' FOR NO KEY UPDATE SKIP LOCKED) RETURNING *
    )
    SELECT taken.*, body, (SELECT setval('fairness_clock', GREATEST(last_value, taken.start_tag)) FROM fairness_clock)
    FROM taken JOIN recipe ON recipe.id = taken.recipe",
};
