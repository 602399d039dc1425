//! Communities: their rooms and what holds in them.

use super::{
    Member, Store, StoreError,
    db::{all, execute, on, optional, scalar, scalars},
    people,
};
use crate::{
    community::{Restriction, Room, Rules},
    seam::Millis,
};

/// A channel as admission sees it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Ground {
    /// The channel's community.
    pub community: String,
    /// Whether only adults are there.
    pub mature: bool,
    /// Whether a moderator paused it.
    pub paused: bool,
    /// Whether it is one of those that take prompts.
    pub open: bool,
    /// Words that the community blocks.
    #[sqlx(json)]
    pub blocked_words: Vec<String>,
    /// Names of models that the community paused.
    #[sqlx(json)]
    pub paused_models: Vec<String>,
    /// Whether the member is shut out of the community now.
    pub restricted: bool,
    /// Flags that the member wants where a line leaves them open.
    pub defaults: String,
}

impl Store {
    /// Takes in a member and a room as a surface knows them.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if another surface has a channel of that id.
    pub async fn enter(
        &self,
        who: Option<&Member>,
        room: Option<&Room>,
        now: Millis,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        if let Some(member) = who {
            people::put(&mut tx, member, now).await?;
        }
        if let Some(room) = room {
            execute!(
                tx,
                "INSERT INTO community (id, name, created_at) VALUES ($1, $2, $3)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                &room.community,
                &room.community_name,
                now
            )?;
            let put = execute!(
                tx,
                "INSERT INTO channel (id, title, topic, position, surface, community, mature)
                 VALUES ($1, $2, '', -1, $3, $4, $5)
                 ON CONFLICT (id) DO UPDATE SET title = excluded.title, community = excluded.community,
                     mature = excluded.mature WHERE channel.surface = excluded.surface",
                &room.id,
                &room.title,
                &room.surface,
                &room.community,
                room.mature
            )?;
            if put == 0 {
                return Err(StoreError::Missing(format!("channel “{}” on {}", room.id, room.surface)));
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Marks a community as guided; `true` if it was not. A community that is not there is made.
    pub async fn first_visit(&self, community: &str, name: &str, now: Millis) -> Result<bool, StoreError> {
        let marked = execute!(
            self.write,
            "INSERT INTO community (id, name, created_at, guided_at) VALUES ($1, $2, $3, $3)
             ON CONFLICT (id) DO UPDATE SET guided_at = $3 WHERE community.guided_at IS NULL",
            community,
            name,
            now
        )?;
        Ok(marked > 0)
    }

    /// A channel as admission sees it, for a member where there is one; nothing for a channel that is not there (any more).
    pub async fn ground(
        &self,
        channel: &str,
        who: Option<&Member>,
        now: Millis,
    ) -> Result<Option<Ground>, StoreError> {
        let ground = optional!(
            self.read,
            "SELECT community, mature, paused,
                    NOT EXISTS (SELECT 1 FROM open_channel AS o WHERE o.community = c.community)
                    OR EXISTS (SELECT 1 FROM open_channel AS o WHERE o.community = c.community AND o.channel = c.id)
                        AS open,
                    (SELECT json_group_array(word) FROM blocked_word AS b WHERE b.community = c.community)
                        AS blocked_words,
                    (SELECT json_group_array(model) FROM paused_model AS p WHERE p.community = c.community)
                        AS paused_models,
                    EXISTS (SELECT 1 FROM restriction AS r WHERE r.community = c.community AND r.member = $2
                            AND (until IS NULL OR until > $3)) AS restricted,
                    COALESCE(defaults, '') AS defaults
             FROM channel AS c LEFT JOIN preference ON preference.member = $2
             WHERE id = $1 AND (position >= 0 OR surface <> 'web')",
            channel,
            who.map(|who| &who.id),
            now
        )?;
        Ok(ground)
    }

    /// Names of channels that a moderator opened and that take prompts, at most five.
    pub async fn open_titles(&self, community: &str) -> Result<Vec<String>, StoreError> {
        let titles = scalars!(
            self.read,
            "SELECT COALESCE(title, o.channel) FROM open_channel AS o LEFT JOIN channel ON channel.id = o.channel
             WHERE o.community = $1 AND NOT COALESCE(paused, FALSE) ORDER BY 1 LIMIT 5",
            community
        )?;
        Ok(titles)
    }

    /// What shuts a member out of a community now, or out of any if none is named; a ban before a time-out.
    pub async fn restriction(
        &self,
        community: Option<&str>,
        who: &Member,
        now: Millis,
    ) -> Result<Option<Restriction>, StoreError> {
        let row: Option<(Option<Millis>, String)> = optional!(
            self.read,
            "SELECT until, reason FROM restriction
             WHERE ($1 IS NULL OR community = $1) AND member = $2 AND (until IS NULL OR until > $3)
             ORDER BY kind LIMIT 1",
            community,
            &who.id,
            now
        )?;
        Ok(row.map(|(until, reason)| Restriction { member: who.clone(), until, reason }))
    }

    /// The largest allowance that a community gives to one of these roles, in milliseconds of the device.
    pub async fn role_allowance(&self, community: &str, roles: &[String]) -> Result<Option<i64>, StoreError> {
        if roles.is_empty() {
            return Ok(None);
        }
        let largest = scalar!(
            self.read,
            "SELECT MAX(gpu_ms) FROM role_allowance
             WHERE community = $1 AND role IN (SELECT value FROM json_each($2))",
            community,
            super::list(roles)
        )?;
        Ok(largest)
    }

    /// What was granted to a member in a period.
    pub async fn granted(&self, member: &str, period: i64) -> Result<i64, StoreError> {
        let sum = scalar!(
            self.read,
            "SELECT CAST(COALESCE(SUM(gpu_ms), 0) AS BIGINT) FROM ledger WHERE member = $1 AND period = $2 AND kind = 'grant'",
            member,
            period
        )?;
        Ok(sum)
    }

    /// Words that a community blocks.
    pub async fn blocked_words(&self, community: &str) -> Result<Vec<String>, StoreError> {
        self.listed("SELECT word FROM blocked_word WHERE community = $1 ORDER BY word", community).await
    }

    /// Names of models that a community paused.
    pub async fn paused_models(&self, community: &str) -> Result<Vec<String>, StoreError> {
        self.listed("SELECT model FROM paused_model WHERE community = $1 ORDER BY model", community).await
    }

    /// Everything that holds in a community now.
    pub async fn rules(&self, community: &str, now: Millis) -> Result<Rules, StoreError> {
        let allowances = all!(
            self.read,
            "SELECT role, gpu_ms FROM role_allowance WHERE community = $1 ORDER BY role",
            community
        )?;
        Ok(Rules {
            allowances,
            blocked_words: self.blocked_words(community).await?,
            paused_models: self.paused_models(community).await?,
            paused_channels: self
                .listed("SELECT id FROM channel WHERE community = $1 AND paused ORDER BY id", community)
                .await?,
            open_channels: self
                .listed("SELECT channel FROM open_channel WHERE community = $1 ORDER BY channel", community)
                .await?,
            restricted: self.restricted(community, now).await?,
        })
    }

    async fn restricted(&self, community: &str, now: Millis) -> Result<Vec<Restriction>, StoreError> {
        let rows: Vec<(String, String, Option<Millis>, String)> = all!(
            self.read,
            "SELECT member.id, member.name, until, reason FROM restriction JOIN member ON member.id = member
             WHERE community = $1 AND (until IS NULL OR until > $2) ORDER BY at DESC, member.id, kind",
            community,
            now
        )?;
        let restriction =
            |(id, name, until, reason)| Restriction { member: Member { id, name }, until, reason };
        Ok(rows.into_iter().map(restriction).collect())
    }

    async fn listed(&self, sql: &'static str, community: &str) -> Result<Vec<String>, StoreError> {
        Ok(scalars!(self.read, sql, community)?)
    }
}
