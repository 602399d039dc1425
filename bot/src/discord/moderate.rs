//! `/mod`: what moderators do becomes an act of the hub, which keeps the log of it.

use riff_hub::{
    hub::{Act, AuditRow, Rules},
    seam::Millis,
    store::Member,
};
use serenity::all::{CommandData, CommandDataOptionValue, CreateEmbed};

use super::{
    Discord,
    asked::{Outcome, Said, with_places},
    generate::Options,
    guide,
    incoming::{Incoming, Standing, account, community, member, room_id},
    message::{Outgoing, clip, plain},
    note::Note,
    reply::Answer,
};

/// Rows of the log that are shown.
const LOGGED: i64 = 20;
/// Milliseconds of a minute.
const MINUTE_MS: i64 = 60_000;

/// Only moderators go on from here.
pub fn allowed(incoming: &Incoming) -> Result<String, Said> {
    match (incoming.guild, incoming.person.standing) {
        (Some(guild), Standing::Moderator) => Ok(community(Some(guild))),
        (None, _) => Err(Said::new("/mod works in a server, where its moderators are.")),
        _ => Err(Said::new("Only moderators can do this: it takes the permission Manage Server.")),
    }
}

/// Runs a subcommand.
pub async fn run(discord: &Discord, incoming: &Incoming, data: &CommandData) -> Result<Outcome, Said> {
    let community = allowed(incoming)?;
    let Some((name, CommandDataOptionValue::SubCommand(given))) =
        data.options.first().map(|option| (option.name.as_str(), &option.value))
    else {
        return Err(Said::new("Pick what to do: /mod setup, /mod rules, /mod ban and so on."));
    };
    let options = Options::new(data, given);
    discord.asker(incoming).await?;
    match name {
        "setup" => guide::setup(discord, &community).await,
        "rules" => rules(discord, &community).await,
        "audit" => audit(discord, incoming, &community).await,
        _ => {
            let now = discord.hub.seam.now();
            let (act, done) = act(name, &options, now, data)?;
            if let Act::Grant { member, .. } | Act::Ban { member, .. } | Act::TimeOut { member, .. } = &act {
                discord.hub.store.put_member(member, now).await?;
            }
            discord.hub.moderate(&incoming.person.member(), &community, &act).await?;
            Ok(Answer::private(done).into())
        }
    }
}

/// What a subcommand does, and the sentence that says that it is done.
fn act(name: &str, options: &Options<'_>, now: Millis, data: &CommandData) -> Result<(Act, String), Said> {
    let reason = || options.text("reason").to_owned();
    let word = || options.text("word").to_owned();
    Ok(match name {
        "allowance" => {
            let role = options.get("role").and_then(CommandDataOptionValue::as_role_id);
            let role = role.ok_or_else(|| Said::new("Pick a role."))?;
            let seconds = options.number("seconds").unwrap_or_default();
            let act = Act::Allow { role: role.to_string(), gpu_ms: (seconds > 0).then_some(seconds * 1_000) };
            let done = match seconds {
                0 => format!("<@&{role}> has no allowance of its own any more."),
                seconds => format!("<@&{role}> may use {seconds} GPU-seconds a day."),
            };
            (act, done)
        }
        "grant" => {
            let member = subject(options, data)?;
            let seconds = options.number("seconds").unwrap_or_default();
            let done = format!("{} has {seconds} GPU-seconds more today.", mention(&member));
            (Act::Grant { member, gpu_ms: seconds * 1_000 }, done)
        }
        "ban" => {
            let member = subject(options, data)?;
            let done = format!("{} can't prompt here any more.", mention(&member));
            (Act::Ban { member, reason: reason() }, done)
        }
        "unban" => {
            let member = subject(options, data)?;
            let done = format!("{} can prompt here again.", mention(&member));
            (Act::Unban { member }, done)
        }
        "timeout" => {
            let member = subject(options, data)?;
            let minutes = options.number("minutes").unwrap_or_default();
            let done = format!("{} can't prompt here for {minutes} min.", mention(&member));
            (Act::TimeOut { member, until: now + minutes * MINUTE_MS, reason: reason() }, done)
        }
        "block" => (
            Act::Block { word: word() },
            format!("“{}” is not allowed in prompts here any more.", plain(&word())),
        ),
        "unblock" => {
            (Act::Unblock { word: word() }, format!("“{}” is allowed in prompts here again.", plain(&word())))
        }
        "pause" | "resume" => pause(name, options)?,
        other => {
            return Err(Said(format!("I don't know /mod {other}: it may be from another version of Riff.")));
        }
    })
}

