//! What a server sees first: a short guide in a channel that takes it, and one screen for moderators.

use riff_hub::hub::Act;
use serenity::{
    all::{ChannelType, Guild, InputTextStyle},
    builder::{CreateActionRow, CreateEmbed, CreateSelectMenu, CreateSelectMenuKind},
    http::{LightMethod, Route},
    model::id::{ChannelId, GuildId},
};

use super::{
    Discord,
    asked::{Outcome, Said, Spot, missing},
    dialog,
    id::Action,
    incoming::{Incoming, community, room_id},
    message::Outgoing,
    moderate,
    reply::Answer,
    rest::Call,
};

/// Channels that are tried for the guide.
const TRIED: usize = 3;
/// Most channels that can be picked at once
/// (<https://discord.com/developers/docs/components/reference#channel-select>).
const MOST_PICKED: u8 = 25;

const GUIDE: &str = "**Hello! I make pictures and answer questions, here in the open, where everybody can riff on them.**
• `/imagine a castle at night` makes pictures. The buttons below them vary, enlarge and remix what anybody made.
• `/ask`, or mention me, to talk; reply to my answers to go on.
• *Fork settings* in the Apps menu of a post opens its settings for you.
• `/models`, `/queue` and `/quota` show what is here, where you are in line, and what you have left today.
-# Moderators: `/mod setup` decides which channels take prompts and which roles get what. Everything can be undone, and is \
logged in `/mod audit`.";

/// Posts the guide, the first time that this server is seen.
pub async fn welcome(discord: &Discord, guild: &Guild) {
    match discord.hub.first_visit(&community(Some(guild.id)), &guild.name).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::warn!(guild = guild.id.get(), %error, "a server could not be noted");
            return;
        }
    }
    let mut texts: Vec<_> =
        guild.channels.values().filter(|channel| channel.kind == ChannelType::Text).collect();
    texts.sort_by_key(|channel| (Some(channel.id) != guild.system_channel_id, channel.position, channel.id));
    let may = |channel: &&serenity::model::channel::GuildChannel| {
        let member = guild.members.get(&discord.bot);
        member
            .is_none_or(|member| missing(guild.user_permissions_in(channel, member), Spot::Channel).is_none())
    };
    for channel in texts.into_iter().filter(may).take(TRIED) {
        match post(discord, channel.id, guild.id).await {
            Ok(()) => return,
            Err(error) => {
                tracing::info!(guild = guild.id.get(), %error, "the guide is not welcome in a channel")
            }
        }
    }
    tracing::warn!(guild = guild.id.get(), "there is no channel for the guide");
}

async fn post(
    discord: &Discord,
    channel_id: ChannelId,
    guild: GuildId,
) -> Result<(), super::rest::RestError> {
    let mut body = Outgoing::public(GUIDE).body();
    body["nonce"] = format!("guide.{}", guild.get() % 1_000_000_000_000_000_000).into();
    body["enforce_nonce"] = true.into();
    discord.rest.tell(Call::new(LightMethod::Post, Route::ChannelMessages { channel_id }).body(body)).await
}

/// The screen of `/mod setup`.
pub async fn setup(discord: &Discord, community: &str) -> Result<Outcome, Said> {
    Ok(Answer::Message(screen(discord, community).await?).into())
}

async fn screen(discord: &Discord, community: &str) -> Result<Outgoing, Said> {
    let rules = discord.hub.rules(community).await?;
    let open: Vec<ChannelId> =
        rules.open_channels.iter().filter_map(|room| room.rsplit(':').next()?.parse().ok()).collect();
    let channels = CreateSelectMenuKind::Channel {
        channel_types: Some(vec![ChannelType::Text, ChannelType::News, ChannelType::Forum]),
        default_channels: (!open.is_empty()).then_some(open),
    };
    let channels = CreateSelectMenu::new(Action::SetChannels.write(), channels)
        .placeholder("Which channels take prompts? (none picked: all)")
        .min_values(0)
        .max_values(MOST_PICKED);
    let roles = CreateSelectMenuKind::Role { default_roles: None };
    let roles = CreateSelectMenu::new(Action::PickRole.write(), roles)
        .placeholder("Give a role an allowance of its own");
    let embed: CreateEmbed = moderate::describe(&rules).title("Set up Riff here");
    Ok(Outgoing::private("")
        .embed(embed)
        .row(CreateActionRow::SelectMenu(channels))
        .row(CreateActionRow::SelectMenu(roles)))
}

/// Channels were picked.
pub async fn set_channels(
    discord: &Discord,
    incoming: &Incoming,
    picked: &[String],
) -> Result<Outcome, Said> {
    let community = moderate::allowed(incoming)?;
    let channels: Vec<String> = picked.iter().filter_map(|id| Some(room_id(id.parse().ok()?))).collect();
    discord.asker(incoming).await?;
    discord.hub.moderate(&incoming.person.member(), &community, &Act::OpenChannels { channels }).await?;
    Ok(Answer::Update(screen(discord, &community).await?).into())
}

/// A role was picked: how much may it use?
pub fn ask_allowance(role: &str) -> Result<Outcome, Said> {
    let action = Action::SetAllowance(role.to_owned());
    let label = "GPU-seconds a day (0: the usual)";
    Ok(Answer::Dialog(dialog::one(action, "Allowance of a role", label, "600", InputTextStyle::Short)).into())
}

/// The allowance was typed.
pub async fn set_allowance(
    discord: &Discord,
    incoming: &Incoming,
    role: &str,
    typed: &str,
) -> Result<Outcome, Said> {
    let community = moderate::allowed(incoming)?;
    let seconds: i64 =
        typed.parse().ok().filter(|seconds| (0..=86_400).contains(seconds)).ok_or_else(|| {
            Said(format!("“{typed}” is no number of seconds: type a whole number from 0 to 86400."))
        })?;
    let act = Act::Allow { role: role.to_owned(), gpu_ms: (seconds > 0).then_some(seconds * 1_000) };
    discord.asker(incoming).await?;
    discord.hub.moderate(&incoming.person.member(), &community, &act).await?;
    Ok(Answer::Update(screen(discord, &community).await?).into())
}
