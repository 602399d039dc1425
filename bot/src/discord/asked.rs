//! From an interaction to the hub and back: who asks is made known to the hub, and what was queued becomes the answer.

use riff_hub::{admission::Refusal, hub::Privacy, job::Job, store::StoreError};
use serenity::model::{
    Permissions,
    id::{GuildId, MessageId},
};

use super::{
    Discord, card,
    incoming::{Asker, Incoming},
    live,
    message::Outgoing,
    note::Note,
    reply::{Answer, Reply},
    rest::RestError,
};

/// A sentence for who asked, instead of what they asked for.
#[derive(Debug)]
pub struct Said(pub String);

impl Said {
    /// That sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl From<Refusal> for Said {
    fn from(refusal: Refusal) -> Self {
        Self(with_places(&refusal.to_string()))
    }
}

/// A text of the hub with the ids of channels as Discord shows channels.
pub fn with_places(text: &str) -> String {
    let mut parts = text.split("discord:");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        match end {
            0 => shown.push_str("discord:"),
            _ => shown.push_str(&format!("<#{}>", &part[..end])),
        }
        shown.push_str(&part[end..]);
    }
    shown
}

impl From<StoreError> for Said {
    fn from(error: StoreError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<RestError> for Said {
    fn from(error: RestError) -> Self {
        tracing::warn!(%error, "Discord refused");
        Self("Discord did not let me do that just now. Nothing was lost; try again in a moment.".to_owned())
    }
}

/// What an interaction leads to, before it is sent.
pub enum Outcome {
    /// This answer.
    Answer(Answer),
    /// Jobs, of which the first is shown in the answer.
    Queued(Vec<Job>),
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// What the bot needs in a channel, with the names that Discord's settings show.
pub const NEEDED: [(Permissions, &str); 5] = [
    (Permissions::VIEW_CHANNEL, "View Channel"),
    (Permissions::SEND_MESSAGES, "Send Messages"),
    (Permissions::EMBED_LINKS, "Embed Links"),
    (Permissions::ATTACH_FILES, "Attach Files"),
    (Permissions::READ_MESSAGE_HISTORY, "Read Message History"),
];

/// What a thread takes instead of Send Messages.
const IN_THREADS: (Permissions, &str) = (Permissions::SEND_MESSAGES_IN_THREADS, "Send Messages in Threads");

/// What is missing of [`NEEDED`], and how to grant it.
pub fn missing(has: Permissions, spot: Spot) -> Option<String> {
    let needed = NEEDED.map(|needed| match (needed.0, spot) {
        (Permissions::SEND_MESSAGES, Spot::Thread) => IN_THREADS,
        _ => needed,
    });
    let missing: Vec<&str> =
        needed.iter().filter(|(needed, _)| !has.contains(*needed)).map(|(_, name)| *name).collect();
    if missing.is_empty() || has.contains(Permissions::ADMINISTRATOR) {
        return None;
    }
    Some(format!(
        "I am missing permissions in this channel: {}. Somebody who manages the server can grant them: the channel's settings \
         (Edit Channel), Permissions, add my role, and switch them on.",
        missing.join(", ")
    ))
}

/// What kind of place a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// A channel.
    Channel,
    /// A thread in one.
    Thread,
}

impl Discord {
    /// Who asks, made known to the hub.
    pub async fn asker(&self, incoming: &Incoming) -> Result<Asker, Said> {
        let allowed = incoming.allowed.filter(|_| incoming.guild.is_some());
        if let Some(sentence) = allowed.and_then(|has| missing(has, incoming.spot)) {
            return Err(Said(sentence));
        }
        let room = self.places.room(&self.rest, incoming.channel, incoming.guild).await;
        let asker = Asker {
            who: incoming.person.member(),
            room,
            roles: incoming.person.roles.clone(),
            request: incoming.id.get(),
        };
        self.admit(&asker, incoming.guild).await?;
        Ok(asker)
    }

    /// Makes who asks known to the hub. Who is shut out of any server is not heard in private either.
    pub async fn admit(&self, asker: &Asker, guild: Option<GuildId>) -> Result<(), Said> {
        self.hub.enter(&asker.who, &asker.room).await?;
        match guild {
            Some(_) => Ok(()),
            None => Ok(self.hub.shut_out_nowhere(&asker.who).await?),
        }
    }

    /// Sends what an interaction leads to.
    pub async fn conclude(&self, incoming: &Incoming, reply: &Reply<'_>, outcome: Result<Outcome, Said>) {
        let sent = match outcome {
            Ok(Outcome::Answer(answer)) => reply.answer(&answer).await.map(drop),
            Ok(Outcome::Queued(jobs)) => self.show_queued(incoming, reply, &jobs).await,
            Err(Said(sentence)) => reply.answer(&Answer::private(sentence)).await.map(drop),
        };
        if let Err(error) = sent {
            tracing::warn!(interaction = incoming.id.get(), %error, "an interaction was not answered");
        }
    }

    /// Answers with the first job's card; the others have messages of their own once they are done.
    async fn show_queued(
        &self,
        incoming: &Incoming,
        reply: &Reply<'_>,
        jobs: &[Job],
    ) -> Result<(), RestError> {
        let Some(first) = jobs.first() else {
            return reply.answer(&Answer::private("There was nothing to do.")).await.map(drop);
        };
        // The turn is held so that no progress is shown, and no result, before the message is there.
        let mut turn = self.turn(&first.id).await;
        let mut card = match self.hub.view(&first.id).await {
            Ok(view) => self.cards.waiting(&view, incoming.person.id),
            Err(refusal) => {
                tracing::warn!(job = first.id, %refusal, "a job's card cannot be shown");
                // The result will stand in this message: who may see that sees this.
                let sentence = "-# Queued. How it goes cannot be shown just now; the result will be here.";
                Outgoing { privacy: card::privacy(first), ..Outgoing::public(sentence) }
            }
        };
        if jobs.len() > 1 {
            card.content
                .push_str(&format!("\n-# and {} more, each with a message of its own", jobs.len() - 1));
        }
        *turn = reply.answer(&Answer::Message(card)).await?;
        drop(turn);
        // The answer may have been long on its way.
        live::put_right(self, &first.id).await;
        riff_hub::step::done("acknowledged");
        Ok(())
    }

    /// Keeps the id of the message that answers a job, for the time when the interaction's token is over.
    pub async fn remember(&self, job: &Job, message: MessageId) {
        let Some(note) = Note::of(job) else {
            return;
        };
        let note = Note { message: Some(message), ..note };
        if let Err(error) = self.hub.store.note_reply(&job.id, &note.write()).await {
            tracing::warn!(job = job.id, %error, "the message of a job was not noted");
        }
    }
}

/// Public or private, as an option of a command says.
pub fn privacy(private: bool) -> Privacy {
    match private {
        true => Privacy::Private,
        false => Privacy::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_shown_as_channels() {
        assert_eq!(with_places("ask in discord:12 or discord:3."), "ask in <#12> or <#3>.");
        assert_eq!(with_places("nowhere, discord: never"), "nowhere, discord: never");
    }
}
