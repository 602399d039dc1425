//! How a job is to be answered on Discord: kept with the job, so that any process can post the result after a crash, a
//! restart, or days in the queue.

use riff_hub::{job::Job, seam::Millis};
use serde::{Deserialize, Serialize};
use serenity::model::id::{ChannelId, MessageId, UserId};

/// How long an interaction's token works
/// (<https://discord.com/developers/docs/interactions/receiving-and-responding#responding-to-an-interaction>).
const TOKEN_LIFE_MS: i64 = 15 * 60 * 1_000;
/// A token this close to its end is not used any more.
const MARGIN_MS: i64 = 15_000;

/// The answer that a job is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Where.
    pub channel: ChannelId,
    /// Who asked.
    pub user: UserId,
    /// The interaction's token and when it was given, for jobs that an interaction asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<(String, Millis)>,
    /// The message that answers, once there is one and its id is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// The message that it replies to, in a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replies_to: Option<MessageId>,
    /// The further messages of a long answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<MessageId>,
    /// Whether it is in a conversation between the bot and one person, where nothing has to be hidden.
    #[serde(default)]
    pub direct: bool,
    /// Something to say with the answer, in small letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<String>,
    /// What is shown of it.
    #[serde(default)]
    pub shows: Shows,
    /// Largest file that Discord takes there, in bytes.
    #[serde(default = "default_limit")]
    pub limit: u32,
}

fn default_limit() -> u32 {
    super::attach::MAX_BYTES as u32
}

/// What is shown of a job's result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    /// The post with its buttons.
    #[default]
    Post,
    /// The text alone, as in a conversation.
    Talk,
    /// Which words of the prompt the answer leaves out.
    Shorter,
}

impl Note {
    /// The note of a job that was asked for on Discord.
    pub fn of(job: &Job) -> Option<Self> {
        serde_json::from_str(job.reply.as_deref()?).ok()
    }

    /// As it is stored.
    pub fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The interaction's token, as long as it works.
    pub fn live_token(&self, now: Millis) -> Option<&str> {
        let (token, at) = self.token.as_ref()?;
        (now < at + TOKEN_LIFE_MS - MARGIN_MS).then_some(token)
    }
}

/// Makes a message once, however often it is tried: at most 25 characters that only this part of this job's answer has
/// (<https://discord.com/developers/docs/resources/message#create-message>).
pub fn nonce(job: &str, part: usize) -> String {
    // The first letters of a ULID are its time in units of weeks: what is left still differs from all others.
    format!("{}.{part:02}", job.get(4..).unwrap_or(job))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let note = Note {
            channel: ChannelId::new(5),
            user: UserId::new(6),
            token: Some(("secret".to_owned(), 1_000)),
            message: Some(MessageId::new(7)),
            replies_to: None,
            more: vec![MessageId::new(8)],
            direct: false,
            aside: None,
            shows: Shows::Talk,
            limit: 10,
        };
        assert_eq!(serde_json::from_str::<Note>(&note.write()).unwrap(), note);
        assert_eq!(note.live_token(1_000), Some("secret"));
        assert_eq!(note.live_token(1_000 + TOKEN_LIFE_MS), None);
    }

    #[test]
    fn nonces_fit_and_differ() {
        let job = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        assert!(nonce(job, 12).len() <= 25);
        assert_ne!(nonce(job, 0), nonce(job, 1));
    }
}
