//! How jobs end in success: settled, learnt from, and owed to their surfaces.

use std::collections::HashMap;

use super::{
    Store, StoreError,
    db::{Texts, Tx, all, on},
    finish::{End, Ending, end},
    learn::{Known, Lessons},
    list, no_job, read_json,
    together::{Step, Together},
    turn,
};
use crate::{
    job::{Job, State},
    model::Cost,
    recipe::Recipe,
    seam::Millis,
};

/// A worker's word that a job is done.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The job.
    pub job: String,
    /// The worker that holds it.
    pub worker: String,
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
    /// Now.
    pub now: Millis,
}

impl Store {
    /// Ends a job in success: state, settled cost, measured model cost and the posts to make, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] for a late result; [`StoreError::Missing`] if not every output was stored.
    pub async fn complete(&self, done: Completion) -> Result<Ending, StoreError> {
        self.step(done).await
    }
}

impl Step for Completion {
    type Done = Ending;

    fn together(store: &Store) -> &Together<Self> {
        &store.steps.completions
    }

    async fn all(store: &Store, steps: &[Self]) -> Result<Vec<Result<Ending, StoreError>>, StoreError> {
        let mut tx = store.begin().await?;
        let mut books = Books::open(&mut tx, steps).await?;
        let judged: Vec<_> = steps.iter().map(|done| books.judge(done)).collect();
        books.lessons.learn(&mut tx).await?;
        let ended = end(&mut tx, &books.ends).await?;
        tx.commit().await?;
        let ended: HashMap<&str, &Job> = ended.iter().map(|job| (job.id.as_str(), job)).collect();
        let job = |id: &str| ended.get(id).map(|job| (*job).clone()).ok_or_else(|| no_job(id));
        let ending = |(done, judged): (&Self, Result<Verdict, StoreError>)| match judged? {
            Verdict::Ends => Ok(Ending::Now(job(&done.job)?)),
            Verdict::EndsAlready => Ok(Ending::Before(job(&done.job)?)),
            Verdict::Ended(job) => Ok(Ending::Before(*job)),
        };
        Ok(steps.iter().zip(judged).map(ending).collect())
    }
}

/// What becomes of a worker's word.
enum Verdict {
    /// The job ends.
    Ends,
    /// It does, by the same word a moment before.
    EndsAlready,
    /// It had ended so before.
    Ended(Box<Job>),
}

/// The accounts of some jobs, and what their ends change.
struct Books {
    accounts: HashMap<String, Account>,
    lessons: Lessons,
    ends: Vec<End>,
    /// What these ends give back of what was reserved, by member and period.
    given_back: HashMap<(String, i64), i64>,
}

/// A job with what is needed to settle it.
#[derive(sqlx::FromRow)]
struct Account {
    #[sqlx(flatten)]
    job: Job,
    /// Its recipe, as stored.
    body: String,
    /// What its model announces of costs, as stored.
    announced: String,
    #[sqlx(flatten)]
    known: Known,
    /// How many outputs its attempt has stored.
    stored: i64,
    /// What was reserved, in milliseconds of the device.
    reserved_ms: i64,
    /// In which period.
    period: i64,
    /// Sum of the member's ledger in that period.
    balance_ms: i64,
    /// Allowance of the member's period, where the job has one of its own.
    allowance_ms: Option<i64>,
}

macro_rules! accounts {
    ($reserve:literal) => {
        concat!(
            "SELECT job.*, body, model.spec -> 'cost' AS announced, cost_ratio, ratio, load_ms,
                    -reserve.gpu_ms AS reserved_ms, reserve.period,
                    (SELECT COUNT(*) FROM output WHERE output.job = job.id AND output.attempt = job.attempt) AS stored,
                    (SELECT CAST(SUM(l.gpu_ms) AS BIGINT) FROM ledger AS l
                     WHERE l.member = job.member AND l.period = reserve.period) AS balance_ms
             FROM json_each($1) AS asked JOIN job ON job.id = asked.value
             JOIN recipe ON recipe.id = job.recipe JOIN model ON model.digest = job.model ",
            $reserve,
            " LEFT JOIN pace ON pace.worker = job.worker AND pace.model = job.model"
        )
    };
}

const ACCOUNTS: Texts = Texts {
    sqlite: accounts!("JOIN ledger AS reserve ON reserve.job = job.id AND reserve.kind = 'reserve'"),
    postgres: accounts!(
        "CROSS JOIN LATERAL (SELECT gpu_ms, period FROM ledger WHERE ledger.job = job.id AND kind = 'reserve' LIMIT 1) AS reserve"
    ),
};

impl Books {
    /// Reads the accounts of the jobs that are said to be done, once it is their turn.
    async fn open(tx: &mut Tx, said: &[Completion]) -> Result<Self, StoreError> {
        let jobs: Vec<&str> = said.iter().map(|done| done.job.as_str()).collect();
        turn::of_jobs(tx, &jobs).await?;
        let accounts: Vec<Account> = all!(tx, ACCOUNTS, list(&jobs))?;
        Ok(Self {
            accounts: accounts.into_iter().map(|account| (account.job.id.clone(), account)).collect(),
            lessons: Lessons::default(),
            ends: Vec::new(),
            given_back: HashMap::new(),
        })
    }

    fn judge(&mut self, done: &Completion) -> Result<Verdict, StoreError> {
        let account = self.accounts.get(&done.job).ok_or_else(|| no_job(&done.job))?;
        let job = &account.job;
        let is_its = job.attempt == i64::from(done.attempt) && job.worker.as_ref() == Some(&done.worker);
        if is_its && job.state == State::Succeeded {
            return Ok(Verdict::Ended(Box::new(job.clone())));
        }
        if !is_its || !job.state.is_held() {
            return Err(StoreError::LeaseLost { job: done.job.clone(), attempt: done.attempt });
        }
        if self.ends.iter().any(|end| end.job == done.job) {
            return Ok(Verdict::EndsAlready);
        }
        let recipe: Recipe = read_json("recipe", &account.body)?;
        let (asked, stored) = (i64::from(recipe.count()), account.stored);
        if stored != asked || stored != done.outputs {
            let what = format!(
                "full set of outputs: {asked} were asked for, {stored} are stored and the worker says {}",
                done.outputs
            );
            return Err(StoreError::Missing(what));
        }
        // A worker is not trusted: it cannot charge for longer than it held the job.
        let held_ms = done.now - job.leased_at.unwrap_or(done.now);
        let cost_ms = done.run_ms.min(held_ms).max(0);
        let announced_ms = read_json::<Cost>("model", &account.announced)?.estimate_ms(&recipe, 1.0);
        let ratio = (cost_ms as f64 / announced_ms as f64).clamp(0.01, 100.0);
        self.lessons.add(job, &account.known, ratio, done.load_ms.min(held_ms).max(0));
        let given_back = self.given_back.entry((job.member.clone(), account.period)).or_default();
        let charge_ms = account.charge_ms(cost_ms, done.allowance_ms, *given_back);
        *given_back += account.reserved_ms - charge_ms;
        self.ends.push(End::success(job, cost_ms, charge_ms, done.now));
        Ok(Verdict::Ends)
    }
}

impl Account {
    /// The measured cost, but never more than the member had.
    fn charge_ms(&self, cost_ms: i64, allowance_ms: i64, given_back_ms: i64) -> i64 {
        let left_ms = self.allowance_ms.unwrap_or(allowance_ms) + self.balance_ms + given_back_ms;
        cost_ms.min(self.reserved_ms + left_ms.max(0))
    }
}
