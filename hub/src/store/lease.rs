//! Giving jobs to workers, and taking them back when a worker falls silent.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Texts, Tx, all, execute, on, optional, scalars},
    finish::{Retry, expire, put_back_or_fail},
    list,
    pick::{Picked, Search, pick},
    together::{Step, Together},
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

/// A job with its recipe, as stored.
#[derive(sqlx::FromRow)]
pub(super) struct HeldRow {
    #[sqlx(flatten)]
    pub job: Job,
    pub body: String,
}

/// A worker that looks for jobs.
#[derive(Debug)]
pub(super) struct Looking {
    search: Search,
    lease_until: Millis,
}

impl Step for Looking {
    type Done = Vec<Leased>;

    fn together(store: &Store) -> &Together<Self> {
        &store.steps.leases
    }

    async fn all(store: &Store, steps: &[Self]) -> Result<Vec<Result<Vec<Leased>, StoreError>>, StoreError> {
        let mut tx = store.write.begin_in_line().await?;
        let mut given: Vec<Vec<Leased>> = steps.iter().map(|_| Vec::new()).collect();
        let (mut looking, mut gone): (Vec<usize>, _) = ((0..steps.len()).collect(), HashSet::new());
        // A line that is held keeps jobs from other hubs, most of which are not taken: only those do that had no luck without.
        for held in [false, true] {
            let searches: Vec<&Search> = looking.iter().map(|place| &steps[*place].search).collect();
            let picked = pick(&mut tx, &searches, &gone, held).await?;
            let mut taken = take(&mut tx, looking.iter().map(|place| &steps[*place]).zip(&picked)).await?;
            for (place, picked) in looking.iter().zip(&picked) {
                given[*place].extend(picked.jobs.iter().filter_map(|job| taken.remove(job)));
            }
            let nothing =
                |(place, picked): &(usize, &Picked)| !picked.jobs.is_empty() && given[*place].is_empty();
            gone.extend(picked.iter().flat_map(|picked| picked.jobs.iter().cloned()));
            looking = looking.into_iter().zip(&picked).filter(nothing).map(|(place, _)| place).collect();
            if looking.is_empty() {
                break;
            }
        }
        tx.commit().await?;
        // They are leased, whatever becomes of the tags of others.
        if let Err(error) = store.keep_up(given.iter().flatten().map(|leased| &leased.job)).await {
            tracing::warn!(%error, "tags are not kept up");
        }
        Ok(given.into_iter().map(Ok).collect())
    }

    /// Somebody else is to have what a worker that has gone was given.
    async fn unheard(store: &Store, leased: Vec<Leased>) {
        for Leased { job, .. } in leased {
            let worker = job.worker.unwrap_or_default();
            if let Err(error) = store.release(&job.id, &worker, job.attempt as u32).await {
                tracing::warn!(job = job.id, worker, %error, "not taken back from a worker that does not wait for it");
            }
        }
    }
}

/// A job for a worker.
#[derive(Debug, Serialize)]
struct Take<'a> {
    job: &'a str,
    worker: &'a str,
    until: Millis,
    now: Millis,
}

impl Store {
    /// Leases to a worker the first job in the fair order that it can serve, with those that run together with it, and
    /// moves virtual time to them. Gives none if there is none.
    pub async fn lease(&self, search: Search, lease_until: Millis) -> Result<Vec<Leased>, StoreError> {
        // A look does not take SQLite's only writer from the others.
        if self.is_alone() && self.next_for(&search).await?.is_none() {
            return Ok(Vec::new());
        }
        self.step(Looking { search, lease_until }).await
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
        turn::of_jobs(&mut tx, &[job]).await?;
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

/// Gives workers the jobs that were picked for them; gives them by id, those left out that another hub gave away meanwhile.
async fn take(
    tx: &mut Tx,
    picked: impl Iterator<Item = (&Looking, &Picked)>,
) -> Result<HashMap<String, Leased>, StoreError> {
    let (mut asked, mut swap) = (Vec::new(), BTreeSet::new());
    for (Looking { search, lease_until }, Picked { jobs, swaps }) in picked {
        let (worker, until, now) = (&search.worker, *lease_until, search.now);
        asked.extend(jobs.iter().map(|job| Take { job, worker, until, now }));
        if *swaps {
            swap.insert((worker, now));
        }
    }
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    for (worker, now) in swap {
        execute!(tx, "UPDATE worker SET swapped_at = $1 WHERE name = $2", now, worker)?;
    }
    let rows: Vec<HeldRow> = all!(tx, TAKE, list(asked))?;
    let leased = |HeldRow { job, body }: HeldRow| {
        Ok((job.id.clone(), Leased { job, recipe: read_json("recipe", &body)? }))
    };
    rows.into_iter().map(leased).collect()
}

/// Of the jobs that are to be given, none that another hub gave away meanwhile. Virtual time moves on to what is served. On
/// PostgreSQL it is a sequence, for which no transaction waits; that of two hubs at the same moment the lesser may win does no
/// harm, as the next job moves it on.
const TAKE: Texts = Texts {
    sqlite: "
    UPDATE fairness SET virtual_time = MAX(virtual_time,
        (SELECT MAX(start_tag) FROM json_each($1) JOIN job ON job.id = value ->> 'job'));
    UPDATE job SET state = 'leased', worker = value ->> 'worker', lease_until = value ->> 'until',
                   leased_at = value ->> 'now', attempt = attempt + 1
        FROM json_each($1) WHERE job.id = value ->> 'job'
        RETURNING *, (SELECT body FROM recipe WHERE recipe.id = job.recipe) AS body",
    postgres: "
    WITH asked AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST($1 AS JSON)) AS t (job TEXT, worker TEXT, until BIGINT, now BIGINT)
    ), free AS MATERIALIZED (
        SELECT id FROM job WHERE id IN (SELECT job FROM asked) AND state = 'queued' FOR NO KEY UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE job SET state = 'leased', worker = asked.worker, lease_until = asked.until, leased_at = asked.now,
                       attempt = attempt + 1
        FROM asked WHERE job.id = asked.job AND asked.job IN (SELECT id FROM free) RETURNING job.*
    )
    SELECT taken.*, body,
        (SELECT setval('fairness_clock', GREATEST(last_value, (SELECT MAX(start_tag) FROM taken))) FROM fairness_clock)
    FROM taken JOIN recipe ON recipe.id = taken.recipe",
};