fn pause(name: &str, options: &Options<'_>) -> Result<(Act, String), Said> {
    let model = options.text("model").to_owned();
    let channel = options.get("channel").and_then(CommandDataOptionValue::as_channel_id);
    Ok(match (name, channel) {
        ("pause", Some(channel)) => (
            Act::PauseChannel { channel: room_id(channel) },
            format!("<#{channel}> takes no prompts until /mod resume."),
        ),
        (_, Some(channel)) => {
            (Act::ResumeChannel { channel: room_id(channel) }, format!("<#{channel}> takes prompts again."))
        }
        _ if model.is_empty() => return Err(Said::new("Name a model, or pick a channel.")),
        ("pause", None) => {
            let done = format!("{} is paused here until /mod resume.", plain(&model));
            (Act::PauseModel { model }, done)
        }
        _ => {
            let done = format!("{} runs here again.", plain(&model));
            (Act::ResumeModel { model }, done)
        }
    })
}

fn subject(options: &Options<'_>, data: &CommandData) -> Result<Member, Said> {
    let id = options.get("user").and_then(CommandDataOptionValue::as_user_id);
    let id = id.ok_or_else(|| Said::new("Pick somebody."))?;
    let name = data.resolved.users.get(&id).map_or_else(|| format!("member {id}"), |user| user.name.clone());
    Ok(member(id, &name))
}

/// A member as messages name them; nobody is pinged.
pub fn mention(member: &Member) -> String {
    account(&member.id).map_or_else(|| plain(&member.name), |id| format!("<@{id}>"))
}

/// A channel as messages name it.
pub fn place(room: &str) -> String {
    account(room).map_or_else(|| plain(room), |id| format!("<#{id}>"))
}

async fn rules(discord: &Discord, community: &str) -> Result<Outcome, Said> {
    let embed = describe(&discord.hub.rules(community).await?);
    Ok(Answer::Message(Outgoing::private("").embed(embed)).into())
}

/// Every rule that holds, as a card.
pub fn describe(rules: &Rules) -> CreateEmbed {
    let list = |items: Vec<String>, none: &str| match items.is_empty() {
        true => none.to_owned(),
        false => clip(&items.join("\n"), 1_024),
    };
    let allowances = rules
        .allowances
        .iter()
        .map(|(role, ms)| format!("<@&{role}> {} GPU-seconds a day", ms / 1_000))
        .collect();
    let open = rules.open_channels.iter().map(|room| place(room)).collect();
    let paused = rules
        .paused_channels
        .iter()
        .map(|room| place(room))
        .chain(rules.paused_models.iter().map(|m| plain(m)));
    let restricted = rules.restricted.iter().map(|restriction| {
        let until =
            restriction.until.map_or_else(String::new, |until| format!(" until <t:{}>", until / 1_000));
        format!("{}{until} {}", mention(&restriction.member), plain(&restriction.reason))
    });
    CreateEmbed::new()
        .title("Rules here")
        .field("Channels that take prompts", list(open, "all"), false)
        .field("Allowances of roles", list(allowances, "everybody has the hub's usual allowance"), false)
        .field(
            "Words that are not allowed",
            list(rules.blocked_words.iter().map(|w| plain(w)).collect(), "none"),
            false,
        )
        .field("Paused", list(paused.collect(), "nothing"), false)
        .field("Banned or timed out", list(restricted.collect(), "nobody"), false)
}

/// What an act was about: channels and roles as Discord shows them, posts with their words and where they are.
async fn about(discord: &Discord, incoming: &Incoming, row: &AuditRow) -> String {
    match row.act.as_str() {
        "report" | "take-down" | "withhold" => match discord.hub.view(&row.subject).await {
            Ok(view) => {
                let words = plain(&clip(view.recipe.prompt.as_str(), 80));
                let link = Note::of(&view.job).zip(incoming.guild).and_then(|(note, guild)| {
                    let message = note.message?;
                    Some(format!(" <https://discord.com/channels/{guild}/{}/{message}>", note.channel))
                });
                format!("“{words}” by {}{}", plain(&view.member), link.unwrap_or_default())
            }
            Err(_) => plain(&row.subject),
        },
        "allow" => format!("<@&{}>", row.subject),
        _ if row.subject.starts_with("discord:") => with_places(&row.subject),
        _ => plain(&row.subject),
    }
}

/// What the log says besides.
fn detail(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.starts_with("discord:") {
        true => with_places(word),
        false => plain(word),
    });
    words.collect::<Vec<_>>().join(" ")
}

async fn audit(discord: &Discord, incoming: &Incoming, community: &str) -> Result<Outcome, Said> {
    let mut lines = Vec::new();
    for row in discord.hub.audit(community, None, LOGGED).await? {
        let what = format!("{} {} {}", row.act, about(discord, incoming, &row).await, detail(&row.detail));
        lines.push(format!("<t:{}:R> **{}** {}", row.at / 1_000, plain(&row.actor), what.trim_end()));
    }
    let text = if lines.is_empty() { "Nothing happened yet.".to_owned() } else { lines.join("\n") };
    let embed = CreateEmbed::new().title("What moderators did").description(clip(&text, 4_000));
    Ok(Answer::Message(Outgoing::private("").embed(embed)).into())
}
