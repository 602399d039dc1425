//! The commands that show something: models, settings, the queue, the allowance, recipes.

use riff_hub::{
    canonical::Digest,
    hub::{JobView, Preferences, Remix},
    model::{Media, ModelSpec},
    recipe::Parent,
    schema,
};
use serenity::{
    all::{ButtonStyle, CommandData, CreateActionRow, CreateButton, CreateEmbed, CreateEmbedFooter},
    builder::{CreateSelectMenu, CreateSelectMenuKind, CreateSelectMenuOption},
};

use super::{
    Discord,
    asked::{Outcome, Said},
    attach, card,
    generate::{Options, result_named},
    id::Action,
    incoming::Incoming,
    message::{Outgoing, clip, plain},
    reply::Answer,
};

/// Jobs that `/queue` lists, each with a button.
const LISTED: usize = 10;
/// Most choices of a select menu
/// (<https://discord.com/developers/docs/components/reference#string-select>).
const MAX_CHOICES: usize = 25;

/// Runs one of these commands.
pub async fn run(discord: &Discord, incoming: &Incoming, data: &CommandData) -> Result<Outcome, Said> {
    let options = Options::new(data, &data.options);
    match data.name.as_str() {
        "models" if options.text("name").is_empty() => models(discord).await,
        "models" => model(discord, options.text("name")).await,
        "settings" => settings(discord, incoming, options.text("defaults")).await,
        "remix" => remix(discord, incoming, options.text("mode")).await,
        "queue" => queue(discord, incoming).await,
        "quota" => quota(discord, incoming).await,
        "show" => show(discord, incoming, options.text("recipe")).await,
        other => Err(Said(format!(
            "I don't know /{other}: it may be from another version of Riff. Try again in a minute."
        ))),
    }
}

async fn specs(discord: &Discord) -> Result<Vec<ModelSpec>, Said> {
    Ok(discord.hub.models().await?.iter().map(|known| known.spec.clone()).collect())
}

async fn models(discord: &Discord) -> Result<Outcome, Said> {
    let models = specs(discord).await?;
    if models.is_empty() {
        return Err(Said::new("No model is here yet: an operator has to start a worker."));
    }
    let lines: Vec<String> = models
        .iter()
        .map(|spec| {
            format!("**{}** · {} · {}", plain(&spec.name), makes(spec), clip(&plain(&spec.card), 120))
        })
        .collect();
    let embed = CreateEmbed::new().title("Models").description(clip(&lines.join("\n"), 4_000));
    let options = models.iter().take(MAX_CHOICES).map(|spec| {
        CreateSelectMenuOption::new(clip(&spec.title, 100), clip(&spec.name, 100)).description(makes(spec))
    });
    let kind = CreateSelectMenuKind::String { options: options.collect() };
    let menu = CreateSelectMenu::new(Action::PickModel.write(), kind).placeholder("See a model's card");
    Ok(Answer::Message(Outgoing::private("").embed(embed).row(CreateActionRow::SelectMenu(menu))).into())
}

fn makes(spec: &ModelSpec) -> &'static str {
    match spec.media {
        Media::Image => "makes pictures with /imagine",
        Media::Audio => "makes sound with /sound",
        Media::Text => "answers /ask",
    }
}

/// A model's card, with its settings and examples to try.
pub async fn model(discord: &Discord, name: &str) -> Result<Outcome, Said> {
    let models = specs(discord).await?;
    let Some(spec) = models.iter().find(|spec| spec.name == name) else {
        let names: Vec<&str> = models.iter().map(|spec| spec.name.as_str()).collect();
        return Err(Said(format!(
            "There is no model “{}” here. Here are: {}.",
            plain(name),
            names.join(", ")
        )));
    };
    let settings: Vec<String> = schema::fields(spec)
        .iter()
        .map(|field| format!("`--{}` {}", field.flag, field.kind.expected()))
        .collect();
    let mut embed = CreateEmbed::new()
        .title(clip(&spec.title, 256))
        .description(clip(&spec.card, 2_000))
        .field("Settings", clip(&settings.join("\n"), 1_024), false)
        .footer(CreateEmbedFooter::new(format!(
            "{} · {} · {}",
            spec.name,
            spec.license,
            spec.digest().short()
        )));
    let mut message = Outgoing::private("");
    let examples: Vec<&String> = spec.examples.iter().take(5).collect();
    if !examples.is_empty() {
        let list: Vec<String> =
            examples.iter().enumerate().map(|(at, line)| format!("{}. {}", at + 1, plain(line))).collect();
        embed = embed.field("Examples", clip(&list.join("\n"), 1_024), false);
        let buttons: Vec<CreateButton> = (0..examples.len() as u32)
            .map(|at| {
                let action = Action::Example(spec.digest(), at);
                card::button(action, &format!("Try {}", at + 1), None, ButtonStyle::Primary)
            })
            .collect();
        message = message.row(CreateActionRow::Buttons(buttons));
    }
    Ok(Answer::Message(message.embed(embed)).into())
}

/// The line of a model's example.
pub async fn example(discord: &Discord, model: Digest, index: u32) -> Result<String, Said> {
    let gone = || Said::new("This example is no longer here: look at /models.");
    let known = discord.hub.model(model).await?.ok_or_else(gone)?;
    let line = known.spec.examples.get(index as usize).ok_or_else(gone)?;
    Ok(format!("{} {line} --model {}", known.spec.media.command().as_str(), known.spec.name))
}

