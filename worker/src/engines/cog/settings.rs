//! The keys of a section `[[engine]]` with `kind = "cog"`. `docs/workers.md` explains each.

use std::{collections::BTreeMap, fmt, time::Duration};

use reqwest::Url;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use crate::engines::keys::{address, seconds, unknown_licence, url};

/// A Cog server, and what it does not say of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the server is.
    #[serde(deserialize_with = "address")]
    pub url: Url,
    /// What members type behind `--model`. Cog servers do not say what they serve.
    pub name: String,
    /// Name for people; the name, if left out.
    #[serde(default)]
    pub title: Option<String>,
    /// What the model is, and what it is not.
    #[serde(default)]
    pub card: String,
    /// SPDX expression of the weights' licence.
    #[serde(default = "unknown_licence")]
    pub license: String,
    /// Whether its results are for adults.
    #[serde(default)]
    pub mature: bool,
    /// Anything that changes when the weights do; results of another version are another model's.
    #[serde(default)]
    pub version: String,
    /// The input that gets the prompt; found by its name, if left out.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Inputs with a fixed value, which members cannot set: keys of other services, paths.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
    /// How many pictures a model gives that returns a list and has no input for their number.
    #[serde(default = "one", deserialize_with = "outputs")]
    pub outputs: u32,
    /// Seconds that one run is expected to take, before the hub has measured any.
    #[serde(default = "expected", deserialize_with = "seconds")]
    pub seconds: f64,
    /// Seconds after which a run is cancelled.
    #[serde(default = "longest", deserialize_with = "seconds")]
    pub timeout_seconds: f64,
    /// Where the server reports progress to.
    #[serde(default)]
    pub webhook: Webhook,
}

/// Where the server reports progress to.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Webhook {
    /// A free port of the address that this machine talks to the server from.
    #[default]
    Found,
    /// An address of this machine, as the server reaches it.
    At(Url),
    /// Nowhere: members see no progress, unless the model streams.
    Off,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.url)
    }
}

impl Settings {
    /// The settings of a server that says the rest itself.
    pub fn new(url: Url, name: &str) -> Self {
        Self {
            url,
            name: name.to_owned(),
            title: None,
            card: String::new(),
            license: unknown_licence(),
            mature: false,
            version: String::new(),
            prompt: None,
            inputs: BTreeMap::new(),
            outputs: one(),
            seconds: expected(),
            timeout_seconds: longest(),
            webhook: Webhook::Found,
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout_seconds)
    }
}

impl<'de> Deserialize<'de> for Webhook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "auto" => Ok(Self::Found),
            "off" => Ok(Self::Off),
            text => match url(text) {
                Some(url) if url.port().is_some() => Ok(Self::At(url)),
                _ => Err(D::Error::custom(format!(
                    "webhook = {text:?} does not work: write \"auto\", \"off\", or this machine's address with a free port \
                     as the server reaches it, such as \"http://172.17.0.1:7500\""
                ))),
            },
        }
    }
}

fn outputs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(deserializer)?;
    match count {
        1..=16 => Ok(count),
        _ => Err(D::Error::custom(format!("outputs = {count} does not work: write a number from 1 to 16"))),
    }
}

fn one() -> u32 {
    1
}

fn expected() -> f64 {
    10.0
}

fn longest() -> f64 {
    3_600.0
}
