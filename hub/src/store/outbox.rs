//! The outbox: what must be posted where. A post is there exactly once, however often its delivery is tried.

use super::{
    Store, StoreError,
    db::{Texts, all, execute, on},
};
use crate::seam::Millis;

/// The web channel's name as a surface.
pub const WEB: &str = "web";

/// A post that must be made.
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
    /// Whether its member alone may see it: it is answered, never posted.
    pub private: bool,
}

/// How long a hub has for a delivery before others try it, in milliseconds.
const CLAIM_MS: i64 = 15_000;

const DUE: &str = "
    SELECT outbox.id, outbox.job, job.channel, outbox.attempts, job.private
    FROM outbox JOIN job ON job.id = outbox.job
    WHERE surface = $1 AND delivered_at IS NULL AND next_at <= $2 ORDER BY outbox.id LIMIT 100";

const CLAIM: &str = "
    UPDATE outbox SET next_at = $3 FROM job
    WHERE job.id = outbox.job AND outbox.id IN
        (SELECT id FROM outbox WHERE surface = $1 AND delivered_at IS NULL AND next_at <= $2
         ORDER BY id LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING outbox.id, outbox.job, job.channel, outbox.attempts, job.private";

/// What is taken down meanwhile is not posted.
const PUBLISH: Texts = Texts {
    sqlite: "
    INSERT INTO post (job, channel, at)
        SELECT id, channel, $3 FROM job WHERE id = $1 AND NOT private ON CONFLICT DO NOTHING;
    UPDATE outbox SET delivered_at = $3 WHERE id = $2 AND delivered_at IS NULL;
    UPDATE job SET reply = $4 WHERE id = $1 AND $4 IS NOT NULL",
    postgres: "
    WITH done AS (
        UPDATE job SET reply = COALESCE($4, reply) WHERE id = $1 RETURNING id, channel, private
    ), post AS (
        INSERT INTO post (job, channel, at) SELECT id, channel, $3 FROM done WHERE NOT private ON CONFLICT DO NOTHING
    )
    UPDATE outbox SET delivered_at = $3 WHERE id = $2 AND delivered_at IS NULL",
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

    /// Marks a delivery as done, with its post unless its member alone may see it, and with what the surface notes of it where
    /// there is something to note: `reply` becomes the job's note.
    pub async fn publish(&self, due: &Due, reply: Option<&str>, now: Millis) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        execute!(tx, PUBLISH, &due.job, due.id, now, reply)?;
        tx.commit().await
    }

    /// Makes a delivery due once more that was made: what it posted was overwritten. A job that has not ended owes none.
    pub async fn deliver_again(&self, job: &str, surface: &str, now: Millis) -> Result<(), StoreError> {
        execute!(
            self.write,
            "UPDATE outbox SET delivered_at = NULL, next_at = $3
             WHERE job = $1 AND surface = $2 AND delivered_at IS NOT NULL",
            job,
            surface,
            now
        )?;
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
        let done = execute!(
            self.write,
            "UPDATE post SET deleted_at = $1 WHERE job = $2 AND deleted_at IS NULL",
            now,
            job
        )?;
        Ok(done > 0)
    }
}
