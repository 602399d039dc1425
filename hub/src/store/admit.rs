//! Admitting a request: the recipes, the jobs with their place in the fair queue, and the quota they reserve.

use super::{
    Store, StoreError,
    db::{Texts, Tx, on, one, scalar},
    turn,
};
use crate::{
    canonical,
    fair::{Flow, Shares, Tags},
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
    /// The surface's own name of the request, on its first job.
    pub request: Option<String>,
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
    /// [`StoreError::Repeated`] if the request was taken before, [`StoreError::QuotaExceeded`],
    /// [`StoreError::TooManyWaiting`], or the database's own.
    pub async fn enqueue(&self, admitted: &Admitted<'_>, jobs: &[NewJob]) -> Result<Vec<Job>, StoreError> {
        let mut tx = self.begin().await?;
        turn::of_member(&mut tx, admitted.member).await?;
        let mut standing =
            standing(&mut tx, admitted, jobs.first().and_then(|job| job.request.as_deref())).await?;
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
        let balance_ms: i64 = scalar!(
            self.read,
            "SELECT CAST(COALESCE(SUM(gpu_ms), 0) AS BIGINT) FROM ledger WHERE member = $1 AND period = $2",
            member,
            period
        )?;
        Ok(allowance_ms + balance_ms)
    }
}

/// What a member has at the moment of asking.
#[derive(sqlx::FromRow)]
struct Standing {
    /// The first job of the same request.
    repeated: Option<String>,
    /// Unfinished jobs.
    waiting: i64,
    /// Sum of the ledger in the period, in milliseconds of the device; never above what was granted.
    balance_ms: i64,
    /// What the next job's tags are made of.
    #[sqlx(flatten)]
    flow: Flow,
}

async fn standing(
    tx: &mut Tx,
    admitted: &Admitted<'_>,
    request: Option<&str>,
) -> Result<Standing, StoreError> {
    let standing = one!(
        tx,
        "SELECT (SELECT id FROM job WHERE request = $4) AS repeated,
                (SELECT COUNT(*) FROM job WHERE job.member = $1 AND state IN ('queued', 'leased', 'running')) AS waiting,
                (SELECT CAST(COALESCE(SUM(gpu_ms), 0) AS BIGINT) FROM ledger WHERE ledger.member = $1 AND period = $3)
                    AS balance_ms,
                virtual_time, COALESCE(next_tag, 0) AS next_tag, COALESCE(crowd, 1.0) AS crowd,
                COALESCE(last_start, 0) AS last_start, COALESCE(last_finish, 0) AS last_finish,
                (SELECT COALESCE(SUM(other.weight), 0.0) FROM flow AS other WHERE other.community = $2
                 AND other.last_start > virtual_time AND other.member <> $1) AS others
         FROM fairness LEFT JOIN community ON community.id = $2
         LEFT JOIN flow ON flow.community = $2 AND flow.member = $1",
        admitted.member,
        admitted.community,
        admitted.period,
        request
    )?;
    Ok(standing)
}

impl Standing {
    fn check(&self, admitted: &Admitted<'_>, jobs: &[NewJob]) -> Result<(), StoreError> {
        if let Some(job) = &self.repeated {
            return Err(StoreError::Repeated { job: job.clone() });
        }
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
const INSERT: Texts = Texts {
    sqlite: "
    INSERT INTO recipe (id, body, model, created_at) VALUES ($2, $3, $4, $5) ON CONFLICT DO NOTHING;
    INSERT INTO recipe_parent (child, position, parent, idx, made_by)
        SELECT $2, key, value ->> 'recipe', value ->> 'index', $7 FROM json_each($6) WHERE true
        ON CONFLICT DO NOTHING;
    INSERT INTO job (id, recipe, model, member, channel, state, lane, start_tag, finish_tag, estimate_ms,
                     expires_at, created_at, private, reply, allowance_ms, shape, amount, request)
        VALUES ($1, $2, $4, $8, $9, 'queued', $10, $11, $12, $13, $14, $5, $15, $16, $17, $19, $20, $25);
    INSERT INTO ledger (member, period, job, kind, gpu_ms, at) VALUES ($8, $18, $1, 'reserve', -$13, $5);
    INSERT INTO flow (community, member, weight, crowd, last_start, last_finish) VALUES ($21, $8, $22, $23, $11, $12)
        ON CONFLICT DO UPDATE SET weight = $22, crowd = $23, last_start = $11, last_finish = $12;
    UPDATE community SET next_tag = $24 WHERE id = $21 AND next_tag < $24;
    SELECT * FROM job WHERE id = $1",
    postgres: "
    WITH recipe AS (
        INSERT INTO recipe (id, body, model, created_at) VALUES ($2, $3, $4, $5) ON CONFLICT DO NOTHING
    ), parents AS (
        INSERT INTO recipe_parent (child, position, parent, idx, made_by)
            SELECT $2, key, value ->> 'recipe', CAST(value ->> 'index' AS BIGINT), $7 FROM json_each($6)
            ON CONFLICT DO NOTHING
    ), reserve AS (
        INSERT INTO ledger (member, period, job, kind, gpu_ms, at) VALUES ($8, $18, $1, 'reserve', -$13, $5)
    ), flow AS (
        INSERT INTO flow (community, member, weight, crowd, last_start, last_finish)
            VALUES ($21, $8, $22, $23, $11, $12)
            ON CONFLICT (community, member) DO UPDATE SET weight = $22, crowd = $23, last_start = $11, last_finish = $12
    ), community AS (
        UPDATE community SET next_tag = $24 WHERE id = $21 AND next_tag < $24
    )
    INSERT INTO job (id, recipe, model, member, channel, state, lane, start_tag, finish_tag, estimate_ms,
                     expires_at, created_at, private, reply, allowance_ms, shape, amount, request)
        VALUES ($1, $2, $4, $8, $9, 'queued', $10, $11, $12, $13, $14, $5, $15, $16, $17, $19, $20, $25) RETURNING *",
};

async fn insert(tx: &mut Tx, admitted: &Admitted<'_>, job: &NewJob, tags: Tags) -> Result<Job, StoreError> {
    let parents = job.recipe.origin.as_ref().map(|origin| canonical::to_string(&origin.parents));
    let enqueued = one!(
        tx,
        INSERT,
        &job.id,
        job.recipe.id().to_string(),
        canonical::to_string(&job.recipe),
        job.recipe.model.to_string(),
        admitted.now,
        parents.as_deref().unwrap_or("[]"),
        job.recipe.origin.as_ref().map(|origin| origin.made_by.as_str()),
        admitted.member,
        admitted.channel,
        admitted.lane as i64,
        tags.start,
        tags.finish,
        job.estimate_ms,
        admitted.expires_at,
        admitted.private,
        &job.reply,
        admitted.allowance_ms,
        admitted.period,
        job.recipe.shape().to_string(),
        job.recipe.amount(),
        admitted.community,
        admitted.shares.member,
        tags.crowd,
        tags.next,
        &job.request
    )?;
    Ok(enqueued)
}
