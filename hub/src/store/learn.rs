//! What the end of an attempt teaches of a model and a worker: costs, memory, and whether the worker is sound.

use super::{
    StoreError,
    db::{Texts, Tx, execute},
};
use crate::{job::Job, seam::Millis};

/// What a success teaches: what the model announces is corrected by what was measured, for the model and for the worker
/// (exponential moving averages over about ten runs, and about three), and the worker is sound and has room for as much.
pub(super) async fn learn(
    tx: &mut Tx,
    job: &Job,
    ratio: f64,
    load_ms: i64,
    now: Millis,
) -> Result<(), StoreError> {
    execute!(tx, LEARN, ratio, job.model.to_string(), &job.worker, load_ms, &job.id, now)?;
    Ok(())
}

/// Several hubs may learn of a model at once: on PostgreSQL one of them does, and none waits for another.
const LEARN: Texts = Texts {
    sqlite: "
    UPDATE model SET cost_ratio = 0.9 * cost_ratio + 0.1 * $1 WHERE digest = $2;
    INSERT INTO pace (worker, model, ratio, load_ms) VALUES ($3, $2, $1, NULLIF($4, 0))
        ON CONFLICT DO UPDATE SET ratio = 0.7 * ratio + 0.3 * $1,
            load_ms = CASE WHEN $4 = 0 THEN load_ms
                           ELSE CAST(0.7 * COALESCE(load_ms, $4) + 0.3 * $4 AS INTEGER) END;
    DELETE FROM shortage
        WHERE worker = $3 AND model = $2 AND amount <= (SELECT job.amount FROM job WHERE id = $5);
    UPDATE worker SET failures = 0, set_aside_until = 0, seen_at = $6 WHERE name = $3",
    postgres: "
    WITH model AS (
        UPDATE model SET cost_ratio = 0.9 * cost_ratio + 0.1 * $1
        WHERE digest = (SELECT digest FROM model WHERE digest = $2 FOR NO KEY UPDATE SKIP LOCKED)
    ), pace AS (
        INSERT INTO pace (worker, model, ratio, load_ms) VALUES ($3, $2, $1, NULLIF($4, 0))
        ON CONFLICT (worker, model) DO UPDATE SET ratio = 0.7 * pace.ratio + 0.3 * $1,
            load_ms = CASE WHEN $4 = 0 THEN pace.load_ms
                           ELSE CAST(TRUNC(0.7 * COALESCE(pace.load_ms, $4) + 0.3 * $4) AS BIGINT) END
    ), shortage AS (
        DELETE FROM shortage
        WHERE worker = $3 AND model = $2 AND amount <= (SELECT job.amount FROM job WHERE id = $5)
    )
    UPDATE worker SET failures = 0, set_aside_until = 0, seen_at = $6 WHERE name = $3",
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
