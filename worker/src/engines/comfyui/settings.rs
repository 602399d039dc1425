//! The keys of a section `[[engine]]` with `kind = "comfyui"`. `docs/workers.md` explains each.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use reqwest12::Url;
use riff_hub::model::Media;
use serde::Deserialize;

use super::marks::Wish;
use crate::engines::keys::{expected, longest, one, outputs, plain_address, seconds, unknown_licence};

/// A ComfyUI server, and one workflow of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the server is.
    #[serde(deserialize_with = "plain_address")]
    pub url: Url,
    /// File with the workflow in API format.
    pub workflow: PathBuf,
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
    /// Anything that changes when weights or nodes do; results of another version are another model's.
    #[serde(default)]
    pub version: String,
    /// What the workflow makes.
    #[serde(default = "pictures")]
    pub media: Media,
    /// Inputs, by name; they add to those that the workflow's titles mark, and amend them.
    #[serde(default)]
    pub(super) inputs: BTreeMap<String, Wish>,
    /// How many pictures one run of the workflow gives, where no input says it.
    #[serde(default = "one", deserialize_with = "outputs")]
    pub outputs: u32,
    /// Seconds that one run is expected to take, before the hub has measured any.
    #[serde(default = "expected", deserialize_with = "seconds")]
    pub seconds: f64,
    /// Seconds after which a run is cancelled.
    #[serde(default = "longest", deserialize_with = "seconds")]
    pub timeout_seconds: f64,
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

fn pictures() -> Media {
    Media::Image
}
