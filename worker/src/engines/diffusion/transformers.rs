//! The `config.json`s of checkpoints whose network is a transformer, as diffusers and transformers write them:
//! <https://huggingface.co/docs/diffusers/api/models/sd3_transformer2d>,
//! <https://huggingface.co/docs/diffusers/api/models/flux_transformer>, <https://huggingface.co/docs/transformers/model_doc/t5>.

use std::path::Path;

use serde::Deserialize;

use super::flaw::Flaw;

/// Latents of a side of the squares that Flux sees as one place.
pub const PACKED: usize = 2;
/// Pixels of a side that Flux is at its best at; its configuration does not say.
pub const FLUX_SIDE: usize = 1_024;

/// `transformer/config.json` of Stable Diffusion 3.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "the names are those of diffusers, which documents them")]
pub struct ThreeConfig {
    #[serde(rename = "_class_name")]
    pub class: String,
    pub sample_size: usize,
    pub patch_size: usize,
    pub in_channels: usize,
    #[serde(default)]
    pub out_channels: Option<usize>,
    pub num_layers: usize,
    pub attention_head_dim: usize,
    pub num_attention_heads: usize,
    pub joint_attention_dim: usize,
    pub caption_projection_dim: usize,
    pub pooled_projection_dim: usize,
    pub pos_embed_max_size: usize,
    #[serde(default)]
    pub dual_attention_layers: Vec<usize>,
    #[serde(default)]
    pub qk_norm: Option<String>,
}

/// `transformer/config.json` of Flux.1.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "the names are those of diffusers, which documents them")]
pub struct FluxConfig {
    #[serde(rename = "_class_name")]
    pub class: String,
    #[serde(default = "one")]
    pub patch_size: usize,
    pub in_channels: usize,
    #[serde(default)]
    pub out_channels: Option<usize>,
    pub num_layers: usize,
    pub num_single_layers: usize,
    pub attention_head_dim: usize,
    pub num_attention_heads: usize,
    pub joint_attention_dim: usize,
    pub pooled_projection_dim: usize,
    #[serde(default)]
    pub guidance_embeds: bool,
    #[serde(default = "axes")]
    pub axes_dims_rope: [usize; 3],
}

/// `config.json` of a text encoder of the architecture T5.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "the names are those of transformers, which documents them")]
pub struct T5Config {
    pub vocab_size: usize,
    pub d_model: usize,
    pub d_kv: usize,
    pub d_ff: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    #[serde(default = "buckets")]
    pub relative_attention_num_buckets: usize,
    #[serde(default = "farthest")]
    pub relative_attention_max_distance: usize,
    #[serde(default = "epsilon")]
    pub layer_norm_epsilon: f64,
    #[serde(default = "relu")]
    pub feed_forward_proj: String,
}

/// What is said of a file's keys.
struct Said<'a> {
    file: &'a Path,
    can: &'static str,
}

impl Said<'_> {
    fn unsupported<T>(&self, what: &'static str, found: impl ToString) -> Result<T, Flaw> {
        let (file, found) = (self.file.to_owned(), found.to_string());
        Err(Flaw::Unsupported { file, what, found, can: self.can })
    }

    fn class(&self, found: &str, expected: &str) -> Result<(), Flaw> {
        match found == expected {
            true => Ok(()),
            false => self.unsupported("network", found),
        }
    }

    /// Refuses sizes of which nothing can be made.
    fn sizes(&self, sizes: &[usize], even: usize) -> Result<(), Flaw> {
        let why = match (sizes.contains(&0), even.is_multiple_of(2)) {
            (true, _) => "a size is 0",
            (_, false) => "the channels of a head are odd",
            _ => return Ok(()),
        };
        Err(Flaw::Broken { file: self.file.to_owned(), why: why.to_owned() })
    }
}

impl ThreeConfig {
    /// The network in diffusers.
    pub const CLASS: &str = "SD3Transformer2DModel";

