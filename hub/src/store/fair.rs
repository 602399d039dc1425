//! Keeping the tags of the fair queue (see [`crate::fair`]) to the crowd of now.

use super::{
    Store, StoreError,
    db::{Texts, execute, on, optional},
    turn,
};
use crate::fair;

/// A flow, how it stands to the crowd of its community.
#[derive(sqlx::FromRow)]
struct Standing {
    community: String,
    virtual_time: i64,
    /// The crowd by which its tags were made.
    crowd: f64,
    /// The crowd of now.
    now: f64,
}

impl Standing {
    /// By how much its tags are to be stretched, if the crowd has changed much since they were made.
    fn drift(&self) -> Option<f64> {
        fair::drift(self.crowd, self.now)
    }
}

const STANDING: &str = "
    SELECT flow.community, virtual_time, flow.crowd,
           flow.weight + (SELECT COALESCE(SUM(other.weight), 0.0) FROM flow AS other
                          WHERE other.community = flow.community AND other.last_start > virtual_time
                            AND other.member <> flow.member) AS now
    FROM fairness, channel JOIN flow ON flow.community = channel.community AND flow.member = $1
    WHERE channel.id = $2 AND flow.last_start > virtual_time";

const STRETCH: Texts = Texts {
    sqlite: "
    UPDATE job SET start_tag = $1 + CAST((start_tag - $1) * $2 AS INTEGER),
                   finish_tag = $1 + CAST((finish_tag - $1) * $2 AS INTEGER)
        WHERE member = $3 AND state = 'queued' AND start_tag > $1
          AND channel IN (SELECT id FROM channel WHERE community = $4);
    UPDATE flow SET last_start = $1 + CAST((last_start - $1) * $2 AS INTEGER),
                    last_finish = $1 + CAST((last_finish - $1) * $2 AS INTEGER), crowd = $5
        WHERE community = $4 AND member = $3",
    postgres: "
    WITH later AS (
        UPDATE job SET start_tag = $1 + CAST(TRUNC((start_tag - $1) * $2) AS BIGINT),
                       finish_tag = $1 + CAST(TRUNC((finish_tag - $1) * $2) AS BIGINT)
        WHERE member = $3 AND state = 'queued' AND start_tag > $1
          AND channel IN (SELECT id FROM channel WHERE community = $4)
    )
    UPDATE flow SET last_start = $1 + CAST(TRUNC((last_start - $1) * $2) AS BIGINT),
                    last_finish = $1 + CAST(TRUNC((last_finish - $1) * $2) AS BIGINT), crowd = $5
        WHERE community = $4 AND member = $3",
};

impl Store {
    /// Makes the tags of a flow anew for today's crowd, if it has changed much since they were made. Called after a job of it
    /// was put into service: by then virtual time is that job's start tag. A step of its own, because it takes the member's
    /// turn, which a lease does not wait for.
    pub(super) async fn keep_up(&self, member: &str, channel: &str) -> Result<(), StoreError> {
        let looked: Option<Standing> = optional!(self.read, STANDING, member, channel)?;
        if looked.and_then(|standing| standing.drift()).is_none() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        turn::of_member(&mut tx, member).await?;
        let found: Option<Standing> = optional!(tx, STANDING, member, channel)?;
        if let Some(standing) = found
            && let Some(by) = standing.drift()
        {
            execute!(tx, STRETCH, standing.virtual_time, by, member, &standing.community, standing.now)?;
        }
        tx.commit().await
    }
}
