//! Everything that the fake Discord knows, behind one lock that is never held across an `.await`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{clock::Ids, interactions::Interaction, permissions, refused::Refused, session::Sessions};

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub id: u64,
    pub name: String,
    pub bot: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct RoleState {
    pub id: u64,
    pub name: String,
    pub permissions: u64,
    pub position: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct MemberState {
    pub roles: Vec<u64>,
    pub joined_ms: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct GuildState {
    pub id: u64,
    pub name: String,
    pub owner: u64,
    pub system_channel: u64,
    pub locale: String,
    pub roles: Vec<RoleState>,
    pub members: BTreeMap<u64, MemberState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Dm,
    Thread,
}

impl Kind {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Text => 0,
            Self::Dm => 1,
            Self::Thread => 11,
        }
    }
}

pub(crate) struct ChannelState {
    pub id: u64,
    pub kind: Kind,
    pub guild: Option<u64>,
    pub name: String,
    pub nsfw: bool,
    pub parent: Option<u64>,
    pub owner: Option<u64>,
    pub recipient: Option<u64>,
    pub created_ms: u64,
    /// What the bot may do here.
    pub bot_permissions: u64,
    pub messages: BTreeMap<u64, Stored>,
}

/// A message and who sees it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// The message object as Discord gives it.
    pub value: Value,
    /// Who alone sees it.
    pub private_to: Option<u64>,
    /// Still “… is thinking”.
    pub loading: bool,
}

pub(crate) struct StoredFile {
    pub filename: String,
    pub content_type: String,
    pub bytes: Bytes,
}

pub(crate) struct World {
    pub ids: Ids,
    pub application: u64,
    pub application_name: String,
    pub bot: User,
    pub token: String,
    pub public_key: String,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    pub users: BTreeMap<u64, User>,
    /// What each user's client speaks.
    pub locales: BTreeMap<u64, String>,
    pub guilds: BTreeMap<u64, GuildState>,
    pub channels: BTreeMap<u64, ChannelState>,
    pub files: BTreeMap<u64, StoredFile>,
    /// Commands by guild, or everywhere.
    pub commands: BTreeMap<Option<u64>, Vec<Value>>,
    /// When commands were made, in milliseconds.
    pub commands_made: Vec<u64>,
    pub command_writes: u64,
    /// Messages by channel and nonce, and when they were made.
    pub nonces: HashMap<(u64, String), (u64, u64)>,
    /// The same, oldest first.
    pub nonce_order: VecDeque<((u64, String), u64)>,
    pub interactions: HashMap<String, Interaction>,
    pub interaction_order: VecDeque<String>,
    pub sessions: Sessions,
    /// How many messages a channel, and how many interactions, are kept; all of them where it is not said.
    pub keep: Option<usize>,
}

impl World {
    /// A text channel of a guild, or a thread.
    pub(crate) fn add_channel(
        &mut self,
        now_ms: u64,
        kind: Kind,
        guild: Option<u64>,
        name: &str,
        parent: Option<u64>,
    ) -> u64 {
        let id = self.ids.next(now_ms);
        let inherited = parent.and_then(|parent| self.channels.get(&parent));
        let channel = ChannelState {
            id,
            kind,
            guild,
            name: name.to_owned(),
            nsfw: inherited.is_some_and(|parent| parent.nsfw),
            parent,
            owner: None,
            recipient: None,
            created_ms: now_ms,
            bot_permissions: inherited.map_or(permissions::EVERYONE, |parent| parent.bot_permissions),
            messages: BTreeMap::new(),
        };
        self.channels.insert(id, channel);
        id
    }

