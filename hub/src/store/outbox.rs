//! The outbox: what a surface must be brought to show. A post is there exactly once, and what was cancelled or taken down is
//! shown so, however often its delivery is tried.

use std::ops::Range;

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Texts, Tx, all, execute, on},
    list,
    together::{Step, Together},
};
use crate::{job::State, seam::Millis};

/// The web channel's name as a surface.
pub const WEB: &str = "web";

/// What a surface owes of a job that has ended.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Due {
    /// Row of the outbox.
    pub id: i64,
    /// The job that ended.
    pub job: String,
    /// The job's channel.
    pub channel: String,
    /// Tries so far.
    pub attempts: i64,
    /// When it was due. It changes with what is owed, so that a delivery which was overtaken does not count.
    pub next_at: Millis,
    /// Whether its member alone may see it: it is answered, never posted.
    pub private: bool,
    /// How the job ended. A cancelled one has no post.
    #[sqlx(try_from = "String")]
    pub state: State,
    /// Whether its post was taken down.
    pub taken_down: bool,
}

impl Due {
    /// Whether a post is owed, and not that something is shown as cancelled or taken down.
    pub fn is_post(&self) -> bool {
        !self.taken_down && self.state != State::Cancelled
    }
}

/// How long a hub has for a delivery before others try it, in milliseconds.
const CLAIM_MS: i64 = 15_000;

/// Due now, at a time that it was not due at before: see [`Due::next_at`].
macro_rules! anew {
    ($now:literal) => {
        concat!("CASE WHEN next_at = ", $now, " THEN ", $now, " - 1 ELSE ", $now, " END")
    };
}

const DUE: &str = "
    SELECT outbox.id, outbox.job, job.channel, outbox.attempts, outbox.next_at, job.private, job.state,
           EXISTS (SELECT 1 FROM post WHERE post.job = job.id AND deleted_at IS NOT NULL) AS taken_down
    FROM outbox JOIN job ON job.id = outbox.job
    WHERE surface = $1 AND delivered_at IS NULL AND next_at <= $2 ORDER BY outbox.id LIMIT 100";

const CLAIM: &str = "
    UPDATE outbox SET next_at = $3 FROM job
    WHERE job.id = outbox.job AND outbox.id IN
        (SELECT id FROM outbox WHERE surface = $1 AND delivered_at IS NULL AND next_at <= $2
         ORDER BY id LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING outbox.id, outbox.job, job.channel, outbox.attempts, outbox.next_at, job.private, job.state,
        EXISTS (SELECT 1 FROM post WHERE post.job = job.id AND deleted_at IS NOT NULL) AS taken_down";

/// A delivery that was made.
#[derive(Debug, Serialize)]
pub(super) struct Delivery {
    id: i64,
    job: String,
    /// When it was due.
    due: Millis,
    /// What the surface notes of it.
    reply: Option<String>,
    at: Millis,
}

impl Step for Delivery {
    type Done = ();

    fn together(store: &Store) -> &Together<Self> {
        &store.steps.deliveries
    }

    async fn all(store: &Store, steps: &[Self]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let mut tx = store.begin().await?;
        execute!(tx, PUBLISH, list(steps))?;
        tx.commit().await?;
        Ok(steps.iter().map(|_| Ok(())).collect())
    }
}

/// What is taken down meanwhile is still owed.
const PUBLISH: Texts = Texts {
    sqlite: "
    INSERT INTO post (job, channel, at)
        SELECT job.id, channel, made.value ->> 'at' FROM json_each($1) AS made JOIN job ON job.id = made.value ->> 'job'
        WHERE NOT private AND state <> 'cancelled' ORDER BY made.key ON CONFLICT DO NOTHING;
    UPDATE outbox SET delivered_at = value ->> 'at' FROM json_each($1)
        WHERE outbox.id = value ->> 'id' AND delivered_at IS NULL AND next_at = value ->> 'due';
    UPDATE job SET reply = value ->> 'reply' FROM json_each($1)
        WHERE job.id = value ->> 'job' AND value ->> 'reply' IS NOT NULL",
    postgres: "
    WITH made AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST($1 AS JSON)) AS t (id BIGINT, job TEXT, due BIGINT, reply TEXT, at BIGINT)
    ), done AS MATERIALIZED (
        SELECT made.id, made.job, at, channel, private, state FROM (SELECT * FROM made ORDER BY job) AS made
        CROSS JOIN LATERAL (SELECT channel, private, state FROM job WHERE id = made.job FOR NO KEY UPDATE) AS its
    ), post AS (
        INSERT INTO post (job, channel, at)
        SELECT job, channel, at FROM done WHERE NOT private AND state <> 'cancelled' ORDER BY id ON CONFLICT DO NOTHING
    ), note AS (
        UPDATE job SET reply = made.reply FROM made JOIN done ON done.id = made.id
        WHERE job.id = made.job AND made.reply IS NOT NULL
    )
    UPDATE outbox SET delivered_at = done.at FROM made JOIN done ON done.id = made.id
    WHERE outbox.id = made.id AND delivered_at IS NULL AND outbox.next_at = made.due",
};

