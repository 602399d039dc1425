//! What moderators do, each act with its line in the log in one transaction.

use sqlx::{Sqlite, Transaction};

use super::{Member, Store, StoreError, finish, people};
use crate::{
    community::{Act, AuditRow, tidy},
    job::Job,
    seam::Millis,
};

type Tx<'a, 'c> = &'a mut Transaction<'c, Sqlite>;

/// Who acts where and when.
#[derive(Debug, Clone, Copy)]
pub struct Desk<'a> {
    /// Who acts.
    pub actor: &'a Member,
    /// The community.
    pub community: &'a str,
    /// The quota period of now.
    pub period: i64,
    /// Now.
    pub now: Millis,
}

impl Store {
    /// Does what a moderator wants and writes it into the log. Returns the jobs that were taken down by it: of a ban or a
    /// time-out, what the member has waiting there.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if it is about a job, channel or model that is not there.
    pub async fn moderate(&self, desk: Desk<'_>, act: &Act) -> Result<Vec<Job>, StoreError> {
        let mut tx = self.begin().await?;
        for member in [Some(desk.actor), act.member()].into_iter().flatten() {
            people::put_unknown(&mut tx, member, desk.now).await?;
        }
        let taken_down = apply(&mut tx, desk, act).await?;
        log(&mut tx, desk, act).await?;
        tx.commit().await?;
        Ok(taken_down)
    }

    /// A community's log, newest first, those before `before` where it is given.
    pub async fn audit(
        &self,
        community: &str,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT audit.id, who.name AS actor, act, COALESCE(person.name, subject) AS subject, detail, at
             FROM audit JOIN member AS who ON who.id = actor
             LEFT JOIN member AS person ON person.id = subject AND act IN ('grant', 'ban', 'unban', 'timeout')
             WHERE community = ? AND audit.id < ? ORDER BY audit.id DESC LIMIT ?",
        )
        .bind(community)
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        Ok(rows)
    }
}

async fn apply(tx: Tx<'_, '_>, desk: Desk<'_>, act: &Act) -> Result<Vec<Job>, StoreError> {
    let here = desk.community;
    match act {
        Act::Allow { role, gpu_ms } => allow(tx, here, role, *gpu_ms).await?,
        Act::Grant { member, gpu_ms } => grant(tx, desk, member, *gpu_ms).await?,
        Act::Ban { member, reason } => {
            restrict(tx, desk, member, None, reason).await?;
            return cancel_waiting(tx, desk, member).await;
        }
        Act::TimeOut { member, until, reason } => {
            restrict(tx, desk, member, Some(*until), reason).await?;
            return cancel_waiting(tx, desk, member).await;
        }
        Act::Unban { member } => {
            run(tx, "DELETE FROM restriction WHERE community = ? AND member = ?", &[here, &member.id])
                .await?;
        }
        Act::Block { word } => {
            run(tx, "INSERT OR IGNORE INTO blocked_word VALUES (?, ?)", &[here, &tidy(word)]).await?;
        }
        Act::Unblock { word } => {
            run(tx, "DELETE FROM blocked_word WHERE community = ? AND word = ?", &[here, &tidy(word)])
                .await?;
        }
        Act::PauseModel { model } => pause_model(tx, here, model).await?,
        Act::ResumeModel { model } => {
            run(tx, "DELETE FROM paused_model WHERE community = ? AND model = ?", &[here, model]).await?;
        }
        Act::PauseChannel { channel } => {
            let sql = "UPDATE channel SET paused = 1 WHERE community = ? AND id = ?";
            found(run(tx, sql, &[here, channel]).await?, || format!("channel “{channel}”"))?;
        }
        Act::ResumeChannel { channel } => {
            let sql = "UPDATE channel SET paused = 0 WHERE community = ? AND id = ?";
            found(run(tx, sql, &[here, channel]).await?, || format!("channel “{channel}”"))?;
        }
        Act::OpenChannels { channels } => {
            run(tx, "DELETE FROM open_channel WHERE community = ?", &[here]).await?;
            for channel in channels {
                run(tx, "INSERT OR IGNORE INTO open_channel VALUES (?, ?)", &[here, channel]).await?;
            }
        }
        Act::TakeDown { job } => return Ok(vec![take_down(tx, desk, job).await?]),
        Act::Withhold { job, .. } => {
            let job = job_here(tx, here, job).await?;
            return Ok(vec![finish::withhold(tx, &job, desk.now).await?]);
        }
        Act::Report { job, .. } => drop(job_here(tx, here, job).await?),
    }
    Ok(Vec::new())
}