async fn settings(discord: &Discord, incoming: &Incoming, defaults: &str) -> Result<Outcome, Said> {
    let who = discord.asker(incoming).await?.who;
    let mut preferences = discord.hub.preferences(&who).await?;
    if !defaults.is_empty() {
        let defaults = if defaults.eq_ignore_ascii_case("none") { "" } else { defaults };
        preferences = Preferences { defaults: defaults.to_owned(), ..preferences };
        discord.hub.prefer(&who, &preferences).await?;
    }
    let flags = match preferences.defaults.as_str() {
        "" => "You have no default flags: set some with `/settings defaults:--ar 3:2`.".to_owned(),
        flags => format!("Added to your prompts where they fit: `{}`", flags.replace('`', "'")),
    };
    let remix = match preferences.remix {
        Remix::On => "Remix is on: V and 🎲 open the prompt first.",
        Remix::Off => "Remix is off: V and 🎲 run at once.",
    };
    Ok(Answer::private(format!("{flags}\n{remix}")).into())
}

async fn remix(discord: &Discord, incoming: &Incoming, mode: &str) -> Result<Outcome, Said> {
    let who = discord.asker(incoming).await?.who;
    let remix = if mode == "on" { Remix::On } else { Remix::Off };
    let preferences = Preferences { remix, ..discord.hub.preferences(&who).await? };
    discord.hub.prefer(&who, &preferences).await?;
    Ok(Answer::private(match remix {
        Remix::On => "Remix is on: V and 🎲 let you edit the prompt first.",
        Remix::Off => "Remix is off: V and 🎲 run at once.",
    })
    .into())
}

async fn queue(discord: &Discord, incoming: &Incoming) -> Result<Outcome, Said> {
    Ok(Answer::Message(line(discord, incoming).await?).into())
}

/// What somebody has in line, each with a button that cancels it.
pub async fn line(discord: &Discord, incoming: &Incoming) -> Result<Outgoing, Said> {
    let jobs = discord.hub.store.live_of(&incoming.person.member().id).await?;
    if jobs.is_empty() {
        return Ok(Outgoing::private("You have nothing in line."));
    }
    let mut lines = Vec::new();
    let mut buttons = Vec::new();
    for (at, job) in jobs.iter().take(LISTED).enumerate() {
        let view = discord.hub.view(&job.id).await?;
        let prompt = plain(&clip(view.recipe.prompt.as_str(), 80));
        lines.push(format!("{}. **{prompt}** · {}", at + 1, view.status()));
        let action = Action::Cancel(job.id.clone());
        buttons.push(card::button(action, &format!("{}", at + 1), Some("❌"), ButtonStyle::Secondary));
    }
    if jobs.len() > LISTED {
        lines.push(format!("…and {} more.", jobs.len() - LISTED));
    }
    let mut message = Outgoing::private(lines.join("\n"));
    message.rows = buttons.chunks(5).map(|row| CreateActionRow::Buttons(row.to_vec())).collect();
    Ok(message)
}

async fn quota(discord: &Discord, incoming: &Incoming) -> Result<Outcome, Said> {
    let asker = discord.asker(incoming).await?;
    let (left, of) = discord.allowance(&asker.who, incoming.guild, &asker.roles).await?;
    Ok(Answer::private(format!(
        "You have {left:.1} of {of:.1} GPU-seconds left today. The allowance is filled up again at midnight UTC."
    ))
    .into())
}

async fn show(discord: &Discord, incoming: &Incoming, named: &str) -> Result<Outcome, Said> {
    let parent = result_named(named)?;
    discord.asker(incoming).await?;
    let view = shown(discord, incoming, &parent).await?;
    let user = super::incoming::account(&view.job.member).unwrap_or(incoming.person.id);
    let files = attach::each(&discord.hub.blobs, &view, incoming.limit.max(1) as usize).await;
    let files = files.map_err(riff_hub::admission::Refusal::from)?;
    let mut messages = discord.cards.finished(&view, user, files);
    let shown = messages.swap_remove(0);
    Ok(Answer::Message(Outgoing { rows: card::rows(&view), ..shown }).into())
}

/// The result of a recipe. What was made in private is shown to who made it alone, and in private again.
async fn shown(discord: &Discord, incoming: &Incoming, parent: &Parent) -> Result<JobView, Said> {
    let view = discord.hub.shown(parent.recipe).await?;
    match view.job.private && view.job.member != incoming.person.member().id {
        true => Err(Said::new("There is no result of this recipe here that everybody may see.")),
        false => Ok(view),
    }
}

/// A recipe in full: what it takes to make the result again.
pub async fn recipe(discord: &Discord, incoming: &Incoming, parent: &Parent) -> Result<Outcome, Said> {
    let view = shown(discord, incoming, parent).await?;
    let line = discord.hub.command_of(parent).await?;
    let mut embed = CreateEmbed::new()
        .title("Recipe")
        .description(format!("```\n{}\n```", clip(&line, 3_000).replace("```", "'''")))
        .field("Id", format!("`{}`", parent.recipe), false)
        .field("Model", format!("{} `{}`", plain(&view.model.name), view.recipe.model.short()), true);
    if let Some(origin) = &view.recipe.origin {
        let parents: Vec<String> = origin
            .parents
            .iter()
            .map(|parent| format!("`{}` result {}", parent.recipe, parent.index + 1))
            .collect();
        embed = embed.field(
            format!("Made by {}", origin.made_by.as_str()),
            clip(&parents.join("\n"), 1_024),
            true,
        );
    }
    if !discord.cards.public_url.is_empty() {
        embed = embed.url(format!("{}/r/{}", discord.cards.public_url, parent.recipe));
    }
    Ok(Answer::Message(Outgoing::private("").embed(embed)).into())
}
