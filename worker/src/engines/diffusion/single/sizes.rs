//! Sizes of networks by the shapes of a file's tensors.

use crate::engines::diffusion::{
    config::{TextConfig, VaeConfig},
    flaw::Flaw,
    ldm::Names,
    weights::Safetensors,
};

/// Groups of every norm.
pub const GROUPS: usize = 32;
/// Channels of a head in the networks of version 2, XL and 3, and in all text encoders of CLIP.
pub const HEAD: usize = 64;

/// Sizes by shapes.
#[derive(Clone, Copy)]
pub struct Sizes<'a> {
    /// The file.
    pub file: &'a Safetensors,
}

impl Sizes<'_> {
    /// A side of a tensor.
    ///
    /// # Errors
    /// [`Flaw::Unknown`] naming the tensor, where it is not there.
    pub fn side(&self, name: &str, side: usize) -> Result<usize, Flaw> {
        let found = self.file.shape(name).and_then(|shape| shape.get(side)).copied();
        let missing = || format!("no tensor {name} of the usual rank");
        found.ok_or_else(|| super::unknown(self.file, missing(), super::EXPECTED))
    }

    /// Whether a tensor is there.
    pub fn has(&self, name: &str) -> bool {
        self.file.shape(name).is_some()
    }

    /// How many of a list there are.
    pub fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|i| self.has(&name(*i))).count()
    }

    /// The names of the autoencoder behind a prefix, where it is there.
    pub fn vae_names(&self, prefix: &'static str) -> Option<Names> {
        let blocks = self.count(|i| format!("{prefix}encoder.down.{i}.block.0.conv1.weight"));
        self.has(&format!("{prefix}decoder.conv_in.weight")).then_some(Names::Vae { prefix, blocks })
    }

    /// The autoencoder behind a prefix, whose latents are scaled and shifted so.
    ///
    /// # Errors
    /// As [`Self::side`].
    pub fn vae(&self, prefix: &str, (scale, shift): (f64, Option<f64>)) -> Result<VaeConfig, Flaw> {
        let conv = |i: usize, j: usize| format!("{prefix}encoder.down.{i}.block.{j}.conv1.weight");
        let blocks = self.count(|i| conv(i, 0));
        let channels = (0..blocks).map(|i| self.side(&conv(i, 0), 0)).collect::<Result<_, Flaw>>()?;
        Ok(VaeConfig {
            block_out_channels: channels,
            layers_per_block: self.count(|j| conv(0, j)),
            latent_channels: self.side(&format!("{prefix}decoder.conv_in.weight"), 1)?,
            norm_num_groups: GROUPS,
            scaling_factor: scale,
            shift_factor: shift,
            use_quant_conv: self.has(&format!("{prefix}quant_conv.weight")),
            use_post_quant_conv: self.has(&format!("{prefix}post_quant_conv.weight")),
            force_upcast: true,
        })
    }

    /// A text encoder of CLIP.
    ///
    /// # Errors
    /// As [`Self::side`].
    pub fn text(&self, names: &Names, hidden_act: &str) -> Result<TextConfig, Flaw> {
        // The first of a weight's places that is there.
        let place = |weight: &str| {
            let places = names.places(weight);
            places.into_iter().map(|place| place.name).find(|name| self.has(name)).unwrap_or_default()
        };
        let words = place("text_model.embeddings.token_embedding.weight");
        let widen = place("text_model.encoder.layers.0.mlp.fc1.weight");
        let hidden_size = self.side(&words, 1)?;
        let projection = place("text_projection.weight");
        Ok(TextConfig {
            vocab_size: self.side(&words, 0)?,
            hidden_size,
            intermediate_size: self.side(&widen, 0)?,
            num_hidden_layers: self
                .count(|i| place(&format!("text_model.encoder.layers.{i}.mlp.fc1.weight"))),
            num_attention_heads: (hidden_size / HEAD).max(1),
            max_position_embeddings: self
                .side(&place("text_model.embeddings.position_embedding.weight"), 0)?,
            hidden_act: hidden_act.to_owned(),
            layer_norm_eps: 1e-5,
            projection_dim: self.file.shape(&projection).and_then(|shape| shape.get(1)).copied(),
        })
    }
}
