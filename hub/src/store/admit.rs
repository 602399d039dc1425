//! Admitting a request: the recipes, the jobs with their place in the fair queue, and the quota they reserve.

use sqlx::{Sqlite, Transaction};

use super::{
    Store, StoreError,
    fair::{Flow, Shares, Tags},
};
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
    /// The channel's community.
    pub community: &'a str,
    /// Whether its member alone sees what comes of it.
    pub private: bool,
    /// Which lane.
    pub lane: Lane,
    /// Share of the fleet.
    pub shares: Shares,
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
        let mut standing = standing(&mut tx, admitted).await?;
        standing.check(admitted, jobs)?;
        let mut enqueued = Vec::with_capacity(jobs.len());
        for job in jobs {
            let tags = standing.flow.enqueue(job.estimate_ms, admitted.shares);
            enqueued.push(insert(&mut tx, admitted, job, tags).await?);
        }
        tx.commit().await?;
        Ok(enqueued)
    }

    /// What is left of a member's allowance, in milliseconds of the device.
    pub async fn quota_left(&self, member: &str, period: i64, allowance_ms: i64) -> Result<i64, StoreError> {
        let balance_ms: i64 =
            sqlx::query_scalar("SELECT COALESCE(SUM(gpu_ms), 0) FROM ledger WHERE member = ? AND period = ?")
                .bind(member)
                .bind(period)
                .fetch_one(&self.read)
                .await?;
        Ok(allowance_ms + balance_ms)
    }
}

/// What a member has at the moment of asking.
#[derive(sqlx::FromRow)]
struct Standing {
    /// Unfinished jobs.
    waiting: i64,
    /// Sum of the ledger in the period, in milliseconds of the device; never above what was granted.
    balance_ms: i64,
    /// What the next job's tags are made of.
    #[sqlx(flatten)]
    flow: Flow,
}

async fn standing(tx: &mut Transaction<'_, Sqlite>, admitted: &Admitted<'_>) -> Result<Standing, StoreError> {
    let standing = sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM job WHERE job.member = ?1 AND state IN ('queued', 'leased', 'running'))
                    AS waiting,
                (SELECT COALESCE(SUM(gpu_ms), 0) FROM ledger WHERE ledger.member = ?1 AND period = ?3)
                    AS balance_ms,
                virtual_time, COALESCE(next_tag, 0) AS next_tag, COALESCE(crowd, 1.0) AS crowd,
                COALESCE(last_start, 0) AS last_start, COALESCE(last_finish, 0) AS last_finish,
                (SELECT TOTAL(other.weight) FROM flow AS other WHERE other.community = ?2
                 AND other.last_start > virtual_time AND other.member <> ?1) AS others
         FROM fairness LEFT JOIN community ON community.id = ?2
         LEFT JOIN flow ON flow.community = ?2 AND flow.member = ?1",
    )
    .bind(admitted.member)
    .bind(admitted.community)
    .bind(admitted.period)
    .fetch_one(&mut **tx)
    .await?;
    Ok(standing)
}

impl Standing {
    fn check(&self, admitted: &Admitted<'_>, jobs: &[NewJob]) -> Result<(), StoreError> {
        if self.waiting + jobs.len() as i64 > admitted.max_waiting {
            return Err(StoreError::TooManyWaiting { waiting: self.waiting });
        }
        let left_ms = admitted.allowance_ms + self.balance_ms;
        let needed_ms = jobs.iter().map(|job| job.estimate_ms).sum();
        if needed_ms > left_ms {
            return Err(StoreError::QuotaExceeded { needed_ms, left_ms });
        }
        Ok(())
    }
}

/// All that one job adds.
const INSERT: &str = "
    INSERT INTO recipe (id, body, model, created_at) VALUES ($2, $3, $4, $5) ON CONFLICT DO NOTHING;
    INSERT INTO recipe_parent (child, position, parent, idx, made_by)
        SELECT $2, key, value ->> 'recipe', value ->> 'index', $7 FROM json_each($6) WHERE true
        ON CONFLICT DO NOTHING;
    INSERT INTO job (id, recipe, model, member, channel, state, lane, start_tag, finish_tag, estimate_ms,
                     expires_at, created_at, private, reply, allowance_ms, shape, amount)
        VALUES ($1, $2, $4, $8, $9, 'queued', $10, $11, $12, $13, $14, $5, $15, $16, $17, $19, $20);
    INSERT INTO ledger (member, period, job, kind, gpu_ms, at) VALUES ($8, $18, $1, 'reserve', -$13, $5);
    INSERT INTO flow (community, member, weight, crowd, last_start, last_finish) VALUES ($21, $8, $22, $23, $11, $12)
        ON CONFLICT DO UPDATE SET weight = $22, crowd = $23, last_start = $11, last_finish = $12;
    UPDATE community SET next_tag = $24 WHERE id = $21 AND next_tag < $24;
    SELECT * FROM job WHERE id = $1";

async fn insert(
    tx: &mut Transaction<'_, Sqlite>,
    admitted: &Admitted<'_>,
    job: &NewJob,
    tags: Tags,
) -> Result<Job, StoreError> {
    let parents = job.recipe.origin.as_ref().map(|origin| canonical::to_string(&origin.parents));
    let enqueued = sqlx::query_as(INSERT)
        .bind(&job.id)
        .bind(job.recipe.id().to_string())
        .bind(canonical::to_string(&job.recipe))
        .bind(job.recipe.model.to_string())
        .bind(admitted.now)
        .bind(parents.as_deref().unwrap_or("[]"))
        .bind(job.recipe.origin.as_ref().map(|origin| origin.made_by.as_str()))
        .bind(admitted.member)
        .bind(admitted.channel)
        .bind(admitted.lane as i64)
        .bind(tags.start)
        .bind(tags.finish)
        .bind(job.estimate_ms)
        .bind(admitted.expires_at)
        .bind(admitted.private)
        .bind(&job.reply)
        .bind(admitted.allowance_ms)
        .bind(admitted.period)
        .bind(job.recipe.shape().to_string())
        .bind(job.recipe.amount())
        .bind(admitted.community)
        .bind(admitted.shares.member)
        .bind(tags.crowd)
        .bind(tags.next)
        .fetch_one(&mut **tx)
        .await?;
    Ok(enqueued)
}
