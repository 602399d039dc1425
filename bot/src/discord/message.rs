//! A message as Riff sends it: one type for answers to interactions, messages and edits, rendered in one place, so that no
//! message can ping anybody.

use bytes::Bytes;
use riff_hub::hub::Privacy;
use serde_json::{Value, json};
use serenity::{
    builder::{CreateActionRow, CreateEmbed},
    model::channel::MessageFlags,
};

/// Longest content, in characters (<https://discord.com/developers/docs/resources/message#create-message>).
pub const MAX_CONTENT: usize = 2_000;
/// Most files of a message.
pub const MAX_FILES: usize = 10;

/// A message to send, or to change one into.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Markdown, at most [`MAX_CONTENT`] characters.
    pub content: String,
    /// Cards below it.
    pub embeds: Vec<CreateEmbed>,
    /// At most 5 rows of at most 5 buttons, or one select menu each.
    pub rows: Vec<CreateActionRow>,
    /// At most [`MAX_FILES`].
    pub files: Vec<File>,
    /// Who sees it. Of answers to interactions only; everything else is public.
    pub privacy: Privacy,
}

impl Outgoing {
    /// For everybody in the channel.
    pub fn public(content: impl Into<String>) -> Self {
        Self {
            content: content.into(),
            embeds: Vec::new(),
            rows: Vec::new(),
            files: Vec::new(),
            privacy: Privacy::Public,
        }
    }

    /// For who asked alone.
    pub fn private(content: impl Into<String>) -> Self {
        Self { privacy: Privacy::Private, ..Self::public(content) }
    }

    /// With a card.
    pub fn embed(mut self, embed: CreateEmbed) -> Self {
        self.embeds.push(embed);
        self
    }

    /// With a row of components.
    pub fn row(mut self, row: CreateActionRow) -> Self {
        self.rows.push(row);
        self
    }

    /// As Discord reads it. Everything is there, so that an edit replaces everything.
    pub fn body(&self) -> Value {
        let attachments: Vec<Value> = self
            .files
            .iter()
            .enumerate()
            .map(|(id, file)| json!({"id": id.to_string(), "filename": file.name}))
            .collect();
        let mut flags = MessageFlags::SUPPRESS_EMBEDS;
        if !self.embeds.is_empty() {
            flags = MessageFlags::empty();
        }
        if self.privacy == Privacy::Private {
            flags |= MessageFlags::EPHEMERAL;
        }
        let mut rows = json!(self.rows);
        write_ids(&mut rows);
        json!({
            "content": self.content,
            "embeds": self.embeds,
            "components": rows,
            "attachments": attachments,
            "allowed_mentions": {"parse": []},
            "flags": flags,
        })
    }

    /// The same as an edit: who sees a message cannot be changed.
    pub fn edit(&self) -> Value {
        let mut body = self.body();
        body["flags"] = match self.embeds.is_empty() {
            true => MessageFlags::SUPPRESS_EMBEDS.bits().into(),
            false => 0.into(),
        };
        body
    }
}

/// Ids are text in Discord's JSON; serenity writes those of preselected channels and roles as numbers.
fn write_ids(components: &mut Value) {
    match components {
        Value::Object(object) => {
            if let Some(Value::Number(id)) = object.get("id") {
                let id = id.to_string();
                object.insert("id".to_owned(), id.into());
            }
            object.values_mut().for_each(write_ids);
        }
        Value::Array(items) => items.iter_mut().for_each(write_ids),
        _ => {}
    }
}

/// A file of a message.
#[derive(Debug, Clone)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub bytes: Bytes,
}

impl File {
    /// Its media type, by its name.
    pub fn media_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("png") => "image/png",
            Some("jpg") => "image/jpeg",
            Some("webp") => "image/webp",
            Some("wav") => "audio/wav",
            Some("mp3") => "audio/mpeg",
            Some("ogg") => "audio/ogg",
            Some("flac") => "audio/flac",
            _ => "application/octet-stream",
        }
    }
}

/// Text of others, written so that Discord shows it as it is.
pub fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']' | '@' | ':') {
            escaped.push('\\');
        }
        escaped.push(if c == '\n' { ' ' } else { c });
    }
    escaped
}

/// The first characters of a text, with an ellipsis where something was left out.
pub fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_members_are_shown_and_never_obeyed() {
        assert_eq!(plain("@everyone **hi** <@1>"), r"\@everyone \*\*hi\*\* \<\@1\>");
        let body = Outgoing::public(plain("@everyone")).body();
        assert_eq!(body["allowed_mentions"], json!({"parse": []}));
        assert_eq!(Outgoing::private("x").body()["flags"], 68);
        assert_eq!(Outgoing::private("x").edit()["flags"], 4);
    }

    #[test]
    fn long_text_is_clipped_by_characters() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöüß", 3), "äö…");
    }
}
