//! Admitting a request: the recipes, the jobs with their place in the fair queue, and the quota they reserve.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Texts, Tx, all, on, scalar},
    intake::{Intake, Request, Standing, Taken},
    list,
    together::{Step, Together},
    turn,
};
use crate::{
    canonical::{self, Digest},
    fair::{Flow, Shares, Tags},
    job::{Job, Lane},
    recipe::{Parent, Recipe, RecipeId},
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
pub struct Admitted {
    /// Who asks.
    pub member: String,
    /// Where.
    pub channel: String,
    /// The channel's community.
    pub community: String,
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
    pub async fn enqueue(&self, admitted: Admitted, jobs: Vec<NewJob>) -> Result<Vec<Job>, StoreError> {
        self.step(Request { admitted, jobs }).await
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

impl Step for Request {
    type Done = Vec<Job>;

    fn together(store: &Store) -> &Together<Self> {
        &store.steps.requests
    }

    async fn all(store: &Store, steps: &[Self]) -> Result<Vec<Result<Vec<Job>, StoreError>>, StoreError> {
        let mut tx = store.begin().await?;
        let members: Vec<&str> = steps.iter().map(|request| request.admitted.member.as_str()).collect();
        turn::of_members(&mut tx, &members).await?;
        let standings = standings(&mut tx, steps).await?;
        let mut intake = Intake::default();
        let answers: Vec<_> =
            steps.iter().zip(standings).map(|(request, standing)| intake.take(request, standing)).collect();
        let enqueued = intake.insert(&mut tx).await?;
        tx.commit().await?;
        let enqueued: HashMap<&str, &Job> = enqueued.iter().map(|job| (job.id.as_str(), job)).collect();
        let jobs = |request: &Self| {
            request
                .jobs
                .iter()
                .filter_map(|job| enqueued.get(job.id.as_str()).map(|job| (*job).clone()))
                .collect()
        };
        Ok(steps.iter().zip(answers).map(|(request, answer)| answer.map(|()| jobs(request))).collect())
    }
}

/// For a JSON array of who asks; in its order.
const STANDINGS: &str = "
    WITH asked AS MATERIALIZED (
        SELECT key, value ->> 'member' AS member, value ->> 'community' AS community,
               CAST(value ->> 'period' AS BIGINT) AS period, value ->> 'request' AS request FROM json_each($1)
    ), crowds AS MATERIALIZED (
        SELECT community, (SELECT COALESCE(SUM(flow.weight), 0.0) FROM flow, fairness
                           WHERE flow.community = own.community AND last_start > virtual_time) AS weight
        FROM (SELECT DISTINCT community FROM asked) AS own
    )
    SELECT (SELECT id FROM job WHERE job.request = asked.request) AS repeated,
           (SELECT COUNT(*) FROM job
            WHERE job.member = asked.member AND state IN ('queued', 'leased', 'running')) AS waiting,
           (SELECT CAST(COALESCE(SUM(gpu_ms), 0) AS BIGINT) FROM ledger
            WHERE ledger.member = asked.member AND ledger.period = asked.period) AS balance_ms,
           virtual_time, COALESCE(next_tag, 0) AS next_tag, COALESCE(crowd, 1.0) AS crowd,
           COALESCE(last_start, 0) AS last_start, COALESCE(last_finish, 0) AS last_finish,
           crowds.weight - CASE WHEN last_start > virtual_time THEN flow.weight ELSE 0.0 END AS others
    FROM asked CROSS JOIN fairness JOIN crowds ON crowds.community = asked.community
    LEFT JOIN community ON community.id = asked.community
    LEFT JOIN flow ON flow.community = asked.community AND flow.member = asked.member
    ORDER BY asked.key";

async fn standings(tx: &mut Tx, requests: &[Request]) -> Result<Vec<Standing>, StoreError> {
    #[derive(Serialize)]
    struct Asked<'a> {
        member: &'a str,
        community: &'a str,
        period: i64,
        request: Option<&'a str>,
    }
    let asked = requests.iter().map(|request| Asked {
        member: &request.admitted.member,
        community: &request.admitted.community,
        period: request.admitted.period,
        request: request.name(),
    });
    Ok(all!(tx, STANDINGS, list(asked))?)
}

impl Intake<'_> {
    /// Writes down all that was taken.
    async fn insert(&self, tx: &mut Tx) -> Result<Vec<Job>, StoreError> {
        if self.taken.is_empty() {
            return Ok(Vec::new());
        }
        let jobs = self.taken.iter().flat_map(|Taken { request, tags, .. }| {
            request.jobs.iter().zip(tags).map(|(job, tags)| Row::of(&request.admitted, job, *tags))
        });
        let mut flows = BTreeMap::new();
        for Taken { request: Request { admitted, .. }, flow, .. } in &self.taken {
            let (community, member) = (admitted.community.as_str(), admitted.member.as_str());
            flows.insert(
                (community, member),
                FlowRow { community, member, weight: admitted.shares.member, flow: *flow },
            );
        }
        Ok(all!(tx, INSERT, list(jobs), list(flows.into_values()))?)
    }
}

/// All that one job adds.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    recipe: RecipeId,
    body: String,
    model: Digest,
    parents: &'a [Parent],
    made_by: Option<&'a str>,
    member: &'a str,
    channel: &'a str,
    lane: i64,
    start_tag: i64,
    finish_tag: i64,
    estimate_ms: i64,
    expires_at: Millis,
    now: Millis,
    private: bool,
    reply: Option<&'a str>,
    allowance_ms: i64,
    period: i64,
    shape: Digest,
    amount: i64,
    request: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(admitted: &'a Admitted, job: &'a NewJob, tags: Tags) -> Self {
        let NewJob { id, recipe, estimate_ms, reply, request } = job;
        let origin = recipe.origin.as_ref();
        Self {
            id,
            recipe: recipe.id(),
            body: canonical::to_string(recipe),
            model: recipe.model,
            parents: origin.map_or(&[], |origin| &origin.parents),
            made_by: origin.map(|origin| origin.made_by.as_str()),
            member: &admitted.member,
            channel: &admitted.channel,
            lane: admitted.lane as i64,
            start_tag: tags.start,
            finish_tag: tags.finish,
            estimate_ms: *estimate_ms,
            expires_at: admitted.expires_at,
            now: admitted.now,
            private: admitted.private,
            reply: reply.as_deref(),
            allowance_ms: admitted.allowance_ms,
            period: admitted.period,
            shape: recipe.shape(),
            amount: recipe.amount(),
            request: request.as_deref(),
        }
    }
}

