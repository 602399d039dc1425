//! How a body becomes a message, and how an edit changes one: files, embeds that show them, mentions, references.

use std::io::Cursor;

use serde_json::{Value, json};

use crate::{
    clock::iso,
    multipart::{Payload, Upload},
    objects::{merge, snowflake},
    refused::Refused,
    world::{Stored, StoredFile, User, World},
};

pub(crate) const EPHEMERAL: u64 = 1 << 6;
pub(crate) const LOADING: u64 = 1 << 7;
const COMPONENTS_V2: u64 = 1 << 15;
/// What a bot may set: no embeds, ephemeral, silent, new components.
const SETTABLE: u64 = 1 << 2 | EPHEMERAL | 1 << 12 | COMPONENTS_V2;

/// Message types. Source: <https://discord.com/developers/docs/resources/message#message-object-message-types>.
pub(crate) const PLAIN: u8 = 0;
pub(crate) const REPLY: u8 = 19;

/// A message to be.
pub(crate) struct Draft<'a> {
    pub channel: u64,
    pub author: &'a User,
    pub payload: &'a Payload,
    pub private_to: Option<u64>,
    pub loading: bool,
    /// Fields that only responses to interactions have.
    pub more: Value,
    pub reference: Option<u64>,
}

impl World {
    /// Makes a message and tells the sessions.
    pub(crate) fn create(&mut self, now_ms: u64, draft: &Draft<'_>) -> Result<u64, Refused> {
        let body = &draft.payload.json;
        let referenced = draft.reference.and_then(|id| self.stored(draft.channel, id).cloned());
        let id = self.ids.next(now_ms);
        let mut value = json!({
            "id": id.to_string(), "channel_id": draft.channel.to_string(), "author": draft.author.json(),
            "content": "", "timestamp": iso(now_ms), "edited_timestamp": null,
            "tts": false, "mention_everyone": false, "mentions": [], "mention_roles": [], "attachments": [],
            "embeds": [], "components": [], "pinned": false, "flags": 0,
            "type": if draft.reference.is_some() { REPLY } else { PLAIN },
        });
        if !body["nonce"].is_null() {
            value["nonce"] = body["nonce"].clone();
        }
        if let Some(reference) = draft.reference {
            let guild = self.channels.get(&draft.channel).and_then(|channel| channel.guild);
            let channel = draft.channel.to_string();
            let reference = json!({"type": 0, "message_id": reference.to_string(), "channel_id": channel,
                "guild_id": guild.map(|guild| guild.to_string())});
            value["message_reference"] = reference;
            value["referenced_message"] = referenced.as_ref().map_or(Value::Null, |stored| {
                let mut value = stored.value.clone();
                value.as_object_mut().map(|value| value.remove("referenced_message"));
                value
            });
        }
        merge(&mut value, draft.more.clone());
        self.apply(&mut value, draft.channel, draft.payload);
        let set = value["flags"].as_u64().unwrap_or_default();
        let set = if draft.private_to.is_some() { set | EPHEMERAL } else { set & !EPHEMERAL };
        value["flags"] = json!(if draft.loading { set | LOADING } else { set });
        if !draft.loading && is_empty(&value) {
            return Err(Refused::empty_message());
        }
        self.mention(&mut value, body, referenced.as_ref());
        self.post(draft.channel, id, Stored { value, private_to: draft.private_to, loading: draft.loading });
        Ok(id)
    }

    /// Changes a message and tells the sessions. It thinks no longer.
    pub(crate) fn edit(
        &mut self,
        now_ms: u64,
        channel: u64,
        id: u64,
        payload: &Payload,
    ) -> Result<(), Refused> {
        let mut stored = self.stored(channel, id).ok_or_else(Refused::unknown_message)?.clone();
        let kept = stored.value["flags"].as_u64().unwrap_or_default() & EPHEMERAL;
        self.apply(&mut stored.value, channel, payload);
        let flags = stored.value["flags"].as_u64().unwrap_or_default();
        stored.value["flags"] = json!(flags & !(LOADING | EPHEMERAL) | kept);
        if is_empty(&stored.value) {
            return Err(Refused::empty_message());
        }
        if !stored.loading {
            stored.value["edited_timestamp"] = iso(now_ms).into();
        }
        stored.loading = false;
        self.mention(&mut stored.value, &payload.json, None);
        if let Some(place) = self.stored_mut(channel, id) {
            *place = stored;
        }
        self.announce_edit(channel, id);
        Ok(())
    }

    fn apply(&mut self, value: &mut Value, channel: u64, payload: &Payload) {
        let body = &payload.json;
        for (key, empty) in [("content", json!("")), ("embeds", json!([])), ("components", json!([]))] {
            if let Some(new) = body.get(key) {
                value[key] = if new.is_null() { empty } else { new.clone() };
            }
        }
        if let Some(flags) = body["flags"].as_u64() {
            let had = value["flags"].as_u64().unwrap_or_default();
            value["flags"] = json!(had & !SETTABLE | flags & SETTABLE);
        }
        let mut attachments: Vec<Value> = value["attachments"].as_array().cloned().unwrap_or_default();
        if let Some(kept) = body["attachments"].as_array() {
            let ids: Vec<u64> = kept.iter().filter_map(|kept| snowflake(&kept["id"])).collect();
            attachments.retain(|had| snowflake(&had["id"]).is_some_and(|id| ids.contains(&id)));
        }
        for upload in &payload.files {
            let described = body["attachments"].as_array().into_iter().flatten();
            let described =
                described.into_iter().find(|described| snowflake(&described["id"]) == Some(upload.number));
            let file = self.keep_file(channel, upload, described);
            attachments.push(file);
        }
        show_files(&mut value["embeds"], &mut attachments);
        value["attachments"] = attachments.into();
    }

