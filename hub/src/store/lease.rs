//! Giving jobs to workers, and taking them back when a worker falls silent.

use super::{
    Store, StoreError,
    finish::{Retry, put_back_or_fail},
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

impl Store {
    /// Leases to `worker` the first job in the fair order that it can serve, and moves virtual time to it. Of the versions
    /// that it serves as overflow, it gets only the jobs in `overflowing`.
    pub async fn lease(
        &self,
        worker: &str,
        now: Millis,
        lease_until: Millis,
        overflowing: &[String],
    ) -> Result<Option<Leased>, StoreError> {
        let overflowing = crate::canonical::to_string(&overflowing);
        if self.next_for(worker, now, &overflowing).await?.is_none() {
            return Ok(None);
        }
        let mut tx = self.begin().await?;
        let job: Option<Job> = sqlx::query_as(
            "UPDATE job SET state = 'leased', worker = ?1, lease_until = ?3, leased_at = ?2, attempt = attempt + 1
             WHERE id = (SELECT job.id FROM job
                         WHERE state = 'queued' AND not_before <= ?2 AND expires_at > ?2
                           AND EXISTS (SELECT 1 FROM worker_model AS can WHERE can.worker = ?1 AND can.model = job.model
                                       AND (can.overflow_after_ms IS NULL
                                            OR job.id IN (SELECT value FROM json_each(?4))))
                           AND (SELECT set_aside_until FROM worker WHERE name = ?1) <= ?2
                         ORDER BY lane, start_tag, id LIMIT 1)
             RETURNING *",
        )
        .bind(worker)
        .bind(now)
        .bind(lease_until)
        .bind(&overflowing)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(job) = job else {
            return Ok(None);
        };
        sqlx::query("UPDATE fairness SET virtual_time = MAX(virtual_time, ?)")
            .bind(job.start_tag)
            .execute(&mut *tx)
            .await?;
        let body: String = sqlx::query_scalar("SELECT body FROM recipe WHERE id = ?")
            .bind(job.recipe.to_string())
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        let recipe = read_json("recipe", &body)?;
        Ok(Some(Leased { job, recipe }))
    }

    /// A read that lets idle workers look without taking the writer.
    async fn next_for(
        &self,
        worker: &str,
        now: Millis,
        overflowing: &str,
    ) -> Result<Option<String>, StoreError> {
        let next = sqlx::query_scalar(
            "SELECT job.id FROM job
             WHERE state = 'queued' AND not_before <= ?2 AND expires_at > ?2
               AND EXISTS (SELECT 1 FROM worker_model AS can WHERE can.worker = ?1 AND can.model = job.model
                           AND (can.overflow_after_ms IS NULL OR job.id IN (SELECT value FROM json_each(?3))))
               AND (SELECT set_aside_until FROM worker WHERE name = ?1) <= ?2
             ORDER BY lane, start_tag, id LIMIT 1",
        )
        .bind(worker)
        .bind(now)
        .bind(overflowing)
        .fetch_optional(&self.read)
        .await?;
        Ok(next)
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
