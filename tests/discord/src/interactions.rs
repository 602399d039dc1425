//! Interactions from their birth to the end of their token: what may answer them, when, and what that makes.

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    edit::{Draft, EPHEMERAL},
    limits::Limits,
    multipart::Payload,
    objects::snowflake,
    refused::Refused,
    validate,
    world::{Stored, World},
};

pub(crate) const COMMAND: u8 = 2;
pub(crate) const COMPONENT: u8 = 3;
pub(crate) const AUTOCOMPLETE: u8 = 4;
pub(crate) const MODAL: u8 = 5;

/// One interaction.
pub(crate) struct Interaction {
    pub id: u64,
    pub kind: u8,
    pub user: u64,
    pub channel: u64,
    pub guild: Option<u64>,
    /// The message whose component was used.
    pub source: Option<u64>,
    /// Type of the message that answers it.
    pub answer_type: u8,
    /// `interaction_metadata` of the messages that it makes.
    pub metadata: Value,
    pub created_ms: u64,
    pub answered: bool,
    /// What `@original` stands for.
    pub original: Option<u64>,
    /// Who waits for the first response.
    pub waiter: Option<oneshot::Sender<First>>,
    /// Responses that were refused, for who wonders why there is none.
    pub refused: Vec<String>,
}

/// The first response to an interaction.
#[derive(Debug)]
pub(crate) enum First {
    Message(Stored),
    Deferred(Stored),
    DeferredUpdate(Stored),
    Updated(Stored),
    Choices(Value),
    Modal(Value),
}

