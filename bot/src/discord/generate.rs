//! The commands that make something: an option becomes a flag of the prompt grammar, so that a command and a typed line are
//! the same thing from there on.

use riff_hub::{
    hub::{Privacy, RiffRequest, Twist},
    model::{Media, ModelSpec},
    prompt,
    recipe::Parent,
    riff::Enlarging,
    schema::Field,
};
use serenity::model::{
    application::{CommandData, CommandDataOption, CommandDataOptionValue},
    channel::Attachment,
};

use super::{
    Discord,
    asked::{Outcome, Said, privacy},
    commands,
    incoming::Incoming,
    note::Shows,
};

/// What `/shorten` asks the language model; the prompt itself follows on the next line.
const SHORTEN: &str = "Repeat this picture prompt without the words that matter least. Use only its own words, in the same order.";

/// The options of a command, by name.
pub struct Options<'a> {
    data: &'a CommandData,
    options: &'a [CommandDataOption],
}

impl<'a> Options<'a> {
    /// Those of a command, or of a subcommand of it.
    pub fn new(data: &'a CommandData, options: &'a [CommandDataOption]) -> Self {
        Self { data, options }
    }

    /// One option.
    pub fn get(&self, name: &str) -> Option<&'a CommandDataOptionValue> {
        self.options.iter().find(|option| option.name == name).map(|option| &option.value)
    }

    /// A text, empty if it was left out.
    pub fn text(&self, name: &str) -> &'a str {
        self.get(name).and_then(CommandDataOptionValue::as_str).unwrap_or_default().trim()
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(CommandDataOptionValue::as_i64)
    }

    /// An attached file.
    pub fn file(&self, name: &str) -> Option<&'a Attachment> {
        let id = self.get(name)?.as_attachment_id()?;
        self.data.resolved.attachments.get(&id)
    }
}

/// Runs one of these commands.
pub async fn run(discord: &Discord, incoming: &Incoming, data: &CommandData) -> Result<Outcome, Said> {
    let options = Options::new(data, &data.options);
    match data.name.as_str() {
        "imagine" => prompted(discord, incoming, &options, Media::Image).await,
        "sound" => prompted(discord, incoming, &options, Media::Audio).await,
        "ask" => prompted(discord, incoming, &options, Media::Text).await,
        "blend" => blend(discord, incoming, &options).await,
        "describe" => describe(discord, incoming, &options).await,
        "transcribe" => transcribe(discord, incoming, &options).await,
        "upscale" => upscale(discord, incoming, &options).await,
        _ => shorten(discord, incoming, &options).await,
    }
}

/// `/imagine`, `/sound` and `/ask`.
async fn prompted(
    discord: &Discord,
    incoming: &Incoming,
    options: &Options<'_>,
    media: Media,
) -> Result<Outcome, Said> {
    let asker = discord.asker(incoming).await?;
    let models = discord.hub.models().await?;
    let serving: Vec<&ModelSpec> =
        models.iter().map(|known| &known.spec).filter(|spec| spec.media == media).collect();
    let words = [options.text("prompt"), options.text("question")].concat();
    let mut line = format!("{} {words}", media.command().as_str());
    for field in commands::union(&serving) {
        if let Some(value) = options.get(&field.name) {
            line.push_str(&flag(discord, &field, value, options, media).await?);
        }
    }
    if !options.text("model").is_empty() {
        line.push_str(&format!(" --model {}", options.text("model")));
    }
    let private = options.get("private").and_then(CommandDataOptionValue::as_bool).unwrap_or_default();
    let note = incoming.note(Shows::Post, discord.hub.seam.now());
    let ask = asker.ask(privacy(private || incoming.guild.is_none()), &note);
    Ok(Outcome::Queued(discord.hub.submit(&ask, &line).await?))
}

async fn flag(
    discord: &Discord,
    field: &Field,
    value: &CommandDataOptionValue,
    options: &Options<'_>,
    media: Media,
) -> Result<String, Said> {
    let typed = match value {
        CommandDataOptionValue::Boolean(on) => if *on { "on" } else { "off" }.to_owned(),
        CommandDataOptionValue::String(text) => text.trim().to_owned(),
        CommandDataOptionValue::Integer(number) => number.to_string(),
        CommandDataOptionValue::Number(number) => number.to_string(),
        CommandDataOptionValue::Attachment(_) => match options.file(&field.name) {
            Some(file) => discord.input(file, field.kind.media()).await?.to_string(),
            None => return Ok(String::new()),
        },
        _ => return Ok(String::new()),
    };
    if typed.is_empty() {
        return Ok(String::new());
    }
    Ok(prompt::typed_flag(field, &typed, media))
}

async fn blend(discord: &Discord, incoming: &Incoming, options: &Options<'_>) -> Result<Outcome, Said> {
    let (Some(first), Some(second)) = (options.file("first"), options.file("second")) else {
        return Err(Said::new("Attach two PNG files that were made here."));
    };
    let parent = discord.result_in(first).await?;
    let other = discord.result_in(second).await?;
    riff(discord, incoming, parent, Twist::Blend(other)).await
}

async fn describe(discord: &Discord, incoming: &Incoming, options: &Options<'_>) -> Result<Outcome, Said> {
    let Some(file) = options.file("image") else {
        return Err(Said::new("Attach a picture to describe."));
    };
    described(discord, incoming, file, Some(options.text("question")).filter(|text| !text.is_empty())).await
}

