//! The keys of a section `[[engine]]` with `kind = "openai"`. `docs/workers.md` explains them to operators.
//!
//! What is read here is sound: an address that is one, a key that a header can hold, models that can be described.

use std::{collections::HashSet, fmt, time::Duration};

use reqwest12::{Url, header::HeaderValue};
use riff_hub::model::Media;
use serde::{Deserialize, Deserializer, de, de::value::MapAccessDeserializer};
use serde_json::{Map, Value};

use super::api::Api;
use crate::http;

/// Longest silence of the server where the section does not say.
const PATIENCE: f64 = 120.0;
/// Longest run where the section does not say.
const TIMEOUT: f64 = 1_800.0;
/// What a request is made of; `extra` may not set it.
const OURS: [&str; 16] = [
    "file",
    "language",
    "response_format",
    "model",
    "messages",
    "prompt",
    "stream",
    "stream_options",
    "n",
    "size",
    "image",
    "seed",
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
];

/// A server, and which of its models to serve how.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Settings {
    /// How the server is called.
    pub(super) api: Api,
    /// Name for members of the server's only model; goes before the names of several.
    pub(super) name: Option<String>,
    /// The models to serve; empty: all that the server lists and that chat.
    pub(super) models: Vec<Model>,
    /// What holds for models that the section does not list.
    pub(super) others: Model,
    /// Longest time that a run may take.
    pub(super) timeout: Duration,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.api)
    }
}

/// What a section has, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    url: String,
    name: Option<String>,
    api_key: Option<String>,
    api_key_env: Option<String>,
    #[serde(default)]
    models: Vec<Model>,
    vision: Option<bool>,
    max_tokens: Option<u32>,
    #[serde(default)]
    extra: Map<String, Value>,
    patience_seconds: Option<f64>,
    timeout_seconds: Option<f64>,
}

/// An input that servers need not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Optional {
    /// `seed`.
    Seed,
    /// `temperature`, of chats.
    Temperature,
    /// `top_p`, of chats.
    TopP,
    /// `stop`, of chats.
    Stop,
    /// `negative_prompt`, of pictures.
    NegativePrompt,
}

/// A picture's width and height in pixels, written `1024x1536`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub u32, pub u32);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.0, self.1)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        match sides {
            Some((width @ 1..=16_384, height @ 1..=16_384)) => Ok(Self(width, height)),
            _ => Err(de::Error::custom(format!(
                "{text:?} is no size: write WIDTHxHEIGHT, as in \"1024x1536\""
            ))),
        }
    }
}

/// One of `models`: an id, or a table that says more.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    /// What the server calls it.
    pub id: String,
    /// What members call it.
    pub name: Option<String>,
    pub title: Option<String>,
    pub card: Option<String>,
    pub license: Option<String>,
    pub media: Option<Media>,
    /// Whether it looks at pictures.
    pub vision: Option<bool>,
    /// Whether it writes down what is said in a sound; told by the id, if left out.
    pub transcribes: Option<bool>,
    /// Whether it changes pictures.
    pub edits: bool,
    /// The sizes of its pictures; empty: any.
    pub sizes: Vec<Size>,
    /// The optional inputs it has.
    pub inputs: Option<Vec<Optional>>,
    /// Most pictures at once.
    pub max_count: Option<u32>,
    /// Most tokens of an answer.
    pub max_tokens: Option<u32>,
    /// Changed by the operator when the same id stands for other weights.
    pub version: String,
    /// More fields of every request.
    pub extra: Map<String, Value>,
    pub mature: bool,
}

/// The table of a model, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelKeys {
    id: String,
    name: Option<String>,
    title: Option<String>,
    card: Option<String>,
    license: Option<String>,
    media: Option<Media>,
    vision: Option<bool>,
    transcribes: Option<bool>,
    #[serde(default)]
    edits: bool,
    #[serde(default)]
    sizes: Vec<Size>,
    inputs: Option<Vec<Optional>>,
    max_count: Option<u32>,
    max_tokens: Option<u32>,
    #[serde(default)]
    version: String,
    #[serde(default)]
    extra: Map<String, Value>,
    #[serde(default)]
    mature: bool,
}

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdOrTable;
        impl<'de> de::Visitor<'de> for IdOrTable {
            type Value = Model;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a model's id, or a table with `id`")
            }
            fn visit_str<E: de::Error>(self, id: &str) -> Result<Model, E> {
                Ok(Model { id: id.to_owned(), ..Model::default() })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Model, A::Error> {
                let keys = ModelKeys::deserialize(MapAccessDeserializer::new(map))?;
                Model::from_keys(keys).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(IdOrTable)
    }
}

