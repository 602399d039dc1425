//! What holds a lease: reports, and who asks whether it is held.

use std::collections::HashMap;

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Texts, all, on, optional, scalar_optional},
    lease::HeldRow,
    list, read_json,
    together::{Step, Together},
};
use crate::{job::Job, recipe::Recipe, seam::Millis};

/// A worker that reports.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    job: String,
    worker: String,
    attempt: i64,
    lease_until: Millis,
}

impl Step for Report {
    type Done = Job;

    fn together(store: &Store) -> &Together<Self> {
        &store.steps.reports
    }

    async fn all(store: &Store, steps: &[Self]) -> Result<Vec<Result<Job, StoreError>>, StoreError> {
        let mut tx = store.begin().await?;
        let held: Vec<Job> = all!(tx, EXTEND, list(steps))?;
        tx.commit().await?;
        let held: HashMap<&str, &Job> = held.iter().map(|job| (job.id.as_str(), job)).collect();
        let answer = |Self { job, worker, attempt, .. }: &Self| {
            let held = held
                .get(job.as_str())
                .filter(|held| held.attempt == *attempt && held.worker.as_ref() == Some(worker));
            held.map(|held| (*held).clone())
                .ok_or_else(|| StoreError::LeaseLost { job: job.clone(), attempt: *attempt as u32 })
        };
        Ok(steps.iter().map(answer).collect())
    }
}

const EXTEND: Texts = Texts {
    sqlite: "
    UPDATE job SET state = 'running', lease_until = value ->> 'lease_until' FROM json_each($1)
        WHERE job.id = value ->> 'job' AND worker = value ->> 'worker' AND attempt = value ->> 'attempt'
          AND state IN ('leased', 'running') RETURNING *",
    postgres: "
    WITH told AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST($1 AS JSON)) AS t (job TEXT, worker TEXT, attempt BIGINT, lease_until BIGINT)
    ), held AS MATERIALIZED (
        SELECT told.* FROM (SELECT * FROM told ORDER BY job) AS told CROSS JOIN LATERAL
            (SELECT FROM job WHERE id = told.job AND worker = told.worker AND attempt = told.attempt
             AND state IN ('leased', 'running') FOR NO KEY UPDATE) AS its
    )
    UPDATE job SET state = 'running', lease_until = held.lease_until FROM held WHERE job.id = held.job RETURNING job.*",
};

impl Store {
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
        let (job, worker, attempt) = (job.to_owned(), worker.to_owned(), i64::from(attempt));
        self.step(Report { job, worker, attempt, lease_until }).await
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
}