/// Has a picture put into words.
pub async fn described(
    discord: &Discord,
    incoming: &Incoming,
    picture: &Attachment,
    question: Option<&str>,
) -> Result<Outcome, Said> {
    let asker = discord.asker(incoming).await?;
    let image = discord.input(picture, Media::Image).await?;
    let note = incoming.note(Shows::Post, discord.hub.seam.now());
    Ok(Outcome::Queued(discord.hub.describe(&asker.ask(incoming.privacy(), &note), image, question).await?))
}

async fn transcribe(discord: &Discord, incoming: &Incoming, options: &Options<'_>) -> Result<Outcome, Said> {
    let Some(file) = options.file("audio") else {
        return Err(Said::new("Attach a sound in which somebody speaks."));
    };
    let asker = discord.asker(incoming).await?;
    let sound = discord.input(file, Media::Audio).await?;
    let note = incoming.note(Shows::Post, discord.hub.seam.now());
    let question = Some(options.text("question"));
    Ok(Outcome::Queued(discord.hub.transcribe(&asker.ask(incoming.privacy(), &note), sound, question).await?))
}

async fn upscale(discord: &Discord, incoming: &Incoming, options: &Options<'_>) -> Result<Outcome, Said> {
    let parent = match options.file("image") {
        Some(file) => discord.result_in(file).await?,
        None => result_named(options.text("recipe"))?,
    };
    let how = match options.text("how") {
        "again" => Enlarging::Anew,
        "upscaler" => Enlarging::Upscaler,
        _ => Enlarging::Best,
    };
    riff(discord, incoming, parent, Twist::Upscale(how)).await
}

/// A result as members name it: a recipe's id or the link to its page, with the number of the result behind a dot.
pub fn result_named(text: &str) -> Result<Parent, Said> {
    let name = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let (recipe, index) = name.split_once('.').unwrap_or((name, "0"));
    match (recipe.parse(), index.parse()) {
        (Ok(recipe), Ok(index)) => Ok(Parent { recipe, index }),
        _ => Err(Said(
            "Name a recipe: its id of 64 letters and digits, or the link to its page. “Show recipe” in the Apps menu of a post \
             tells it."
                .to_owned(),
        )),
    }
}

/// Queues a riff.
pub async fn riff(
    discord: &Discord,
    incoming: &Incoming,
    parent: Parent,
    twist: Twist,
) -> Result<Outcome, Said> {
    let asker = discord.asker(incoming).await?;
    let note = incoming.note(Shows::Post, discord.hub.seam.now());
    let request = RiffRequest { parent, twist };
    Ok(Outcome::Queued(discord.hub.riff(&asker.ask(incoming.privacy(), &note), &request).await?))
}

/// Queues a line, for everybody to see where there is more than one.
pub async fn submit(discord: &Discord, incoming: &Incoming, line: &str) -> Result<Outcome, Said> {
    let asker = discord.asker(incoming).await?;
    let note = incoming.note(Shows::Post, discord.hub.seam.now());
    let ask = asker.ask(privacy(incoming.guild.is_none()), &note);
    Ok(Outcome::Queued(discord.hub.submit(&ask, line).await?))
}

async fn shorten(discord: &Discord, incoming: &Incoming, options: &Options<'_>) -> Result<Outcome, Said> {
    let words = options.text("prompt").split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        return Err(Said::new("Type the prompt that is to be shortened."));
    }
    let asker = discord.asker(incoming).await?;
    let note = incoming.note(Shows::Shorter, discord.hub.seam.now());
    let line = format!("/ask {SHORTEN}\n{}", prompt::escape_flags(&words));
    Ok(Outcome::Queued(discord.hub.submit(&asker.ask(Privacy::Private, &note), &line).await?))
}

/// Which words of the prompt the model's answer leaves out, struck through.
pub fn shortened(asked: &str, answer: &str) -> String {
    let prompt = asked.split_once('\n').map_or(asked, |(_, prompt)| prompt);
    let bare = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    let mut kept: Vec<String> = answer.split_whitespace().map(bare).collect();
    let mut short = Vec::new();
    let mut shown = Vec::new();
    for word in prompt.split_whitespace() {
        let plain = super::message::plain(word);
        match kept.iter().position(|known| *known == bare(word)) {
            Some(at) => {
                kept.remove(at);
                short.push(word);
                shown.push(plain);
            }
            None => shown.push(format!("~~{plain}~~")),
        }
    }
    if short.is_empty() || shown.len() == short.len() {
        return format!("{}\n-# The model would leave nothing out.", shown.join(" "));
    }
    format!(
        "{}\n-# {} of {} words: `{}`",
        shown.join(" "),
        short.len(),
        shown.len(),
        short.join(" ").replace('`', "'")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_leaves_out_is_struck_through() {
        let asked = format!("{SHORTEN}\na very nice lighthouse at dusk");
        let told = shortened(&asked, "lighthouse, dusk");
        assert_eq!(
            told,
            "~~a~~ ~~very~~ ~~nice~~ lighthouse ~~at~~ dusk\n-# 2 of 6 words: `lighthouse dusk`"
        );
        assert!(shortened(&asked, "I can't do that").ends_with("would leave nothing out."));
    }

    #[test]
    fn recipes_are_named_by_id_or_link() {
        let id = "ab".repeat(32);
        assert_eq!(result_named(&id).unwrap().index, 0);
        assert_eq!(result_named(&format!("https://riff.example/r/{id}.2")).unwrap().index, 2);
        assert!(result_named("abcd").is_err());
    }
}
