//! The moderators' side: rules and acts of a community, and its log.

use super::Hub;
use crate::{
    admission::Refusal,
    community::{Act, AuditRow, Rules, tidy},
    job::{Job, State},
    seam::Millis,
    step,
    store::{Desk, Member},
};

/// Longest reason, in characters.
const MAX_REASON: usize = 500;
/// Longest blocked word, in characters.
const MAX_WORD: usize = 100;
/// Largest allowance or grant: a year of one device, in milliseconds.
const MAX_GPU_MS: i64 = 365 * super::DAY_MS;
/// Most lines of a log that are read at once.
const MAX_ROWS: i64 = 1_000;

impl Hub {
    /// Does what a moderator wants, and writes it into the community's log. Whether the moderator may is for the caller
    /// to know; a [`Act::Report`] is for everybody.
    ///
    /// # Errors
    /// [`Refusal::BadAct`] for an act that makes no sense, [`Refusal::Missing`] if it is about nothing that is there.
    pub async fn moderate(&self, moderator: &Member, community: &str, act: &Act) -> Result<(), Refusal> {
        let now = self.seam.now();
        check(act, now).map_err(Refusal::BadAct)?;
        let desk = Desk { actor: moderator, community, period: Self::period(now), now };
        let taken_down = self.store.moderate(desk, act).await?;
        step::done("moderated");
        tracing::info!(
            act = act.as_str(),
            subject = act.subject(),
            community,
            actor = moderator.id,
            "moderated"
        );
        for job in taken_down {
            self.taken_down(&job).await;
        }
        Ok(())
    }

    async fn taken_down(&self, job: &Job) {
        if job.state == State::Cancelled {
            self.ended(job).await;
        }
        self.gone(job);
    }

    /// A community's log, newest first, those lines before `before` where it is given.
    pub async fn audit(
        &self,
        community: &str,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, Refusal> {
        Ok(self.store.audit(community, before, limit.clamp(0, MAX_ROWS)).await?)
    }

    /// What holds in a community now.
    pub async fn rules(&self, community: &str) -> Result<Rules, Refusal> {
        Ok(self.store.rules(community, self.seam.now()).await?)
    }

    /// Whether this community was not guided yet; marks it in the same step.
    pub async fn first_visit(&self, community: &str, name: &str) -> Result<bool, Refusal> {
        let first = self.store.first_visit(community, name, self.seam.now()).await?;
        step::done("guided");
        Ok(first)
    }
}

/// What a moderator is told of an act that makes no sense.
fn check(act: &Act, now: Millis) -> Result<(), &'static str> {
    let fits = |reason: &str| reason.chars().count() <= MAX_REASON;
    match act {
        Act::Allow { gpu_ms: Some(ms), .. } if !(0..=MAX_GPU_MS).contains(ms) => {
            Err("An allowance is from 0 seconds to a year of GPU time: give another number.")
        }
        Act::Grant { gpu_ms, .. } if !(1..=MAX_GPU_MS).contains(gpu_ms) => {
            Err("A grant is more than 0 seconds and at most a year of GPU time: give another number.")
        }
        Act::TimeOut { until, .. } if *until <= now => {
            Err("A time-out ends in the future: give a later time, or lift the restriction instead.")
        }
        Act::Withhold { .. } => Err("Only the safety classifier withholds results: take it down instead."),
        Act::Ban { reason, .. } | Act::TimeOut { reason, .. } | Act::Report { reason, .. }
            if !fits(reason) =>
        {
            Err("The reason has more than 500 characters: shorten it.")
        }
        Act::Block { word } if tidy(word).is_empty() => {
            Err("There is no word to block: write the word that prompts must not have.")
        }
        Act::Block { word } if word.chars().count() > MAX_WORD => {
            Err("A blocked word has at most 100 characters: shorten it.")
        }
        _ => Ok(()),
    }
}
