//! A person and what they do: commands, buttons, selects, forms, menus and messages. Every verb that the bot answers gives
//! what the person sees first, or an error that names what came instead.

use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};

use crate::{
    Channel, File, Message, Role, Shown,
    edit::Draft,
    interactions::{COMPONENT, First, Interaction},
    message::Source,
    multipart::{Payload, Upload},
    objects::{merge, snowflake},
    shared::Shared,
    world::{GuildState, World},
};

/// A person, in one guild or in direct messages.
#[derive(Clone)]
pub struct Member {
    id: String,
    pub name: String,
    pub(crate) user: u64,
    pub(crate) guild: Option<u64>,
    pub(crate) shared: Arc<Shared>,
}

impl Member {
    pub(crate) fn new(shared: &Arc<Shared>, user: u64, name: &str, guild: Option<u64>) -> Self {
        Self { id: user.to_string(), name: name.to_owned(), user, guild, shared: Arc::clone(shared) }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Gives a role.
    pub fn with_role(self, role: &Role) -> Self {
        self.shared.change(|world, _| {
            let guild = self.guild.and_then(|guild| world.guilds.get_mut(&guild));
            let member = guild.and_then(|guild| guild.members.get_mut(&self.user));
            if let Some(member) = member.filter(|member| !member.roles.contains(&role.number)) {
                member.roles.push(role.number);
            }
        });
        self
    }

    /// Takes a role away.
    pub fn without_role(self, role: &Role) -> Self {
        self.shared.change(|world, _| {
            let guild = self.guild.and_then(|guild| world.guilds.get_mut(&guild));
            if let Some(member) = guild.and_then(|guild| guild.members.get_mut(&self.user)) {
                member.roles.retain(|&had| had != role.number);
            }
        });
        self
    }

    /// Sets the language of their client.
    pub fn locale(&self, locale: &str) -> Self {
        self.shared.change(|world, _| world.locales.insert(self.user, locale.to_owned()));
        self.clone()
    }

    /// The channel between the bot and this person.
    pub fn dm(&self) -> Channel {
        self.shared.change(|world, now| {
            let id = world.dm(now, self.user);
            Channel::of(world, id)
        })
    }

    /// Writes a message.
    pub async fn say(&self, channel: &Channel, text: &str, files: &[File]) -> anyhow::Result<Message> {
        self.write(channel.number, json!({"content": text}), files, None)
    }

    /// Writes a message in answer to another.
    pub async fn reply(&self, message: &Message, text: &str) -> anyhow::Result<Message> {
        self.write(message.channel_number()?, json!({"content": text}), &[], Some(message.number()?))
    }

    /// The same with the @ of the reply switched off: its author is not mentioned.
    pub async fn reply_quietly(&self, message: &Message, text: &str) -> anyhow::Result<Message> {
        let body = json!({"content": text, "allowed_mentions": {"parse": ["users"], "replied_user": false}});
        self.write(message.channel_number()?, body, &[], Some(message.number()?))
    }

    /// Writes a message that begins with the bot's name.
    pub async fn mention(&self, channel: &Channel, text: &str) -> anyhow::Result<Message> {
        let bot = self.shared.world.lock().bot.id;
        self.write(channel.number, json!({"content": format!("<@{bot}> {text}")}), &[], None)
    }

    fn write(
        &self,
        channel: u64,
        mut body: Value,
        files: &[File],
        reference: Option<u64>,
    ) -> anyhow::Result<Message> {
        let bot = self.shared.world.lock().bot.clone();
        let text = body["content"].as_str().unwrap_or_default().replace("@bot", &format!("<@{}>", bot.id));
        body["content"] = text.into();
        let files = files.iter().zip(0..).map(|(file, number)| file.upload(number)).collect();
        let payload = Payload { json: body, files };
        self.shared.change(|world, now| {
            let author = world.users.get(&self.user).cloned().context("nobody")?;
            let draft = Draft {
                channel,
                author: &author,
                payload: &payload,
                private_to: None,
                loading: false,
                more: Value::Null,
                reference,
            };
            let id = world.create(now, &draft).map_err(|refused| anyhow::anyhow!("{refused}"))?;
            Message::find(world, channel, id).context("the message is gone")
        })
    }

    /// Uses a component by its custom id, whether or not the message has it (any more).
    pub async fn raw_component(&self, message: &Message, custom_id: &str) -> anyhow::Result<Shown> {
        self.component(message, json!({"component_type": 2, "custom_id": custom_id})).await
    }

    pub(crate) async fn component(&self, message: &Message, data: Value) -> anyhow::Result<Shown> {
        let channel = message.channel_number()?;
        let started = Started {
            kind: COMPONENT,
            channel,
            data,
            source: Some(message.number()?),
            answer_type: crate::edit::REPLY,
            metadata: json!({"interacted_message_id": message.id}),
        };
        self.start(started).await
    }

    /// Begins an interaction and gives what came of it.
    pub(crate) async fn start(&self, started: Started) -> anyhow::Result<Shown> {
        let channel = started.channel;
        let (first, source) = self.begin(started).await?;
        let world = self.shared.world.lock();
        let message = |stored| Message::of(&world, channel, stored);
        Ok(match first {
            First::Message(stored) if stored.private_to.is_some() => Shown::Ephemeral(message(&stored)),
            First::Message(stored) => Shown::Message(message(&stored)),
            First::Deferred(stored) => {
                Shown::Deferred { private: stored.private_to.is_some(), message: message(&stored) }
            }
            First::DeferredUpdate(stored) => {
                Shown::Deferred { private: stored.private_to.is_some(), message: message(&stored) }
            }
            First::Updated(stored) => Shown::Updated(message(&stored)),
            First::Modal(data) => Shown::Modal(crate::Modal::of(&data, source)),
            First::Choices(choices) => anyhow::bail!("choices came instead of a response: {choices}"),
        })
    }

    /// Begins an interaction and waits for its first response.
    pub(crate) async fn begin(&self, started: Started) -> anyhow::Result<(First, Source)> {
        let (interaction, token, payload) = {
            let mut world = self.shared.world.lock();
            let now = self.shared.now_ms();
            let limit = self.shared.limits.lock().file_bytes;
            self.payload(&mut world, now, limit, &started)?
        };
        let source = Source {
            channel: started.channel,
            message: started.source,
            metadata: interaction.metadata.clone(),
        };
        let what = payload["data"].clone();
        let first = self.shared.interact(interaction, token, payload).await;
        Ok((first.with_context(|| format!("{} sent {what}", self.name))?, source))
    }

    /// The whole interaction. Source:
    /// <https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-object>.
    fn payload(
        &self,
        world: &mut World,
        now_ms: u64,
        file_limit: usize,
        started: &Started,
    ) -> anyhow::Result<(Interaction, String, Value)> {
        let id = world.ids.next(now_ms);
        let token = format!("aW50ZXJhY3Rpb246{id:x}{:016x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let channel = world.channels.get(&started.channel).context("the channel is gone")?;
        let guild = channel.guild;
        let state = guild.and_then(|guild| world.guilds.get(&guild));
        let user = world.users.get(&self.user).context("nobody")?.json();
        let permissions = state.map_or(crate::permissions::EVERYONE, |guild| guild.permissions_of(self.user));
        let mut shown = world.channel_json(channel);
        shown["permissions"] = permissions.to_string().into();
        let owners = guild.map_or_else(|| json!({"0": "0"}), |guild| json!({"0": guild.to_string()}));
        let locale = world.locales.get(&self.user).map_or("en-US", String::as_str);
        let mut payload = json!({
            "id": id.to_string(), "application_id": world.application.to_string(), "type": started.kind,
            "data": started.data, "channel": shown, "channel_id": started.channel.to_string(), "token": token,
            "version": 1, "app_permissions": channel.bot_permissions.to_string(), "locale": locale,
            "entitlements": [], "entitlement_sku_ids": [], "authorizing_integration_owners": owners,
            "context": u8::from(guild.is_none()), "attachment_size_limit": file_limit,
        });
        self.identify(world, state, &mut payload)?;
        if let Some(source) = started.source {
            let stored = world.stored(started.channel, source).context("the message is gone")?;
            payload["message"] = stored.value.clone();
        }
        let mut metadata = json!({"id": id.to_string(), "type": started.kind, "user": user,
            "authorizing_integration_owners": owners});
        merge(&mut metadata, started.metadata.clone());
        let interaction = Interaction {
            id,
            kind: started.kind,
            user: self.user,
            channel: started.channel,
            guild,
            source: started.source,
            answer_type: started.answer_type,
            metadata,
            created_ms: now_ms,
            answered: false,
            original: None,
            waiter: None,
            refused: Vec::new(),
        };
        Ok((interaction, token, payload))
    }

    /// Says who it is: a member in a guild, a user elsewhere.
    fn identify(&self, world: &World, guild: Option<&GuildState>, payload: &mut Value) -> anyhow::Result<()> {
        let Some(guild) = guild else {
            payload["user"] = world.users.get(&self.user).context("nobody")?.json();
            return Ok(());
        };
        let member = world.member_json(guild, self.user);
        let mut member = member.with_context(|| format!("{} is not in {}", self.name, guild.name))?;
        member["permissions"] = guild.permissions_of(self.user).to_string().into();
        let id = guild.id.to_string();
        let shown = json!({"id": id, "locale": guild.locale, "features": []});
        let more = json!({"guild_id": id, "guild": shown, "guild_locale": guild.locale, "member": member});
        merge(payload, more);
        Ok(())
    }

    /// Stores a file that the person attaches and gives its attachment object.
    pub(crate) fn attach(&self, channel: u64, upload: &Upload) -> (u64, Value) {
        self.shared.change(|world, _| {
            let object = world.keep_file(channel, upload, None);
            (snowflake(&object["id"]).unwrap_or_default(), object)
        })
    }
}

/// An interaction to be.
pub(crate) struct Started {
    pub kind: u8,
    pub channel: u64,
    pub data: Value,
    pub source: Option<u64>,
    /// Type of the message that answers.
    pub answer_type: u8,
    /// What `interaction_metadata` says of this kind of interaction.
    pub metadata: Value,
}
