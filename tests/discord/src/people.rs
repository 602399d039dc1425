//! Guilds, channels and roles as a test holds them, and what it does to them.

use std::sync::Arc;

use serde_json::json;

use crate::{
    Member, Message, permissions,
    shared::Shared,
    world::{GuildState, Kind, MemberState, RoleState, World},
};

/// A guild that the bot is in.
#[derive(Clone)]
pub struct Guild {
    pub id: String,
    pub(crate) number: u64,
    pub(crate) shared: Arc<Shared>,
}

/// A text channel, a thread, or the channel between the bot and one person.
#[derive(Clone)]
pub struct Channel {
    pub id: String,
    pub name: String,
    pub(crate) number: u64,
}

/// A role of a guild.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    pub id: String,
    pub name: String,
    pub(crate) number: u64,
}

impl Channel {
    pub(crate) fn of(world: &World, number: u64) -> Self {
        let name = world.channels.get(&number).map_or_else(String::new, |channel| channel.name.clone());
        Self { id: number.to_string(), name, number }
    }

    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Role {
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Guild {
    /// Founds a guild with a text channel “general” and invites the bot. Its sessions are told.
    pub(crate) fn found(shared: &Arc<Shared>, name: &str) -> Self {
        let number = shared.change(|world, now| {
            let id = world.ids.next_spread(now);
            let owner = world.add_user(now, "owner");
            let system_channel = world.add_channel(now, Kind::Text, Some(id), "general", None);
            let everyone = RoleState {
                id,
                name: "@everyone".to_owned(),
                permissions: permissions::EVERYONE,
                position: 0,
            };
            let member = MemberState { roles: Vec::new(), joined_ms: now };
            let guild = GuildState {
                id,
                name: name.to_owned(),
                owner,
                system_channel,
                locale: "en-US".to_owned(),
                roles: vec![everyone],
                members: [(owner, member.clone()), (world.bot.id, member)].into(),
            };
            let told = world.guild_create(&guild);
            world.guilds.insert(id, guild);
            world.tell("GUILD_CREATE", Some(id), &told);
            id
        });
        Self { id: number.to_string(), number, shared: Arc::clone(shared) }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The channel where Discord itself would speak: “general”.
    pub fn system_channel(&self) -> Channel {
        let world = self.shared.world.lock();
        let number = world.guilds.get(&self.number).map_or(0, |guild| guild.system_channel);
        Channel::of(&world, number)
    }

    /// The text channel of that name, made if need be.
    pub fn channel(&self, name: &str) -> Channel {
        self.open(name, |_| {})
    }

    /// A channel for adults.
    pub fn nsfw_channel(&self, name: &str) -> Channel {
        self.open(name, |channel| channel.nsfw = true)
    }

    fn open(&self, name: &str, set: impl FnOnce(&mut crate::world::ChannelState)) -> Channel {
        self.shared.change(|world, now| {
            let ours = |channel: &&crate::world::ChannelState| {
                channel.guild == Some(self.number) && channel.kind == Kind::Text && channel.name == name
            };
            if let Some(known) = world.channels.values().find(ours) {
                return Channel::of(world, known.id);
            }
            let id = world.add_channel(now, Kind::Text, Some(self.number), name, None);
            world.channels.get_mut(&id).map(set);
            if let Some(told) = world.channels.get(&id).map(|channel| world.channel_json(channel)) {
                world.tell("CHANNEL_CREATE", Some(self.number), &told);
            }
            Channel::of(world, id)
        })
    }

    /// A thread in a channel, of a message if one is given.
    pub fn thread(
        &self,
        parent: &Channel,
        title: &str,
        message: Option<&Message>,
    ) -> anyhow::Result<Channel> {
        let message = message.and_then(|message| message.id.parse().ok());
        self.shared.change(|world, now| {
            let owner = world.guilds.get(&self.number).map_or(0, |guild| guild.owner);
            let made = world.start_thread(now, parent.number, title, message, owner);
            made.map(|id| Channel::of(world, id)).map_err(|refused| anyhow::anyhow!("{refused}"))
        })
    }

    /// The role of that name, made if need be. It adds no permission.
    pub fn role(&self, name: &str) -> Role {
        self.role_with(name, 0)
    }

    /// A role with permissions (see [`permissions`]).
    pub fn role_with(&self, name: &str, permissions: u64) -> Role {
        self.shared.change(|world, now| {
            let id = world.ids.next(now);
            let Some(guild) = world.guilds.get_mut(&self.number) else {
                return Role { id: id.to_string(), name: name.to_owned(), number: id };
            };
            if let Some(known) = guild.roles.iter().find(|role| role.name == name) {
                return Role { id: known.id.to_string(), name: name.to_owned(), number: known.id };
            }
            let role = RoleState { id, name: name.to_owned(), permissions, position: guild.roles.len() };
            let told = json!({"guild_id": self.id, "role": role.json()});
            guild.roles.push(role);
            world.tell("GUILD_ROLE_CREATE", Some(self.number), &told);
            Role { id: id.to_string(), name: name.to_owned(), number: id }
        })
    }

    /// The member of that name, who joins if need be. A person is the same in every guild.
    pub fn member(&self, name: &str) -> Member {
        let user = self.shared.change(|world, now| {
            let user = world.add_user(now, name);
            if let Some(guild) = world.guilds.get_mut(&self.number) {
                guild.members.entry(user).or_insert(MemberState { roles: Vec::new(), joined_ms: now });
            }
            user
        });
        Member::new(&self.shared, user, name, Some(self.number))
    }

    /// A member who may manage the guild and its members.
    pub fn moderator(&self, name: &str) -> Member {
        let role = self.role_with("moderators", permissions::MODERATOR);
        self.member(name).with_role(&role)
    }

    /// What language the guild says it speaks.
    pub fn locale(&self, locale: &str) -> &Self {
        self.shared.change(|world, _| {
            world.guilds.get_mut(&self.number).map(|guild| locale.clone_into(&mut guild.locale))
        });
        self
    }
}
