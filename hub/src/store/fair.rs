//! Keeping the tags of the fair queue (see [`crate::fair`]) to the crowd of now.

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Texts, all, execute, on},
    list, turn,
};
use crate::{fair, job::Job};

/// A flow, how it stands to the crowd of its community.
#[derive(sqlx::FromRow)]
struct Standing {
    member: String,
    channel: String,
    community: String,
    virtual_time: i64,
    /// The crowd by which its tags were made.
    crowd: f64,
    /// The crowd of now.
    now: f64,
}

/// A flow whose tags are made anew.
#[derive(Serialize)]
struct Stretch<'a> {
    community: &'a str,
    member: &'a str,
    /// Tags from here on.
    after: i64,
    times: f64,
    crowd: f64,
}

impl Standing {
    /// By how much its tags are to be stretched, if the crowd has changed much since they were made.
    fn drift(&self) -> Option<f64> {
        fair::drift(self.crowd, self.now)
    }

    fn stretch(&self) -> Option<Stretch<'_>> {
        let Self { community, member, virtual_time, now, .. } = self;
        self.drift().map(|times| Stretch { community, member, after: *virtual_time, times, crowd: *now })
    }
}

/// Who was served, and where.
#[derive(Serialize)]
struct Served<'a> {
    member: &'a str,
    channel: &'a str,
}

const STANDINGS: &str = "
    WITH served AS MATERIALIZED (
        SELECT DISTINCT value ->> 'member' AS member, channel.id AS channel, community
        FROM json_each($1) JOIN channel ON channel.id = value ->> 'channel'
    ), crowds AS MATERIALIZED (
        SELECT community, (SELECT SUM(flow.weight) FROM flow, fairness
                           WHERE flow.community = own.community AND last_start > virtual_time) AS now
        FROM (SELECT DISTINCT community FROM served) AS own
    )
    SELECT served.member, served.channel, served.community, virtual_time, flow.crowd, crowds.now
    FROM fairness, served JOIN crowds ON crowds.community = served.community
    JOIN flow ON flow.community = served.community AND flow.member = served.member
    WHERE flow.last_start > virtual_time";

const STRETCH: Texts = Texts {
    sqlite: "
    UPDATE job SET start_tag = (value ->> 'after') + CAST((start_tag - (value ->> 'after')) * (value ->> 'times') AS INTEGER),
                   finish_tag = (value ->> 'after') + CAST((finish_tag - (value ->> 'after')) * (value ->> 'times') AS INTEGER)
        FROM json_each($1)
        WHERE member = value ->> 'member' AND state = 'queued' AND start_tag > value ->> 'after'
          AND channel IN (SELECT channel.id FROM channel WHERE community = value ->> 'community');
    UPDATE flow SET last_start = (value ->> 'after') + CAST((last_start - (value ->> 'after')) * (value ->> 'times') AS INTEGER),
                    last_finish = (value ->> 'after') + CAST((last_finish - (value ->> 'after')) * (value ->> 'times') AS INTEGER),
                    crowd = value ->> 'crowd'
        FROM json_each($1) WHERE community = value ->> 'community' AND member = value ->> 'member'",
    postgres: "
    WITH new AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST($1 AS JSON))
            AS t (community TEXT, member TEXT, after BIGINT, times DOUBLE PRECISION, crowd DOUBLE PRECISION)
    ), later AS (
        UPDATE job SET start_tag = after + CAST(TRUNC((start_tag - after) * times) AS BIGINT),
                       finish_tag = after + CAST(TRUNC((finish_tag - after) * times) AS BIGINT)
        FROM new
        WHERE job.member = new.member AND state = 'queued' AND start_tag > after
          AND channel IN (SELECT id FROM channel WHERE channel.community = new.community)
    )
    UPDATE flow SET last_start = after + CAST(TRUNC((last_start - after) * times) AS BIGINT),
                    last_finish = after + CAST(TRUNC((last_finish - after) * times) AS BIGINT), crowd = new.crowd
    FROM new WHERE flow.community = new.community AND flow.member = new.member",
};

impl Store {
    /// Makes the tags of flows anew for today's crowd, where it has changed much since they were made. Called after jobs of theirs
    /// were put into service: by then virtual time is the start tag of one. A step of its own, because it takes the members'
    /// turns, which a lease does not wait for.
    pub(super) async fn keep_up(&self, served: impl Iterator<Item = &Job>) -> Result<(), StoreError> {
        let served: Vec<Served> =
            served.map(|job| Served { member: &job.member, channel: &job.channel }).collect();
        if served.is_empty() {
            return Ok(());
        }
        let mut looked: Vec<Standing> = all!(self.read, STANDINGS, list(served))?;
        looked.retain(|standing| standing.drift().is_some());
        if looked.is_empty() {
            return Ok(());
        }
        let served =
            looked.iter().map(|standing| Served { member: &standing.member, channel: &standing.channel });
        let members: Vec<&str> = looked.iter().map(|standing| standing.member.as_str()).collect();
        let mut tx = self.begin().await?;
        turn::of_members(&mut tx, &members).await?;
        let mut found: Vec<Standing> = all!(tx, STANDINGS, list(served))?;
        // Several channels of a community are one flow.
        found.sort_by(|a, b| (&a.community, &a.member).cmp(&(&b.community, &b.member)));
        found.dedup_by(|a, b| a.community == b.community && a.member == b.member);
        execute!(tx, STRETCH, list(found.iter().filter_map(Standing::stretch)))?;
        tx.commit().await
    }
}
