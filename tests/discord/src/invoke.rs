//! Slash commands as a member's client sends them: against the command that is registered, with its options resolved and
//! checked before anything is sent.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::{
    Channel, Member, Shown,
    interactions::{AUTOCOMPLETE, COMMAND, First},
    member::Started,
    multipart::Upload,
    objects::{merge, snowflake},
    permissions,
    world::{Kind, World},
};

/// Type of a message that answers a slash command.
pub(crate) const COMMAND_ANSWER: u8 = 20;

/// A file that somebody attaches, to a message or as an option.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    pub filename: String,
    pub content_type: String,
    pub bytes: Bytes,
}

/// A file for `say` or for an option of `slash`.
pub fn attachment(bytes: impl Into<Bytes>, filename: &str, content_type: &str) -> File {
    File { filename: filename.to_owned(), content_type: content_type.to_owned(), bytes: bytes.into() }
}

/// The key under which a file travels in the options of `slash`.
const FILE: &str = "$file";

impl Serialize for File {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, kind) = (&self.filename, &self.content_type);
        json!({FILE: {"filename": name, "content_type": kind, "hex": hex::encode(&self.bytes)}})
            .serialize(serializer)
    }
}

impl File {
    pub(crate) fn upload(&self, number: u64) -> Upload {
        let (filename, content_type) = (self.filename.clone(), self.content_type.clone());
        Upload { number, filename, content_type, bytes: self.bytes.clone() }
    }

    fn read(value: &Value) -> Option<Self> {
        let file = value.get(FILE)?;
        let bytes = hex::decode(file["hex"].as_str()?).ok()?;
        Some(attachment(bytes, file["filename"].as_str()?, file["content_type"].as_str()?))
    }
}

/// What an autocomplete offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub name: String,
    pub value: Value,
}

impl Member {
    /// Runs a slash command, as `/imagine` or `/mod ban`, with options by name. People, roles and channels are given by id.
    pub async fn slash(&self, channel: &Channel, command: &str, options: Value) -> anyhow::Result<Shown> {
        let options = self.upload(channel, options);
        let data = {
            let world = self.shared.world.lock();
            let mut filling = Filling::new(self, &world, channel.number)?;
            filling.command(command, &options)?
        };
        let name = data["name"].clone();
        self.start(Started {
            kind: COMMAND,
            channel: channel.number,
            data,
            source: None,
            answer_type: COMMAND_ANSWER,
            metadata: json!({"name": name, "command_type": 1}),
        })
        .await
    }

    /// Runs a slash command in direct messages with the bot.
    pub async fn dm_slash(&self, command: &str, options: Value) -> anyhow::Result<Shown> {
        self.slash(&self.dm(), command, options).await
    }

    /// Types into an option and gives what is offered.
    pub async fn autocomplete(
        &self,
        channel: &Channel,
        command: &str,
        option: &str,
        typed: &str,
    ) -> anyhow::Result<Vec<Choice>> {
        self.autocomplete_with(channel, command, option, typed, json!({})).await
    }

    /// Types into an option when others are filled.
    pub async fn autocomplete_with(
        &self,
        channel: &Channel,
        command: &str,
        option: &str,
        typed: &str,
        filled: Value,
    ) -> anyhow::Result<Vec<Choice>> {
        let data = {
            let world = self.shared.world.lock();
            let mut filling = Filling::new(self, &world, channel.number)?;
            filling.focused = Some((option, typed));
            filling.command(command, &filled)?
        };
        let started = Started {
            kind: AUTOCOMPLETE,
            channel: channel.number,
            data,
            source: None,
            answer_type: COMMAND_ANSWER,
            metadata: json!({}),
        };
        match self.begin(started).await?.0 {
            First::Choices(choices) => {
                let choices = choices.as_array().cloned().unwrap_or_default();
                let choice = |choice: &Value| Choice {
                    name: choice["name"].as_str().unwrap_or_default().to_owned(),
                    value: choice["value"].clone(),
                };
                Ok(choices.iter().map(choice).collect())
            }
            other => bail!("no choices came, but {other:?}"),
        }
    }

    /// Uploads the files among the options: their attachment objects take their place.
    fn upload(&self, channel: &Channel, mut options: Value) -> Value {
        for value in options.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(file) = File::read(value) {
                *value = json!({FILE: self.attach(channel.number, &file.upload(0)).1});
            }
        }
        options
    }
}

/// A command being filled in, as a client does it.
pub(crate) struct Filling<'a> {
    member: &'a Member,
    world: &'a World,
    channel: u64,
    resolved: Value,
    focused: Option<(&'a str, &'a str)>,
}

