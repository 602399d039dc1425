//! The Discord surface: commands, buttons, conversations and posts, over the same loop as the web channel.
//!
//! It owns the connection to Discord (the gateway's shards, or the signed endpoint), the commands that are registered there,
//! and the delivery of posts that jobs asked for on Discord are owed. What must survive is in the store: a job's note says
//! how it is answered, and a button's custom id what it does. What is kept in memory ([`Discord`]) may be lost at any time.

mod asked;
mod attach;
mod breaker;
mod card;
mod chat;
mod commands;
mod dialog;
pub mod endpoint;
mod gateway;
mod generate;
mod guide;
mod handle;
mod id;
mod incoming;
mod live;
mod locale;
mod look;
mod menu;
mod message;
mod moderate;
mod note;
mod picture;
mod places;
mod poster;
mod press;
mod register;
mod reply;
mod rest;
mod seen;
mod split;

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use riff_hub::{canonical::Digest, hub::Hub, store::Member};
use serde::Deserialize;
use serenity::{
    http::{LightMethod, Route},
    interactions_endpoint::Verifier,
    model::id::{ApplicationId, GuildId, MessageId, UserId},
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use rest::Rest;

use self::{
    card::Cards,
    endpoint::Connected,
    places::Places,
    rest::{Call, RestError},
    seen::Seen,
};
use crate::{
    settings::{self, Settings},
    state::AppState,
};

/// This surface's name in the hub.
pub const SURFACE: &str = "discord";

/// What every handler of this surface is given.
pub struct Discord {
    /// The hub.
    pub hub: Arc<Hub>,
    /// Discord's API.
    pub rest: Rest,
    /// The application that Riff is on Discord.
    pub application: ApplicationId,
    /// Its bot account.
    pub bot: UserId,
    /// Renders jobs.
    pub cards: Cards,
    /// What is known of channels and servers.
    pub places: Places,
    /// Interactions and messages that were handled, so that none is handled twice.
    pub seen: Seen,
    /// One turn at a time at each job's message: a late progress edit never overwrites the result. Holds which message that
    /// is, once it is known here.
    turns: DashMap<String, Arc<Mutex<Option<MessageId>>>>,
    /// Whether messages that do not mention the bot arrive with their content.
    reads_messages: AtomicBool,
    /// Handlers in hand; they are waited for when the process stops.
    handlers: TaskTracker,
}

/// `GET /oauth2/applications/@me`: what is needed of it.
#[derive(Deserialize)]
struct Application {
    id: ApplicationId,
    /// The key that Discord signs interactions with, 64 hexadecimal digits.
    verify_key: String,
    /// Flags (<https://discord.com/developers/docs/resources/application#application-object-application-flags>).
    #[serde(default)]
    flags: u64,
}

/// Flags of applications that are granted the content of messages, with and without verification.
const MESSAGE_CONTENT: u64 = 1 << 18 | 1 << 19;

#[derive(Deserialize)]
struct Account {
    id: UserId,
}

/// Wait before Discord is tried again when it could not be reached.
const AGAIN: Duration = Duration::from_secs(10);

/// Joins Discord, where a token is set. Where Discord cannot be reached, that is tried again until it can.
///
/// # Errors
/// If Discord refuses the token, with what to do.
pub async fn join(
    settings: &Settings,
    state: &AppState,
    connected: &Connected,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    if settings.discord.token.expose().is_empty() {
        return Ok(());
    }
    let first = connect(settings, state).await;
    if let Err(RestError::Refused { status: 401, .. }) = &first {
        anyhow::bail!(
            "Discord refuses the bot token: reset it in the developer portal (Bot, Reset Token) and set DISCORD_TOKEN to the \
             new one"
        );
    }
    let (settings, state, connected, stop) =
        (settings.clone(), state.clone(), connected.clone(), stop.clone());
    tasks.spawn(async move {
        let mut joined = first;
        loop {
            match joined {
                Ok((discord, verifier)) => {
                    let _ = connected.set((discord.clone(), verifier));
                    return discord.serve(&settings.discord, &stop).await;
                }
                Err(error) => tracing::error!(%error, "Discord cannot be joined; it is tried again"),
            }
            if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
            joined = connect(&settings, &state).await;
        }
    });
    Ok(())
}

/// Asks Discord whom the token belongs to.
async fn connect(settings: &Settings, state: &AppState) -> Result<(Arc<Discord>, Verifier), RestError> {
    let unreadable = |error: String| RestError::Unreadable(error);
    let metrics = state.metrics.discord.clone();
    let rest = Rest::new(settings.discord.token.expose(), &settings.discord.api, metrics)
        .map_err(|error| unreadable(error.to_string()))?;
    let application: Application =
        rest.get(Call::new(LightMethod::Get, Route::Oauth2ApplicationCurrent)).await?;
    let bot: Account = rest.get(Call::new(LightMethod::Get, Route::UserMe)).await?;
    let key = Digest::from_str(&application.verify_key).map_err(|error| unreadable(error.to_string()))?;
    let verifier = Verifier::try_new(*key.bytes()).map_err(|error| unreadable(error.to_string()))?;
    let discord = Discord {
        hub: state.hub.clone(),
        rest,
        application: application.id,
        bot: bot.id,
        cards: Cards { public_url: settings.public_url.trim_end_matches('/').to_owned() },
        places: Places::default(),
        seen: Seen::default(),
        turns: DashMap::new(),
        reads_messages: AtomicBool::new(application.flags & MESSAGE_CONTENT != 0),
        handlers: TaskTracker::new(),
    };
    Ok((Arc::new(discord), verifier))
}

impl Discord {
    /// Runs everything of this surface: the gateway (where it is wanted), the registrar of commands, the progress of running
    /// jobs, and the poster. Ends after `stop`, when the poster has delivered what it had in hand.
    async fn serve(self: Arc<Self>, settings: &settings::Discord, stop: &CancellationToken) {
        let gateway = async {
            if settings.receive == settings::Receive::Gateway {
                gateway::run(self.clone(), settings, stop).await;
            }
        };
        tokio::join!(
            gateway,
            register::run(&self, stop),
            live::run(&self, stop),
            poster::run(self.clone(), stop),
        );
    }

    /// Whether messages that do not mention the bot arrive with their content.
    pub fn reads_messages(&self) -> bool {
        self.reads_messages.load(Ordering::Relaxed)
    }

    /// Asks anew what the application is granted: that may have changed since.
    async fn look_at_grants(&self) -> Result<(), RestError> {
        let application: Application =
            self.rest.get(Call::new(LightMethod::Get, Route::Oauth2ApplicationCurrent)).await?;
        self.reads_messages.store(application.flags & MESSAGE_CONTENT != 0, Ordering::Relaxed);
        Ok(())
    }

    /// Waits for the turn at a job's message; it lasts until the guard is dropped.
    async fn turn(&self, job: &str) -> OwnedMutexGuard<Option<MessageId>> {
        let turn = self.turns.entry(job.to_owned()).or_default().clone();
        turn.lock_owned().await
    }

    /// Forgets the turns of a job that has ended.
    fn forget_turn(&self, job: &str) {
        self.turns.remove(job);
    }

    /// A member's roles are Discord's; the hub is told with each question.
    async fn allowance(
        &self,
        who: &Member,
        guild: Option<GuildId>,
        roles: &[String],
    ) -> Result<(f64, f64), asked::Said> {
        let allowance = self.hub.allowance(who, &incoming::community(guild), roles).await?;
        Ok((allowance.left_ms.max(0) as f64 / 1_000.0, allowance.of_ms as f64 / 1_000.0))
    }
}
