//! Giving jobs to workers, and taking them back when a worker falls silent.

use sqlx::{Sqlite, Transaction};

use super::{
    Store, StoreError,
    fair::keep_up,
    finish::{Retry, put_back_or_fail},
    pick::{Search, pick},
};
use crate::{job::Job, recipe::Recipe, seam::Millis, store::read_json};

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
        if self.next_for(search).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let mut leased = Vec::new();
        let picked = pick(&mut tx, search).await?;
        if picked.swaps {
            note_swap(&mut tx, search).await?;
        }
        for id in picked.jobs {
            leased.push(take(&mut tx, search, &id, lease_until).await?);
        }
        tx.commit().await?;
        Ok(leased)
    }

    /// Takes back a job that its worker has not begun: it counts as no attempt, and nobody is to blame.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if that attempt does not hold the job.
    pub async fn release(&self, job: &str, worker: &str, attempt: u32) -> Result<Job, StoreError> {
        let released: Option<Job> = sqlx::query_as(
            "UPDATE job SET state = 'queued', worker = NULL, lease_until = NULL, returned = returned + 1
             WHERE id = ? AND worker = ? AND attempt = ? AND state IN ('leased', 'running') RETURNING *",
        )
        .bind(job)
        .bind(worker)
        .bind(attempt)
        .fetch_optional(&self.write)
        .await?;
        released.ok_or_else(|| StoreError::LeaseLost { job: job.to_owned(), attempt })
    }

    /// Takes back every job that a worker holds, which stops. None of them counts as an attempt.
    pub async fn release_all(&self, worker: &str) -> Result<Vec<Job>, StoreError> {
        let released = sqlx::query_as(
            "UPDATE job SET state = 'queued', worker = NULL, lease_until = NULL, returned = returned + 1
             WHERE worker = ? AND state IN ('leased', 'running') RETURNING *",
        )
        .bind(worker)
        .fetch_all(&self.write)
        .await?;
        Ok(released)
    }

    /// Extends a lease because its worker reported; the first report makes the job running.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if that attempt no longer holds the job.
    pub async fn report(
        &self,
        job: &str,
        worker: &str,
        attempt: u32,
        lease_until: Millis,
    ) -> Result<(), StoreError> {
        let changed = sqlx::query(
            "UPDATE job SET state = 'running', lease_until = ?
             WHERE id = ? AND worker = ? AND attempt = ? AND state IN ('leased', 'running')",
        )
        .bind(lease_until)
        .bind(job)
        .bind(worker)
        .bind(attempt)
        .execute(&self.write)
        .await?;
        if changed.rows_affected() == 0 {
            return Err(StoreError::LeaseLost { job: job.to_owned(), attempt });
        }
        Ok(())
    }

    /// The job that an attempt holds, with its recipe; nothing if it no longer does.
    pub async fn held(
        &self,
        job: &str,
        worker: &str,
        attempt: u32,
    ) -> Result<Option<(Job, Recipe)>, StoreError> {
        let row: Option<HeldRow> = sqlx::query_as(
            "SELECT job.*, body FROM job JOIN recipe ON recipe.id = recipe
             WHERE job.id = ? AND worker = ? AND attempt = ? AND state IN ('leased', 'running')",
        )
        .bind(job)
        .bind(worker)
        .bind(attempt)
        .fetch_optional(&self.read)
        .await?;
        row.map(|row| Ok((row.job, read_json("recipe", &row.body)?))).transpose()
    }

    /// Whether that attempt holds the job.
    pub async fn holds(&self, job: &str, worker: &str, attempt: u32) -> Result<bool, StoreError> {
        let held: Option<i64> = sqlx::query_scalar(
            "SELECT 1 FROM job WHERE id = ? AND worker = ? AND attempt = ? AND state IN ('leased', 'running')",
        )
        .bind(job)
        .bind(worker)
        .bind(attempt)
        .fetch_optional(&self.read)
        .await?;
        Ok(held.is_some())
    }

    /// Takes back every job whose lease ran out, and gives up those that waited too long for a worker.
    /// Returns the jobs as they now are.
    pub async fn sweep(&self, now: Millis, retry: Retry) -> Result<Vec<Job>, StoreError> {
        let overdue: i64 = sqlx::query_scalar(
            "SELECT (SELECT COUNT(*) FROM job WHERE state IN ('leased', 'running') AND lease_until < ?1)
                  + (SELECT COUNT(*) FROM job WHERE state = 'queued' AND expires_at <= ?1)",
        )
        .bind(now)
        .fetch_one(&self.read)
        .await?;
        if overdue == 0 {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let lost: Vec<Job> =
            sqlx::query_as("SELECT * FROM job WHERE state IN ('leased', 'running') AND lease_until < ?")
                .bind(now)
                .fetch_all(&mut *tx)
                .await?;
        let mut changed = Vec::new();
        for job in lost {
            let worker = job.worker.clone().unwrap_or_default();
            let reason = format!("the worker {worker} fell silent while running it");
            changed.push(put_back_or_fail(&mut tx, &job, &reason, retry, now).await?);
        }
        let stale: Vec<Job> = sqlx::query_as("SELECT * FROM job WHERE state = 'queued' AND expires_at <= ?")
            .bind(now)
            .fetch_all(&mut *tx)
            .await?;
        for job in stale {
            changed.push(super::finish::expire(&mut tx, &job, now).await?);
        }
        tx.commit().await?;
        Ok(changed)
    }
}

async fn note_swap(tx: &mut Transaction<'_, Sqlite>, search: &Search<'_>) -> Result<(), StoreError> {
    sqlx::query("UPDATE worker SET swapped_at = ? WHERE name = ?")
        .bind(search.now)
        .bind(search.worker)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn take(
    tx: &mut Transaction<'_, Sqlite>,
    search: &Search<'_>,
    id: &str,
    lease_until: Millis,
) -> Result<Leased, StoreError> {
    let job: Job = sqlx::query_as(
        "UPDATE job SET state = 'leased', worker = ?, lease_until = ?, leased_at = ?, attempt = attempt + 1
         WHERE id = ? RETURNING *",
    )
    .bind(search.worker)
    .bind(lease_until)
    .bind(search.now)
    .bind(id)
    .fetch_one(&mut **tx)
    .await?;
    sqlx::query("UPDATE fairness SET virtual_time = MAX(virtual_time, ?)")
        .bind(job.start_tag)
        .execute(&mut **tx)
        .await?;
    keep_up(tx, &job.member, &job.channel).await?;
    let body: String = sqlx::query_scalar("SELECT body FROM recipe WHERE id = ?")
        .bind(job.recipe.to_string())
        .fetch_one(&mut **tx)
        .await?;
    Ok(Leased { job, recipe: read_json("recipe", &body)? })
}
