//! Settings: `config/riff.toml` holds every one with its default; a file and `RIFF_…` variables change them.
//! Nothing else in the process reads the environment.

use std::{
    collections::HashMap,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use riff_hub::{
    admission::Rate,
    blobs::{Place, S3},
    hub, media, sound,
    store::{Channel, Postgres, StoreOptions},
};
use riff_worker::{engines::Configured, settings::error_lines};
use serde::{Deserialize, Deserializer, de::Error};

/// The defaults, as they are documented.
pub const DEFAULTS: &str = include_str!("../../config/riff.toml");

/// Variables that start with `RIFF_` and are no settings: they are the command line's.
const NO_SETTINGS: [&str; 6] = ["config", "hub", "token", "name", "weights", "failpoint"];

/// What an operator can set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config/riff.toml documents each where operators read it")]
pub struct Settings {
    pub listen: SocketAddr,
    pub public_url: String,
    pub cookie_key: Secret,
    pub data: PathBuf,
    pub default_models: Vec<String>,
    pub log: Log,
    pub store: Store,
    pub blobs: Blobs,
    pub rate: Rates,
    pub quota: Quota,
    pub queue: Queue,
    pub fairness: Fairness,
    pub operate: Operate,
    pub moderation: Moderation,
    pub sound: Sound,
    pub discord: Discord,
    pub worker: Worker,
    #[serde(default, rename = "engine")]
    pub engines: Vec<Configured>,
    #[serde(deserialize_with = "channels")]
    pub channels: Vec<Channel>,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Store {
    pub full_sync: bool,
    pub busy_timeout_ms: u64,
    pub postgres: Secret,
    pub connections: NonZeroU32,
    pub statement_timeout_seconds: Seconds,
}

impl Store {
    fn postgres(&self) -> Option<Postgres> {
        let url = self.postgres.expose();
        (!url.is_empty()).then(|| Postgres {
            url: url.to_owned(),
            connections: self.connections.get(),
            statement_timeout: self.statement_timeout_seconds.0,
        })
    }
}

/// `[blobs]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Blobs {
    pub url: Bucket,
    pub endpoint: String,
    pub region: String,
    pub access_key: Secret,
    pub secret_key: Secret,
    pub path_style: bool,
    pub redirect_from_bytes: u64,
}

/// `s3://bucket/prefix`, or nothing for the data folder.
#[derive(Debug, Clone)]
pub struct Bucket(Option<(String, String)>);

impl<'de> Deserialize<'de> for Bucket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        let place = text.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        match place {
            Some((bucket, prefix)) if !bucket.is_empty() => {
                Ok(Self(Some((bucket.to_owned(), prefix.to_owned()))))
            }
            _ => Err(D::Error::custom(format!("{text:?} is not \"s3://bucket\" or \"s3://bucket/prefix\""))),
        }
    }
}

impl Blobs {
    fn place(&self) -> Place {
        let Bucket(Some((bucket, prefix))) = &self.url else {
            return Place::Folder;
        };
        let (access, secret) = (self.access_key.expose(), self.secret_key.expose());
        Place::S3(S3 {
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            endpoint: Some(self.endpoint.trim_end_matches('/').to_owned()).filter(|url| !url.is_empty()),
            region: self.region.clone(),
            keys: (!access.is_empty()).then(|| (access.to_owned(), secret.to_owned())),
            path_style: self.path_style,
        })
    }
}

/// `[rate]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Rates {
    pub prompts_per_minute_member: NonZeroU32,
    pub burst_member: NonZeroU32,
    pub prompts_per_minute_channel: NonZeroU32,
    pub burst_channel: NonZeroU32,
}

/// `[quota]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Quota {
    pub gpu_seconds_per_day: Seconds,
}

/// `[queue]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Queue {
    pub lease_seconds: Seconds,
    pub heartbeat_seconds: Seconds,
    pub max_attempts: NonZeroU32,
    pub retry_backoff_seconds: Seconds,
    pub expire_after_seconds: Seconds,
    pub max_queued_per_member: NonZeroU32,
    pub swap_share: Share,
    pub max_queued_per_community: NonZeroU32,
    pub max_queued: NonZeroU32,
}

/// `[fairness]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Fairness {
    pub communities: HashMap<String, Weight>,
    pub roles: HashMap<String, Weight>,
}

/// `[operate]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Operate {
    pub listen: Address,
    pub otlp: String,
}

/// An address and port, or none.
#[derive(Debug, Clone, Copy)]
pub struct Address(pub Option<SocketAddr>);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        let wrong =
            |_| D::Error::custom(format!("{text:?} is no address and port, such as \"127.0.0.1:9433\""));
        text.parse().map(|address| Self(Some(address))).map_err(wrong)
    }
}

/// `[moderation]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Moderation {
    pub blocked_words: Vec<String>,
    pub classifier: PathBuf,
    pub classifier_threshold: Part,
    pub classifier_labels: Vec<String>,
}

/// `[sound]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Sound {
    pub max_megabytes: Megabytes,
    pub max_seconds: Seconds,
}

/// `[discord]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Discord {
    pub token: Secret,
    pub receive: Receive,
    pub api: String,
}

/// How interactions arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Receive {
    /// Over the gateway.
    Gateway,
    /// At the signed endpoint.
    Endpoint,
}