/// A statement with nothing but text in it; returns the rows it changed.
async fn run(tx: Tx<'_, '_>, sql: &'static str, texts: &[&str]) -> Result<u64, StoreError> {
    let query = texts.iter().fold(sqlx::query(sql), |query, text| query.bind(*text));
    Ok(query.execute(&mut **tx).await?.rows_affected())
}

fn found(rows: u64, what: impl FnOnce() -> String) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::Missing(what())) } else { Ok(()) }
}

async fn allow(tx: Tx<'_, '_>, community: &str, role: &str, gpu_ms: Option<i64>) -> Result<(), StoreError> {
    run(tx, "DELETE FROM role_allowance WHERE community = ? AND role = ?", &[community, role]).await?;
    if let Some(gpu_ms) = gpu_ms {
        sqlx::query("INSERT INTO role_allowance (community, role, gpu_ms) VALUES (?, ?, ?)")
            .bind(community)
            .bind(role)
            .bind(gpu_ms)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn grant(tx: Tx<'_, '_>, desk: Desk<'_>, member: &Member, gpu_ms: i64) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO ledger (member, period, kind, gpu_ms, at) VALUES (?, ?, 'grant', ?, ?)")
        .bind(&member.id)
        .bind(desk.period)
        .bind(gpu_ms)
        .bind(desk.now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn restrict(
    tx: Tx<'_, '_>,
    desk: Desk<'_>,
    member: &Member,
    until: Option<Millis>,
    reason: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR REPLACE INTO restriction (community, member, kind, until, reason, at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(desk.community)
    .bind(&member.id)
    .bind(if until.is_some() { "timeout" } else { "ban" })
    .bind(until)
    .bind(reason)
    .bind(desk.now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn cancel_waiting(tx: Tx<'_, '_>, desk: Desk<'_>, member: &Member) -> Result<Vec<Job>, StoreError> {
    let waiting: Vec<Job> = sqlx::query_as(
        "SELECT job.* FROM job JOIN channel ON channel.id = job.channel
         WHERE job.member = ? AND community = ? AND state IN ('queued', 'leased', 'running')",
    )
    .bind(&member.id)
    .bind(desk.community)
    .fetch_all(&mut **tx)
    .await?;
    let mut cancelled = Vec::new();
    for job in waiting {
        cancelled.push(finish::cancel(tx, &job, desk.now).await?);
    }
    Ok(cancelled)
}

async fn pause_model(tx: Tx<'_, '_>, community: &str, model: &str) -> Result<(), StoreError> {
    let known: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM model WHERE name = ?")
        .bind(model)
        .fetch_one(&mut **tx)
        .await?;
    found(known as u64, || format!("model “{model}”"))?;
    run(tx, "INSERT OR IGNORE INTO paused_model VALUES (?, ?)", &[community, model]).await?;
    Ok(())
}

async fn job_here(tx: Tx<'_, '_>, community: &str, job: &str) -> Result<Job, StoreError> {
    sqlx::query_as(
        "SELECT job.* FROM job JOIN channel ON channel.id = job.channel WHERE job.id = ? AND community = ?",
    )
    .bind(job)
    .bind(community)
    .fetch_optional(&mut **tx)
    .await?
    .ok_or_else(|| StoreError::Missing(format!("job “{job}”")))
}

/// From now on its member alone sees it. What has not ended is cancelled; what was to be posted is not.
async fn take_down(tx: Tx<'_, '_>, desk: Desk<'_>, job: &str) -> Result<Job, StoreError> {
    let job = job_here(tx, desk.community, job).await?;
    if !job.state.is_final() {
        finish::cancel(tx, &job, desk.now).await?;
    }
    for sql in [
        "UPDATE post SET deleted_at = ? WHERE job = ? AND deleted_at IS NULL",
        "UPDATE outbox SET delivered_at = ? WHERE job = ? AND delivered_at IS NULL",
    ] {
        sqlx::query(sql).bind(desk.now).bind(&job.id).execute(&mut **tx).await?;
    }
    let job = sqlx::query_as("UPDATE job SET private = 1 WHERE id = ? RETURNING *")
        .bind(&job.id)
        .fetch_one(&mut **tx)
        .await?;
    Ok(job)
}

/// A member's second report of the same job adds nothing.
async fn log(tx: Tx<'_, '_>, desk: Desk<'_>, act: &Act) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (community, actor, act, subject, detail, at) SELECT ?1, ?2, ?3, ?4, ?5, ?6
         WHERE ?3 <> 'report' OR NOT EXISTS
             (SELECT 1 FROM audit WHERE community = ?1 AND actor = ?2 AND act = ?3 AND subject = ?4)",
    )
    .bind(desk.community)
    .bind(&desk.actor.id)
    .bind(act.as_str())
    .bind(act.subject())
    .bind(act.detail())
    .bind(desk.now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
