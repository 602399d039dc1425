//! Conversations: a mention or a reply is a question, and the chain of replies is what was said before. An answer's own
//! buttons name its recipe, which holds the conversation up to there, so nothing about it is kept here.

use std::sync::Arc;

use riff_hub::{
    hub::{RiffRequest, Twist},
    job::Job,
    model::{Media, input},
    prompt,
    recipe::{Move, Parent},
    riff,
};
use serde_json::{Value, json};
use serenity::{
    all::{Message, MessageType},
    http::{LightMethod, Route},
    model::{
        channel::MessageFlags,
        id::{ChannelId, MessageId},
    },
};

use super::{
    Discord,
    asked::{Said, privacy},
    attach,
    incoming::{Asker, Person, result_on},
    message::Outgoing,
    note::{Note, Shows, nonce},
    picture::is_picture,
    rest::Call,
};

/// Messages of a chain that are read.
const LONGEST: usize = 20;
/// Largest text file that is read, in bytes.
const MAX_TEXT: u32 = 16 * 1_024;
/// Messages looked through for the end of a long answer.
const ANSWER_PARTS: u8 = 10;

/// Answers a message that is meant for the bot, in a task of its own, once.
pub fn spawn(discord: &Arc<Discord>, message: Message) {
    let ordinary = matches!(message.kind, MessageType::Regular | MessageType::InlineReply);
    if message.author.bot
        || !ordinary
        || !is_for(discord, &message)
        || !discord.seen.first_time(message.id.get())
    {
        return;
    }
    let discord = discord.clone();
    discord.handlers.clone().spawn(async move {
        if let Err(Said(sentence)) = answer(&discord, &message).await {
            say(&discord, &message, &sentence).await;
        }
    });
}

fn is_for(discord: &Discord, message: &Message) -> bool {
    let replied = message.referenced_message.as_ref().is_some_and(|to| to.author.id == discord.bot);
    message.guild_id.is_none() || mentions(discord, message) || replied
}

fn mentions(discord: &Discord, message: &Message) -> bool {
    message.mentions.iter().any(|user| user.id == discord.bot)
}

/// A sentence as a reply. Where even that is not allowed there is nobody to tell.
async fn say(discord: &Discord, message: &Message, sentence: &str) {
    let body = reply_body(&Outgoing::public(sentence), message.id, &format!("say.{}", message.id));
    let route = Route::ChannelMessages { channel_id: message.channel_id };
    if let Err(error) = discord.rest.tell(Call::new(LightMethod::Post, route).body(body)).await {
        tracing::info!(channel = message.channel_id.get(), %error, "a refusal could not be said");
    }
}

/// The body of a message that replies to another, made once however often it is sent.
pub fn reply_body(message: &Outgoing, to: MessageId, nonce: &str) -> Value {
    let mut body = message.body();
    body["message_reference"] = json!({"message_id": to, "fail_if_not_exists": false});
    body["nonce"] = nonce.into();
    body["enforce_nonce"] = true.into();
    body
}

/// What a message and those above it say.
#[derive(Default)]
struct Chain {
    /// The answer that the chain leads to.
    parent: Option<Parent>,
    /// What people said since, oldest first.
    words: Vec<String>,
    /// The pictures in it.
    pictures: Vec<serenity::model::channel::Attachment>,
    /// A message above could not be read.
    unread: bool,
}

async fn answer(discord: &Discord, message: &Message) -> Result<(), Said> {
    if message.content.is_empty() && message.attachments.is_empty() && !mentions(discord, message) {
        return Err(Said::new(
            "I can't read this reply: Discord shows me only messages that mention me. Leave the @ of the reply on, or mention \
             me. (An operator can let me read replies: Message Content Intent, on the Bot page of the developer portal.)",
        ));
    }
    let asker = asker(discord, message).await?;
    let said = read(discord, message).await?;
    let text = said.words.join("\n\n");
    let note = Note {
        channel: message.channel_id,
        user: message.author.id,
        token: None,
        message: None,
        replies_to: Some(message.id),
        more: Vec::new(),
        direct: message.guild_id.is_none(),
        aside: said.unread.then(|| {
            "I could not read the messages above that don't mention me: that takes the Message Content Intent.".to_owned()
        }),
        shows: Shows::Talk,
        limit: attach::MAX_BYTES as u32,
    };
    let jobs = queue(discord, &asker, &note, said, &text).await?;
    match jobs.first() {
        Some(job) => place(discord, message, job).await,
        None => Ok(()),
    }
}

async fn asker(discord: &Discord, message: &Message) -> Result<Asker, Said> {
    let member = message.member.as_deref();
    let nick = member.and_then(|member| member.nick.as_deref());
    let roles = member.map_or(&[][..], |member| &member.roles);
    let person = Person::new(&message.author, nick, roles, None);
    let room = discord.places.room(&discord.rest, message.channel_id, message.guild_id).await;
    let asker = Asker { who: person.member(), room, roles: person.roles, request: message.id.get() };
    discord.admit(&asker, message.guild_id).await?;
    Ok(asker)
}