impl Model {
    fn from_keys(keys: ModelKeys) -> Result<Self, String> {
        let ModelKeys { id, name, title, card, license, media, vision, edits, sizes, inputs, .. } = keys;
        if media != Some(Media::Image) && (edits || !sizes.is_empty() || keys.max_count.is_some()) {
            return Err(format!(
                "the model {id:?} has edits, sizes or max_count, which only models with media = \"image\" have"
            ));
        }
        if media == Some(Media::Image) && vision.is_some() {
            return Err(format!(
                "the model {id:?} makes pictures and has vision; to change pictures, set edits = true"
            ));
        }
        if keys.max_count.is_some_and(|count| !(1..=16).contains(&count)) {
            return Err(format!("max_count of the model {id:?} must be a whole number from 1 to 16"));
        }
        if keys.transcribes == Some(true)
            && (media.is_some_and(|media| media != Media::Text) || vision.is_some())
        {
            return Err(format!(
                "the model {id:?} has transcribes, and media or vision: what transcribes takes sound and gives text"
            ));
        }
        if media == Some(Media::Audio) {
            return Err(format!("the model {id:?} has media = \"audio\": write \"text\" or \"image\""));
        }
        check_common(name.as_deref(), keys.max_tokens, &keys.extra)?;
        let ModelKeys { transcribes, max_count, max_tokens, version, extra, mature, .. } = keys;
        Ok(Self {
            id,
            name,
            title,
            card,
            license,
            media,
            vision,
            transcribes,
            edits,
            sizes,
            inputs,
            max_count,
            max_tokens,
            version,
            extra,
            mature,
        })
    }

    /// With what holds for the whole section where the model says nothing itself.
    fn with(mut self, others: &Self) -> Self {
        let text = self.media != Some(Media::Image);
        self.vision = self.vision.or(others.vision.filter(|_| text));
        self.max_tokens = self.max_tokens.or(others.max_tokens);
        for (key, value) in &others.extra {
            self.extra.entry(key).or_insert_with(|| value.clone());
        }
        self
    }
}

fn check_common(
    name: Option<&str>,
    max_tokens: Option<u32>,
    extra: &Map<String, Value>,
) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if let Some(name) = name
        && !(name.chars().all(fits)
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= 64)
    {
        return Err(format!(
            "name {name:?} must be 1 to 64 of a-z, 0-9, '.', '-' and '_', starting with a letter or digit"
        ));
    }
    if max_tokens == Some(0) {
        return Err("max_tokens must be 1 or more".to_owned());
    }
    match extra.keys().find(|key| OURS.contains(&key.as_str())) {
        Some(key) => Err(format!("extra may not set {key:?}: Riff sets it in every request")),
        None => Ok(()),
    }
}

impl TryFrom<Keys> for Settings {
    type Error = String;
    fn try_from(keys: Keys) -> Result<Self, String> {
        check_common(keys.name.as_deref(), keys.max_tokens, &keys.extra)?;
        let mut seen = HashSet::new();
        if let Some(twice) = keys.models.iter().find(|model| model.id.is_empty() || !seen.insert(&model.id)) {
            return Err(format!("models has {:?}, which is empty or there twice", twice.id));
        }
        let key = api_key(keys.api_key, keys.api_key_env)?;
        let patience = seconds("patience_seconds", keys.patience_seconds.unwrap_or(PATIENCE))?;
        let timeout = seconds("timeout_seconds", keys.timeout_seconds.unwrap_or(TIMEOUT))?;
        let (vision, max_tokens, extra) = (keys.vision, keys.max_tokens, keys.extra);
        let others = Model { vision, max_tokens, extra, ..Model::default() };
        let models = keys.models.into_iter().map(|model| model.with(&others)).collect();
        Ok(Self { api: Api::new(base(&keys.url)?, key, patience)?, name: keys.name, models, others, timeout })
    }
}

/// The address that paths are added to. Servers document it with `/v1`; an address without a path gets that.
fn base(text: &str) -> Result<Url, String> {
    let wrong = |what: &str| format!("url {text:?} {what}: write it like \"http://127.0.0.1:8000/v1\"");
    let mut url: Url = text.trim().parse().map_err(|_| wrong("is no address"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("does not start with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not quoted: whatever is in an address may be logged, and this has a password in it.
        return Err("url has a name or password in it: put the key into api_key or api_key_env".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a ? or # in it"));
    }
    let path = match url.path().trim_end_matches('/') {
        "" => "/v1/".to_owned(),
        path => format!("{path}/"),
    };
    url.set_path(&path);
    Ok(url)
}

fn api_key(key: Option<String>, variable: Option<String>) -> Result<Option<HeaderValue>, String> {
    let key = match (key, variable) {
        (Some(_), Some(_)) => {
            return Err("api_key and api_key_env are both there: leave one of them out".to_owned());
        }
        (Some(key), None) => key,
        (None, Some(name)) => std::env::var(&name).map_err(|_| {
            format!("the variable {name} that api_key_env names is not set: set it before the start")
        })?,
        (None, None) => return Ok(None),
    };
    if key.trim().is_empty() {
        return Ok(None);
    }
    http::bearer(&key).map(Some)
}

fn seconds(key: &str, seconds: f64) -> Result<Duration, String> {
    match (0.001..=86_400.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(format!("{key} = {seconds} is not a number of seconds from 0.001 to 86400")),
    }
}
