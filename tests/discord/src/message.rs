//! Messages as people see them, and what a person is shown first in answer to what they did.

use anyhow::Context;
use serde_json::Value;

use crate::{
    Discord, Modal,
    world::{Stored, World},
};

/// A message as it was when it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: String,
    pub channel_id: String,
    /// Name of who wrote it.
    pub author: String,
    pub content: String,
    pub attachments: Vec<Attachment>,
    /// Name of who alone sees it.
    pub private_to: Option<String>,
    /// The bot still thinks: nothing is in it yet.
    pub loading: bool,
    /// The whole object as Discord gives it.
    pub raw: Value,
    /// Names of people, roles and channels that it speaks of, by how they are written in it.
    pub(crate) names: Vec<(String, String)>,
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachment {
    pub id: String,
    pub filename: String,
    pub url: String,
    pub content_type: String,
    pub size: u64,
    /// Of a picture.
    pub width: Option<u64>,
    pub height: Option<u64>,
}

/// Where a form was opened.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub channel: u64,
    pub message: Option<u64>,
    pub metadata: Value,
}

impl Attachment {
    fn of(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Self {
            id: text("id"),
            filename: text("filename"),
            url: text("url"),
            content_type: text("content_type"),
            size: value["size"].as_u64().unwrap_or_default(),
            width: value["width"].as_u64(),
            height: value["height"].as_u64(),
        }
    }

    /// The file itself.
    pub async fn bytes(&self) -> anyhow::Result<bytes::Bytes> {
        Ok(reqwest::get(&self.url).await?.error_for_status()?.bytes().await?)
    }
}

impl Message {
    pub(crate) fn of(world: &World, channel: u64, stored: &Stored) -> Self {
        let raw = stored.value.clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let attachments = raw["attachments"].as_array().into_iter().flatten().map(Attachment::of);
        let private_to =
            stored.private_to.and_then(|user| world.users.get(&user)).map(|user| user.name.clone());
        Self {
            id: text(&raw["id"]),
            channel_id: channel.to_string(),
            author: text(&raw["author"]["username"]),
            content: text(&raw["content"]),
            attachments: attachments.collect(),
            private_to,
            loading: stored.loading,
            names: names(world, &raw.to_string()),
            raw,
        }
    }

    pub(crate) fn find(world: &World, channel: u64, id: u64) -> Option<Self> {
        Some(Self::of(world, channel, world.stored(channel, id)?))
    }

    pub(crate) fn number(&self) -> anyhow::Result<u64> {
        self.id.parse().context("a message has an id")
    }

