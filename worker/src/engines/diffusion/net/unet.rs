//! The network that says what is noise in a latent: <https://arxiv.org/abs/2112.10752>, and for XL
//! <https://arxiv.org/abs/2307.01952>.

use candle_core::{Result, Tensor};
use candle_nn::{GroupNorm, Linear, Module, VarBuilder, group_norm, linear, linear_no_bias};

use super::{
    Given, Pass,
    layers::{Conv, waves},
    resnet::{Kind, Resnet, Upsample},
    transformer::{Projection, Size, Transformer},
};
use crate::engines::diffusion::config::UnetConfig;

/// Sizes and places that XL is told of: original rows and columns, cropped from the top and the left, and rows and
/// columns wanted; in pixels.
const PLACES: usize = 6;

/// What guidance is multiplied with, so that it is as large as steps are.
const PER_GUIDANCE: f64 = 1_000.0;

struct Waves {
    size: usize,
    shift: f64,
    linear1: Linear,
    linear2: Linear,
}

struct Block {
    layers: Vec<(Resnet, Option<Transformer>)>,
    down: Option<Conv>,
    up: Option<Upsample>,
}

/// The network.
pub struct Unet {
    conv_in: Conv,
    time: Waves,
    /// Of networks that are told the guidance: section 4.2 of <https://arxiv.org/abs/2310.04378>.
    guidance: Option<(usize, Linear)>,
    added: Option<(usize, Linear, Linear)>,
    downs: Vec<Block>,
    middle: (Resnet, Transformer, Resnet),
    ups: Vec<Block>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl Unet {
    /// Reads one.
    pub fn new(config: &UnetConfig, vb: VarBuilder) -> Result<Self> {
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let plan = Plan { config, kind: kind(config) };
        let added = match (config.addition_time_embed_dim, config.projection_class_embeddings_input_dim) {
            (Some(size), Some(from)) if config.addition_embed_type.is_some() => {
                let vb = vb.pp("add_embedding");
                let to = 4 * first;
                Some((size, linear(from, to, vb.pp("linear_1"))?, linear(to, to, vb.pp("linear_2"))?))
            }
            _ => None,
        };
        let guidance = |size: usize| {
            Ok::<_, candle_core::Error>((
                size,
                linear_no_bias(size, first, vb.pp("time_embedding.cond_proj"))?,
            ))
        };
        let middle = vb.pp("mid_block");
        Ok(Self {
            conv_in: Conv::new(config.in_channels, first, 3, 1, vb.pp("conv_in"))?,
            time: Waves {
                size: first,
                shift: config.freq_shift,
                linear1: linear(first, 4 * first, vb.pp("time_embedding.linear_1"))?,
                linear2: linear(4 * first, 4 * first, vb.pp("time_embedding.linear_2"))?,
            },
            guidance: config.time_cond_proj_dim.map(guidance).transpose()?,
            added,
            downs: plan.downs(&vb.pp("down_blocks"))?,
            middle: (
                Resnet::new(last, last, plan.kind, middle.pp("resnets.0"))?,
                Transformer::new(plan.size(channels.len() - 1), middle.pp("attentions.0"))?,
                Resnet::new(last, last, plan.kind, middle.pp("resnets.1"))?,
            ),
            ups: plan.ups(&vb.pp("up_blocks"))?,
            norm_out: group_norm(config.norm_num_groups, first, config.norm_eps, vb.pp("conv_norm_out"))?,
            conv_out: Conv::new(first, config.out_channels, 3, 1, vb.pp("conv_out"))?,
        })
    }

    /// What the network says of `latents` (batch, channels, rows, columns) at a step of its training. The same shape, with 4
    /// channels.
    pub fn forward(&self, latents: &Tensor, step: f64, given: &Given, pass: &Pass) -> Result<Tensor> {
        let (time, words) = (self.embed(latents, step, given)?, given.words);
        let mut x = self.conv_in.forward(latents, pass)?;
        let mut skips = vec![x.clone()];
        for block in &self.downs {
            for (resnet, transformer) in &block.layers {
                x = layer(resnet, transformer.as_ref(), &x, &time, words, pass)?;
                skips.push(x.clone());
            }
            if let Some(down) = &block.down {
                x = down.forward(&x, pass)?;
                skips.push(x.clone());
            }
        }
        let (before, transformer, after) = &self.middle;
        x = layer(before, Some(transformer), &x, &time, words, pass)?;
        x = after.forward(&x, Some(&time), pass)?;
        for block in &self.ups {
            for (resnet, transformer) in &block.layers {
                let skip = skips.pop().unwrap_or_else(|| x.clone());
                x = Tensor::cat(&[&x, &skip], 1)?;
                x = layer(resnet, transformer.as_ref(), &x, &time, words, pass)?;
            }
            if let (Some(up), Some(skip)) = (&block.up, skips.last()) {
                x = up.forward(&x, (skip.dim(2)?, skip.dim(3)?), pass)?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward(&x)?.silu()?, pass)
    }

    /// The time and what else is told, (batch, size), with the activation that every block begins with.
    fn embed(&self, latents: &Tensor, step: f64, given: &Given) -> Result<Tensor> {
        let (device, dtype) = (latents.device(), latents.dtype());
        let batch = latents.dim(0)?;
        let mut wave = waves(&[step], self.time.size, self.time.shift, device)?.to_dtype(dtype)?;
        if let Some((size, layer)) = &self.guidance {
            let told = waves(&[(given.guidance - 1.0) * PER_GUIDANCE], *size, 1.0, device)?;
            // Here sines come first.
            let halves = told.chunk(2, 1)?;
            let told = Tensor::cat(&[&halves[1], &halves[0]], 1)?.to_dtype(dtype)?;
            wave = (wave + layer.forward(&told)?)?;
        }
        let time = self.time.linear2.forward(&self.time.linear1.forward(&wave)?.silu()?)?;
        let time = time.repeat((batch, 1))?;
        let Some((size, linear1, linear2)) = &self.added else {
            return time.silu();
        };
        let (rows, columns) = (given.size.0 as f64, given.size.1 as f64);
        let places: [f64; PLACES] = [rows, columns, 0.0, 0.0, rows, columns];
        let places = waves(&places, *size, 0.0, device)?.to_dtype(dtype)?.reshape((1, PLACES * size))?;
        let told = Tensor::cat(&[given.pooled()?, &places.repeat((batch, 1))?], 1)?;
        let told = linear2.forward(&linear1.forward(&told)?.silu()?)?;
        (time + told)?.silu()
    }
}

fn layer(
    resnet: &Resnet,
    transformer: Option<&Transformer>,
    x: &Tensor,
    time: &Tensor,
    words: &Tensor,
    pass: &Pass,
) -> Result<Tensor> {
    let x = resnet.forward(x, Some(time), pass)?;
    match transformer {
        Some(transformer) => transformer.forward(&x, words, pass),
        None => Ok(x),
    }
}

fn kind(config: &UnetConfig) -> Kind {
    Kind {
        groups: config.norm_num_groups,
        epsilon: config.norm_eps,
        time: Some(4 * config.block_out_channels[0]),
    }
}

/// How blocks follow from the configuration.
struct Plan<'a> {
    config: &'a UnetConfig,
    kind: Kind,
}

impl Plan<'_> {
    /// Sizes of the transformers of a block, counted on the way down.
    fn size(&self, block: usize) -> Size {
        let config = self.config;
        // What diffusers calls `attention_head_dim` is the number of heads in these networks.
        let heads = config.num_attention_heads.as_ref().unwrap_or(&config.attention_head_dim);
        Size {
            channels: config.block_out_channels[block],
            heads: heads.of(block),
            layers: config.transformer_layers_per_block.of(block),
            words: config.cross_attention_dim,
            groups: config.norm_num_groups,
            projection: match config.use_linear_projection {
                true => Projection::Linear,
                false => Projection::Convolution,
            },
        }
    }

