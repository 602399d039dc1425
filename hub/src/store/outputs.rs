//! What running attempts have made.

use std::collections::HashSet;

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Texts, all, on},
    list,
    together::{Step, Together},
};
use crate::job::Output;

/// An output that was stored for an attempt.
#[derive(Debug, Serialize)]
pub(super) struct Stored {
    job: String,
    worker: String,
    attempt: i64,
    #[serde(flatten)]
    output: Output,
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
        output: Output,
    ) -> Result<(), StoreError> {
        let (job, worker, attempt) = (job.to_owned(), worker.to_owned(), i64::from(attempt));
        self.step(Stored { job, worker, attempt, output }).await
    }
}

impl Step for Stored {
    type Done = ();

    fn together(store: &Store) -> &Together<Self> {
        &store.steps.outputs
    }

    async fn all(store: &Store, steps: &[Self]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let mut tx = store.begin().await?;
        let added: Vec<(String, i64)> = all!(tx, ADD, list(steps))?;
        tx.commit().await?;
        let added: HashSet<_> = added.iter().map(|(job, idx)| (job.as_str(), *idx)).collect();
        let outcome = |stored: &Self| match added.contains(&(stored.job.as_str(), stored.output.idx)) {
            true => Ok(()),
            false => Err(StoreError::LeaseLost { job: stored.job.clone(), attempt: stored.attempt as u32 }),
        };
        Ok(steps.iter().map(outcome).collect())
    }
}

/// An attempt that ends meanwhile adds nothing.
const ADD: Texts = Texts {
    sqlite: "
    INSERT OR REPLACE INTO output (job, attempt, idx, blob, media_type, bytes, width, height, safety)
        SELECT job.id, job.attempt, value ->> 'idx', value ->> 'blob', value ->> 'media_type', value ->> 'bytes',
               value ->> 'width', value ->> 'height', value ->> 'safety'
        FROM json_each($1) JOIN job ON job.id = value ->> 'job'
        WHERE worker = value ->> 'worker' AND attempt = value ->> 'attempt' AND state IN ('leased', 'running')
        RETURNING job, idx",
    postgres: "
    WITH made AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST($1 AS JSON))
            AS t (job TEXT, worker TEXT, attempt BIGINT, idx BIGINT, blob TEXT, media_type TEXT, bytes BIGINT, width BIGINT,
                  height BIGINT, safety TEXT)
    ), held AS MATERIALIZED (
        SELECT made.* FROM (SELECT * FROM made ORDER BY job) AS made CROSS JOIN LATERAL
            (SELECT FROM job WHERE id = made.job AND worker = made.worker AND attempt = made.attempt
             AND state IN ('leased', 'running') FOR NO KEY UPDATE) AS its
    )
    INSERT INTO output (job, attempt, idx, blob, media_type, bytes, width, height, safety)
        SELECT job, attempt, idx, blob, media_type, bytes, width, height, safety FROM held
        ON CONFLICT (job, attempt, idx) DO UPDATE SET blob = excluded.blob, media_type = excluded.media_type,
            bytes = excluded.bytes, width = excluded.width, height = excluded.height, safety = excluded.safety
        RETURNING job, idx",
};
