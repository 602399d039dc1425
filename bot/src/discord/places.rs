//! What is known of channels and servers: names, threads' parents, and whether a channel is age-restricted. A cache over
//! Discord, of which anything may be forgotten.

use std::time::{Duration, Instant};

use dashmap::DashMap;
use riff_hub::hub::Room;
use serde::Deserialize;
use serenity::{
    http::{LightMethod, Route},
    model::id::{ChannelId, GuildId},
};

use super::{
    SURFACE,
    incoming::{community, room_id},
    rest::{Call, Rest, RestError},
};

/// How long what is known of a channel counts, where no event said that it changed.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// Most channels that are remembered.
const MOST: usize = 20_000;

/// A channel as far as Riff needs it (<https://discord.com/developers/docs/resources/channel#channel-object>).
#[derive(Debug, Clone, Deserialize)]
pub struct Place {
    /// Its id.
    pub id: ChannelId,
    /// Its kind, see [`Place::is_thread`].
    #[serde(rename = "type")]
    pub kind: u8,
    /// Its name; private conversations have none.
    #[serde(default)]
    pub name: Option<String>,
    /// The channel that a thread is in, or the category of a channel.
    #[serde(default)]
    pub parent_id: Option<ChannelId>,
    /// Whether it is age-restricted.
    #[serde(default)]
    pub nsfw: bool,
}

impl Place {
    /// Threads: of announcements, public, private
    /// (<https://discord.com/developers/docs/resources/channel#channel-object-channel-types>).
    pub fn is_thread(&self) -> bool {
        matches!(self.kind, 10..=12)
    }
}

/// The cache.
#[derive(Default)]
pub struct Places {
    channels: DashMap<ChannelId, (Place, Instant)>,
    guilds: DashMap<GuildId, String>,
}

impl Places {
    /// A channel.
    pub async fn channel(&self, rest: &Rest, id: ChannelId) -> Result<Place, RestError> {
        if let Some(known) = self.channels.get(&id).filter(|known| known.1.elapsed() < FRESH) {
            return Ok(known.0.clone());
        }
        let place: Place = rest.get(Call::new(LightMethod::Get, Route::Channel { channel_id: id })).await?;
        if self.channels.len() >= MOST {
            self.channels.clear();
        }
        self.channels.insert(id, (place.clone(), Instant::now()));
        Ok(place)
    }

    /// Forgets a channel that changed.
    pub fn forget(&self, id: ChannelId) {
        self.channels.remove(&id);
    }

    /// Remembers a server's name.
    pub fn name_guild(&self, id: GuildId, name: &str) {
        self.guilds.insert(id, name.to_owned());
    }

    /// Where the hub counts what is asked for in a channel: in a thread, its parent. A channel that cannot be looked at is
    /// taken for one that is not age-restricted.
    pub async fn room(&self, rest: &Rest, channel: ChannelId, guild: Option<GuildId>) -> Room {
        let mut place = self.channel(rest, channel).await.ok();
        if let Some(parent) =
            place.as_ref().filter(|place| place.is_thread()).and_then(|thread| thread.parent_id)
        {
            place = self.channel(rest, parent).await.ok();
        }
        let id = place.as_ref().map_or(channel, |place| place.id);
        let name = place.as_ref().and_then(|place| place.name.clone());
        Room {
            id: room_id(id),
            title: name.unwrap_or_else(|| "a conversation".to_owned()),
            surface: SURFACE.to_owned(),
            community: community(guild),
            community_name: self.guild_name(guild),
            mature: place.is_some_and(|place| place.nsfw),
        }
    }

    fn guild_name(&self, guild: Option<GuildId>) -> String {
        let Some(guild) = guild else {
            return "Private conversations".to_owned();
        };
        self.guilds.get(&guild).map_or_else(|| format!("server {guild}"), |name| name.clone())
    }
}