/// What is left of a flow for its next request.
#[derive(Serialize)]
struct FlowRow<'a> {
    community: &'a str,
    member: &'a str,
    weight: f64,
    #[serde(flatten)]
    flow: Flow,
}

const INSERT: Texts = Texts {
    sqlite: "
    INSERT INTO recipe (id, body, model, created_at)
        SELECT value ->> 'recipe', value ->> 'body', value ->> 'model', value ->> 'now' FROM json_each($1) WHERE true
        ON CONFLICT DO NOTHING;
    INSERT INTO recipe_parent (child, position, parent, idx, made_by)
        SELECT new.value ->> 'recipe', parent.key, parent.value ->> 'recipe', parent.value ->> 'index', new.value ->> 'made_by'
        FROM json_each($1) AS new, json_each(new.value -> 'parents') AS parent WHERE true
        ON CONFLICT DO NOTHING;
    INSERT INTO job (id, recipe, model, member, channel, state, lane, start_tag, finish_tag, estimate_ms,
                     expires_at, created_at, private, reply, allowance_ms, shape, amount, request)
        SELECT value ->> 'id', value ->> 'recipe', value ->> 'model', value ->> 'member', value ->> 'channel', 'queued',
               value ->> 'lane', value ->> 'start_tag', value ->> 'finish_tag', value ->> 'estimate_ms',
               value ->> 'expires_at', value ->> 'now', value ->> 'private', value ->> 'reply', value ->> 'allowance_ms',
               value ->> 'shape', value ->> 'amount', value ->> 'request' FROM json_each($1);
    INSERT INTO ledger (member, period, job, kind, gpu_ms, at)
        SELECT value ->> 'member', value ->> 'period', value ->> 'id', 'reserve', -(value ->> 'estimate_ms'), value ->> 'now'
        FROM json_each($1);
    INSERT INTO flow (community, member, weight, crowd, last_start, last_finish)
        SELECT value ->> 'community', value ->> 'member', value ->> 'weight', value ->> 'crowd', value ->> 'last_start',
               value ->> 'last_finish' FROM json_each($2) WHERE true
        ON CONFLICT DO UPDATE SET weight = excluded.weight, crowd = excluded.crowd, last_start = excluded.last_start,
            last_finish = excluded.last_finish;
    UPDATE community SET next_tag = MAX(next_tag, new.tag)
        FROM (SELECT value ->> 'community' AS community, MAX(value ->> 'next_tag') AS tag FROM json_each($2) GROUP BY 1) AS new
        WHERE community.id = new.community;
    SELECT * FROM job WHERE id IN (SELECT value ->> 'id' FROM json_each($1))",
    postgres: "
    WITH new AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST($1 AS JSON))
            AS t (id TEXT, recipe TEXT, body TEXT, model TEXT, parents TEXT, made_by TEXT, member TEXT, channel TEXT, lane BIGINT,
                  start_tag BIGINT, finish_tag BIGINT, estimate_ms BIGINT, expires_at BIGINT, now BIGINT, private BOOLEAN,
                  reply TEXT, allowance_ms BIGINT, period BIGINT, shape TEXT, amount BIGINT, request TEXT)
    ), flows AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST($2 AS JSON))
            AS t (community TEXT, member TEXT, weight DOUBLE PRECISION, crowd DOUBLE PRECISION, last_start BIGINT,
                  last_finish BIGINT, next_tag BIGINT)
    ), recipe AS (
        INSERT INTO recipe (id, body, model, created_at) SELECT recipe, body, model, now FROM new ORDER BY recipe
        ON CONFLICT DO NOTHING
    ), parents AS (
        INSERT INTO recipe_parent (child, position, parent, idx, made_by)
            SELECT new.recipe, key, value ->> 'recipe', CAST(value ->> 'index' AS BIGINT), made_by
            FROM new CROSS JOIN LATERAL json_each(new.parents) ORDER BY new.recipe, key
            ON CONFLICT DO NOTHING
    ), reserve AS (
        INSERT INTO ledger (member, period, job, kind, gpu_ms, at)
            SELECT member, period, id, 'reserve', -estimate_ms, now FROM new
    ), flow AS (
        INSERT INTO flow (community, member, weight, crowd, last_start, last_finish)
            SELECT community, member, weight, crowd, last_start, last_finish FROM flows
            ON CONFLICT (community, member) DO UPDATE SET weight = excluded.weight, crowd = excluded.crowd,
                last_start = excluded.last_start, last_finish = excluded.last_finish
    ), ahead AS MATERIALIZED (
        SELECT id, tag FROM (SELECT community, MAX(next_tag) AS tag FROM flows GROUP BY community) AS last
        JOIN community ON id = last.community AND next_tag < tag ORDER BY id FOR NO KEY UPDATE OF community
    ), community AS (
        UPDATE community SET next_tag = MAX(next_tag, tag) FROM ahead WHERE community.id = ahead.id
    )
    INSERT INTO job (id, recipe, model, member, channel, state, lane, start_tag, finish_tag, estimate_ms,
                     expires_at, created_at, private, reply, allowance_ms, shape, amount, request)
        SELECT id, recipe, model, member, channel, 'queued', lane, start_tag, finish_tag, estimate_ms,
               expires_at, now, private, reply, allowance_ms, shape, amount, request FROM new RETURNING *",
};