    /// Channels of what it says.
    pub fn out_channels(&self) -> usize {
        self.out_channels.unwrap_or(self.in_channels)
    }

    /// Whether the network is the one that [`super::net`] has, for latents of so many channels.
    ///
    /// # Errors
    /// [`Flaw::Unsupported`] and [`Flaw::Broken`].
    pub fn check(&self, file: &Path, channels: usize) -> Result<(), Flaw> {
        let said = Said { file, can: "the network SD3Transformer2DModel of Stable Diffusion 3 and 3.5" };
        said.class(&self.class, Self::CLASS)?;
        if let Some(other) = self.qk_norm.as_deref().filter(|norm| *norm != "rms_norm") {
            return said.unsupported("qk_norm", other);
        }
        let width = self.num_attention_heads * self.attention_head_dim;
        if self.caption_projection_dim != width {
            return said.unsupported("caption_projection_dim", self.caption_projection_dim);
        }
        if self.in_channels != channels || self.out_channels() != channels {
            let found = format!("{} and {}", self.in_channels, self.out_channels());
            return said.unsupported("in_channels and out_channels", found);
        }
        let sizes = [width, self.patch_size, self.pos_embed_max_size, self.num_layers, channels];
        said.sizes(&sizes, self.attention_head_dim)
    }
}

impl FluxConfig {
    /// The network in diffusers.
    pub const CLASS: &str = "FluxTransformer2DModel";

    /// As [`ThreeConfig::check`].
    ///
    /// # Errors
    /// [`Flaw::Unsupported`] and [`Flaw::Broken`].
    pub fn check(&self, file: &Path, channels: usize) -> Result<(), Flaw> {
        let said = Said { file, can: "the network FluxTransformer2DModel of Flux.1 dev and schnell" };
        said.class(&self.class, Self::CLASS)?;
        let out = self.out_channels.unwrap_or(self.in_channels);
        let packed = channels * PACKED * PACKED;
        // Flux.1 Fill, Canny and Depth see more beside the latents.
        if self.in_channels != packed || out != packed {
            return said
                .unsupported("in_channels and out_channels", format!("{} and {out}", self.in_channels));
        }
        if self.patch_size != 1 {
            return said.unsupported("patch_size", self.patch_size);
        }
        if self.axes_dims_rope.iter().sum::<usize>() != self.attention_head_dim {
            return said.unsupported("axes_dims_rope", format!("{:?}", self.axes_dims_rope));
        }
        let width = self.num_attention_heads * self.attention_head_dim;
        said.sizes(&[width, channels], self.axes_dims_rope.iter().fold(0, |odd, axis| odd | axis))
    }
}

impl T5Config {
    /// Whether the encoder is the one that [`super::net`] has, for words of so many numbers.
    ///
    /// # Errors
    /// [`Flaw::Unsupported`] and [`Flaw::Broken`].
    pub fn check(&self, file: &Path, words: usize) -> Result<(), Flaw> {
        let said = Said { file, can: "the encoder of T5 1.1 that the network was trained with" };
        if self.feed_forward_proj != "gated-gelu" {
            return said.unsupported("feed_forward_proj", &self.feed_forward_proj);
        }
        if self.d_model != words {
            return said.unsupported("d_model", self.d_model);
        }
        if self.relative_attention_num_buckets < 4
            || self.relative_attention_max_distance <= self.relative_attention_num_buckets / 4
        {
            return said.unsupported("relative_attention_num_buckets", self.relative_attention_num_buckets);
        }
        said.sizes(&[self.d_model, self.d_kv, self.d_ff, self.num_heads], 0)
    }
}

fn one() -> usize {
    1
}

/// Channels of a head that turn by each of the three places, as published.
pub fn axes() -> [usize; 3] {
    [16, 56, 56]
}

fn buckets() -> usize {
    32
}

fn farthest() -> usize {
    128
}

fn epsilon() -> f64 {
    1e-6
}

fn relu() -> String {
    "relu".to_owned()
}