    /// The channel between the bot and a user.
    pub(crate) fn dm(&mut self, now_ms: u64, user: u64) -> u64 {
        let found = self.channels.values().find(|channel| channel.recipient == Some(user));
        if let Some(found) = found {
            return found.id;
        }
        let id = self.add_channel(now_ms, Kind::Dm, None, "", None);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.recipient = Some(user);
        }
        id
    }

    pub(crate) fn add_user(&mut self, now_ms: u64, name: &str) -> u64 {
        if let Some(known) = self.users.values().find(|user| user.name == name) {
            return known.id;
        }
        let id = self.ids.next(now_ms);
        self.users.insert(id, User { id, name: name.to_owned(), bot: false });
        id
    }

    /// A channel that the bot can see.
    pub(crate) fn channel(&self, id: u64) -> Result<&ChannelState, Refused> {
        let channel = self.channels.get(&id).ok_or_else(Refused::unknown_channel)?;
        if channel.bot_permissions & permissions::VIEW_CHANNEL == 0 {
            return Err(Refused::missing_access());
        }
        Ok(channel)
    }

    /// A public message in a channel that the bot can see.
    pub(crate) fn message(&self, channel: u64, id: u64) -> Result<&Stored, Refused> {
        let found = self.channel(channel)?.messages.get(&id);
        found.filter(|stored| stored.private_to.is_none()).ok_or_else(Refused::unknown_message)
    }

    pub(crate) fn stored(&self, channel: u64, id: u64) -> Option<&Stored> {
        self.channels.get(&channel)?.messages.get(&id)
    }

    pub(crate) fn stored_mut(&mut self, channel: u64, id: u64) -> Option<&mut Stored> {
        self.channels.get_mut(&channel)?.messages.get_mut(&id)
    }

    /// The message that was made with a nonce not long ago.
    pub(crate) fn known_nonce(&mut self, now_ms: u64, life_ms: u64, nonce: &(u64, String)) -> Option<u64> {
        while let Some((old, made)) = self.nonce_order.front().filter(|(_, made)| made + life_ms < now_ms) {
            // It may have been used again since.
            if self.nonces.get(old).is_some_and(|(_, latest)| latest == made) {
                self.nonces.remove(old);
            }
            self.nonce_order.pop_front();
        }
        self.nonces.get(nonce).map(|(message, _)| *message)
    }

    /// Puts a message into its channel and tells the sessions.
    pub(crate) fn post(&mut self, channel: u64, id: u64, stored: Stored) {
        let keep = self.keep;
        if let Some(state) = self.channels.get_mut(&channel) {
            state.messages.insert(id, stored.clone());
            while keep.is_some_and(|keep| state.messages.len() > keep) {
                state.messages.pop_first();
            }
        }
        if stored.private_to.is_none() {
            self.tell_message("MESSAGE_CREATE", channel, &stored.value);
        }
    }

    /// Tells the sessions that a message changed.
    pub(crate) fn announce_edit(&mut self, channel: u64, id: u64) {
        let Some(stored) = self.stored(channel, id) else { return };
        if stored.private_to.is_none() {
            let value = stored.value.clone();
            self.tell_message("MESSAGE_UPDATE", channel, &value);
        }
    }

    /// Takes a message away and tells the sessions.
    pub(crate) fn remove_message(&mut self, channel: u64, id: u64) -> Option<Stored> {
        let removed = self.channels.get_mut(&channel)?.messages.remove(&id)?;
        if removed.private_to.is_none() {
            let guild = self.channels.get(&channel).and_then(|channel| channel.guild);
            let mut data = json!({"id": id.to_string(), "channel_id": channel.to_string()});
            if let Some(guild) = guild {
                data["guild_id"] = guild.to_string().into();
            }
            self.tell("MESSAGE_DELETE", guild, &data);
        }
        Some(removed)
    }

    /// Tells every session of the guild's shard, or of the first where there is no guild.
    pub(crate) fn tell(&mut self, event: &str, guild: Option<u64>, data: &Value) {
        // An interaction is told to whoever is there.
        let needed = if event == "INTERACTION_CREATE" { 0 } else { session_intents::GUILDS };
        self.sessions.dispatch(event, guild, |intents| (intents & needed == needed).then(|| data.clone()));
    }

    /// Tells of a message; its content only to sessions that may read it.
    fn tell_message(&mut self, event: &str, channel: u64, message: &Value) {
        let guild = self.channels.get(&channel).and_then(|channel| channel.guild);
        let mut message = message.clone();
        if let Some(state) = guild.and_then(|guild| self.guilds.get(&guild)) {
            message["guild_id"] = state.id.to_string().into();
            let author = crate::objects::snowflake(&message["author"]["id"]);
            if let Some(member) = author.and_then(|author| state.members.get(&author)) {
                message["member"] = member.json();
            }
        }
        let bot = self.bot.id.to_string();
        let hides = |message: &Value| {
            let own = message["author"]["id"] == bot.as_str();
            let mentions = message["mentions"].as_array();
            guild.is_some()
                && !own
                && !mentions.is_some_and(|all| all.iter().any(|user| user["id"] == bot.as_str()))
        };
        let hidden = hides(&message);
        let above_hidden = message["referenced_message"].is_object() && hides(&message["referenced_message"]);
        self.sessions.dispatch(event, guild, |intents| {
            let wanted = if guild.is_some() {
                session_intents::GUILD_MESSAGES
            } else {
                session_intents::DIRECT_MESSAGES
            };
            if intents & wanted == 0 {
                return None;
            }
            let mut seen = message.clone();
            if intents & session_intents::MESSAGE_CONTENT == 0 {
                if hidden {
                    hide(&mut seen);
                }
                if above_hidden {
                    hide(&mut seen["referenced_message"]);
                }
            }
            Some(seen)
        });
    }
}

/// Takes out of a message what only the message-content intent shows
/// (<https://discord.com/developers/docs/events/gateway#message-content-intent>).
fn hide(message: &mut Value) {
    message["content"] = "".into();
    for list in ["embeds", "attachments", "components"] {
        message[list] = json!([]);
    }
}

/// Source: <https://discord.com/developers/docs/events/gateway#list-of-intents>.
pub(crate) mod session_intents {
    pub(crate) const GUILDS: u64 = 1 << 0;
    pub(crate) const GUILD_MESSAGES: u64 = 1 << 9;
    pub(crate) const DIRECT_MESSAGES: u64 = 1 << 12;
    pub(crate) const MESSAGE_CONTENT: u64 = 1 << 15;
}
