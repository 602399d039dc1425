//! The keys of a section `[[engine]]` with `kind = "a1111"`. `docs/workers.md` explains each.

use std::fmt;

use reqwest12::header::HeaderValue;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::engines::section::Section;

/// A server with the API of AUTOMATIC1111's web UI.
pub type Settings = Section<Keys>;

/// The keys of such servers alone.
#[derive(Debug, Clone, Deserialize)]
pub struct Keys {
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
}

/// Name and password of a server that wants some. Never shown.
#[derive(Clone, Default)]
pub(super) struct Login(pub(super) Option<HeaderValue>);

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Login(…)" } else { "none" })
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