    /// Stores a file and gives its attachment object.
    pub(crate) fn keep_file(&mut self, channel: u64, upload: &Upload, described: Option<&Value>) -> Value {
        let id = self.ids.next(0);
        let named =
            described.and_then(|described| described["filename"].as_str()).unwrap_or(&upload.filename);
        // What Discord leaves of a name.
        let fits = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let filename: String = named.chars().map(fits).collect();
        let url = format!("{}/attachments/{channel}/{id}/{filename}", self.url);
        let mut object = json!({
            "id": id.to_string(), "filename": filename, "size": upload.bytes.len(), "url": url, "proxy_url": url,
            "content_type": upload.content_type,
        });
        let reader = image::ImageReader::new(Cursor::new(&upload.bytes)).with_guessed_format();
        if let Some((width, height)) = reader.ok().and_then(|reader| reader.into_dimensions().ok()) {
            merge(&mut object, json!({"width": width, "height": height}));
        }
        if let Some(description) = described.and_then(|described| described["description"].as_str()) {
            object["description"] = description.into();
        }
        let (content_type, bytes) = (upload.content_type.clone(), upload.bytes.clone());
        self.files.insert(id, StoredFile { filename, content_type, bytes });
        while self.keep.is_some_and(|keep| self.files.len() > keep) {
            self.files.pop_first();
        }
        object
    }

    fn mention(&self, value: &mut Value, body: &Value, referenced: Option<&Stored>) {
        let Some(content) = value["content"].as_str() else { return };
        let allowed = &body["allowed_mentions"];
        let parses = |kind: &str| {
            let listed = allowed["parse"].as_array().is_some_and(|list| list.iter().any(|item| item == kind));
            allowed.is_null() || listed
        };
        let listed = |user: &User| {
            allowed["users"]
                .as_array()
                .is_some_and(|list| list.iter().any(|id| snowflake(id) == Some(user.id)))
        };
        let named = |user: &&User| content.contains(&format!("<@{}>", user.id));
        // Most messages name nobody, and a bench has many users.
        let users = self.users.values().filter(|_| content.contains("<@"));
        let pinged = users.filter(named).filter(|user| parses("users") || listed(user));
        let mut mentions: Vec<Value> = pinged.map(User::json).collect();
        let replies = allowed.is_null() || allowed["replied_user"] == true;
        if let Some(author) = referenced.filter(|_| replies).map(|stored| &stored.value["author"])
            && !mentions.iter().any(|user| user["id"] == author["id"])
        {
            mentions.push(author.clone());
        }
        value["mention_everyone"] = (content.contains("@everyone") && parses("everyone")).into();
        value["mentions"] = mentions.into();
    }
}

/// Gives embeds that show a file of the message its address. Such a file is not among the message's attachments.
fn show_files(embeds: &mut Value, attachments: &mut Vec<Value>) {
    let mut shown = Vec::new();
    for embed in embeds.as_array_mut().into_iter().flatten() {
        embed["type"] = "rich".into();
        for place in ["image", "thumbnail", "video", "footer", "author"] {
            let key = if matches!(place, "footer" | "author") { "icon_url" } else { "url" };
            let name = embed[place][key].as_str().and_then(|url| url.strip_prefix("attachment://"));
            let file =
                name.and_then(|name| attachments.iter().find(|file| file["filename"] == name)).cloned();
            if let Some(file) = file {
                shown.push(file["id"].clone());
                embed[place][key] = file["url"].clone();
                if key == "url" {
                    let (width, height) = (&file["width"], &file["height"]);
                    let size = json!({"proxy_url": file["url"], "width": width, "height": height});
                    merge(&mut embed[place], size);
                }
            }
        }
        // Reading a place that is not there leaves a null behind.
        if let Some(embed) = embed.as_object_mut() {
            embed.retain(|_, value| !value.is_null());
        }
    }
    attachments.retain(|file| !shown.contains(&file["id"]));
}

fn is_empty(value: &Value) -> bool {
    let none = |key: &str| value[key].as_array().is_none_or(Vec::is_empty);
    let new_components =
        value["flags"].as_u64().unwrap_or_default() & COMPONENTS_V2 != 0 && !none("components");
    value["content"].as_str().is_none_or(|text| text.trim().is_empty())
        && none("embeds")
        && none("attachments")
        && none("sticker_items")
        && !new_components
}

/// What is wrong with who a body could ping, if anything is.
pub(crate) fn could_ping(body: &Value, creates: bool) -> Option<&'static str> {
    let says = body["content"].as_str().is_some_and(|content| !content.is_empty());
    if !creates && !says {
        return None;
    }
    let allowed = &body["allowed_mentions"];
    let none = |key: &str| allowed[key].as_array().is_none_or(Vec::is_empty);
    if allowed["parse"].as_array().is_none_or(|list| !list.is_empty()) {
        return Some("allowed_mentions.parse must be there and empty");
    }
    if !none("users") || !none("roles") || allowed["replied_user"] == true {
        return Some("allowed_mentions lets somebody be pinged");
    }
    None
}
