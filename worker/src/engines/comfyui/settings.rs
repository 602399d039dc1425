//! The keys of a section `[[engine]]` with `kind = "comfyui"`. `docs/workers.md` explains each.

use std::{collections::BTreeMap, path::PathBuf};

use riff_hub::model::Media;
use serde::Deserialize;

use super::marks::Wish;
use crate::engines::{
    keys::{one, outputs},
    section::Section,
};

/// A ComfyUI server, and one workflow of it.
pub type Settings = Section<Keys>;

/// The keys of ComfyUI servers alone.
#[derive(Debug, Clone, Deserialize)]
pub struct Keys {
    /// File with the workflow in API format.
    pub workflow: PathBuf,
    /// What the workflow makes.
    #[serde(default = "pictures")]
    pub media: Media,
    /// Inputs, by name; they add to those that the workflow's titles mark, and amend them.
    #[serde(default)]
    pub(super) inputs: BTreeMap<String, Wish>,
    /// How many pictures one run of the workflow gives, where no input says it.
    #[serde(default = "one", deserialize_with = "outputs")]
    pub outputs: u32,
}

fn pictures() -> Media {
    Media::Image
}