impl<'a> Filling<'a> {
    pub(crate) fn new(member: &'a Member, world: &'a World, channel: u64) -> anyhow::Result<Self> {
        ensure!(world.channels.contains_key(&channel), "the channel is gone");
        Ok(Self { member, world, channel, resolved: json!({}), focused: None })
    }

    /// The registered command of that name and type that this member sees in this channel.
    pub(crate) fn find(&self, name: &str, kind: u64) -> anyhow::Result<(&'a Value, Option<u64>)> {
        let channel = self.world.channels.get(&self.channel).context("the channel is gone")?;
        let scopes = [channel.guild, None];
        let matches = |command: &&Value| command["name"] == name && command["type"] == kind;
        let found = scopes
            .iter()
            .filter(|scope| channel.guild.is_some() || scope.is_none())
            .find_map(|scope| Some((self.world.commands.get(scope)?.iter().find(matches)?, *scope)));
        let known = || {
            let all = self.world.commands.values().flatten().filter(|command| command["type"] == kind);
            all.filter_map(|command| command["name"].as_str()).collect::<Vec<_>>().join(", ")
        };
        let (command, scope) = found.with_context(|| format!("no command {name:?} among: {}", known()))?;
        let dm = channel.kind == Kind::Dm;
        let context = command["contexts"].as_array();
        let context = context.map(|list| list.iter().any(|context| *context == u8::from(dm)));
        ensure!(
            context.unwrap_or(!dm || command["dm_permission"] != false),
            "{name:?} is not for this kind of channel"
        );
        ensure!(command["nsfw"] != true || channel.nsfw || dm, "{name:?} is only for channels for adults");
        let needed = snowflake(&command["default_member_permissions"]);
        if let Some((needed, guild)) =
            needed.zip(channel.guild.and_then(|guild| self.world.guilds.get(&guild)))
        {
            let has = guild.permissions_of(self.member.user);
            let may = has & permissions::ADMINISTRATOR != 0 || (needed != 0 && has & needed == needed);
            ensure!(may, "{} does not see {name:?}: it needs permissions {needed}", self.member.name);
        }
        Ok((command, scope))
    }

    /// The `data` of an interaction for a slash command.
    fn command(&mut self, text: &str, given: &Value) -> anyhow::Result<Value> {
        let mut words = text.trim_start_matches('/').split_whitespace();
        let name = words.next().context("a command has a name")?;
        let (command, scope) = self.find(name, 1)?;
        let (mut path, mut options) = (Vec::new(), &command["options"]);
        for word in words {
            let sub = list(options).find(|option| option["name"] == word && is_group(option));
            let sub = sub.with_context(|| format!("no {word:?} in /{name}, but: {}", names(options)))?;
            path.push(sub);
            options = &sub["options"];
        }
        ensure!(!list(options).any(is_group), "/{name} needs one of: {}", names(options));
        let mut filled = self.options(options, given)?;
        for sub in path.iter().rev() {
            filled = vec![json!({"name": sub["name"], "type": sub["type"], "options": filled})];
        }
        let mut data = json!({"id": command["id"], "name": name, "type": 1, "options": filled});
        if self.resolved.as_object().is_some_and(|resolved| !resolved.is_empty()) {
            data["resolved"] = self.resolved.take();
        }
        if let Some(guild) = scope {
            data["guild_id"] = guild.to_string().into();
        }
        Ok(data)
    }

    fn options(&mut self, options: &Value, given: &Value) -> anyhow::Result<Vec<Value>> {
        let given = given.as_object().context("options are an object")?;
        for name in given.keys() {
            let known = list(options).any(|option| option["name"] == name.as_str());
            ensure!(known, "no option {name:?} among: {}", names(options));
        }
        if let Some((name, _)) = self.focused {
            let known = list(options).find(|option| option["name"] == name);
            let option = known.with_context(|| format!("no option {name:?} among: {}", names(options)))?;
            ensure!(option["autocomplete"] == true, "{name:?} has no autocomplete");
        }
        let mut filled = Vec::new();
        for option in list(options) {
            let name = option["name"].as_str().unwrap_or_default();
            if let Some((_, typed)) = self.focused.filter(|(focused, _)| *focused == name) {
                filled.push(json!({"name": name, "type": option["type"], "value": typed, "focused": true}));
                continue;
            }
            match given.get(name) {
                Some(value) => {
                    let value = self.value(option, value).with_context(|| format!("option {name:?}"))?;
                    filled.push(json!({"name": name, "type": option["type"], "value": value}));
                }
                None => {
                    ensure!(option["required"] != true || self.focused.is_some(), "{name:?} is required");
                }
            }
        }
        Ok(filled)
    }