impl Store {
    /// Posts for `surface` that are due, oldest first. Where several hubs deliver, at most `room` of them, which are this
    /// hub's from now on: others see them again after [`CLAIM_MS`], should it not have delivered them by then.
    pub async fn due(&self, surface: &str, room: usize, now: Millis) -> Result<Vec<Due>, StoreError> {
        if self.is_alone() {
            return Ok(all!(self.read, DUE, surface, now)?);
        }
        let mut due: Vec<Due> =
            all!(self.write, CLAIM, surface, now, now.saturating_add(CLAIM_MS), room as i64)?;
        due.sort_by_key(|due| due.id);
        Ok(due)
    }

    /// Marks a delivery as done, with its post unless its member alone may see it or it was cancelled, and with what the surface
    /// notes of it where there is something to note: `reply` becomes the job's note.
    pub async fn publish(&self, due: &Due, reply: Option<&str>, now: Millis) -> Result<(), StoreError> {
        let (job, reply) = (due.job.clone(), reply.map(str::to_owned));
        self.step(Delivery { id: due.id, job, due: due.next_at, reply, at: now }).await
    }

    /// Makes a delivery due once more: what it posts may have been overwritten. One that is being made counts for nothing. A job
    /// that has not ended owes none.
    pub async fn deliver_again(&self, job: &str, surface: &str, now: Millis) -> Result<(), StoreError> {
        const AGAIN: &str = concat!(
            "UPDATE outbox SET delivered_at = NULL, next_at = ",
            anew!("$3"),
            " WHERE job = $1 AND surface = $2"
        );
        execute!(self.write, AGAIN, job, surface, now)?;
        Ok(())
    }

    /// Makes all deliveries of that time due once more, of the last ten thousand. The web channel shows what is stored.
    pub async fn deliver_all_again(&self, of: Range<Millis>, now: Millis) -> Result<(), StoreError> {
        const AGAIN: &str = concat!(
            "UPDATE outbox SET delivered_at = NULL, next_at = ",
            anew!("$3"),
            " WHERE surface <> 'web' AND delivered_at >= $1 AND delivered_at < $2
                AND id > (SELECT COALESCE(MAX(id), 0) FROM outbox) - 10000"
        );
        execute!(self.write, AGAIN, of.start, of.end, now)?;
        Ok(())
    }

    /// Puts a delivery off.
    pub async fn postpone(&self, due: &Due, next_at: Millis) -> Result<(), StoreError> {
        execute!(
            self.write,
            "UPDATE outbox SET attempts = attempts + 1, next_at = $1 WHERE id = $2",
            next_at,
            due.id
        )?;
        Ok(())
    }

    /// Takes a post down; its recipe and outputs stay for those who riffed on it. `false` if there is none.
    pub async fn unpublish(&self, job: &str, now: Millis) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let done =
            execute!(tx, "UPDATE post SET deleted_at = $1 WHERE job = $2 AND deleted_at IS NULL", now, job)?;
        owe_removal(&mut tx, job, now).await?;
        tx.commit().await?;
        Ok(done > 0)
    }
}

/// What was to be posted is to be removed from now on, as is what was posted. The web channel shows what is stored, so that
/// nothing is owed there.
pub(super) async fn owe_removal(tx: &mut Tx, job: &str, now: Millis) -> Result<(), StoreError> {
    const REMOVE: &str = concat!(
        "UPDATE outbox SET delivered_at = CASE WHEN surface = 'web' THEN $1 END, next_at = ",
        anew!("$1"),
        " WHERE job = $2"
    );
    execute!(tx, REMOVE, now, job)?;
    Ok(())
}