async fn queue(
    discord: &Discord,
    asker: &Asker,
    note: &Note,
    said: Chain,
    text: &str,
) -> Result<Vec<Job>, Said> {
    let ask = asker.ask(privacy(note.direct), note);
    if let Some(picture) = said.pictures.first() {
        let sees = |spec: &riff_hub::model::ModelSpec| spec.media == Media::Text && spec.takes(input::IMAGE);
        if discord.hub.models().await?.iter().any(|known| sees(&known.spec)) {
            let image = discord.input(picture, Media::Image).await?;
            return Ok(discord.hub.describe(&ask, image, Some(text).filter(|text| !text.is_empty())).await?);
        }
        if text.is_empty() {
            return Err(Said::new(
                "I can't see pictures: no model that reads them is here. Tell me about it in words.",
            ));
        }
    }
    if text.is_empty() {
        return Err(Said::new("Ask me something behind the mention, or use /imagine and /ask."));
    }
    if let Some(parent) = said.parent {
        let (_, model) = discord.hub.recipe_and_model(&parent).await?;
        if riff::moves_of(&model.spec).contains(&Move::Reply) {
            let request = RiffRequest { parent, twist: Twist::Reply(text.to_owned()) };
            return Ok(discord.hub.riff(&ask, &request).await?);
        }
    }
    Ok(discord.hub.submit(&ask, &format!("/ask {}", prompt::escape_flags(text))).await?)
}

/// Posts the message that the answer is written into.
async fn place(discord: &Discord, message: &Message, job: &Job) -> Result<(), Said> {
    let _turn = discord.turn(&job.id).await;
    let view = discord.hub.view(&job.id).await?;
    let body = reply_body(&discord.cards.talking(&view), message.id, &nonce(&job.id, 0));
    let route = Route::ChannelMessages { channel_id: message.channel_id };
    let sent = discord.rest.get::<Sent>(Call::new(LightMethod::Post, route).body(body)).await;
    riff_hub::step::done("acknowledged");
    match sent {
        Ok(sent) => discord.remember(job, sent.id).await,
        // The poster finds another way once there is an answer.
        Err(error) => tracing::warn!(job = job.id, %error, "an answer could not be begun"),
    }
    Ok(())
}

/// A message that was sent.
#[derive(serde::Deserialize)]
pub struct Sent {
    /// Its id.
    pub id: MessageId,
    /// What it says.
    #[serde(default)]
    pub content: String,
    /// Among other things, whether one person alone sees it.
    #[serde(default = "MessageFlags::empty")]
    pub flags: MessageFlags,
}

/// Reads a message and those above it, up to an answer of the bot.
async fn read(discord: &Discord, message: &Message) -> Result<Chain, Said> {
    let mut said = Chain::default();
    let mut current = message.clone();
    for step in 0..LONGEST {
        let words = words_of(discord, &current).await?;
        if words.is_empty() && current.attachments.is_empty() {
            said.unread |= step > 0 && !discord.reads_messages();
        } else if !words.is_empty() {
            said.words.insert(0, words);
        }
        said.pictures.extend(current.attachments.iter().filter(|file| is_picture(file)).cloned());
        let Some(above) = above(discord, &current).await else {
            break;
        };
        if above.author.id == discord.bot {
            said.pictures.extend(above.attachments.iter().filter(|file| is_picture(file)).cloned());
            said.parent = answer_on(discord, &above).await;
            break;
        }
        current = above;
    }
    Ok(said)
}

/// The text of a message and of the text files in it, without the mention of the bot.
async fn words_of(discord: &Discord, message: &Message) -> Result<String, Said> {
    let mention = [format!("<@{}>", discord.bot), format!("<@!{}>", discord.bot)];
    let mut words = vec![message.content.replace(&mention[0], "").replace(&mention[1], "").trim().to_owned()];
    for file in &message.attachments {
        if !file.content_type.as_deref().is_some_and(|kind| kind.starts_with("text/")) {
            continue;
        }
        if file.size > MAX_TEXT {
            return Err(Said(format!(
                "{} is too long: at most {} KiB of text are read.",
                file.filename,
                MAX_TEXT >> 10
            )));
        }
        let bytes = discord.fetch(file).await?;
        words.push(format!("{}:\n{}", file.filename, String::from_utf8_lossy(&bytes).trim()));
    }
    words.retain(|words| !words.is_empty());
    Ok(words.join("\n\n"))
}

/// The message that this one answers: the one it replies to, or the one that its thread began with.
async fn above(discord: &Discord, message: &Message) -> Option<Message> {
    if let Some(above) = &message.referenced_message {
        return Some((**above).clone());
    }
    if let Some(reference) = &message.message_reference {
        return fetch(discord, reference.channel_id, reference.message_id?).await;
    }
    message.guild_id?;
    let place = discord.places.channel(&discord.rest, message.channel_id).await.ok()?;
    let began = MessageId::new(message.channel_id.get());
    (place.is_thread() && message.id != began).then_some(())?;
    fetch(discord, place.parent_id?, began).await
}

async fn fetch(discord: &Discord, channel_id: ChannelId, message_id: MessageId) -> Option<Message> {
    let route = Route::ChannelMessage { channel_id, message_id };
    match discord.rest.get(Call::new(LightMethod::Get, route)).await {
        Ok(message) => Some(message),
        Err(error) => {
            tracing::debug!(%error, "a message above cannot be read");
            None
        }
    }
}

/// The result that an answer shows. The buttons of a long answer are on its last message.
async fn answer_on(discord: &Discord, message: &Message) -> Option<Parent> {
    if let Some(parent) = result_on(message) {
        return Some(parent);
    }
    let route = Route::ChannelMessages { channel_id: message.channel_id };
    let call = Call::new(LightMethod::Get, route).param("after", message.id).param("limit", ANSWER_PARTS);
    let mut following: Vec<Message> = discord.rest.get(call).await.ok()?;
    following.sort_by_key(|message| message.id);
    following.iter().filter(|message| message.author.id == discord.bot).find_map(result_on)
}
