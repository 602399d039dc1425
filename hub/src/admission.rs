//! Who may ask for what, and the sentence for whom it is refused.

use std::{num::NonZeroU32, sync::Arc};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::{
    blobs::BlobError,
    media::BadMedia,
    prompt::BadPrompt,
    riff::BadRiff,
    schema::BadInput,
    seam::{Millis, utc},
    store::StoreError,
};

/// Prompts a minute, and how many of them at once.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Refill, per minute.
    pub per_minute: NonZeroU32,
    /// Bucket size.
    pub burst: NonZeroU32,
}

/// Rate limits per member and per channel.
pub struct Rates {
    member: Arc<DefaultKeyedRateLimiter<String>>,
    channel: Arc<DefaultKeyedRateLimiter<String>>,
}

impl Rates {
    /// Two limiters with empty histories.
    pub fn new(member: Rate, channel: Rate) -> Self {
        let keyed = |rate: Rate| {
            let quota = Quota::per_minute(rate.per_minute).allow_burst(rate.burst);
            Arc::new(RateLimiter::keyed(quota))
        };
        Self { member: keyed(member), channel: keyed(channel) }
    }

    /// Counts one prompt against both.
    pub fn check(&self, member: &str, channel: &str) -> Result<(), Refusal> {
        let now = DefaultClock::default().now();
        let seconds = |wait: std::time::Duration| wait.as_secs_f64().ceil() as u64;
        if let Err(until) = self.member.check_key(&member.to_owned()) {
            let wait_s = seconds(until.wait_time_from(now)).max(1);
            return Err(Refusal::TooFast { wait_s });
        }
        if let Err(until) = self.channel.check_key(&channel.to_owned()) {
            let wait_s = seconds(until.wait_time_from(now)).max(1);
            return Err(Refusal::ChannelTooFast { wait_s });
        }
        Ok(())
    }

    /// Forgets members and channels whose buckets are full again.
    pub fn forget_idle(&self) {
        self.member.retain_recent();
        self.channel.retain_recent();
    }
}

/// Why something was not done, as a sentence for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Banned or timed out.
    #[error("{}", shut_out(*.until, .reason))]
    Restricted {
        /// Until when; for good where there is nothing.
        until: Option<Millis>,
        /// Why, as the moderator wrote it.
        reason: String,
    },
    /// A channel that a moderator paused.
    #[error("A moderator paused this channel: try again later{elsewhere}.")]
    PausedChannel {
        /// `, or in art, sketches`, or nothing.
        elsewhere: String,
    },
    /// A channel that takes no prompts.
    #[error("This channel takes no prompts: ask in {open}.")]
    ClosedChannel {
        /// `art, sketches`.
        open: String,
    },
    /// A model that a moderator paused.
    #[error("A moderator paused the model {model} here: try again later, or name another one with --model.")]
    PausedModel {
        /// Its name.
        model: String,
    },
    /// A model for adults elsewhere.
    #[error(
        "The model {model} is there only in age-restricted channels: ask in one, or name another model with --model."
    )]
    MatureModel {
        /// Its name.
        model: String,
    },
    /// No present model takes a picture and answers with text.
    #[error("No model that reads pictures is here yet: an operator has to start a worker that serves one.")]
    NoReader,
    /// No present model takes sound and answers with text.
    #[error("No model that listens is here yet: an operator has to start a worker that serves one.")]
    NoListener,
    /// No present model enlarges pictures.
    #[error("No upscaler is here: an operator has to start a worker that serves one.")]
    NoUpscaler,
    /// A picture from elsewhere.
    #[error("This picture can't be used: {0}.")]
    Picture(#[source] BadMedia),
    /// Sound from elsewhere.
    #[error("This sound can't be used: {0}.")]
    Sound(#[source] BadMedia),
    /// A picture that the classifier flags, outside age-restricted channels.
    #[error(
        "The picture {picture} can't be used here, because a classifier takes it for nudity: ask in an age-restricted \
         channel, or use another picture."
    )]
    FlaggedPicture {
        /// The beginning of its id.
        picture: String,
    },
    /// A moderator's act that makes no sense.
    #[error("{0}")]
    BadAct(&'static str),
    /// Rate limit of the member.
    #[error("That was a lot of prompts at once: try again in {wait_s} s.")]
    TooFast {
        /// Seconds until the next is accepted.
        wait_s: u64,
    },
    /// Rate limit of the channel.
    #[error("This channel is very busy: try again in {wait_s} s, or in another channel.")]
    ChannelTooFast {
        /// Seconds until the next is accepted.
        wait_s: u64,
    },
    /// A word of the community's blocklist.
    #[error("This community does not allow “{word}” in prompts: leave it out and try again.")]
    BlockedWord {
        /// The word.
        word: String,
    },
    /// The prompt or its flags.
    #[error("{0}")]
    Prompt(#[from] BadPrompt),
    /// The settings.
    #[error("{0}")]
    Input(#[from] BadInput),
    /// The riff.
    #[error("{0}")]
    Riff(#[from] BadRiff),
    /// A dropped file.
    #[error("{0}")]
    Media(#[from] BadMedia),
    /// No such model.
    #[error("There is no model “{wanted}”{nearest}.")]
    NoSuchModel {
        /// What was asked for.
        wanted: String,
        /// `: did you mean “abstract”? These are here: …`, or what to do where there is none.
        nearest: String,
    },
    /// No worker ever announced a model of that kind.
    #[error("No model for {command} is here yet: an operator has to start a worker that serves one.")]
    NoModel {
        /// `/imagine` or `/ask`.
        command: &'static str,
    },
    /// The daily allowance.
    #[error(
        "This needs about {needed_s:.1} GPU-seconds and you have {left_s:.1} left today. The allowance is filled up again in {hours} h{smaller}."
    )]
    Quota {
        /// Estimate of what was asked for.
        needed_s: f64,
        /// What is left.
        left_s: f64,
        /// Hours until the next period.
        hours: i64,
        /// `; a smaller size, fewer steps or a smaller --n costs less`, where that could help.
        smaller: &'static str,
    },
    /// Too many unfinished jobs.
    #[error(
        "You already have {waiting} prompts waiting: let some of them finish, or cancel some, and try again."
    )]
    TooManyWaiting {
        /// How many.
        waiting: i64,
    },
    /// Too many unfinished jobs of everybody.
    #[error(
        "Riff has as much to do as it can take: {waiting} prompts are waiting. Nothing was queued; try again in a few minutes."
    )]
    Overloaded {
        /// How many.
        waiting: i64,
    },
    /// Too many unfinished jobs of a community.
    #[error(
        "{waiting} prompts are waiting in this community, as many as it may have: let some of them finish, and try again in a minute."
    )]
    CommunityOverloaded {
        /// How many.
        waiting: i64,
    },
    /// No such thing.
    #[error("There is no {0} here.")]
    Missing(String),
    /// A display name that is empty, too long or not printable.
    #[error("Pick a name of 1 to 32 characters.")]
    BadName,
    /// Somebody else's.
    #[error("Only {owner} can {what} this.")]
    NotYours {
        /// Whose it is.
        owner: String,
        /// `cancel` or `delete`.
        what: &'static str,
    },
    /// Too late.
    #[error("This is already {state}, so it can't be cancelled any more.")]
    TooLate {
        /// How it ended.
        state: &'static str,
    },
    /// The store cannot take it now; nothing was half done.
    #[error("Riff can't take this right now because {0}. Nothing was lost; try again in a moment.")]
    Unavailable(String),
}