    pub(crate) fn channel_number(&self) -> anyhow::Result<u64> {
        self.channel_id.parse().context("a message is in a channel")
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn is_private(&self) -> bool {
        self.private_to.is_some()
    }

    pub fn embeds(&self) -> &[Value] {
        self.raw["embeds"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Every component that can be used, in order.
    pub fn components(&self) -> impl Iterator<Item = &Value> {
        let rows = self.raw["components"].as_array().into_iter().flatten();
        rows.flat_map(|row| row["components"].as_array().into_iter().flatten())
    }

    /// What its buttons say.
    pub fn buttons(&self) -> Vec<String> {
        self.components().filter(|part| part["type"] == 2).map(crate::press::says).collect()
    }

    /// The custom id of the button that says this.
    pub fn custom_id(&self, label: &str) -> anyhow::Result<String> {
        let found =
            self.components().find(|part| part["type"] == 2 && crate::press::says(part).contains(label));
        let id = found.and_then(|button| button["custom_id"].as_str());
        Ok(id.with_context(|| format!("no button {label:?} among: {:?}", self.buttons()))?.to_owned())
    }

    /// The id of the message that it answers.
    pub fn reply_to(&self) -> Option<&str> {
        self.raw["message_reference"]["message_id"].as_str()
    }

    /// Everything that it says: content, then embeds.
    pub fn text(&self) -> String {
        let mut parts = vec![self.content.clone()];
        for embed in self.embeds() {
            let fields = embed["fields"].as_array().into_iter().flatten();
            let fields = fields.flat_map(|field| [&field["name"], &field["value"]]);
            let all = [&embed["author"]["name"], &embed["title"], &embed["description"]].into_iter();
            let all = all.chain(fields).chain([&embed["footer"]["text"]]);
            parts.extend(all.filter_map(Value::as_str).map(str::to_owned));
        }
        parts.retain(|part| !part.is_empty());
        parts.join("\n")
    }

    /// The message as it is now; an error if it is gone.
    pub fn latest(&self, discord: &Discord) -> anyhow::Result<Self> {
        let found = Self::find(&discord.shared.world.lock(), self.channel_number()?, self.number()?);
        found.context("the message is gone")
    }

    /// Waits until the message is as asked.
    pub async fn until(&self, discord: &Discord, wanted: impl Fn(&Self) -> bool) -> anyhow::Result<Self> {
        let (channel, id) = (self.channel_number()?, self.number()?);
        let found = discord
            .shared
            .wait("a message to become as asked", |world| Self::find(world, channel, id).filter(&wanted));
        found
            .await
            .with_context(|| self.latest(discord).map_or("it is gone".to_owned(), |now| now.to_string()))
    }

    /// Waits until it is gone.
    pub async fn gone(&self, discord: &Discord) -> anyhow::Result<()> {
        let (channel, id) = (self.channel_number()?, self.number()?);
        let gone = |world: &World| world.stored(channel, id).is_none().then_some(());
        discord.shared.wait("a message to go", gone).await
    }
}

fn names(world: &World, text: &str) -> Vec<(String, String)> {
    if !text.contains('<') {
        return Vec::new();
    }
    let users = world.users.values().map(|user| (format!("<@{}>", user.id), format!("@{}", user.name)));
    let channels =
        world.channels.values().map(|channel| (format!("<#{}>", channel.id), format!("#{}", channel.name)));
    let roles = world.guilds.values().flat_map(|guild| &guild.roles);
    let roles = roles.map(|role| (format!("<@&{}>", role.id), format!("@{}", role.name)));
    users.chain(channels).chain(roles).filter(|(written, _)| text.contains(written)).collect()
}

/// What a person sees first in answer to what they did.
#[derive(Debug, Clone)]
pub enum Shown {
    /// A message that everybody sees.
    Message(Message),
    /// A message that only they see.
    Ephemeral(Message),
    /// The bot thinks; or, after a component, the message stays as it is for now.
    Deferred { private: bool, message: Message },
    /// A form.
    Modal(Modal),
    /// The message whose component they used, changed.
    Updated(Message),
}

impl Shown {
    /// The message; an error if it is a form.
    pub fn message(&self) -> anyhow::Result<&Message> {
        match self {
            Self::Message(message)
            | Self::Ephemeral(message)
            | Self::Deferred { message, .. }
            | Self::Updated(message) => Ok(message),
            Self::Modal(modal) => anyhow::bail!("not a message but a form: {modal}"),
        }
    }

    /// The form; an error if it is a message.
    pub fn modal(&self) -> anyhow::Result<&Modal> {
        match self {
            Self::Modal(modal) => Ok(modal),
            other => anyhow::bail!("not a form but: {other}"),
        }
    }

    /// Everything that it says.
    pub fn text(&self) -> String {
        match self {
            Self::Modal(modal) => modal.to_string(),
            other => other.message().map(Message::text).unwrap_or_default(),
        }
    }

    /// Whether only they see it.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Modal(_) => true,
            other => other.message().is_ok_and(Message::is_private),
        }
    }

    /// Waits until the bot has thought, and gives the message.
    pub async fn settled(&self, discord: &Discord) -> anyhow::Result<Message> {
        self.message()?.until(discord, |message| !message.loading).await
    }
}
