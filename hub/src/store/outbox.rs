//! The outbox: what must be posted where. A post is there exactly once, however often its delivery is tried.

use super::{Store, StoreError};
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

impl Store {
    /// Posts for `surface` that are due, oldest first.
    pub async fn due(&self, surface: &str, now: Millis) -> Result<Vec<Due>, StoreError> {
        let due = sqlx::query_as(
            "SELECT outbox.id, outbox.job, job.channel, outbox.attempts, job.private
             FROM outbox JOIN job ON job.id = outbox.job
             WHERE surface = ? AND delivered_at IS NULL AND next_at <= ? ORDER BY outbox.id LIMIT 100",
        )
        .bind(surface)
        .bind(now)
        .fetch_all(&self.read)
        .await?;
        Ok(due)
    }

    /// Marks a delivery as done, with its post unless its member alone may see it, and with what the surface notes of it where
    /// there is something to note: `reply` becomes the job's note.
    pub async fn publish(&self, due: &Due, reply: Option<&str>, now: Millis) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO post (job, channel, at)
                 SELECT id, channel, $3 FROM job WHERE id = $1 AND NOT private ON CONFLICT DO NOTHING;
             UPDATE outbox SET delivered_at = $3 WHERE id = $2 AND delivered_at IS NULL;
             UPDATE job SET reply = $4 WHERE id = $1 AND $4 IS NOT NULL",
        )
        .bind(&due.job)
        .bind(due.id)
        .bind(now)
        .bind(reply)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Puts a delivery off.
    pub async fn postpone(&self, due: &Due, next_at: Millis) -> Result<(), StoreError> {
        sqlx::query("UPDATE outbox SET attempts = attempts + 1, next_at = ? WHERE id = ?")
            .bind(next_at)
            .bind(due.id)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Takes a post down; its recipe and outputs stay for those who riffed on it. `false` if there is none.
    pub async fn unpublish(&self, job: &str, now: Millis) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE post SET deleted_at = ? WHERE job = ? AND deleted_at IS NULL")
            .bind(now)
            .bind(job)
            .execute(&self.write)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}