/// Something that is never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        self.0.trim()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// `[worker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Worker {
    pub in_process: bool,
    pub weights: PathBuf,
}

/// A positive number of seconds, at most a year.
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if !(0.001..=31_536_000.0).contains(&seconds) {
            return Err(D::Error::custom(format!(
                "{seconds} is not a number of seconds from 0.001 to 31536000"
            )));
        }
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

/// A number of megabytes, at most what a file may have at all.
#[derive(Debug, Clone, Copy)]
pub struct Megabytes(pub usize);

impl<'de> Deserialize<'de> for Megabytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The limit of every upload.
        const MOST: f64 = media::MAX_BYTES as f64 / 1e6;
        let megabytes = f64::deserialize(deserializer)?;
        match (0.01..=MOST).contains(&megabytes) {
            true => Ok(Self((megabytes * 1e6) as usize)),
            false => Err(D::Error::custom(format!(
                "{megabytes} is not a number of megabytes from 0.01 to {MOST:.1}"
            ))),
        }
    }
}

/// A number from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct Part(pub f32);

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part = f32::deserialize(deserializer)?;
        match (0.0..=1.0).contains(&part) {
            true => Ok(Self(part)),
            false => Err(D::Error::custom(format!("{part} is not a number from 0 to 1"))),
        }
    }
}

/// A number above 0, at most 1.
#[derive(Debug, Clone, Copy)]
pub struct Share(pub f64);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        match share > 0.0 && share <= 1.0 {
            true => Ok(Self(share)),
            false => Err(D::Error::custom(format!("{share} is not a number above 0, at most 1"))),
        }
    }
}

/// A weight from 0.01 to 100; 1 is ordinary.
#[derive(Debug, Clone, Copy)]
pub struct Weight(pub f64);

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let weight = f64::deserialize(deserializer)?;
        match (0.01..=100.0).contains(&weight) {
            true => Ok(Self(weight)),
            false => Err(D::Error::custom(format!("{weight} is not a weight from 0.01 to 100"))),
        }
    }
}

fn channels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Channel>, D::Error> {
    let channels = Vec::<Channel>::deserialize(deserializer)?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(bad) = channels.iter().find(|channel| channel.id.is_empty() || !channel.id.chars().all(fits))
    {
        return Err(D::Error::custom(format!("channel id {:?} may only have a-z, 0-9 and '-'", bad.id)));
    }
    if channels.is_empty() {
        return Err(D::Error::custom("there must be at least one channel"));
    }
    Ok(channels)
}

/// Why settings are refused: one line for each thing that is wrong, with its file and key.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// The file is not there.
    #[error("the settings file {0} is not there: check --config or RIFF_CONFIG")]
    NoFile(String),
    /// Something in it is wrong.
    #[error("the settings are refused:\n{0}\nriff settings prints every setting with its default")]
    Wrong(String),
}

impl Settings {
    /// Reads defaults, the file where one is named, and the environment.
    ///
    /// # Errors
    /// [`BadSettings`] naming the file, the key, and what was expected.
    pub fn load(file: Option<&Path>) -> Result<Self, BadSettings> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(BadSettings::NoFile(file.display().to_string()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let discord = Env::raw().only(&["DISCORD_TOKEN"]).map(|_| "discord.token".into());
        let environment = Env::prefixed("RIFF_").ignore(&NO_SETTINGS).split("__");
        let figment = figment.merge(discord).merge(environment);
        figment.extract().map_err(|errors| BadSettings::Wrong(error_lines(errors)))
    }

    /// The part that the hub itself needs.
    pub fn hub(&self) -> hub::Settings {
        let rate = |per_minute, burst| Rate { per_minute, burst };
        hub::Settings {
            store: StoreOptions {
                full_sync: self.store.full_sync,
                busy_timeout: Duration::from_millis(self.store.busy_timeout_ms),
                postgres: self.store.postgres(),
            },
            blobs: self.blobs.place(),
            member_rate: rate(self.rate.prompts_per_minute_member, self.rate.burst_member),
            channel_rate: rate(self.rate.prompts_per_minute_channel, self.rate.burst_channel),
            allowance_ms: self.quota.gpu_seconds_per_day.0.as_millis() as i64,
            max_waiting: i64::from(self.queue.max_queued_per_member.get()),
            limits: hub::Limits {
                all: i64::from(self.queue.max_queued.get()),
                community: i64::from(self.queue.max_queued_per_community.get()),
            },
            lease: self.queue.lease_seconds.0,
            heartbeat: self.queue.heartbeat_seconds.0,
            max_attempts: i64::from(self.queue.max_attempts.get()),
            backoff: self.queue.retry_backoff_seconds.0,
            expire_after: self.queue.expire_after_seconds.0,
            fairness: hub::Fairness {
                communities: weights(&self.fairness.communities),
                roles: weights(&self.fairness.roles),
            },
            swap_share: self.queue.swap_share.0,
            default_models: self.default_models.clone(),
            blocked_words: self.moderation.blocked_words.clone(),
            sounds: sound::Limits {
                bytes: self.sound.max_megabytes.0,
                seconds: self.sound.max_seconds.0.as_secs_f64(),
            },
        }
    }
}

fn weights(set: &HashMap<String, Weight>) -> HashMap<String, f64> {
    set.iter().map(|(name, weight)| (name.clone(), weight.0)).collect()
}