/// What answering gave: the callback's type and the message that it is about.
pub(crate) struct Answer {
    pub kind: u64,
    pub message: Option<u64>,
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl World {
    /// Takes the first response to an interaction.
    pub(crate) fn respond(
        &mut self,
        now_ms: u64,
        limits: &Limits,
        token: &str,
        payload: &Payload,
    ) -> Result<Answer, Refused> {
        let given = self.try_respond(now_ms, limits, token, payload);
        match (&given, self.interactions.get_mut(token)) {
            (Err(refused), Some(interaction)) => interaction.refused.push(refused.to_string()),
            (Ok(_), Some(interaction)) => interaction.answered = true,
            (_, None) => {}
        }
        given
    }

    fn try_respond(
        &mut self,
        now_ms: u64,
        limits: &Limits,
        token: &str,
        payload: &Payload,
    ) -> Result<Answer, Refused> {
        let interaction = self.interactions.get(token).ok_or_else(Refused::unknown_interaction)?;
        if interaction.answered {
            return Err(Refused::already_acknowledged());
        }
        if now_ms > interaction.created_ms + millis(limits.first_response) {
            return Err(Refused::unknown_interaction());
        }
        let (kind, source) = (interaction.kind, interaction.source);
        let callback = payload.json["type"].as_u64().unwrap_or_default();
        if (callback == 8) != (kind == AUTOCOMPLETE) {
            return Err(Refused::invalid(&format!(
                "interaction of type {kind} answered with type {callback}"
            )));
        }
        let (message, first) = self.take(now_ms, token, (kind, source), payload)?;
        if let Some(interaction) = self.interactions.get_mut(token) {
            interaction.original = message;
            if let Some((waiter, first)) = interaction.waiter.take().zip(first) {
                // Whoever asked may have given up.
                let _gone = waiter.send(first).is_err();
            }
        }
        Ok(Answer { kind: callback, message })
    }

    /// Does what a callback asks for, and says what the person is shown.
    fn take(
        &mut self,
        now_ms: u64,
        token: &str,
        (kind, source): (u8, Option<u64>),
        payload: &Payload,
    ) -> Result<(Option<u64>, Option<First>), Refused> {
        let data = &payload.json["data"];
        let inner = Payload { json: data.clone(), files: payload.files.clone() };
        let callback = payload.json["type"].as_u64().unwrap_or_default();
        Ok(match callback {
            4 => {
                validate::message(data)?;
                let id = self.answer_message(now_ms, token, &inner, Thinking::No)?;
                (Some(id), self.snapshot(token, id).map(First::Message))
            }
            5 => {
                let id = self.answer_message(now_ms, token, &inner, Thinking::Yes)?;
                (Some(id), self.snapshot(token, id).map(First::Deferred))
            }
            6 | 7 => {
                let id = source.ok_or_else(|| Refused::invalid("there is no message to update"))?;
                if callback == 7 {
                    validate::message(data)?;
                    let channel = self.interactions.get(token).map_or(0, |interaction| interaction.channel);
                    self.edit(now_ms, channel, id, &inner)?;
                }
                let first = if callback == 6 { First::DeferredUpdate } else { First::Updated };
                (Some(id), self.snapshot(token, id).map(first))
            }
            8 => {
                validate::choices(&data["choices"])?;
                (None, Some(First::Choices(data["choices"].clone())))
            }
            9 if kind != MODAL => {
                validate::modal(data)?;
                (None, Some(First::Modal(data.clone())))
            }
            other => return Err(Refused::invalid(&format!("a callback of type {other}"))),
        })
    }

    fn snapshot(&self, token: &str, id: u64) -> Option<Stored> {
        self.stored(self.interactions.get(token)?.channel, id).cloned()
    }

    /// Makes a message that belongs to an interaction.
    fn answer_message(
        &mut self,
        now_ms: u64,
        token: &str,
        payload: &Payload,
        thinking: Thinking,
    ) -> Result<u64, Refused> {
        let interaction = self.interactions.get(token).ok_or_else(Refused::unknown_interaction)?;
        let private = payload.json["flags"].as_u64().unwrap_or_default() & EPHEMERAL != 0;
        let (channel, author) = (interaction.channel, self.bot.clone());
        let application = self.application.to_string();
        let more = json!({
            "type": interaction.answer_type, "application_id": application, "webhook_id": application,
            "interaction_metadata": interaction.metadata,
        });
        let draft = Draft {
            channel,
            author: &author,
            payload,
            private_to: private.then_some(interaction.user),
            loading: matches!(thinking, Thinking::Yes),
            more,
            reference: interaction.source,
        };
        self.create(now_ms, &draft)
    }

    /// The interaction whose token that is, if the token is still good and was used.
    fn follow(&self, now_ms: u64, limits: &Limits, token: &str) -> Result<&Interaction, Refused> {
        let interaction = self.interactions.get(token).ok_or_else(Refused::unknown_webhook)?;
        if now_ms > interaction.created_ms + millis(limits.token_life) {
            return Err(Refused::invalid_webhook_token());
        }
        if interaction.answered { Ok(interaction) } else { Err(Refused::unknown_webhook()) }
    }

    /// The channel and id of a message that a token may touch; no id stands for the original.
    pub(crate) fn token_message(
        &self,
        now_ms: u64,
        limits: &Limits,
        token: &str,
        id: Option<u64>,
    ) -> Result<(u64, u64), Refused> {
        let interaction = self.follow(now_ms, limits, token)?;
        let id = id.or(interaction.original).ok_or_else(Refused::unknown_message)?;
        let stored = self.stored(interaction.channel, id).ok_or_else(Refused::unknown_message)?;
        // A token is for what it made, and for the message whose component was used.
        let made = snowflake(&stored.value["interaction_metadata"]["id"]) == Some(interaction.id);
        if made || interaction.source == Some(id) {
            Ok((interaction.channel, id))
        } else {
            Err(Refused::unknown_message())
        }
    }

    /// A followup: it fills a deferred original, whose privacy it keeps, or is a message of its own.
    pub(crate) fn follow_up(
        &mut self,
        now_ms: u64,
        limits: &Limits,
        token: &str,
        payload: &Payload,
    ) -> Result<(u64, u64), Refused> {
        let interaction = self.follow(now_ms, limits, token)?;
        validate::message(&payload.json)?;
        let (channel, original) = (interaction.channel, interaction.original);
        let loading = original.filter(|&id| self.stored(channel, id).is_some_and(|stored| stored.loading));
        if let Some(id) = loading {
            self.edit(now_ms, channel, id, payload)?;
            return Ok((channel, id));
        }
        let id = self.answer_message(now_ms, token, payload, Thinking::No)?;
        Ok((channel, id))
    }

    /// Forgets the oldest interactions beyond what is kept.
    pub(crate) fn forget_interactions(&mut self) {
        while self.keep.is_some_and(|keep| self.interaction_order.len() > keep) {
            if let Some(oldest) = self.interaction_order.pop_front() {
                self.interactions.remove(&oldest);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Thinking {
    Yes,
    No,
}
