//! The keys of a section `[[engine]]` with `kind = "cog"`. `docs/workers.md` explains each.

use std::{collections::BTreeMap, fmt, time::Duration};

use reqwest12::{Certificate, Client, Url};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use crate::{
    engines::{
        keys::{address, expected, is_digest, longest, one, outputs, seconds, unknown_licence, url},
        predictor::model::{Identity, Told},
    },
    http,
};

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
    /// How the server is asked to answer.
    #[serde(default)]
    pub prefer: Prefer,
    /// Authorities that vouch for the server's certificate, beside those that everybody knows: a file in PEM.
    #[serde(default, deserialize_with = "certificates")]
    pub certificate: Vec<Certificate>,
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
            image: None,
            prompt: None,
            inputs: BTreeMap::new(),
            outputs: one(),
            seconds: expected(),
            timeout_seconds: longest(),
            webhook: Webhook::Found,
            prefer: Prefer::Wait,
            certificate: Vec::new(),
        }
    }

    /// What is said here of the model.
    pub(super) fn told(&self) -> Told<'_> {
        Told {
            name: &self.name,
            title: self.title.as_deref(),
            card: &self.card,
            license: &self.license,
            mature: self.mature,
            prompt: self.prompt.as_deref(),
            inputs: &self.inputs,
            outputs: self.outputs,
            seconds: self.seconds,
            overflow: None,
        }
    }

    /// What the model's version goes by. `parts` is what the server says of its own version.
    pub(super) fn identity<'a>(&'a self, parts: &'a Value) -> Identity<'a> {
        match &self.image {
            Some(digest) => Identity::Container(digest),
            None => Identity::Server { parts, version: &self.version },
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

fn certificates<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Certificate>, D::Error> {
    let path = String::deserialize(deserializer)?;
    let wrong = |what: String| D::Error::custom(format!("certificate = {path:?} does not work: {what}"));
    let pem = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
    let read = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    let taken = read.iter().cloned().fold(Client::builder(), |client, one| client.add_root_certificate(one));
    match taken.build() {
        Ok(_) if !read.is_empty() => Ok(read),
        Ok(_) => Err(wrong("there is no certificate in PEM in it".to_owned())),
        Err(error) => Err(wrong(http::innermost(&error))),
    }
}
