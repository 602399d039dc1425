//! What a chat community is to the hub: its rooms, the rules that its moderators set, the acts they set them with, and
//! what its members prefer. Plain values; the store keeps them and the hub goes by them.

use crate::{
    seam::{Millis, utc},
    store::Member,
};

/// The community of the web channels.
pub const WEB: &str = "web";

/// A place where people prompt, as a surface knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The channel's id, unique among all surfaces.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// The surface that posts there.
    pub surface: String,
    /// The community's id.
    pub community: String,
    /// The community's name for people.
    pub community_name: String,
    /// Whether the surface lets only adults in.
    pub mature: bool,
}

/// Whether buttons that make variations ask for an edited prompt first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Remix {
    /// They run at once.
    #[default]
    Off,
    /// They ask first.
    On,
}

/// What a member wants of every prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    /// Flags that are added where a line does not give them, such as `--ar 3:2 --model abstract`.
    pub defaults: String,
    /// Whether to edit before varying.
    pub remix: Remix,
}

/// What is left of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Left, in milliseconds of the device; never negative.
    pub left_ms: i64,
    /// All of today: the allowance and what was granted.
    pub of_ms: i64,
}

/// What a moderator does. Whoever calls knows that the actor may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Gives everybody with a role an allowance a day; nothing takes it away.
    Allow {
        /// The role's id.
        role: String,
        /// Milliseconds of the device a day.
        gpu_ms: Option<i64>,
    },
    /// Gives a member more for today.
    Grant {
        /// Who.
        member: Member,
        /// Milliseconds of the device; more than 0.
        gpu_ms: i64,
    },
    /// Shuts a member out.
    Ban {
        /// Who.
        member: Member,
        /// Why, for the member.
        reason: String,
    },
    /// Ends a member's ban and time-out.
    Unban {
        /// Who.
        member: Member,
    },
    /// Shuts a member out for a while.
    TimeOut {
        /// Who.
        member: Member,
        /// Until when.
        until: Millis,
        /// Why, for the member.
        reason: String,
    },
    /// Refuses prompts with a word.
    Block {
        /// The word, or several.
        word: String,
    },
    /// Takes prompts with a word again.
    Unblock {
        /// The word, or several.
        word: String,
    },
    /// Takes no prompts for a model.
    PauseModel {
        /// Its name.
        model: String,
    },
    /// Takes prompts for a model again.
    ResumeModel {
        /// Its name.
        model: String,
    },
    /// Takes no prompts in a channel.
    PauseChannel {
        /// Its id.
        channel: String,
    },
    /// Takes prompts in a channel again.
    ResumeChannel {
        /// Its id.
        channel: String,
    },
    /// Takes prompts in these channels alone; in all where there is none.
    OpenChannels {
        /// Their ids.
        channels: Vec<String>,
    },
    /// Takes a result out of sight, and cancels the job if it has not ended.
    TakeDown {
        /// The job.
        job: String,
    },
    /// Ends a job whose results the safety classifier flags, and shows them to nobody. The hub alone does it.
    Withhold {
        /// The job.
        job: String,
        /// What was seen.
        found: String,
    },
    /// Tells the moderators of a result: what every member may do. It only goes into the log.
    Report {
        /// The job.
        job: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Act {
    /// The word for it, as the log has it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Grant { .. } => "grant",
            Self::Ban { .. } => "ban",
            Self::Unban { .. } => "unban",
            Self::TimeOut { .. } => "timeout",
            Self::Block { .. } => "block",
            Self::Unblock { .. } => "unblock",
            Self::PauseModel { .. } => "pause-model",
            Self::ResumeModel { .. } => "resume-model",
            Self::PauseChannel { .. } => "pause-channel",
            Self::ResumeChannel { .. } => "resume-channel",
            Self::OpenChannels { .. } => "open-channels",
            Self::TakeDown { .. } => "take-down",
            Self::Withhold { .. } => "withhold",
            Self::Report { .. } => "report",
        }
    }

    /// Whom or what it is about: an id or a word.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Allow { role, .. } => role.clone(),
            Self::Grant { member, .. }
            | Self::Ban { member, .. }
            | Self::Unban { member }
            | Self::TimeOut { member, .. } => member.id.clone(),
            Self::Block { word } | Self::Unblock { word } => tidy(word),
            Self::PauseModel { model } | Self::ResumeModel { model } => model.clone(),
            Self::PauseChannel { channel } | Self::ResumeChannel { channel } => channel.clone(),
            Self::OpenChannels { channels } => channels.join(" "),
            Self::TakeDown { job } | Self::Withhold { job, .. } | Self::Report { job, .. } => job.clone(),
        }
    }

    /// The rest of it, for people.
    pub(crate) fn detail(&self) -> String {
        let seconds = |ms: i64| format!("{} GPU-seconds", ms as f64 / 1_000.0);
        match self {
            Self::Allow { gpu_ms: Some(ms), .. } => format!("{} a day", seconds(*ms)),
            Self::Allow { gpu_ms: None, .. } => "removed".to_owned(),
            Self::Grant { gpu_ms, .. } => seconds(*gpu_ms),
            Self::Ban { reason, .. } | Self::Report { reason, .. } => reason.clone(),
            Self::Withhold { found, .. } => found.clone(),
            Self::TimeOut { until, reason, .. } => {
                format!("until {}: {reason}", utc(*until)).trim_end_matches([':', ' ']).to_owned()
            }
            _ => String::new(),
        }
    }

    /// The member it is about, where it is about one.
    pub(crate) fn member(&self) -> Option<&Member> {
        match self {
            Self::Grant { member, .. }
            | Self::Ban { member, .. }
            | Self::Unban { member }
            | Self::TimeOut { member, .. } => Some(member),
            _ => None,
        }
    }
}

/// A blocked word as it is compared: small letters, nothing around it.
pub(crate) fn tidy(word: &str) -> String {
    word.trim().to_lowercase()
}

/// One line of a community's log.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditRow {
    /// Grows with every act: the key to page by.
    pub id: i64,
    /// The name of who did it.
    pub actor: String,
    /// [`Act::as_str`].
    pub act: String,
    /// Whom or what it was about: a member's name, or a word or id.
    pub subject: String,
    /// The rest of it: a reason, an amount.
    pub detail: String,
    /// When.
    pub at: Millis,
}

/// What holds in a community now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Roles with their milliseconds of the device a day.
    pub allowances: Vec<(String, i64)>,
    /// Words that prompts must not have, beside those of the settings.
    pub blocked_words: Vec<String>,
    /// Names of models that take no prompts.
    pub paused_models: Vec<String>,
    /// Ids of channels that take no prompts.
    pub paused_channels: Vec<String>,
    /// Ids of the channels that alone take prompts; empty if all do.
    pub open_channels: Vec<String>,
    /// Members who are shut out.
    pub restricted: Vec<Restriction>,
}

/// A member who is shut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// Who.
    pub member: Member,
    /// Until when; for good where there is nothing.
    pub until: Option<Millis>,
    /// Why.
    pub reason: String,
}
