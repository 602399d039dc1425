//! Answers one interaction: within Discord's three seconds whatever happens, with a message, an update, a dialog or choices.

use std::time::Duration;

use riff_hub::hub::Privacy;
use serde_json::{Value, json};
use serenity::{
    builder::CreateModal,
    http::{LightMethod, Route},
    model::{
        channel::MessageFlags,
        id::{ApplicationId, InteractionId, MessageId},
    },
};
use tokio::sync::Mutex;

use super::{
    message::Outgoing,
    rest::{Call, Rest, RestError},
};

/// After this time an answer is promised, so that it may take longer. Discord waits for 3 s
/// (<https://discord.com/developers/docs/interactions/receiving-and-responding#responding-to-an-interaction>).
const PROMISE_AFTER: Duration = Duration::from_millis(1_200);

/// Kinds of callbacks (<https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-response-object-interaction-callback-type>).
mod callback {
    pub const MESSAGE: u8 = 4;
    pub const PROMISE: u8 = 5;
    pub const ACKNOWLEDGE: u8 = 6;
    pub const UPDATE: u8 = 7;
    pub const CHOICES: u8 = 8;
    pub const DIALOG: u8 = 9;
}

/// What an interaction leads to.
pub enum Answer {
    /// A message of its own.
    Message(Outgoing),
    /// Another state of the message that the component is on.
    Update(Outgoing),
    /// A dialog.
    Dialog(CreateModal),
    /// Suggestions for an option.
    Choices(Vec<String>),
    /// Nothing to see.
    Done,
}

impl Answer {
    /// A sentence for who asked.
    pub fn private(sentence: impl Into<String>) -> Self {
        Self::Message(Outgoing::private(sentence))
    }
}

enum State {
    Open,
    Promised,
    Answered,
}

/// The answer to one interaction, given once.
pub struct Reply<'a> {
    rest: &'a Rest,
    application: ApplicationId,
    id: InteractionId,
    token: &'a str,
    /// Who sees what is promised.
    promise: Privacy,
    state: Mutex<State>,
}

impl<'a> Reply<'a> {
    /// To an interaction that nobody has answered.
    pub fn new(
        rest: &'a Rest,
        application: ApplicationId,
        (id, token): (InteractionId, &'a str),
        promise: Privacy,
    ) -> Self {
        Self { rest, application, id, token, promise, state: Mutex::new(State::Open) }
    }

    /// Runs `work`, which answers, and promises an answer when that takes long.
    pub async fn within_time(&self, work: impl Future<Output = ()>) {
        let promise = async {
            tokio::time::sleep(PROMISE_AFTER).await;
            if let Err(error) = self.promise().await {
                tracing::warn!(%error, "an answer could not be promised");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = work => {}
            () = promise => {}
        }
    }

    async fn promise(&self) -> Result<(), RestError> {
        let mut state = self.state.lock().await;
        if matches!(*state, State::Open) {
            let flags = match self.promise {
                Privacy::Public => MessageFlags::empty(),
                Privacy::Private => MessageFlags::EPHEMERAL,
            };
            self.callback(json!({"type": callback::PROMISE, "data": {"flags": flags}})).await?;
            *state = State::Promised;
        }
        Ok(())
    }

    /// Answers. Gives the id of the message that answers, where there is one.
    pub async fn answer(&self, answer: &Answer) -> Result<Option<MessageId>, RestError> {
        let mut state = self.state.lock().await;
        let message = match (&*state, answer) {
            (State::Answered, _) => None,
            (State::Promised, Answer::Message(message)) => self.keep_promise(message).await?,
            (State::Promised, Answer::Update(message)) => self.edit(message).await?,
            // A dialog cannot follow a promise, and nobody waits for choices any more.
            (State::Promised, Answer::Dialog(_) | Answer::Choices(_) | Answer::Done) => {
                self.keep_promise(&Outgoing::private("That took too long: please try again.")).await?
            }
            (State::Open, Answer::Message(message)) => self.first(callback::MESSAGE, message).await?,
            (State::Open, Answer::Update(message)) => self.first(callback::UPDATE, message).await?,
            (State::Open, Answer::Dialog(modal)) => {
                self.callback(json!({"type": callback::DIALOG, "data": modal})).await?
            }
            (State::Open, Answer::Choices(words)) => {
                let choices: Vec<Value> =
                    words.iter().map(|word| json!({"name": word, "value": word})).collect();
                self.callback(json!({"type": callback::CHOICES, "data": {"choices": choices}})).await?
            }
            (State::Open, Answer::Done) => self.callback(json!({"type": callback::ACKNOWLEDGE})).await?,
        };
        *state = State::Answered;
        Ok(message)
    }

    async fn first(&self, kind: u8, message: &Outgoing) -> Result<Option<MessageId>, RestError> {
        let data = match kind {
            callback::UPDATE => message.edit(),
            _ => message.body(),
        };
        let body = json!({"type": kind, "data": data});
        let answer: Value = self.rest.get(self.call(body).files(message.files.clone())).await?;
        Ok(answer["resource"]["message"]["id"].as_str().and_then(|id| id.parse().ok()))
    }

    async fn callback(&self, body: Value) -> Result<Option<MessageId>, RestError> {
        self.rest.tell(self.call(body)).await?;
        Ok(None)
    }

    fn call(&self, body: Value) -> Call<'a> {
        let route = Route::InteractionResponse { interaction_id: self.id, token: self.token };
        Call::new(LightMethod::Post, route).body(body).param("with_response", true)
    }

    /// What was promised in public is taken back before something private is said.
    async fn keep_promise(&self, message: &Outgoing) -> Result<Option<MessageId>, RestError> {
        if message.privacy == Privacy::Public || self.promise == Privacy::Private {
            return self.edit(message).await;
        }
        self.rest.tell(Call::new(LightMethod::Delete, self.original())).await?;
        let route = Route::WebhookFollowupMessages { application_id: self.application, token: self.token };
        let call = Call::new(LightMethod::Post, route).body(message.body());
        let sent: Value = self.rest.get(call.files(message.files.clone())).await?;
        Ok(sent["id"].as_str().and_then(|id| id.parse().ok()))
    }

    async fn edit(&self, message: &Outgoing) -> Result<Option<MessageId>, RestError> {
        let call = Call::new(LightMethod::Patch, self.original()).body(message.edit());
        let sent: Value = self.rest.get(call.files(message.files.clone())).await?;
        Ok(sent["id"].as_str().and_then(|id| id.parse().ok()))
    }

    fn original(&self) -> Route<'a> {
        Route::WebhookOriginalInteractionResponse { application_id: self.application, token: self.token }
    }
}
