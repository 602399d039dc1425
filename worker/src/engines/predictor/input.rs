//! One input of a model as an input of Riff: its schema for the hub, and how its value is sent.

use async_trait::async_trait;
use bytes::Bytes;
use riff_hub::{canonical::Digest, media, model::Media};
use serde_json::{Map, Value, json};

use super::openapi::{Components, Listed, Need, is, is_file};
use crate::{
    engine::{EngineError, Files},
    engines::picture,
};

/// Pixels of a side where the model sets no limits of its own.
const SIDE: (i64, i64) = (16, 2_048);
/// Pixels of a side where the model has no default of its own.
const USUAL_SIDE: f64 = 1_024.0;
/// Parts of names of inputs that take sound; all other files are pictures.
const SOUNDS: [&str; 7] = ["audio", "sound", "speech", "voice", "music", "song", "melody"];
/// Longest title and description that are taken over, in characters.
const MAX_TITLE: usize = 60;
const MAX_HELP: usize = 500;

/// How a file that a recipe names gets to where the model runs.
#[async_trait]
pub trait Carry: Send + Sync {
    /// An address that the model finds the file at: a data URL, or where it was put.
    ///
    /// # Errors
    /// [`EngineError::Input`] if it is neither a picture nor a sound; what [`Files::get`] says.
    async fn carry(&self, blob: Digest) -> Result<String, EngineError>;
}

/// Files that go along in the request.
pub struct Inline<'a>(pub &'a dyn Files);

#[async_trait]
impl Carry for Inline<'_> {
    async fn carry(&self, blob: Digest) -> Result<String, EngineError> {
        let (bytes, media_type) = fetched(blob, self.0).await?;
        Ok(picture::data_url(&bytes, media_type))
    }
}

/// A file that a recipe names, and its media type.
///
/// # Errors
/// As [`Carry::carry`].
pub async fn fetched(blob: Digest, files: &dyn Files) -> Result<(Bytes, &'static str), EngineError> {
    let bytes = files.get(blob).await?;
    let media_type = media::type_of(&bytes).ok_or_else(|| {
        EngineError::Input(format!(
            "the file {blob} is neither a picture nor a sound: a PNG, JPEG or WebP, or a WAV, MP3, Ogg or FLAC was expected"
        ))
    })?;
    Ok((bytes, media_type))
}

/// How a value is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// As it is; nothing for `null`.
    Plain,
    /// As it is; nothing for empty text.
    Text,
    /// A picture or a sound, by the name of its blob.
    File {
        /// Which of them.
        media: Media,
        /// Whether the model does without.
        need: Need,
    },
    /// Several.
    Files,
    /// Not at all: the engine itself goes by it.
    Never,
}

/// An input.
#[derive(Debug, Clone)]
pub struct Input {
    /// The server's name for it.
    pub name: String,
    /// How it is sent.
    pub sent: Sent,
}

impl Input {
    /// The value for the server, if it is sent at all.
    ///
    /// # Errors
    /// [`EngineError::Input`] if a file is needed and none is named; what [`Carry::carry`] says.
    pub async fn value(&self, value: &Value, files: &dyn Carry) -> Result<Option<Value>, EngineError> {
        match self.sent {
            Sent::Never => Ok(None),
            Sent::Plain => Ok((!value.is_null()).then(|| value.clone())),
            Sent::Text => Ok((value.as_str() != Some("")).then(|| value.clone())),
            Sent::File { media, need } => match (value.as_str().unwrap_or_default(), need) {
                ("", Need::Optional) => Ok(None),
                ("", Need::Required) => Err(EngineError::Input(format!(
                    "the model needs {}: give one with --{}",
                    media.words(),
                    self.name.replace('_', "-")
                ))),
                (name, _) => Ok(Some(address(name, files).await?)),
            },
            Sent::Files => {
                let mut urls = Vec::new();
                for name in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    urls.push(address(name, files).await?);
                }
                Ok((!urls.is_empty()).then_some(Value::Array(urls)))
            }
        }
    }
}

async fn address(name: &str, files: &dyn Carry) -> Result<Value, EngineError> {
    Ok(files.carry(picture::blob(name)?).await?.into())
}

/// An input as the hub sees it.
pub struct Property {
    /// Its schema.
    pub schema: Map<String, Value>,
    /// How its value is sent.
    pub sent: Sent,
}

/// An input as the hub sees it. `None` for secrets, which members must not set.
///
/// # Errors
/// [`EngineError::Unavailable`] if its type never ends.
pub fn read(listed: &Listed, components: &Components<'_>) -> Result<Option<Property>, EngineError> {
    let (schema, need) = (&listed.schema, listed.need);
    let (mut made, sent) = if is(schema, "integer") || is(schema, "number") {
        (number(&listed.name, schema, need), Sent::Plain)
    } else if is(schema, "boolean") {
        let default = schema.get("default").and_then(Value::as_bool).unwrap_or(false);
        (json!({"type": "boolean", "default": default}), Sent::Plain)
    } else if is_file(schema) {
        let media = media_of(&listed.name);
        let mut file = json!({"type": "string", "x-media": media, "default": ""});
        if (media, need) == (Media::Audio, Need::Required) {
            file["x-required"] = true.into();
        }
        (file, Sent::File { media, need })
    } else if is(schema, "string") {
        if is_secret(schema) {
            return Ok(None);
        }
        (text(schema), Sent::Text)
    } else if is(schema, "array") {
        array(&listed.name, &components.items(schema)?, schema)
    } else {
        let default = schema.get("default").cloned().unwrap_or(Value::Null);
        (json!({"default": default, "x-hidden": true}), Sent::Plain)
    };
    describe(&mut made, schema);
    Ok(made.as_object().cloned().map(|schema| Property { schema, sent }))
}

