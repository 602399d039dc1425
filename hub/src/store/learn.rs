//! What the end of an attempt teaches of a model and a worker: costs, memory, and whether the worker is sound.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    StoreError,
    db::{Texts, Tx, execute},
    list,
};
use crate::{canonical::Digest, job::Job, seam::Millis};

/// What was known before of a job's model, and of how its worker runs that.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Known {
    /// Measured cost over announced cost, of all workers.
    cost_ratio: f64,
    /// The same of this worker, once it has run the model.
    ratio: Option<f64>,
    /// Measured milliseconds to load the weights, once it has loaded them for a job.
    load_ms: Option<i64>,
    /// How much the job makes.
    amount: i64,
}

/// What successes teach: what the model announces is corrected by what was measured, for the model and for the worker
/// (exponential moving averages over about ten runs, and about three), and the worker is sound and has room for as much.
#[derive(Debug, Default)]
pub(super) struct Lessons {
    models: BTreeMap<Digest, f64>,
    /// By worker and model.
    paces: BTreeMap<(String, Digest), Pace>,
}

/// How a worker runs a model.
#[derive(Debug, Clone, Copy, Serialize)]
struct Pace {
    ratio: f64,
    load_ms: Option<i64>,
    /// The most that it made.
    amount: i64,
}

impl Lessons {
    /// A job that took `ratio` times what was announced, after `load_ms` in which its weights were loaded; 0 if they were there.
    pub fn add(&mut self, job: &Job, known: &Known, ratio: f64, load_ms: i64) {
        let usual = self.models.entry(job.model).or_insert(known.cost_ratio);
        *usual = 0.9 * *usual + 0.1 * ratio;
        let worker = (job.worker.clone().unwrap_or_default(), job.model);
        let before = self.paces.get(&worker).copied();
        let own = before.map_or(known.ratio, |pace| Some(pace.ratio));
        let loading = before.map_or(known.load_ms, |pace| pace.load_ms);
        let pace = Pace {
            ratio: own.map_or(ratio, |own| 0.7 * own + 0.3 * ratio),
            load_ms: match load_ms {
                0 => loading,
                _ => Some((0.7 * loading.unwrap_or(load_ms) as f64 + 0.3 * load_ms as f64) as i64),
            },
            amount: before.map_or(known.amount, |pace| pace.amount.max(known.amount)),
        };
        self.paces.insert(worker, pace);
    }

    /// Writes it down.
    pub async fn learn(&self, tx: &mut Tx) -> Result<(), StoreError> {
        #[derive(Serialize)]
        struct Model {
            model: Digest,
            ratio: f64,
        }
        #[derive(Serialize)]
        struct Row<'a> {
            worker: &'a str,
            model: Digest,
            #[serde(flatten)]
            pace: Pace,
        }
        if self.paces.is_empty() {
            return Ok(());
        }
        let models = self.models.iter().map(|(model, ratio)| Model { model: *model, ratio: *ratio });
        let paces = self.paces.iter();
        let paces = paces.map(|((worker, model), pace)| Row { worker, model: *model, pace: *pace });
        execute!(tx, LEARN, list(models), list(paces))?;
        Ok(())
    }
}

/// Several hubs may learn of a model at once: on PostgreSQL one of them does, and none waits for another.
const LEARN: Texts = Texts {
    sqlite: "
    UPDATE model SET cost_ratio = new.value ->> 'ratio' FROM json_each($1) AS new WHERE digest = new.value ->> 'model';
    INSERT INTO pace (worker, model, ratio, load_ms)
        SELECT value ->> 'worker', value ->> 'model', value ->> 'ratio', value ->> 'load_ms' FROM json_each($2) WHERE true
        ON CONFLICT DO UPDATE SET ratio = excluded.ratio, load_ms = excluded.load_ms;
    DELETE FROM shortage WHERE EXISTS (
        SELECT 1 FROM json_each($2) AS new WHERE shortage.worker = new.value ->> 'worker'
            AND shortage.model = new.value ->> 'model' AND shortage.amount <= new.value ->> 'amount');
    UPDATE worker SET failures = 0, set_aside_until = 0
        WHERE name IN (SELECT value ->> 'worker' FROM json_each($2)) AND (failures > 0 OR set_aside_until > 0)",
    postgres: "
    WITH new AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST($2 AS JSON))
            AS t (worker TEXT, model TEXT, ratio DOUBLE PRECISION, load_ms BIGINT, amount BIGINT)
    ), model AS (
        UPDATE model SET cost_ratio = free.ratio
        FROM (SELECT digest, ratio FROM json_to_recordset(CAST($1 AS JSON)) AS t (model TEXT, ratio DOUBLE PRECISION)
              JOIN model ON digest = t.model FOR NO KEY UPDATE OF model SKIP LOCKED) AS free
        WHERE model.digest = free.digest
    ), pace AS (
        INSERT INTO pace (worker, model, ratio, load_ms) SELECT worker, model, ratio, load_ms FROM new
        ON CONFLICT (worker, model) DO UPDATE SET ratio = excluded.ratio, load_ms = excluded.load_ms
    ), shortage AS (
        DELETE FROM shortage USING new
        WHERE shortage.worker = new.worker AND shortage.model = new.model AND shortage.amount <= new.amount
    )
    UPDATE worker SET failures = 0, set_aside_until = 0 FROM new
    WHERE name = new.worker AND (failures > 0 OR set_aside_until > 0)",
};
/// A worker has too little memory for as much as a job makes, and so for more.
pub(super) async fn had_no_room(tx: &mut Tx, job: &str, worker: &str, now: Millis) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO shortage (worker, model, amount, at) SELECT $1, model, amount, $2 FROM job WHERE id = $3
         ON CONFLICT (worker, model) DO UPDATE SET amount = MIN(shortage.amount, excluded.amount), at = $2",
        worker,
        now,
        job
    )?;
    Ok(())
}

/// A worker that fails five times in a row is set aside, each time twice as long, up to an hour.
pub(super) async fn blame(tx: &mut Tx, worker: &str, now: Millis) -> Result<(), StoreError> {
    const TOLERATED: i64 = 5;
    execute!(
        tx,
        "UPDATE worker SET failures = failures + 1,
             set_aside_until = CASE WHEN failures + 1 < $3 THEN 0
                 ELSE $1 + MIN(3600000, 10000 << CAST(MIN(10, failures + 1 - $3) AS INTEGER)) END
         WHERE name = $2",
        now,
        worker,
        TOLERATED
    )?;
    Ok(())
}
