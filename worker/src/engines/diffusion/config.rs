//! The `config.json`s of a checkpoint, as diffusers and transformers write them:
//! <https://huggingface.co/docs/diffusers/api/models/unet2d-cond>, <https://huggingface.co/docs/diffusers/api/models/autoencoderkl>,
//! <https://huggingface.co/docs/transformers/model_doc/clip>. Sizes come from here and from nowhere else.

use std::path::Path;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::flaw::Flaw;

/// A number for all blocks, or one for each.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum PerBlock {
    /// For all.
    One(usize),
    /// For each.
    Each(Vec<usize>),
}

impl PerBlock {
    /// That of a block; the last one's for those beyond.
    pub fn of(&self, block: usize) -> usize {
        match self {
            Self::One(number) => *number,
            Self::Each(numbers) => numbers.get(block).or(numbers.last()).copied().unwrap_or(1),
        }
    }
}

/// `unet/config.json`.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "the names are those of diffusers, which documents them")]
pub struct UnetConfig {
    pub sample_size: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub block_out_channels: Vec<usize>,
    pub down_block_types: Vec<String>,
    pub up_block_types: Vec<String>,
    pub layers_per_block: usize,
    #[serde(default = "groups")]
    pub norm_num_groups: usize,
    #[serde(default = "epsilon")]
    pub norm_eps: f64,
    pub cross_attention_dim: usize,
    pub attention_head_dim: PerBlock,
    #[serde(default)]
    pub num_attention_heads: Option<PerBlock>,
    #[serde(default = "one")]
    pub transformer_layers_per_block: PerBlock,
    #[serde(default)]
    pub use_linear_projection: bool,
    #[serde(default)]
    pub addition_embed_type: Option<String>,
    #[serde(default)]
    pub addition_time_embed_dim: Option<usize>,
    #[serde(default)]
    pub projection_class_embeddings_input_dim: Option<usize>,
    #[serde(default)]
    pub class_embed_type: Option<String>,
    #[serde(default)]
    pub time_cond_proj_dim: Option<usize>,
    #[serde(default)]
    pub freq_shift: f64,
}

/// `vae/config.json`.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "the names are those of diffusers, which documents them")]
pub struct VaeConfig {
    pub block_out_channels: Vec<usize>,
    pub layers_per_block: usize,
    pub latent_channels: usize,
    #[serde(default = "groups")]
    pub norm_num_groups: usize,
    #[serde(default = "scaling")]
    pub scaling_factor: f64,
    #[serde(default)]
    pub shift_factor: Option<f64>,
    #[serde(default = "yes")]
    pub use_quant_conv: bool,
    #[serde(default = "yes")]
    pub use_post_quant_conv: bool,
    #[serde(default = "yes")]
    pub force_upcast: bool,
}

impl VaeConfig {
    /// Pixels a latent's side stands for.
    pub fn factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }
}

/// `text_encoder/config.json`.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "the names are those of transformers, which documents them")]
pub struct TextConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    pub hidden_act: String,
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
    #[serde(default)]
    pub projection_dim: Option<usize>,
}

/// `scheduler/scheduler_config.json`.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "the names are those of diffusers, which documents them")]
pub struct ScheduleConfig {
    #[serde(rename = "_class_name", default)]
    pub class: String,
    #[serde(default = "steps")]
    pub num_train_timesteps: usize,
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: String,
    #[serde(default)]
    pub prediction_type: Prediction,
    #[serde(default)]
    pub timestep_spacing: Option<Spacing>,
    #[serde(default)]
    pub steps_offset: usize,
    #[serde(default)]
    pub set_alpha_to_one: Option<bool>,
    #[serde(default)]
    pub rescale_betas_zero_snr: bool,
}

/// What the network says of a noisy latent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Prediction {
    /// The noise in it.
    #[default]
    #[serde(rename = "epsilon")]
    Noise,
    /// The velocity: <https://arxiv.org/abs/2202.00512>.
    #[serde(rename = "v_prediction")]
    Velocity,
    /// The latent without noise.
    #[serde(rename = "sample")]
    Sample,
    /// The velocity of families that flow, from latent to noise.
    #[serde(skip)]
    Flow,
}

/// How the steps of a run are spread over those of training: table 2 of <https://arxiv.org/abs/2305.08891>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// From first to last.
    Linspace,
    /// From the first on.
    Leading,
    /// From the last back.
    Trailing,
}

/// `model_index.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Index {
    /// The pipeline.
    #[serde(rename = "_class_name")]
    pub class: String,
    /// Whether XL takes zeros for an empty negative prompt.
    #[serde(default)]
    pub force_zeros_for_empty_prompt: bool,
    /// Its parts: library and class of each, which are null where it goes without one.
    #[serde(flatten)]
    parts: Map<String, Value>,
}

impl Index {
    /// Whether it goes without a part.
    pub fn lacks(&self, part: &str) -> bool {
        let classes = self.parts.get(part).and_then(Value::as_array);
        classes.is_some_and(|classes| classes.iter().all(Value::is_null))
    }
}

/// Reads a file of JSON.
///
/// # Errors
/// [`Flaw::Io`] and [`Flaw::Broken`].
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<T, Flaw> {
    let text = std::fs::read_to_string(file).map_err(|error| Flaw::Io { file: file.to_owned(), error })?;
    serde_json::from_str(&text)
        .map_err(|error| Flaw::Broken { file: file.to_owned(), why: error.to_string() })
}

impl UnetConfig {
    /// Whether these networks are among those that [`super::net`] has.
    ///
    /// # Errors
    /// [`Flaw::Unsupported`] and [`Flaw::Broken`].
    pub fn check(&self, file: &Path) -> Result<(), Flaw> {
        const CAN: &str = "the networks of Stable Diffusion 1, 2 and XL";
        let unsupported = |what, found: &str| {
            Err(Flaw::Unsupported { file: file.to_owned(), what, found: found.to_owned(), can: CAN })
        };
        let broken = |why: &str| Err(Flaw::Broken { file: file.to_owned(), why: why.to_owned() });
        for (types, known) in [
            (&self.down_block_types, ["DownBlock2D", "CrossAttnDownBlock2D"]),
            (&self.up_block_types, ["UpBlock2D", "CrossAttnUpBlock2D"]),
        ] {
            if types.len() != self.block_out_channels.len() || types.is_empty() {
                return broken("its lists of blocks differ in length");
            }
            if let Some(other) = types.iter().find(|one| !known.contains(&one.as_str())) {
                return unsupported("block", other);
            }
        }
        if let Some(other) = self.class_embed_type.as_deref() {
            return unsupported("class_embed_type", other);
        }
        if let Some(other) = self.addition_embed_type.as_deref().filter(|kind| *kind != "text_time") {
            return unsupported("addition_embed_type", other);
        }
        if !matches!(self.in_channels, 4 | 9) || self.out_channels != 4 {
            let found = format!("{} and {}", self.in_channels, self.out_channels);
            return unsupported("in_channels and out_channels", &found);
        }
        let uneven = |channels: &usize| *channels == 0 || !channels.is_multiple_of(self.norm_num_groups);
        if self.layers_per_block == 0 || self.block_out_channels.iter().any(uneven) {
            return broken("its channels do not divide into norm_num_groups");
        }
        Ok(())
    }
}

fn one() -> PerBlock {
    PerBlock::One(1)
}

fn groups() -> usize {
    32
}

fn epsilon() -> f64 {
    1e-5
}

fn scaling() -> f64 {
    0.18215
}

fn yes() -> bool {
    true
}

fn steps() -> usize {
    1_000
}