/// What a file is, by its input's name: documents say no more than that it is one.
fn media_of(name: &str) -> Media {
    match SOUNDS.iter().any(|part| name.to_lowercase().contains(part)) {
        true => Media::Audio,
        false => Media::Image,
    }
}

fn is_secret(schema: &Map<String, Value>) -> bool {
    schema.get("format").is_some_and(|format| format == "password")
        || schema.get("x-cog-secret").is_some_and(|secret| secret == true)
}

fn describe(made: &mut Value, schema: &Map<String, Value>) {
    for (key, longest) in [("title", MAX_TITLE), ("description", MAX_HELP)] {
        // What Cog says of every list of choices.
        if let Some(text) = schema.get(key).and_then(Value::as_str).filter(|text| *text != "An enumeration.")
        {
            made[key] = text.chars().take(longest).collect::<String>().into();
        }
    }
    if let Some(order) = schema.get("x-order").filter(|order| order.is_i64()) {
        made["x-order"] = order.clone();
    }
}

/// What a number may be.
struct Limits {
    least: Option<f64>,
    most: Option<f64>,
    default: Option<f64>,
}

impl Limits {
    /// Those of the model, and where Riff needs some and there are none, its own.
    fn of(name: &str, schema: &Map<String, Value>, choices: &[f64]) -> Self {
        let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
        let least = choices.iter().copied().reduce(f64::min).or_else(|| limit("minimum"));
        let most = choices.iter().copied().reduce(f64::max).or_else(|| limit("maximum"));
        let (least, most) = match (least, most) {
            (Some(least), Some(most)) if least > most => (None, None),
            limits => limits,
        };
        match name {
            "seed" => {
                let top = f64::from(u32::MAX);
                let within = |limit: Option<f64>, none: f64| Some(limit.unwrap_or(none).clamp(0.0, top));
                Self { least: within(least, 0.0), most: within(most, top), default: None }
            }
            "width" | "height" => {
                let least = least.unwrap_or(SIDE.0 as f64).max(1.0);
                let most = most.unwrap_or(SIDE.1 as f64).max(least);
                Self { least: Some(least), most: Some(most), default: limit("default").or(Some(USUAL_SIDE)) }
            }
            _ => Self { least, most, default: limit("default").or(choices.first().copied()) },
        }
    }
}

/// A number with its range, or with the numbers to choose from and their range.
fn number(name: &str, schema: &Map<String, Value>, need: Need) -> Value {
    let choices = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let choices: Vec<f64> = choices.filter_map(Value::as_f64).collect();
    let Limits { least, most, default } = Limits::of(name, schema, &choices);
    let whole = is(schema, "integer");
    let exact = |number: f64| if whole { json!(number as i64) } else { json!(number) };
    let mut made = json!({"type": schema["type"]});
    for (key, value) in [("minimum", least), ("maximum", most)] {
        if let Some(value) = value {
            made[key] = exact(value);
        }
    }
    if !choices.is_empty() {
        made["enum"] = choices.iter().map(|choice| exact(*choice)).collect();
    }
    match (default, need) {
        _ if name == "seed" => {}
        (Some(default), _) => {
            made["default"] = exact(default.clamp(least.unwrap_or(f64::MIN), most.unwrap_or(f64::MAX)))
        }
        (None, Need::Required) => made["default"] = exact(least.or(most).unwrap_or(0.0)),
        (None, Need::Optional) => {
            made["type"] = json!([schema["type"], "null"]);
            made["default"] = Value::Null;
        }
    }
    made
}

fn text(schema: &Map<String, Value>) -> Value {
    let words: Vec<&str> = schema
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let default = schema.get("default").and_then(Value::as_str);
    match words.first() {
        Some(first) => json!({"type": "string", "enum": words, "default": default.unwrap_or(first)}),
        None => {
            let mut made = json!({"type": "string", "default": default.unwrap_or_default()});
            if let Some(longest) = schema.get("maxLength").filter(|longest| longest.is_u64()) {
                made["maxLength"] = longest.clone();
            }
            made
        }
    }
}

fn array(name: &str, items: &Map<String, Value>, schema: &Map<String, Value>) -> (Value, Sent) {
    if is_file(items) {
        let items = json!({"type": "string", "x-media": media_of(name)});
        return (json!({"type": "array", "items": items, "default": []}), Sent::Files);
    }
    let default =
        schema.get("default").filter(|default| default.is_array()).cloned().unwrap_or_else(|| json!([]));
    match is(items, "string") {
        true => (json!({"type": "array", "items": {"type": "string"}, "default": default}), Sent::Plain),
        false => (json!({"type": "array", "default": default, "x-hidden": true}), Sent::Plain),
    }
}