    fn transformer(&self, block: usize, kind: &str, vb: VarBuilder) -> Result<Option<Transformer>> {
        kind.starts_with("CrossAttn").then(|| Transformer::new(self.size(block), vb)).transpose()
    }

    fn downs(&self, vb: &VarBuilder) -> Result<Vec<Block>> {
        let channels = &self.config.block_out_channels;
        let block = |i: usize| {
            let vb = vb.pp(i);
            let (before, own) = (channels[i.saturating_sub(1)], channels[i]);
            let layer = |j: usize| {
                let from = if j == 0 { before } else { own };
                let resnet = Resnet::new(from, own, self.kind, vb.pp("resnets").pp(j))?;
                let kind = &self.config.down_block_types[i];
                Ok((resnet, self.transformer(i, kind, vb.pp("attentions").pp(j))?))
            };
            let layers = (0..self.config.layers_per_block).map(layer).collect::<Result<_>>()?;
            let down = (i + 1 < channels.len())
                .then(|| Conv::new(own, own, 3, 2, vb.pp("downsamplers.0.conv")))
                .transpose()?;
            Ok(Block { layers, down, up: None })
        };
        (0..channels.len()).map(block).collect()
    }

    fn ups(&self, vb: &VarBuilder) -> Result<Vec<Block>> {
        let channels: Vec<usize> = self.config.block_out_channels.iter().rev().copied().collect();
        let last = channels.len() - 1;
        let block = |i: usize| {
            let vb = vb.pp(i);
            let own = channels[i];
            // The skips of a block come from its own size on the way down, and the last one from the size before it.
            let beyond = channels[(i + 1).min(last)];
            let layer = |j: usize| {
                let from = if j == 0 { channels[i.saturating_sub(1)] } else { own };
                let skip = if j == self.config.layers_per_block { beyond } else { own };
                let resnet = Resnet::new(from + skip, own, self.kind, vb.pp("resnets").pp(j))?;
                let kind = &self.config.up_block_types[i];
                Ok((resnet, self.transformer(last - i, kind, vb.pp("attentions").pp(j))?))
            };
            let layers = (0..=self.config.layers_per_block).map(layer).collect::<Result<_>>()?;
            let up = (i < last).then(|| Upsample::new(own, vb.pp("upsamplers.0"))).transpose()?;
            Ok(Block { layers, down: None, up })
        };
        (0..channels.len()).map(block).collect()
    }
}
