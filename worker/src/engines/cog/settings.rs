//! The keys of a section `[[engine]]` with `kind = "cog"`. `docs/workers.md` explains each.

use std::collections::BTreeMap;

use reqwest12::Url;
use riff_hub::model::Media;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use crate::engines::{
    keys::{is_digest, one, outputs, url},
    predictor::model::{Identity, Told},
    section::Section,
};

/// A Cog server, and what it does not say of itself.
pub type Settings = Section<Keys>;

/// The keys of Cog servers alone.
#[derive(Debug, Clone, Deserialize)]
pub struct Keys {
    /// The container that the server is, such as `r8.im/OWNER/MODEL@sha256:DIGEST`: the digest alone, which then stands for
    /// the version. Whoever runs the same container serves the same version.
    #[serde(default, deserialize_with = "container")]
    pub image: Option<String>,
    /// The input that gets the prompt; found by its name, if left out.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Inputs with a fixed value, which members cannot set: keys of other services, paths.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
    /// What the files are that the model gives: pictures, or sound.
    #[serde(default)]
    pub media: Option<Media>,
    /// How many pictures a model gives that returns a list and has no input for their number.
    #[serde(default = "one", deserialize_with = "outputs")]
    pub outputs: u32,
    /// Where the server reports progress to.
    #[serde(default)]
    pub webhook: Webhook,
    /// How the server is asked to answer.
    #[serde(default)]
    pub prefer: Prefer,
}

/// How the server is asked to answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prefer {
    /// The request is held until the prediction ended. Whoever drops it cancels the prediction.
    #[default]
    Wait,
    /// The request is answered at once, and the server reports the end: for proxies that cut long requests.
    RespondAsync,
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

impl Settings {
    /// What is said here of the model.
    pub(super) fn told(&self) -> Told<'_> {
        Told {
            described: &self.described,
            prompt: self.own.prompt.as_deref(),
            inputs: &self.own.inputs,
            media: self.own.media,
            outputs: self.own.outputs,
            overflow: None,
        }
    }

    /// What the model's version goes by. `parts` is what the server says of its own version.
    pub(super) fn identity<'a>(&'a self, parts: &'a Value) -> Identity<'a> {
        match &self.own.image {
            Some(digest) => Identity::Container(digest),
            None => Identity::Server { parts, version: &self.endpoint.version },
        }
    }
}

impl<'de> Deserialize<'de> for Webhook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "auto" => Ok(Self::Found),
            "off" => Ok(Self::Off),
            text => match url(text) {
                // This worker serves no TLS.
                Some(url) if url.scheme() == "http" && url.port().is_some() => Ok(Self::At(url)),
                _ => Err(D::Error::custom(format!(
                    "webhook = {text:?} does not work: write \"auto\", \"off\", or this machine's address with a free port \
                     as the server reaches it, such as \"http://172.17.0.1:7500\""
                ))),
            },
        }
    }
}

fn container<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digest = text.rsplit_once("@sha256:").map(|(_, digest)| digest).filter(|digest| is_digest(digest));
    digest.map(|digest| Some(digest.to_owned())).ok_or_else(|| {
        D::Error::custom(format!(
            "image = {text:?} does not work: write it as in `docker run`, with its digest: \"r8.im/OWNER/MODEL@sha256:…\" \
             and 64 hexadecimal digits"
        ))
    })
}