impl Refusal {
    /// A short stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Restricted { .. } => "restricted",
            Self::PausedChannel { .. } | Self::ClosedChannel { .. } => "channel-closed",
            Self::PausedModel { .. } => "model-paused",
            Self::MatureModel { .. } => "model-mature",
            Self::BadAct(_) => "bad-act",
            Self::TooFast { .. } | Self::ChannelTooFast { .. } => "rate-limited",
            Self::BlockedWord { .. } => "blocked-word",
            Self::Prompt(_) => "bad-prompt",
            Self::Input(_) => "bad-input",
            Self::Riff(_) => "bad-riff",
            Self::Media(_) | Self::Picture(_) | Self::Sound(_) => "bad-media",
            Self::FlaggedPicture { .. } => "flagged-picture",
            Self::NoSuchModel { .. }
            | Self::NoModel { .. }
            | Self::NoReader
            | Self::NoListener
            | Self::NoUpscaler => "no-such-model",
            Self::Quota { .. } => "quota-exceeded",
            Self::TooManyWaiting { .. } => "too-many-waiting",
            Self::Overloaded { .. } | Self::CommunityOverloaded { .. } => "overloaded",
            Self::Missing(_) => "not-found",
            Self::BadName => "bad-name",
            Self::NotYours { .. } => "not-yours",
            Self::TooLate { .. } => "too-late",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// Seconds after which the same request may be accepted, where that is known.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooFast { wait_s } | Self::ChannelTooFast { wait_s } => Some(*wait_s),
            Self::Overloaded { .. } | Self::CommunityOverloaded { .. } => Some(60),
            Self::Unavailable(_) => Some(2),
            _ => None,
        }
    }
}

fn shut_out(until: Option<Millis>, reason: &str) -> String {
    let until = until.map_or_else(String::new, |at| format!(" until {}", utc(at)));
    match reason.trim().trim_end_matches('.') {
        "" => format!("You can't prompt here{until}: a moderator decided so. Ask one if that is a mistake."),
        reason => {
            format!("You can't prompt here{until}, because: {reason}. Ask a moderator if that is a mistake.")
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooManyWaiting { waiting } => Self::TooManyWaiting { waiting },
            StoreError::Missing(what) => Self::Missing(what),
            StoreError::IllegalTransition { found, .. } => Self::TooLate { state: found },
            StoreError::Locked | StoreError::DiskFull => Self::Unavailable(error.to_string()),
            other => {
                tracing::error!(error = %other, "store failed");
                Self::Unavailable("its database failed; the operator finds why in the log".to_owned())
            }
        }
    }
}

impl From<BlobError> for Refusal {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Missing(name) => Self::Missing(format!("file {}", name.short())),
            other => {
                tracing::error!(error = %other, "blob store failed");
                Self::Unavailable(other.to_string())
            }
        }
    }
}

/// Words that a community does not want in prompts; whole words, case ignored.
pub struct Blocklist(Vec<String>);

impl Blocklist {
    /// From the settings.
    pub fn new(words: &[String]) -> Self {
        Self(words.iter().map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty()).collect())
    }

    /// Refuses text that has one of the words.
    pub fn check(&self, text: &str) -> Result<(), Refusal> {
        let text = text.to_lowercase();
        let found = self.0.iter().find(|blocked| {
            text.match_indices(blocked.as_str()).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                let after = text[at + blocked.len()..].chars().next();
                let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                !inside(before) && !inside(after)
            })
        });
        match found {
            Some(word) => Err(Refusal::BlockedWord { word: word.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_words_are_whole_words() {
        let blocklist = Blocklist::new(&["gore".into(), "très vilain".into()]);
        assert!(blocklist.check("Gore everywhere").is_err());
        assert!(blocklist.check("un TRÈS VILAIN chat").is_err());
        assert!(blocklist.check("a gorest of forests").is_ok());
    }
}
