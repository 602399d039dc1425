//! Who uses a command, a button or a dialog, where, and how they are answered: what all interactions have in common.

use riff_hub::{
    hub::{Ask, Privacy, Room},
    recipe::Parent,
    seam::Millis,
    store::Member,
};
use serenity::model::{
    Permissions,
    application::{CommandInteraction, ComponentInteraction, ModalInteraction},
    channel::{ChannelType, Message, MessageFlags, PartialChannel},
    guild,
    id::{ChannelId, GuildId, InteractionId, RoleId, UserId},
    user::User,
};

use super::{
    SURFACE,
    asked::Spot,
    note::{Note, Shows},
};

/// Community of everything that is asked for in private conversations with the bot.
const DIRECT: &str = "discord:direct";
/// The longest name that is kept; the hub's own limit is the same.
const MAX_NAME: usize = 32;

/// What an interaction says of itself.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Its id.
    pub id: InteractionId,
    /// Answers it, for 15 minutes.
    pub token: String,
    /// Who.
    pub person: Person,
    /// In which server, if in one.
    pub guild: Option<GuildId>,
    /// Where.
    pub channel: ChannelId,
    /// What the bot may do there.
    pub allowed: Option<Permissions>,
    /// What kind of place that is.
    pub spot: Spot,
    /// Largest file that may be sent, in bytes.
    pub limit: u32,
    /// The message that a component is on.
    pub message: Option<Box<Message>>,
}

/// Somebody on Discord, as they are in one server.
#[derive(Debug, Clone)]
pub struct Person {
    /// Their account.
    pub id: UserId,
    /// How they are called there.
    pub name: String,
    /// Their roles there.
    pub roles: Vec<String>,
    /// Whether they may use `/mod` there.
    pub standing: Standing,
}

/// What somebody may do in a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Prompt.
    Member,
    /// Moderate.
    Moderator,
}

/// Permissions that make a moderator.
pub const MODERATES: Permissions = Permissions::MANAGE_GUILD;

impl Person {
    /// Somebody, with what a server says of them where there is one.
    pub fn new(user: &User, nick: Option<&str>, roles: &[RoleId], permissions: Option<Permissions>) -> Self {
        let moderates = permissions.is_some_and(|has| has.intersects(MODERATES | Permissions::ADMINISTRATOR));
        let name = nick.or(user.global_name.as_deref()).unwrap_or(&user.name);
        let printable: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
        Self {
            id: user.id,
            name: if printable.trim().is_empty() { format!("member {}", user.id) } else { printable },
            roles: roles.iter().map(RoleId::to_string).collect(),
            standing: if moderates { Standing::Moderator } else { Standing::Member },
        }
    }

    fn of(user: &User, member: Option<&guild::Member>) -> Self {
        let roles = member.map_or(&[][..], |member| &member.roles);
        let nick = member.and_then(|member| member.nick.as_deref());
        Self::new(user, nick, roles, member.and_then(|member| member.permissions))
    }

    /// The same person in the hub.
    pub fn member(&self) -> Member {
        member(self.id, &self.name)
    }
}

/// An account as a member of the hub.
pub fn member(id: UserId, name: &str) -> Member {
    Member { id: format!("{SURFACE}:{id}"), name: name.chars().take(MAX_NAME).collect() }
}

/// A member's account, if it is one of Discord.
pub fn account(member: &str) -> Option<UserId> {
    member.strip_prefix(SURFACE)?.strip_prefix(':')?.parse().ok()
}

/// A server's name in the hub.
pub fn community(guild: Option<GuildId>) -> String {
    guild.map_or_else(|| DIRECT.to_owned(), |guild| format!("{SURFACE}:{guild}"))
}

/// A channel's name in the hub.
pub fn room_id(channel: ChannelId) -> String {
    format!("{SURFACE}:{channel}")
}

fn spot(channel: Option<&PartialChannel>) -> Spot {
    let threads = [ChannelType::NewsThread, ChannelType::PublicThread, ChannelType::PrivateThread];
    match channel.is_some_and(|channel| threads.contains(&channel.kind)) {
        true => Spot::Thread,
        false => Spot::Channel,
    }
}

macro_rules! incoming {
    ($interaction:expr, $member:expr, $message:expr) => {
        Self {
            id: $interaction.id,
            token: $interaction.token.clone(),
            person: Person::of(&$interaction.user, $member),
            guild: $interaction.guild_id,
            channel: $interaction.channel_id,
            allowed: $interaction.app_permissions,
            spot: spot($interaction.channel.as_ref()),
            limit: $interaction.attachment_size_limit,
            message: $message,
        }
    };
}

impl Incoming {
    /// Of a command.
    pub fn of_command(interaction: &CommandInteraction) -> Self {
        incoming!(interaction, interaction.member.as_deref(), None)
    }

    /// Of a component.
    pub fn of_component(interaction: &ComponentInteraction) -> Self {
        incoming!(interaction, interaction.member.as_ref(), Some(interaction.message.clone()))
    }

    /// Of a dialog.
    pub fn of_modal(interaction: &ModalInteraction) -> Self {
        incoming!(interaction, interaction.member.as_ref(), interaction.message.clone())
    }

    /// Who sees what this asks for: what is made from something private stays private, and so does what is asked for in a
    /// conversation with the bot alone.
    pub fn privacy(&self) -> Privacy {
        let hidden =
            |message: &Message| message.flags.is_some_and(|flags| flags.contains(MessageFlags::EPHEMERAL));
        match self.guild.is_none() || self.message.as_deref().is_some_and(hidden) {
            true => Privacy::Private,
            false => Privacy::Public,
        }
    }

    /// How a job that this asks for is answered.
    pub fn note(&self, shows: Shows, now: Millis) -> Note {
        Note {
            channel: self.channel,
            user: self.person.id,
            token: Some((self.token.clone(), now)),
            message: None,
            replies_to: None,
            more: Vec::new(),
            direct: self.guild.is_none(),
            aside: None,
            shows,
            limit: if self.limit == 0 { super::attach::MAX_BYTES as u32 } else { self.limit },
        }
    }
}

/// Somebody who asks the hub for something.
pub struct Asker {
    /// As the hub knows them.
    pub who: Member,
    /// Where they are.
    pub room: Room,
    /// Their roles there.
    pub roles: Vec<String>,
    /// Id of the interaction or message by which they ask. Discord says it again to a hub that takes over a shard.
    pub request: u64,
}

impl Asker {
    /// The question itself.
    pub fn ask(&self, privacy: Privacy, note: &Note) -> Ask<'_> {
        Ask {
            who: &self.who,
            channel: &self.room.id,
            roles: &self.roles,
            privacy,
            reply: Some(note.write()),
            request: Some(format!("discord:{}", self.request)),
        }
    }
}

/// The result that the buttons of a message riff on: its first one.
pub fn result_on(message: &Message) -> Option<Parent> {
    use serenity::model::application::{ActionRowComponent, ButtonKind};

    use super::id::Action;
    let ids = message.components.iter().flat_map(|row| &row.components).filter_map(|part| match part {
        ActionRowComponent::Button(button) => match &button.data {
            ButtonKind::NonLink { custom_id, .. } => Some(custom_id),
            _ => None,
        },
        _ => None,
    });
    ids.filter_map(|id| Action::read(id)).find_map(|action| match action {
        Action::Riff(_, parent) | Action::Edit(parent) | Action::Answer(parent) => Some(parent),
        _ => None,
    })
}
