//! Buttons, select menus and context menus, as a person finds them: by what they say.

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::{Member, Message, Shown, interactions::COMMAND, invoke::Filling, member::Started};

/// Type of a message that answers a context menu.
const MENU_ANSWER: u8 = 23;

impl Member {
    /// The message as this person sees it now.
    fn now(&self, message: &Message) -> anyhow::Result<Message> {
        let world = self.shared.world.lock();
        let now = Message::find(&world, message.channel_number()?, message.number()?);
        let now = now.context("the message is gone")?;
        let sees = now.private_to.as_ref().is_none_or(|only| *only == self.name);
        ensure!(sees, "{} does not see it: {now}", self.name);
        Ok(now)
    }

    /// Presses the button with that label or emoji.
    pub async fn click(&self, message: &Message, label: &str) -> anyhow::Result<Shown> {
        let now = self.now(message)?;
        let buttons = now.components().filter(|part| part["type"] == 2).collect::<Vec<_>>();
        let exact = buttons.iter().find(|button| {
            let (text, emoji) = (&button["label"], &button["emoji"]["name"]);
            *text == label || *emoji == label || says(button) == label
        });
        let found = exact.or_else(|| buttons.iter().find(|button| says(button).contains(label)));
        let known = || buttons.iter().map(|button| says(button)).collect::<Vec<_>>().join(" | ");
        let button = found.with_context(|| format!("no button {label:?} among: {}", known()))?;
        ensure!(button["disabled"] != true, "{label:?} is disabled");
        let id = button["custom_id"].as_str();
        let id = id.with_context(|| format!("{label:?} leads to {}", button["url"]))?;
        self.component(&now, json!({"component_type": 2, "custom_id": id})).await
    }

    /// Chooses in the select menu with that placeholder or that part of its custom id. A text option is named by its label
    /// or value; people, roles and channels by id.
    pub async fn choose(&self, message: &Message, menu: &str, values: &[&str]) -> anyhow::Result<Shown> {
        let now = self.now(message)?;
        let menus = now.components().filter(|part| matches!(part["type"].as_u64(), Some(3 | 5..=8)));
        let menus = menus.cloned().collect::<Vec<Value>>();
        let text = |menu: &Value, key: &str| menu[key].as_str().unwrap_or_default().to_owned();
        let found = menus.iter().find(|part| text(part, "placeholder") == menu);
        let found = found.or_else(|| menus.iter().find(|part| text(part, "placeholder").contains(menu)));
        let found = found.or_else(|| menus.iter().find(|part| text(part, "custom_id").contains(menu)));
        let known = || menus.iter().map(|part| text(part, "placeholder")).collect::<Vec<_>>().join(" | ");
        let part = found.with_context(|| format!("no menu {menu:?} among: {}", known()))?;
        ensure!(part["disabled"] != true, "{menu:?} is disabled");
        let (least, most) =
            (part["min_values"].as_u64().unwrap_or(1), part["max_values"].as_u64().unwrap_or(1));
        ensure!((least..=most).contains(&(values.len() as u64)), "{menu:?} takes {least} to {most} values");
        let mut data = json!({"component_type": part["type"], "custom_id": part["custom_id"]});
        if part["type"] == 3 {
            data["values"] =
                values.iter().map(|value| option(part, value)).collect::<anyhow::Result<Value>>()?;
        } else {
            let kind = match part["type"].as_u64() {
                Some(5) => 6,
                Some(6) => 8,
                Some(7) => 9,
                _ => 7,
            };
            let world = self.shared.world.lock();
            let mut filling = Filling::new(self, &world, now.channel_number()?)?;
            for value in values {
                filling.refer(kind, &json!(value), &part["channel_types"])?;
            }
            data["values"] = json!(values);
            data["resolved"] = filling.resolved();
        }
        self.component(&now, data).await
    }

    /// Uses an entry of a message's context menu.
    pub async fn menu(&self, entry: &str, message: &Message) -> anyhow::Result<Shown> {
        let now = self.now(message)?;
        let resolved = json!({"messages": {now.id.as_str(): now.raw}});
        let metadata = json!({"target_message_id": now.id});
        self.context(entry, 3, now.channel_number()?, &now.id, resolved, metadata).await
    }

    /// Uses an entry of a person's context menu.
    pub async fn menu_of(
        &self,
        entry: &str,
        channel: &crate::Channel,
        person: &Self,
    ) -> anyhow::Result<Shown> {
        let resolved = {
            let world = self.shared.world.lock();
            let mut filling = Filling::new(self, &world, channel.number)?;
            filling.refer(6, &json!(person.id()), &Value::Null)?;
            filling.resolved()
        };
        let metadata = json!({"target_user": resolved["users"][person.id()]});
        self.context(entry, 2, channel.number, person.id(), resolved, metadata).await
    }

    async fn context(
        &self,
        entry: &str,
        kind: u64,
        channel: u64,
        target: &str,
        resolved: Value,
        mut metadata: Value,
    ) -> anyhow::Result<Shown> {
        let data = {
            let world = self.shared.world.lock();
            let (command, scope) = Filling::new(self, &world, channel)?.find(entry, kind)?;
            let mut data = json!({"id": command["id"], "name": entry, "type": kind, "target_id": target,
                "resolved": resolved});
            if let Some(guild) = scope {
                data["guild_id"] = guild.to_string().into();
            }
            data
        };
        metadata["name"] = entry.into();
        metadata["command_type"] = kind.into();
        self.start(Started { kind: COMMAND, channel, data, source: None, answer_type: MENU_ANSWER, metadata })
            .await
    }
}

/// What a button says.
pub(crate) fn says(button: &Value) -> String {
    let parts = [button["emoji"]["name"].as_str(), button["label"].as_str()];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The value of a text option that is named by label or value.
fn option(menu: &Value, named: &str) -> anyhow::Result<Value> {
    let options = menu["options"].as_array().map_or(&[][..], Vec::as_slice);
    let found = options.iter().find(|option| option["value"] == named || option["label"] == named);
    match found {
        Some(option) => Ok(option["value"].clone()),
        None => {
            let known: Vec<_> = options.iter().filter_map(|option| option["label"].as_str()).collect();
            bail!("no option {named:?} among: {}", known.join(" | "))
        }
    }
}
