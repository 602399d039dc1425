//! The poster of Discord: makes the posts that the outbox holds for it. It edits the message that answers a job, by the
//! interaction's token as long as that works and by the bot's own right after that; where there is no message, it posts one
//! with a nonce that Discord enforces. However often a post is tried, it is there once. What was cancelled is crossed out, and
//! what was taken down is deleted, in the same way.

use std::{collections::HashSet, sync::Arc, time::Duration};

use riff_hub::{
    admission::Refusal,
    hub::{Change, JobView},
    job::Job,
    measure::Outcome,
    span::Span,
    store::{Due, StoreError},
};
use serde_json::json;
use serenity::{
    http::{LightMethod, Route},
    model::{
        channel::MessageFlags,
        id::{ChannelId, MessageId},
    },
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Discord, SURFACE, attach,
    chat::{Sent, reply_body},
    generate,
    incoming::account,
    message::Outgoing,
    note::{Note, Shows, nonce},
    rest::{Call, RestError},
};

/// How often it looks although nobody called it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Deliveries at once; those to one channel wait for each other at its rate limit.
const MOST_AT_ONCE: usize = 64;
/// Wait after a failed delivery, in milliseconds; doubles with each up to 2¹⁰ times.
const BACKOFF_MS: i64 = 500;
/// How long deliveries in hand may take once the process was told to stop.
const CLOSE: Duration = Duration::from_secs(5);

/// Discord's own codes (<https://discord.com/developers/docs/topics/opcodes-and-status-codes#json>).
mod code {
    pub const UNKNOWN_CHANNEL: i64 = 10_003;
    pub const UNKNOWN_MESSAGE: i64 = 10_008;
    pub const UNKNOWN_WEBHOOK: i64 = 10_015;
    pub const UNKNOWN_INTERACTION: i64 = 10_062;
    pub const TOO_LARGE: i64 = 40_005;
    pub const MISSING_ACCESS: i64 = 50_001;
    pub const OTHERS_MESSAGE: i64 = 50_005;
    pub const CANNOT_MESSAGE_USER: i64 = 50_007;
    pub const MISSING_PERMISSIONS: i64 = 50_013;
    pub const BAD_TOKEN: i64 = 50_027;
}

