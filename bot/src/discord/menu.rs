//! The Apps menu of a message.

use riff_hub::{
    hub::{Opened, Twist},
    model::{Media, ModelSpec, input},
    riff::{Enlarging, Strength},
};
use serenity::all::{ActionRowComponent, ButtonKind, CommandData, InputTextStyle, Message, ResolvedTarget};

use super::{
    Discord,
    asked::{Outcome, Said},
    dialog, generate,
    id::Action,
    incoming::Incoming,
    incoming::result_on,
    look,
    picture::first_picture,
    press,
    reply::Answer,
};

/// Keys of their names, and the names as Discord sends them.
pub const NAMES: [(&str, &str); 7] = [
    ("menu.fork", "Fork settings"),
    ("menu.show", "Show recipe"),
    ("menu.vary", "Vary"),
    ("menu.upscale", "Upscale"),
    ("menu.describe", "Describe"),
    ("menu.use", "Use as image prompt"),
    ("menu.report", "Report"),
];

/// Whether a command is one of this menu.
pub fn is(name: &str) -> bool {
    NAMES.iter().any(|(_, known)| *known == name)
}

/// Runs one of them.
pub async fn run(discord: &Discord, incoming: &Incoming, data: &CommandData) -> Result<Outcome, Said> {
    let Some(ResolvedTarget::Message(message)) = data.target() else {
        return Err(Said::new("Discord did not say which message that was: try again."));
    };
    match data.name.as_str() {
        "Fork settings" => fork(discord, message).await,
        "Show recipe" => look::recipe(discord, incoming, &discord.result_of(message).await?).await,
        "Vary" => {
            let parent = discord.result_of(message).await?;
            generate::riff(discord, incoming, parent, Twist::Vary(Strength::Subtle)).await
        }
        "Upscale" => {
            let parent = discord.result_of(message).await?;
            generate::riff(discord, incoming, parent, Twist::Upscale(Enlarging::Best)).await
        }
        "Describe" => generate::described(discord, incoming, first_picture(message)?, None).await,
        "Use as image prompt" => {
            let picture = first_picture(message)?;
            let takes = |spec: &ModelSpec| {
                spec.media == Media::Image && spec.takes(input::IMAGE) && !spec.is_upscaler()
            };
            if !discord.hub.models().await?.iter().any(|known| takes(&known.spec)) {
                return Err(Said::new(
                    "No model here starts from a picture yet: an operator has to start a worker with one.",
                ));
            }
            let image = discord.input(picture, Media::Image).await?;
            let modal = dialog::of_line(Action::WithPicture(image), "Prompt with this picture", "");
            Ok(Answer::Dialog(modal).into())
        }
        _ => report(discord, message),
    }
}

/// Opens the settings of what a message shows: of a post of ours, or of any picture that carries them.
async fn fork(discord: &Discord, message: &Message) -> Result<Outcome, Said> {
    if message.author.id == discord.bot
        && let Some(parent) = result_on(message)
    {
        return press::edit(discord, &parent).await;
    }
    match discord.opened(first_picture(message)?).await? {
        Opened::Result(parent) => press::edit(discord, &parent).await,
        Opened::Line(line) => Ok(Answer::Dialog(dialog::of_line(Action::New, "Fork settings", &line)).into()),
    }
}

fn report(discord: &Discord, message: &Message) -> Result<Outcome, Said> {
    let job = job_on(message).filter(|_| message.author.id == discord.bot).ok_or_else(|| {
        Said::new("Only what was made here can be reported here. Report other messages to Discord or to a moderator.")
    })?;
    let modal =
        dialog::one(Action::Report(job), "Report", "What is wrong with it?", "", InputTextStyle::Paragraph);
    Ok(Answer::Dialog(modal).into())
}

/// The job that a post shows.
fn job_on(message: &Message) -> Option<String> {
    let parts = message.components.iter().flat_map(|row| &row.components);
    parts
        .filter_map(|part| match part {
            ActionRowComponent::Button(button) => match &button.data {
                ButtonKind::NonLink { custom_id, .. } => Action::read(custom_id),
                _ => None,
            },
            _ => None,
        })
        .find_map(|action| match action {
            Action::Delete(job) | Action::Cancel(job) => Some(job),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::super::locale::words;
    use super::*;

    #[test]
    fn the_names_are_those_of_the_english_texts() {
        for (key, name) in NAMES {
            assert_eq!(words(key).map(|words| words.name.as_str()), Some(name));
        }
    }
}
