//! The gateway: serenity keeps the shards connected, and what they bring goes to the handlers.

use std::{sync::Arc, time::Duration};

use serenity::{
    all::{
        Channel, Client, ClientBuilder, Context, EventHandler, GatewayIntents, Guild, GuildChannel,
        Interaction, Message, Ready,
    },
    async_trait,
    http::HttpBuilder,
};
use tokio_util::sync::CancellationToken;

use super::{Discord, chat, guide, handle};
use crate::settings;

/// Wait before the gateway is tried again when it could not be opened; doubles up to [`LONGEST`].
const AGAIN: Duration = Duration::from_secs(2);
/// See [`AGAIN`].
const LONGEST: Duration = Duration::from_secs(120);

struct Handler(Arc<Discord>);

/// Keeps as many shards as Discord asks for, until `stop` is cancelled.
pub async fn run(discord: Arc<Discord>, settings: &settings::Discord, stop: &CancellationToken) {
    let mut wait = AGAIN;
    while !stop.is_cancelled() {
        let ended = async {
            let mut client = connect(&discord, settings).await?;
            let shards = client.shard_manager.clone();
            let stopping = stop.clone();
            let shutdown = async move {
                stopping.cancelled().await;
                shards.shutdown_all().await;
            };
            tokio::select! {
                ended = client.start_autosharded() => ended,
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

async fn connect(discord: &Arc<Discord>, settings: &settings::Discord) -> Result<Client, serenity::Error> {
    // Used only to ask for the gateway's address: everything else goes through `Rest`.
    let http = HttpBuilder::new(settings.token.expose())
        .proxy(&settings.api)
        .ratelimiter_disabled(true)
        .application_id(discord.application)
        .build();
    let mut intents =
        GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES | GatewayIntents::DIRECT_MESSAGES;
    if discord.reads_messages() {
        intents |= GatewayIntents::MESSAGE_CONTENT;
    }
    ClientBuilder::new_with_http(http, intents).event_handler(Handler(discord.clone())).await
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
