//! The keys of a section `[[engine]]` with `kind = "diffusion"`. `docs/workers.md` explains each.

use std::{fmt, path::PathBuf};

use candle_core::{DType, Device};
use serde::{Deserialize, Deserializer, de::Error};

use super::{config::Prediction, sampler::Sampler};
use crate::engines::keys::{seconds, unknown_licence, url};

/// A checkpoint, and what it does not say of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The folder, a single file, or the name of a repository, `owner/name`.
    pub path: PathBuf,
    /// Branch, tag or commit of the repository.
    #[serde(default)]
    pub revision: Option<String>,
    /// The folder with the caches of repositories; that of huggingface_hub, if left out.
    #[serde(default)]
    pub cache: Option<PathBuf>,
    /// Whether a repository that is not in the cache is downloaded.
    #[serde(default)]
    pub download: bool,
    /// Where it is downloaded from.
    #[serde(default = "hub", deserialize_with = "endpoint")]
    pub endpoint: String,
    /// The variable with the token of an account there, for repositories that ask for one.
    #[serde(default)]
    pub token_env: Option<String>,
    /// For a single file: a folder in the layout of diffusers, whose configuration and tokenizers it goes by, and whose weights
    /// serve where the file has none.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// For a single file: a folder with the tokenizer of CLIP; the folder `tokenizer` beside the file, if left out.
    #[serde(default)]
    pub tokenizer: Option<PathBuf>,
    /// Which of several sets of weights in a folder, such as `fp16`.
    #[serde(default)]
    pub variant: Option<String>,
    /// What the network says; what the checkpoint says that it does, if left out.
    #[serde(default)]
    pub prediction: Option<Prediction>,
    /// What members type behind `--model`; the folder's name, if left out.
    #[serde(default)]
    pub name: Option<String>,
    /// Name for people; the name, if left out.
    #[serde(default)]
    pub title: Option<String>,
    /// What the model is, and what it is not.
    #[serde(default)]
    pub card: Option<String>,
    /// SPDX expression of the weights' licence.
    #[serde(default = "unknown_licence")]
    pub license: String,
    /// Whether its results are for adults.
    #[serde(default)]
    pub mature: bool,
    /// What it runs on.
    #[serde(default)]
    pub device: Place,
    /// In which numbers.
    #[serde(default)]
    pub precision: Precision,
    /// LoRAs that members can choose.
    #[serde(default)]
    pub loras: Vec<LoraFile>,
    /// Sampler where members choose none.
    #[serde(default, deserialize_with = "sampler")]
    pub sampler: Option<Sampler>,
    /// Steps where members choose none.
    #[serde(default, deserialize_with = "steps")]
    pub steps: Option<u32>,
    /// Guidance where members choose none.
    #[serde(default, deserialize_with = "guidance")]
    pub guidance_scale: Option<f64>,
    /// Longest side that members can ask for, in pixels.
    #[serde(default = "longest", deserialize_with = "side")]
    pub max_side: u32,
    /// Most pictures of one prompt.
    #[serde(default = "four", deserialize_with = "max_count")]
    pub max_count: u32,
    /// Pictures that are made in one pass through the network.
    #[serde(default = "four", deserialize_with = "batch")]
    pub batch: u32,
    /// Memory that it may take, in gigabytes (10⁹ bytes); what is free, if left out.
    #[serde(default)]
    pub memory_gb: Option<f64>,
    /// Seconds that one picture of the usual size is expected to take, before the hub has measured any.
    #[serde(default = "expected", deserialize_with = "seconds")]
    pub seconds: f64,
}

/// A LoRA that members can choose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraFile {
    /// The file of safetensors.
    pub path: PathBuf,
    /// What members type; the file's name without ending, if left out.
    #[serde(default)]
    pub name: Option<String>,
}

/// What a checkpoint runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Place {
    /// The first GPU in a build for GPUs, where there is one; else the CPU.
    #[default]
    Found,
    /// The CPU.
    Cpu,
    /// A GPU, counted from 0.
    Cuda(usize),
}

/// In which numbers a checkpoint runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// On GPUs the half precision that the family was published in, single on the CPU.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Half precision with the range of single.
    Bf16,
}

impl Precision {
    /// The numbers' type on a device, for a family that was published in `half`.
    pub fn dtype(self, device: &Device, half: DType) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
            Self::Auto if device.is_cpu() => DType::F32,
            Self::Auto => half,
        }
    }
}

impl LoraFile {
    /// What members type.
    pub fn name(&self) -> String {
        let stem = || self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        typed(&self.name.clone().unwrap_or_else(stem))
    }
}

impl Settings {
    /// What members type behind `--model`.
    pub fn name(&self) -> String {
        let own = || {
            let single = self.path.extension().is_some_and(|end| end == "safetensors");
            let name = if single { self.path.file_stem() } else { self.path.file_name() };
            let name = name.unwrap_or_default().to_string_lossy().into_owned();
            // The cache of a repository is called models--OWNER--NAME.
            let cached = name.strip_prefix("models--").and_then(|name| name.split_once("--"));
            cached.map_or(name.clone(), |(_, name)| name.to_owned())
        };
        typed(&self.name.clone().unwrap_or_else(own))
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// Where most checkpoints are published, or what the variable says that huggingface_hub goes by.
fn hub() -> String {
    std::env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".to_owned())
}

fn endpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match url(&text) {
        Some(_) => Ok(text),
        None => Err(D::Error::custom(format!(
            "endpoint = {text:?} does not work: write it like \"https://huggingface.co\""
        ))),
    }
}

/// A name that members can type.
fn typed(name: &str) -> String {
    let fits = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') => c,
        _ => '-',
    };
    let name: String = name.chars().map(fits).take(64).collect();
    name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let numbered = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match (text.as_str(), numbered) {
            ("auto", _) => Ok(Self::Found),
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(number)) => Ok(Self::Cuda(number)),
            (text, None) => Err(D::Error::custom(format!(
                "device = {text:?} does not work: write \"auto\", \"cpu\", \"cuda\", or \"cuda:1\" for the second GPU"
            ))),
        }
    }
}

fn sampler<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sampler>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = || Sampler::ALL.map(|(name, _)| name).join(", ");
    let refused =
        || D::Error::custom(format!("sampler = {name:?} does not work: expected one of {}", known()));
    Sampler::named(&name).map(Some).ok_or_else(refused)
}

fn ranged<'de, D: Deserializer<'de>>(
    deserializer: D,
    key: &str,
    (from, to): (u32, u32),
) -> Result<u32, D::Error> {
    let number = u32::deserialize(deserializer)?;
    match (from..=to).contains(&number) {
        true => Ok(number),
        false => Err(D::Error::custom(format!("{key} = {number} does not work: expected {from} to {to}"))),
    }
}

fn steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    ranged(deserializer, "steps", (1, super::request::MAX_STEPS)).map(Some)
}

fn side<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    ranged(deserializer, "max_side", (64, 8_192))
}

fn max_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    ranged(deserializer, "max_count", (1, 16))
}

fn batch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    ranged(deserializer, "batch", (1, 16))
}

fn guidance<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let number = f64::deserialize(deserializer)?;
    match (0.0..=super::request::MAX_GUIDANCE).contains(&number) {
        true => Ok(Some(number)),
        false => Err(D::Error::custom(format!(
            "guidance_scale = {number} does not work: expected 0 to {}",
            super::request::MAX_GUIDANCE
        ))),
    }
}

fn longest() -> u32 {
    2_048
}

fn four() -> u32 {
    4
}

fn expected() -> f64 {
    30.0
}