/// Delivers until `stop` is cancelled, and then what is in hand.
pub async fn run(discord: Arc<Discord>, stop: &CancellationToken) {
    let mut posts = discord.hub.posts_due();
    let mut at_work: JoinSet<i64> = JoinSet::new();
    let mut in_hand: HashSet<i64> = HashSet::new();
    let mut look = true;
    while !stop.is_cancelled() {
        if look {
            posts.mark_unchanged();
            let room = MOST_AT_ONCE - at_work.len();
            match discord.hub.store.due(SURFACE, room, discord.hub.seam.now()).await {
                Ok(due) => {
                    for due in due {
                        if at_work.len() < MOST_AT_ONCE && in_hand.insert(due.id) {
                            let discord = discord.clone();
                            at_work.spawn(async move { deliver(&discord, due).await });
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "the outbox cannot be read"),
            }
        }
        let was_full = at_work.len() >= MOST_AT_ONCE;
        look = tokio::select! {
            _ = timeout(LOOK_AGAIN, posts.changed()) => true,
            Some(done) = at_work.join_next() => {
                if let Ok(id) = done {
                    in_hand.remove(&id);
                }
                was_full
            }
            () = stop.cancelled() => false,
        };
    }
    discord.handlers.close();
    let closing = Instant::now() + CLOSE;
    tokio::select! {
        () = async { while at_work.join_next().await.is_some() {} discord.handlers.wait().await } => {}
        () = sleep_until(closing) => {}
    }
}

/// Delivers one post; gives its row.
async fn deliver(discord: &Discord, due: Due) -> i64 {
    let turn = discord.turn(&due.job).await;
    let done = match post(discord, &due, *turn).await {
        Ok(note) => finish(discord, &due, note).await,
        Err(error) => {
            tracing::warn!(job = due.job, attempts = due.attempts, %error, "put off a post");
            discord.hub.metrics.delivered(SURFACE, Outcome::PutOff);
            let wait = BACKOFF_MS << due.attempts.clamp(0, 10);
            discord.hub.store.postpone(&due, discord.hub.seam.now() + wait).await
        }
    };
    if let Err(error) = done {
        tracing::error!(job = due.job, %error, "the outbox cannot be written");
    }
    discord.forget_turn(&due.job);
    due.id
}

/// Marks a post as made. What is noted of it from then on is where it is: the interaction's token is forgotten.
async fn finish(discord: &Discord, due: &Due, note: Note) -> Result<(), StoreError> {
    let now = discord.hub.seam.now();
    let note = Note { token: None, ..note }.write();
    discord.hub.store.publish(due, Some(&note), now).await?;
    discord.hub.metrics.delivered(SURFACE, Outcome::Delivered);
    riff_hub::step::done("published");
    if due.is_post() {
        tracing::info!(job = due.job, trace = riff_hub::trace::of(&due.job), surface = SURFACE, "posted");
        discord.hub.traced(|now| Span::post(&due.job, SURFACE, now));
        discord.hub.tell(&due.channel, &due.job, Change::Posted);
    }
    Ok(())
}

/// Why a post is put off.
#[derive(Debug, thiserror::Error)]
enum PutOff {
    #[error(transparent)]
    Rest(#[from] RestError),
    #[error(transparent)]
    Hub(#[from] Refusal),
}

impl From<StoreError> for PutOff {
    fn from(error: StoreError) -> Self {
        Refusal::from(error).into()
    }
}

/// Makes the post, or finds that there is nowhere to make it. Gives where it is.
async fn post(discord: &Discord, due: &Due, known: Option<MessageId>) -> Result<Note, PutOff> {
    let view = discord.hub.view(&due.job).await?;
    let note = Note::of(&view.job)
        .or_else(|| unasked(&view.job))
        .ok_or_else(|| Refusal::Missing(format!("place on Discord for the answer of job {}", due.job)))?;
    let note = Note { message: note.message.or(known), ..note };
    if !due.is_post() {
        correct(discord, due, &view, &note).await?;
        return Ok(note);
    }
    let mut delivery = Delivery { discord, job: &view.job, note };
    // Pictures that are too large after all get smaller, and then become links.
    let limit = delivery.note.limit as usize;
    for limit in [limit, limit / 4, 0] {
        let messages = render(discord, &view, &delivery.note, limit).await?;
        match delivery.send(&messages).await {
            Err(RestError::Refused { status, code, .. }) if status == 413 || code == code::TOO_LARGE => {}
            Err(error) if nowhere(&error) => {
                delivery.elsewhere(&messages, &error).await?;
                break;
            }
            sent => {
                sent?;
                break;
            }
        }
    }
    Ok(delivery.note)
}

/// Crosses out what was cancelled, or deletes what was taken down. Where that cannot be done, there is nothing to see.
async fn correct(discord: &Discord, due: &Due, view: &JobView, note: &Note) -> Result<(), RestError> {
    let cancelled = discord.cards.cancelled(view, note.user).edit();
    let token = note.live_token(discord.hub.seam.now());
    let answer = token.map(|token| Route::WebhookOriginalInteractionResponse {
        application_id: discord.application,
        token,
    });
    let message = |message_id| Route::ChannelMessage { channel_id: note.channel, message_id };
    let further = note.more.iter().copied().map(message);
    for route in further.chain(answer.or(note.message.map(message))) {
        let call = match due.taken_down {
            true => Call::new(LightMethod::Delete, route),
            false => Call::new(LightMethod::Patch, route).body(cancelled.clone()),
        };
        match discord.rest.tell(call).await {
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => tracing::info!(job = due.job, %error, "what is gone could not be shown as gone"),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Where a job is answered that nothing was noted of: of a line with choices, all but the first.
fn unasked(job: &Job) -> Option<Note> {
    Some(Note {
        channel: ChannelId::new(account(&job.channel)?.get()),
        user: account(&job.member)?,
        token: None,
        message: None,
        replies_to: None,
        more: Vec::new(),
        direct: false,
        aside: None,
        shows: Shows::Post,
        limit: attach::MAX_BYTES as u32,
    })
}

async fn render(
    discord: &Discord,
    view: &JobView,
    note: &Note,
    limit: usize,
) -> Result<Vec<Outgoing>, PutOff> {
    let mut messages = match note.shows {
        Shows::Post => {
            let files = attach::post(&discord.hub.blobs, view, limit).await;
            discord.cards.finished(view, note.user, files.map_err(Refusal::from)?)
        }
        Shows::Talk => discord.cards.talk(view),
        Shows::Shorter => match view.text() {
            Some(text) => {
                vec![Outgoing::private(generate::shortened(view.recipe.prompt.as_str(), text))]
            }
            None => vec![Outgoing::private(view.status())],
        },
    };
    if let (Some(aside), Some(last)) = (&note.aside, messages.last_mut()) {
        last.content = format!("{}\n-# {aside}", super::message::clip(&last.content, 1_850));
    }
    Ok(messages)
}

/// Whether Discord says that there is no such place any more, or that nothing may be posted there.
fn nowhere(error: &RestError) -> bool {
    matches!(
        error.code(),
        Some(
            code::UNKNOWN_CHANNEL
                | code::MISSING_ACCESS
                | code::MISSING_PERMISSIONS
                | code::CANNOT_MESSAGE_USER
                | code::UNKNOWN_WEBHOOK
                | code::BAD_TOKEN
                | code::UNKNOWN_INTERACTION
        )
    )
}

struct Delivery<'a> {
    discord: &'a Discord,
    job: &'a Job,
    note: Note,
}

impl Delivery<'_> {
    /// Whether others are there who must not see it.
    fn is_secret(&self) -> bool {
        self.job.private && !self.note.direct
    }

    /// Sends all parts. What is sent is noted at once, so that another try goes on from there.
    async fn send(&mut self, messages: &[Outgoing]) -> Result<(), RestError> {
        for (part, message) in messages.iter().enumerate() {
            let before = self.note.clone();
            let id = match part {
                0 => self.first(message).await?,
                _ => self.further(part, message).await?,
            };
            match part {
                0 => self.note.message = Some(id),
                part if self.note.more.len() < part => self.note.more.push(id),
                _ => {}
            }
            // Of a single message the note is written with the post.
            if messages.len() > 1
                && self.note != before
                && let Err(error) = self.discord.hub.store.note_reply(&self.job.id, &self.note.write()).await
            {
                tracing::warn!(job = self.job.id, %error, "a part of an answer was not noted");
            }
        }
        Ok(())
    }

    /// The message that answers: edited where it is, posted where there is none.
    async fn first(&self, message: &Outgoing) -> Result<MessageId, RestError> {
        let now = self.discord.hub.seam.now();
        if let Some(token) = self.note.live_token(now) {
            let application_id = self.discord.application;
            let route = Route::WebhookOriginalInteractionResponse { application_id, token };
            match self.edit(route, message).await {
                Err(error) if gone(&error) => {}
                // Who asked was told of a trouble, in private, while the job was queued after all.
                Ok(sent) if sent.flags.contains(MessageFlags::EPHEMERAL) && !self.is_secret() => {}
                edited => return edited.map(|sent| sent.id),
            }
        }
        if self.is_secret() {
            // Only who asked may see it, and the way to them is closed.
            return Err(RestError::Refused {
                status: 404,
                code: code::BAD_TOKEN,
                message: "the interaction is over".to_owned(),
                method: "PATCH",
                path: String::new(),
            });
        }
        if let Some(message_id) = self.note.message {
            let route = Route::ChannelMessage { channel_id: self.note.channel, message_id };
            match self.edit(route, message).await {
                Err(error) if gone(&error) => {}
                edited => return edited.map(|sent| sent.id),
            }
        }
        self.create(self.note.channel, message, self.note.replies_to, 0).await
    }

    async fn further(&self, part: usize, message: &Outgoing) -> Result<MessageId, RestError> {
        if let Some(id) = self.note.more.get(part - 1) {
            return Ok(*id);
        }
        match self.note.live_token(self.discord.hub.seam.now()) {
            Some(token) if self.is_secret() => {
                let application_id = self.discord.application;
                let route = Route::WebhookFollowupMessages { application_id, token };
                let call = Call::new(LightMethod::Post, route).body(message.body());
                let sent: Sent = self.discord.rest.get(call.files(message.files.clone())).await?;
                Ok(sent.id)
            }
            _ => {
                let before = self.note.more.last().copied().or(self.note.message);
                self.create(self.note.channel, message, before, part).await
            }
        }
    }

    async fn edit(&self, route: Route<'_>, message: &Outgoing) -> Result<Sent, RestError> {
        let call = Call::new(LightMethod::Patch, route).body(message.edit()).files(message.files.clone());
        self.discord.rest.get(call).await
    }

    async fn create(
        &self,
        channel_id: ChannelId,
        message: &Outgoing,
        replies_to: Option<MessageId>,
        part: usize,
    ) -> Result<MessageId, RestError> {
        let once = nonce(&self.job.id, part);
        let body = match replies_to {
            Some(to) => reply_body(message, to, &once),
            None => {
                let mut body = message.body();
                body["nonce"] = once.into();
                body["enforce_nonce"] = true.into();
                body
            }
        };
        let call = Call::new(LightMethod::Post, Route::ChannelMessages { channel_id }).body(body);
        let sent: Sent = self.discord.rest.get(call.files(message.files.clone())).await?;
        if part == 0 && sent.content.trim() != message.content.trim() {
            // The nonce was known: this is the message that an earlier try began and nobody could note.
            let route = Route::ChannelMessage { channel_id, message_id: sent.id };
            return self.edit(route, message).await.map(|sent| sent.id);
        }
        Ok(sent.id)
    }

    /// The channel is gone or closed: the asker gets the result in a private conversation, where that is open.
    async fn elsewhere(&self, messages: &[Outgoing], why: &RestError) -> Result<(), RestError> {
        #[derive(serde::Deserialize)]
        struct Opened {
            id: ChannelId,
        }
        tracing::warn!(job = self.job.id, error = %why, "a post goes to who asked, because its channel does not take it");
        let call = Call::new(LightMethod::Post, Route::UserMeDmChannels)
            .body(json!({"recipient_id": self.note.user}));
        let sent = async {
            let opened: Opened = self.discord.rest.get(call).await?;
            let Some(first) = messages.first() else {
                return Ok(());
            };
            let mut message = first.clone();
            let place = self.note.channel;
            let why = match self.is_secret() {
                true => format!("-# What you asked for in <#{place}>:\n"),
                false => format!("-# I may not post in <#{place}> any more, so here is your result.\n"),
            };
            message.content = super::message::clip(&format!("{why}{}", message.content), 1_950);
            self.create(opened.id, &message, None, 0).await.map(drop)
        };
        match sent.await {
            Err(error) if error.is_passing() => Err(error),
            Err(error) => {
                tracing::warn!(job = self.job.id, %error, "there is nowhere to post a result; it is on the hub");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Whether a message cannot be edited this way, so that another has to be found.
fn gone(error: &RestError) -> bool {
    matches!(
        error.code(),
        Some(
            code::UNKNOWN_MESSAGE
                | code::UNKNOWN_WEBHOOK
                | code::UNKNOWN_INTERACTION
                | code::BAD_TOKEN
                | code::OTHERS_MESSAGE
        )
    )
}
