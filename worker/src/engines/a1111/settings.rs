//! The keys of a section `[[engine]]` with `kind = "a1111"`. `docs/workers.md` explains each.

use std::{fmt, time::Duration};

use reqwest12::{Url, header::HeaderValue};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::engines::keys::{expected, longest, plain_address, seconds, unknown_licence};

/// A server with the API of AUTOMATIC1111's web UI.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the server is.
    #[serde(deserialize_with = "plain_address")]
    pub url: Url,
    /// What members type behind `--model`.
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
    /// Anything that changes when weights do that keep their names.
    #[serde(default)]
    pub version: String,
    /// The variable that holds `NAME:PASSWORD`, for servers with `--api-auth`.
    #[serde(default, rename = "auth_env", deserialize_with = "login")]
    pub(super) auth: Login,
    /// The checkpoints that members choose from; all of the server's, if left out.
    #[serde(default)]
    pub checkpoints: Vec<String>,
    /// Pixels of a side where members say nothing.
    #[serde(default = "usual_side", deserialize_with = "side")]
    pub side: u32,
    /// Most pixels of a side.
    #[serde(default = "largest_side", deserialize_with = "side")]
    pub max_side: u32,
    /// Whether there is a model that upscales, too.
    #[serde(default = "yes")]
    pub upscale: bool,
    /// Whether nobody else uses the server, so that whatever it does is this worker's.
    #[serde(default)]
    pub exclusive: bool,
    /// More fields of every request for pictures.
    #[serde(default, deserialize_with = "extra")]
    pub extra: Map<String, Value>,
    /// Seconds that one picture is expected to take, before the hub has measured any.
    #[serde(default = "expected", deserialize_with = "seconds")]
    pub seconds: f64,
    /// Seconds after which a run is cancelled.
    #[serde(default = "longest", deserialize_with = "seconds")]
    pub timeout_seconds: f64,
}

/// Name and password of a server that wants some. Never shown.
#[derive(Clone, Default)]
pub(super) struct Login(pub(super) Option<HeaderValue>);

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Login(…)" } else { "none" })
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.url)
    }
}

impl Settings {
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout_seconds)
    }
}

fn login<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Login, D::Error> {
    let name = String::deserialize(deserializer)?;
    let text = std::env::var(&name).map_err(|_| {
        D::Error::custom(format!(
            "the variable {name} that auth_env names is not set: set it before the start"
        ))
    })?;
    // Not quoted: it is a password.
    if !text.contains(':') {
        return Err(D::Error::custom(format!(
            "the variable {name} that auth_env names has no ':' in it: it is NAME:PASSWORD, as behind --api-auth"
        )));
    }
    let header = format!("Basic {}", BASE64_STANDARD.encode(text.trim()));
    let mut header: HeaderValue = header.parse().map_err(D::Error::custom)?;
    header.set_sensitive(true);
    Ok(Login(Some(header)))
}

fn side<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let side = u32::deserialize(deserializer)?;
    match (64..=8_192).contains(&side) && side.is_multiple_of(8) {
        true => Ok(side),
        false => {
            Err(D::Error::custom(format!("{side} pixels do not work: write a multiple of 8 from 64 to 8192")))
        }
    }
}

fn extra<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let extra = Map::deserialize(deserializer)?;
    match extra.keys().find(|key| super::request::OURS.contains(&key.as_str())) {
        Some(key) => {
            Err(D::Error::custom(format!("extra may not set {key:?}: Riff sets it in every request")))
        }
        None => Ok(extra),
    }
}

fn yes() -> bool {
    true
}

fn usual_side() -> u32 {
    512
}

fn largest_side() -> u32 {
    2_048
}
