//! The gateway: serenity keeps the shards connected, and what they bring goes to the handlers.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use riff_hub::hub::CLAIM;
use serenity::{
    all::{
        Channel, Client, ClientBuilder, Context, EventHandler, GatewayIntents, Guild, GuildChannel,
        Interaction, Message, Ready,
    },
    async_trait,
    http::{Http, HttpBuilder},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Discord, chat, guide, handle};
use crate::settings;

/// Wait before the gateway is tried again when it could not be opened; doubles up to [`LONGEST`].
const AGAIN: Duration = Duration::from_secs(2);
/// See [`AGAIN`].
const LONGEST: Duration = Duration::from_secs(120);
/// How often a hub claims its shards on, and looks for one that is nobody's.
const LOOK: Duration = Duration::from_secs(2);
/// Least time between two shards that identify
/// (<https://discord.com/developers/docs/events/gateway#sharding-max-concurrency>).
const IDENTIFY: Duration = Duration::from_secs(5);

struct Handler(Arc<Discord>);

/// Keeps shards, as many as Discord asks for among all hubs, until `stop` is cancelled. A hub keeps the shards that it has;
/// those of one that fell silent are nobody's, and are taken by the others, one at a time.
pub async fn run(discord: Arc<Discord>, settings: &settings::Discord, stop: &CancellationToken) {
    let mut shards = Shards { discord, settings: settings.clone(), total: None, kept: HashMap::new() };
    let mut seen = Instant::now();
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        match shards.look().await {
            Ok(()) => seen = Instant::now(),
            Err(error) => {
                tracing::error!(%error, "the shards of the gateway cannot be looked after");
                // They may be another hub's by now.
                if seen.elapsed() > CLAIM {
                    shards.drop_all().await;
                }
            }
        }
    }
    shards.drop_all().await;
}

/// The shards of this hub.
struct Shards {
    discord: Arc<Discord>,
    settings: settings::Discord,
    /// How many there are in all, once Discord said so.
    total: Option<u32>,
    kept: HashMap<String, Shard>,
}

struct Shard {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Shards {
    async fn look(&mut self) -> anyhow::Result<()> {
        let total = match self.total {
            Some(total) => total,
            None => *self.total.insert(self.ask().await?),
        };
        let hub = self.discord.hub.clone();
        let held: HashSet<String> = self.kept.keys().cloned().collect();
        let kept = hub.keeps(&held).await?;
        for lost in held.difference(&kept) {
            tracing::warn!(shard = lost, "another hub has taken over");
            if let Some(shard) = self.kept.remove(lost) {
                shard.stop.cancel();
            }
        }
        for id in 0..total {
            let name = format!("discord/shard/{id}");
            if self.kept.contains_key(&name) || !hub.takes(&name).await? {
                continue;
            }
            // They identify one after the other; the claim is renewed meanwhile, with the others.
            let stop = CancellationToken::new();
            let task =
                tokio::spawn(keep(self.discord.clone(), self.settings.clone(), (id, total), stop.clone()));
            self.kept.insert(name, Shard { stop, task });
            break;
        }
        Ok(())
    }

    async fn ask(&self) -> Result<u32, serenity::Error> {
        let gateway = http(&self.discord, &self.settings).get_bot_gateway().await?;
        Ok(gateway.shards.max(1))
    }

    async fn drop_all(&mut self) {
        for (_, shard) in self.kept.drain() {
            shard.stop.cancel();
            let _ = shard.task.await;
        }
    }
}

/// Keeps one shard connected until `stop` is cancelled.
async fn keep(
    discord: Arc<Discord>,
    settings: settings::Discord,
    (id, total): (u32, u32),
    stop: CancellationToken,
) {
    let mut wait = AGAIN;
    while !stop.is_cancelled() {
        if !turn(&discord, &stop).await {
            return;
        }
        let ended = async {
            let mut client = connect(&discord, &settings).await?;
            let shards = client.shard_manager.clone();
            let stopping = stop.clone();
            let shutdown = async move {
                stopping.cancelled().await;
                shards.shutdown_all().await;
            };
            tokio::select! {
                ended = client.start_shard(id, total) => ended,
                () = shutdown => Ok(()),
            }
        };
        match ended.await {
            Ok(()) => wait = AGAIN,
            Err(error) => {
                tracing::error!(%error, "the gateway cannot be opened; commands are not heard until it is");
                wait = (wait * 2).min(LONGEST);
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
        // An intent that was taken away since would be refused again and again.
        if let Err(error) = discord.look_at_grants().await {
            tracing::warn!(%error, "what the application is granted cannot be looked at");
        }
    }
}

/// Waits for the turn to identify; `false` if it was stopped before.
async fn turn(discord: &Discord, stop: &CancellationToken) -> bool {
    loop {
        match discord.hub.takes_turn("discord/identify", IDENTIFY).await {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the turn to identify cannot be taken"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(AGAIN / 4)).await.is_none() {
            return false;
        }
    }
}

/// Used only to ask for the gateway's address: everything else goes through `Rest`.
fn http(discord: &Discord, settings: &settings::Discord) -> Http {
    HttpBuilder::new(settings.token.expose())
        .proxy(&settings.api)
        .ratelimiter_disabled(true)
        .application_id(discord.application)
        .build()
}

async fn connect(discord: &Arc<Discord>, settings: &settings::Discord) -> Result<Client, serenity::Error> {
    let mut intents =
        GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES | GatewayIntents::DIRECT_MESSAGES;
    if discord.reads_messages() {
        intents |= GatewayIntents::MESSAGE_CONTENT;
    }
    ClientBuilder::new_with_http(http(discord, settings), intents)
        .event_handler(Handler(discord.clone()))
        .await
}

#[async_trait]
impl EventHandler for Handler {
    async fn ready(&self, context: Context, ready: Ready) {
        tracing::info!(shard = context.shard_id.0, guilds = ready.guilds.len(), "the gateway is open");
    }

    async fn interaction_create(&self, _: Context, interaction: Interaction) {
        handle::spawn(&self.0, interaction);
    }

    async fn message(&self, _: Context, message: Message) {
        chat::spawn(&self.0, message);
    }

    async fn guild_create(&self, _: Context, guild: Guild, _: Option<bool>) {
        self.0.places.name_guild(guild.id, &guild.name);
        guide::welcome(&self.0, &guild).await;
    }

    async fn channel_update(&self, _: Context, _: Option<GuildChannel>, new: GuildChannel) {
        self.0.places.forget(new.id);
    }

    async fn channel_delete(&self, _: Context, channel: GuildChannel, _: Option<Vec<Message>>) {
        self.0.places.forget(Channel::Guild(channel).id());
    }
}