    fn value(&mut self, option: &Value, given: &Value) -> anyhow::Result<Value> {
        let choices = option["choices"].as_array().filter(|choices| !choices.is_empty());
        if let Some(choices) = choices {
            let chosen = choices.iter().find(|choice| choice["value"] == *given || choice["name"] == *given);
            let known =
                || choices.iter().map(|choice| choice["name"].to_string()).collect::<Vec<_>>().join(", ");
            return Ok(chosen.with_context(|| format!("{given} is none of {}", known()))?["value"].clone());
        }
        match option["type"].as_u64() {
            Some(3) => {
                let length = given.as_str().context("not a text")?.chars().count() as u64;
                ensure!(
                    length <= option["max_length"].as_u64().unwrap_or(6000),
                    "{length} characters: too long"
                );
                ensure!(
                    length >= option["min_length"].as_u64().unwrap_or(0),
                    "{length} characters: too short"
                );
            }
            Some(kind @ (4 | 10)) => {
                ensure!(
                    if kind == 4 { given.is_i64() } else { given.is_number() },
                    "{given} is not a number"
                );
                let number = given.as_f64().unwrap_or_default();
                let (least, most) = (option["min_value"].as_f64(), option["max_value"].as_f64());
                ensure!(least.is_none_or(|least| number >= least), "{number} is below {least:?}");
                ensure!(most.is_none_or(|most| number <= most), "{number} is above {most:?}");
            }
            Some(5) => ensure!(given.is_boolean(), "{given} is neither true nor false"),
            Some(11) => {
                let file = given.get(FILE).context("not a file")?;
                self.resolve("attachments", &file["id"].clone(), file.clone());
                return Ok(file["id"].clone());
            }
            Some(kind @ 6..=9) => self.refer(kind, given, &option["channel_types"])?,
            other => bail!("an option of type {other:?}"),
        }
        Ok(given.clone())
    }

    /// Resolves somebody or something that is named by id: 6 a user, 7 a channel, 8 a role, 9 a user or role.
    pub(crate) fn refer(&mut self, kind: u64, given: &Value, channel_types: &Value) -> anyhow::Result<()> {
        let id = snowflake(given).with_context(|| format!("{given} is not an id"))?;
        let guild = self.world.channels.get(&self.channel).and_then(|channel| channel.guild);
        let guild = guild.and_then(|guild| self.world.guilds.get(&guild));
        let key = json!(id.to_string());
        let role = guild.and_then(|guild| guild.roles.iter().find(|role| role.id == id));
        if let Some(role) = role.filter(|_| matches!(kind, 8 | 9)) {
            self.resolve("roles", &key, role.json());
            return Ok(());
        }
        if let Some(user) = self.world.users.get(&id).filter(|_| matches!(kind, 6 | 9)) {
            self.resolve("users", &key, user.json());
            if let Some((guild, member)) = guild.and_then(|guild| Some((guild, guild.members.get(&id)?))) {
                let mut member = member.json();
                member["permissions"] = guild.permissions_of(id).to_string().into();
                self.resolve("members", &key, member);
            }
            return Ok(());
        }
        let channel = self.world.channels.get(&id).filter(|channel| kind == 7 && channel.guild.is_some());
        let channel = channel.with_context(|| format!("{given} is nothing of kind {kind}"))?;
        let allowed = channel_types.as_array().filter(|allowed| !allowed.is_empty());
        let fits = allowed.is_none_or(|allowed| allowed.iter().any(|kind| *kind == channel.kind.number()));
        ensure!(fits, "{} is not of types {channel_types}", channel.name);
        let mut json = self.world.channel_json(channel);
        json["permissions"] = permissions::EVERYONE.to_string().into();
        self.resolve("channels", &key, json);
        Ok(())
    }

    fn resolve(&mut self, kind: &str, id: &Value, object: Value) {
        let id = id.as_str().unwrap_or_default();
        if self.resolved[kind].is_null() {
            self.resolved[kind] = json!({});
        }
        merge(&mut self.resolved[kind], json!({id: object}));
    }

    pub(crate) fn resolved(&mut self) -> Value {
        self.resolved.take()
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn is_group(option: &Value) -> bool {
    matches!(option["type"].as_u64(), Some(1 | 2))
}

fn names(options: &Value) -> String {
    list(options).filter_map(|option| option["name"].as_str()).collect::<Vec<_>>().join(", ")
}
