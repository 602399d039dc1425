//! What moderators do, each act with its line in the log in one transaction.

use super::{
    Member, Store, StoreError,
    db::{Tx, all, execute, on, one, optional, scalar},
    finish, outbox, people, turn,
};
use crate::{
    community::{Act, AuditRow, tidy},
    job::Job,
    seam::Millis,
};

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
        let rows = all!(
            self.read,
            "SELECT audit.id, who.name AS actor, act, COALESCE(person.name, subject) AS subject, detail, at
             FROM audit JOIN member AS who ON who.id = actor
             LEFT JOIN member AS person ON person.id = subject AND act IN ('grant', 'ban', 'unban', 'timeout')
             WHERE community = $1 AND audit.id < $2 ORDER BY audit.id DESC LIMIT $3",
            community,
            before.unwrap_or(i64::MAX),
            limit
        )?;
        Ok(rows)
    }
}

async fn apply(tx: &mut Tx, desk: Desk<'_>, act: &Act) -> Result<Vec<Job>, StoreError> {
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
            execute!(tx, "DELETE FROM restriction WHERE community = $1 AND member = $2", here, &member.id)?;
        }
        Act::Block { word } => {
            execute!(
                tx,
                "INSERT INTO blocked_word VALUES ($1, $2) ON CONFLICT DO NOTHING",
                here,
                &tidy(word)
            )?;
        }
        Act::Unblock { word } => {
            execute!(tx, "DELETE FROM blocked_word WHERE community = $1 AND word = $2", here, &tidy(word))?;
        }
        Act::PauseModel { model } => pause_model(tx, here, model).await?,
        Act::ResumeModel { model } => {
            execute!(tx, "DELETE FROM paused_model WHERE community = $1 AND model = $2", here, model)?;
        }
        Act::PauseChannel { channel } => {
            let paused = execute!(
                tx,
                "UPDATE channel SET paused = TRUE WHERE community = $1 AND id = $2",
                here,
                channel
            )?;
            found(paused, || format!("channel “{channel}”"))?;
        }
        Act::ResumeChannel { channel } => {
            let paused = execute!(
                tx,
                "UPDATE channel SET paused = FALSE WHERE community = $1 AND id = $2",
                here,
                channel
            )?;
            found(paused, || format!("channel “{channel}”"))?;
        }
        Act::OpenChannels { channels } => {
            execute!(tx, "DELETE FROM open_channel WHERE community = $1", here)?;
            for channel in channels {
                execute!(
                    tx,
                    "INSERT INTO open_channel VALUES ($1, $2) ON CONFLICT DO NOTHING",
                    here,
                    channel
                )?;
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

fn found(rows: u64, what: impl FnOnce() -> String) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::Missing(what())) } else { Ok(()) }
}

async fn allow(tx: &mut Tx, community: &str, role: &str, gpu_ms: Option<i64>) -> Result<(), StoreError> {
    execute!(tx, "DELETE FROM role_allowance WHERE community = $1 AND role = $2", community, role)?;
    if let Some(gpu_ms) = gpu_ms {
        execute!(
            tx,
            "INSERT INTO role_allowance (community, role, gpu_ms) VALUES ($1, $2, $3)",
            community,
            role,
            gpu_ms
        )?;
    }
    Ok(())
}

async fn grant(tx: &mut Tx, desk: Desk<'_>, member: &Member, gpu_ms: i64) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO ledger (member, period, kind, gpu_ms, at) VALUES ($1, $2, 'grant', $3, $4)",
        &member.id,
        desk.period,
        gpu_ms,
        desk.now
    )?;
    Ok(())
}

async fn restrict(
    tx: &mut Tx,
    desk: Desk<'_>,
    member: &Member,
    until: Option<Millis>,
    reason: &str,
) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO restriction (community, member, kind, until, reason, at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (community, member, kind) DO UPDATE SET until = $4, reason = $5, at = $6",
        desk.community,
        &member.id,
        if until.is_some() { "timeout" } else { "ban" },
        until,
        reason,
        desk.now
    )?;
    Ok(())
}

async fn cancel_waiting(tx: &mut Tx, desk: Desk<'_>, member: &Member) -> Result<Vec<Job>, StoreError> {
    turn::of_members(tx, &[&member.id]).await?;
    let waiting: Vec<Job> = all!(
        tx,
        "SELECT job.* FROM job JOIN channel ON channel.id = job.channel
         WHERE job.member = $1 AND community = $2 AND state IN ('queued', 'leased', 'running')",
        &member.id,
        desk.community
    )?;
    let mut cancelled = Vec::new();
    for job in waiting {
        cancelled.push(finish::cancel(tx, &job, desk.now).await?);
    }
    Ok(cancelled)
}

async fn pause_model(tx: &mut Tx, community: &str, model: &str) -> Result<(), StoreError> {
    let known: i64 = scalar!(tx, "SELECT COUNT(*) FROM model WHERE name = $1", model)?;
    found(known as u64, || format!("model “{model}”"))?;
    execute!(tx, "INSERT INTO paused_model VALUES ($1, $2) ON CONFLICT DO NOTHING", community, model)?;
    Ok(())
}

async fn job_here(tx: &mut Tx, community: &str, job: &str) -> Result<Job, StoreError> {
    turn::of_jobs(tx, &[job]).await?;
    optional!(
        tx,
        "SELECT job.* FROM job JOIN channel ON channel.id = job.channel WHERE job.id = $1 AND community = $2",
        job,
        community
    )?
    .ok_or_else(|| StoreError::Missing(format!("job “{job}”")))
}

/// From now on its member alone sees it. What has not ended is cancelled; what was to be posted is not.
async fn take_down(tx: &mut Tx, desk: Desk<'_>, job: &str) -> Result<Job, StoreError> {
    let job = job_here(tx, desk.community, job).await?;
    if !job.state.is_final() {
        finish::cancel(tx, &job, desk.now).await?;
    }
    execute!(
        tx,
        "INSERT INTO post (job, channel, at, deleted_at)
             SELECT id, channel, $1, $1 FROM job WHERE id = $2 AND state <> 'cancelled'
         ON CONFLICT (job) DO UPDATE SET deleted_at = COALESCE(post.deleted_at, $1)",
        desk.now,
        &job.id
    )?;
    outbox::owe_removal(tx, &job.id, desk.now).await?;
    let job = one!(tx, "UPDATE job SET private = TRUE WHERE id = $1 RETURNING *", &job.id)?;
    Ok(job)
}

/// A member's second report of the same job adds nothing.
async fn log(tx: &mut Tx, desk: Desk<'_>, act: &Act) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO audit (community, actor, act, subject, detail, at) SELECT $1, $2, $3, $4, $5, $6
         WHERE $3 <> 'report' OR NOT EXISTS
             (SELECT 1 FROM audit WHERE community = $1 AND actor = $2 AND act = $3 AND subject = $4)",
        desk.community,
        &desk.actor.id,
        act.as_str(),
        act.subject(),
        act.detail(),
        desk.now
    )?;
    Ok(())
}
