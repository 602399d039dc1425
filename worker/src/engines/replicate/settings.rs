//! The keys of a section `[[engine]]` with `kind = "replicate"`. `docs/workers.md` explains them to operators.
//!
//! What is read here is sound: an address, a token that a header can hold, models that each have a price.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    path::PathBuf,
    time::Duration,
};

use reqwest12::{Url, header::HeaderValue};
use riff_hub::model::{Media, Overflow};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use super::{
    super::{
        keys::{is_digest, one, outputs},
        predictor::model::Told,
        section::{Described, Entry},
    },
    money::{Price, Usd},
};
use crate::http;

/// Shortest and longest limit of a run, in seconds: the API's own.
const TIMEOUT: std::ops::RangeInclusive<f64> = 5.0..=86_400.0;

/// An account, what it may spend, and the models to serve.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Keys")]
pub struct Settings {
    /// Where the API is; ends in a slash.
    pub(super) url: Url,
    /// What it is called with.
    pub(super) token: HeaderValue,
    /// Most that is spent in a month (UTC).
    pub(super) monthly: Usd,
    /// Folder for what was spent.
    pub(super) ledger: PathBuf,
    pub(super) overflow: Overflow,
    pub(super) models: Vec<Model>,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

/// A model of the API: `OWNER/NAME`, or `OWNER/NAME:VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id {
    pub owner: String,
    pub name: String,
    /// The one version to serve; the newest, if left out.
    pub version: Option<String>,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, ":{version}"))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (path, version) = match text.split_once(':') {
            Some((path, version)) => (path, Some(version)),
            None => (text.as_str(), None),
        };
        // They become parts of addresses.
        let fits = |part: &&str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        match path.split_once('/').filter(|(owner, name)| fits(owner) && fits(name)) {
            Some((owner, name)) if version.is_none_or(is_digest) => {
                Ok(Self { owner: owner.into(), name: name.into(), version: version.map(str::to_owned) })
            }
            _ => Err(D::Error::custom(format!(
                "id = {text:?} does not work: write OWNER/NAME, or OWNER/NAME:VERSION with the version's 64 hexadecimal digits"
            ))),
        }
    }
}

/// A model, as members see it, and what it costs.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub id: Id,
    pub price: Price,
    /// After which the API stops a run.
    pub timeout: Duration,
    described: Described,
    keys: ModelKeys,
}

impl Model {
    /// What members call it.
    pub fn name(&self) -> &str {
        &self.described.name
    }

    /// What it is; `card` is what the API says, where the settings have none.
    pub fn described(&self, card: &str) -> Described {
        let mut described = self.described.clone();
        if described.card.is_empty() {
            card.clone_into(&mut described.card);
        }
        described
    }

    /// What is said here of it, beside what it is.
    pub fn told<'a>(&'a self, described: &'a Described, overflow: Overflow) -> Told<'a> {
        Told {
            described,
            prompt: self.keys.prompt.as_deref(),
            inputs: &self.keys.inputs,
            media: self.keys.media,
            outputs: self.keys.outputs,
            overflow: Some(overflow),
        }
    }
}

/// What a section has, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default = "hosted")]
    url: String,
    #[serde(default = "variable")]
    token_env: String,
    monthly_usd: f64,
    ledger: PathBuf,
    #[serde(default = "overflow_after")]
    overflow_after_seconds: f64,
    models: Vec<Entry<ModelKeys>>,
}

/// What the table of a model has beside its description, as it is written.
#[derive(Debug, Clone, Deserialize)]
struct ModelKeys {
    id: Id,
    prompt: Option<String>,
    media: Option<Media>,
    #[serde(default)]
    inputs: BTreeMap<String, Value>,
    #[serde(default = "one", deserialize_with = "outputs")]
    outputs: u32,
    #[serde(default = "longest")]
    timeout_seconds: f64,
    usd_per_second: Option<f64>,
    usd_per_run: Option<f64>,
}

fn hosted() -> String {
    "https://api.replicate.com/v1".to_owned()
}

fn variable() -> String {
    "REPLICATE_API_TOKEN".to_owned()
}

fn overflow_after() -> f64 {
    60.0
}

fn longest() -> f64 {
    600.0
}

impl TryFrom<Keys> for Settings {
    type Error = String;
    fn try_from(keys: Keys) -> Result<Self, String> {
        let after_seconds = keys.overflow_after_seconds;
        if !(0.0..=31_536_000.0).contains(&after_seconds) {
            return Err(format!(
                "overflow_after_seconds = {after_seconds} is not a number of seconds from 0 to 31536000"
            ));
        }
        let models = keys.models.into_iter().map(Model::try_from).collect::<Result<Vec<_>, _>>()?;
        let mut names = HashSet::new();
        if models.is_empty() || !models.iter().all(|model| names.insert(model.name())) {
            return Err("models must have at least one table, and each another name".to_owned());
        }
        Ok(Self {
            url: base(&keys.url)?,
            token: token(&keys.token_env)?,
            monthly: Usd::of("monthly_usd", keys.monthly_usd)?,
            ledger: keys.ledger,
            overflow: Overflow { after_seconds },
            models,
        })
    }
}

impl TryFrom<Entry<ModelKeys>> for Model {
    type Error = String;
    fn try_from(Entry { described, own: keys }: Entry<ModelKeys>) -> Result<Self, String> {
        let price = match (keys.usd_per_second, keys.usd_per_run) {
            (Some(usd), None) => Price::Second(Usd::of("usd_per_second", usd)?),
            (None, Some(usd)) => Price::Run(Usd::of("usd_per_run", usd)?),
            _ => {
                return Err(format!(
                    "the model {} needs its price, as its page at Replicate has it: either usd_per_second or usd_per_run",
                    keys.id
                ));
            }
        };
        if !TIMEOUT.contains(&keys.timeout_seconds) {
            return Err(format!(
                "timeout_seconds = {} is not a number of seconds from 5 to 86400",
                keys.timeout_seconds
            ));
        }
        let timeout = Duration::from_secs(keys.timeout_seconds.ceil() as u64);
        Ok(Self { id: keys.id.clone(), price, timeout, described, keys })
    }
}

fn base(text: &str) -> Result<Url, String> {
    let url = format!("{}/", text.trim().trim_end_matches('/')).parse::<Url>().ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    // Not quoted: there may be a password in it.
    url.ok_or_else(|| {
        "url is no address of an API: write it like \"https://api.replicate.com/v1\"".to_owned()
    })
}

fn token(variable: &str) -> Result<HeaderValue, String> {
    match std::env::var(variable).ok().filter(|token| !token.trim().is_empty()) {
        Some(token) => http::bearer(&token),
        None => Err(format!(
            "the variable {variable}, which token_env names, is not set: set it to a token of the account before the start"
        )),
    }
}
