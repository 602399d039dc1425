//! The network between pixels and latents: <https://arxiv.org/abs/2112.10752>.

use candle_core::{Result, Tensor};
use candle_nn::{GroupNorm, Linear, Module, VarBuilder, group_norm, linear};

use super::{
    Edge, Pass, attention,
    layers::{Conv, Plain},
    resnet::{Kind, Resnet, Upsample},
};
use crate::engines::diffusion::config::VaeConfig;

/// What keeps its norms from dividing by nothing.
const EPSILON: f64 = 1e-6;
/// Colours of a pixel.
const COLOURS: usize = 3;

struct Middle {
    before: Resnet,
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    after: Resnet,
}

struct Encoder {
    conv_in: Conv,
    blocks: Vec<(Vec<Resnet>, Option<Plain>)>,
    middle: Middle,
    norm_out: GroupNorm,
    conv_out: Conv,
    quant: Option<Conv>,
}

struct Decoder {
    quant: Option<Conv>,
    conv_in: Conv,
    middle: Middle,
    blocks: Vec<(Vec<Resnet>, Option<Upsample>)>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

/// The network. Latents are scaled as the other networks want them.
pub struct Vae {
    encoder: Encoder,
    decoder: Decoder,
    channels: usize,
    scale: f64,
    shift: f64,
}

impl Vae {
    /// Reads one.
    pub fn new(config: &VaeConfig, vb: VarBuilder) -> Result<Self> {
        let kind = Kind { groups: config.norm_num_groups, epsilon: EPSILON, time: None };
        Ok(Self {
            encoder: Encoder::new(config, kind, &vb)?,
            decoder: Decoder::new(config, kind, &vb)?,
            channels: config.latent_channels,
            scale: config.scaling_factor,
            shift: config.shift_factor.unwrap_or(0.0),
        })
    }

    /// Pixels from -1 to 1, (batch, 3, rows, columns), to the mean of their latents.
    pub fn encode(&self, pixels: &Tensor, pass: &Pass) -> Result<Tensor> {
        let encoder = &self.encoder;
        let mut x = encoder.conv_in.forward(pixels, pass)?;
        for (resnets, down) in &encoder.blocks {
            for resnet in resnets {
                x = resnet.forward(&x, None, pass)?;
            }
            if let Some(down) = down {
                x = match pass.edge {
                    Edge::Zero => x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?,
                    Edge::Wrap => {
                        let x = Tensor::cat(&[&x, &x.narrow(2, 0, 1)?], 2)?;
                        Tensor::cat(&[&x, &x.narrow(3, 0, 1)?], 3)?
                    }
                };
                x = down.within(&x, pass)?;
            }
        }
        let x = encoder.middle.forward(&x, pass)?;
        let x = encoder.conv_out.forward(&encoder.norm_out.forward(&x)?.silu()?, pass)?;
        let x = through(encoder.quant.as_ref(), x, pass)?;
        x.narrow(1, 0, self.channels)?.affine(self.scale, -self.shift * self.scale)
    }

    /// Latents to pixels, mostly from -1 to 1.
    pub fn decode(&self, latents: &Tensor, pass: &Pass) -> Result<Tensor> {
        let decoder = &self.decoder;
        let x = latents.affine(1.0 / self.scale, self.shift)?;
        let x = through(decoder.quant.as_ref(), x, pass)?;
        let mut x = decoder.middle.forward(&decoder.conv_in.forward(&x, pass)?, pass)?;
        for (resnets, up) in &decoder.blocks {
            for resnet in resnets {
                x = resnet.forward(&x, None, pass)?;
            }
            if let Some(up) = up {
                x = up.forward(&x, (2 * x.dim(2)?, 2 * x.dim(3)?), pass)?;
            }
        }
        decoder.conv_out.forward(&decoder.norm_out.forward(&x)?.silu()?, pass)
    }
}

/// Through a layer that not every network has.
fn through(layer: Option<&Conv>, x: Tensor, pass: &Pass) -> Result<Tensor> {
    match layer {
        Some(layer) => layer.forward(&x, pass),
        None => Ok(x),
    }
}

impl Encoder {
    fn new(config: &VaeConfig, kind: Kind, vb: &VarBuilder) -> Result<Self> {
        let channels = &config.block_out_channels;
        let latents = 2 * config.latent_channels;
        let quant = || Conv::new(latents, latents, 1, 1, vb.pp("quant_conv"));
        let quant = config.use_quant_conv.then(quant).transpose()?;
        let vb = vb.pp("encoder");
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let block = |i: usize| {
            let vb = vb.pp("down_blocks").pp(i);
            let resnets =
                resnets(channels[i.saturating_sub(1)], channels[i], config.layers_per_block, kind, &vb)?;
            let down = i + 1 < channels.len();
            let down = down.then(|| Plain::new(channels[i], channels[i], 3, 2, vb.pp("downsamplers.0.conv")));
            Ok((resnets, down.transpose()?))
        };
        Ok(Self {
            conv_in: Conv::new(COLOURS, first, 3, 1, vb.pp("conv_in"))?,
            blocks: (0..channels.len()).map(block).collect::<Result<_>>()?,
            middle: Middle::new(last, kind, vb.pp("mid_block"))?,
            norm_out: group_norm(kind.groups, last, kind.epsilon, vb.pp("conv_norm_out"))?,
            conv_out: Conv::new(last, latents, 3, 1, vb.pp("conv_out"))?,
            quant,
        })
    }
}

impl Decoder {
    fn new(config: &VaeConfig, kind: Kind, vb: &VarBuilder) -> Result<Self> {
        let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let latents = config.latent_channels;
        let quant = || Conv::new(latents, latents, 1, 1, vb.pp("post_quant_conv"));
        let quant = config.use_post_quant_conv.then(quant).transpose()?;
        let vb = vb.pp("decoder");
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let block = |i: usize| {
            let vb = vb.pp("up_blocks").pp(i);
            let before = channels[i.saturating_sub(1)];
            let resnets = resnets(before, channels[i], config.layers_per_block + 1, kind, &vb)?;
            let up = (i + 1 < channels.len()).then(|| Upsample::new(channels[i], vb.pp("upsamplers.0")));
            Ok((resnets, up.transpose()?))
        };
        Ok(Self {
            quant,
            conv_in: Conv::new(latents, first, 3, 1, vb.pp("conv_in"))?,
            middle: Middle::new(first, kind, vb.pp("mid_block"))?,
            blocks: (0..channels.len()).map(block).collect::<Result<_>>()?,
            norm_out: group_norm(kind.groups, last, kind.epsilon, vb.pp("conv_norm_out"))?,
            conv_out: Conv::new(last, COLOURS, 3, 1, vb.pp("conv_out"))?,
        })
    }
}

fn resnets(from: usize, to: usize, count: usize, kind: Kind, vb: &VarBuilder) -> Result<Vec<Resnet>> {
    let one = |j: usize| Resnet::new(if j == 0 { from } else { to }, to, kind, vb.pp("resnets").pp(j));
    (0..count).map(one).collect()
}

impl Middle {
    fn new(channels: usize, kind: Kind, vb: VarBuilder) -> Result<Self> {
        let attention = vb.pp("attentions.0");
        // Checkpoints from before 2023 have other names for the same.
        let old = attention.contains_tensor("query.weight");
        let part = |new: &str, before: &str| {
            linear(channels, channels, attention.pp(if old { before } else { new }))
        };
        Ok(Self {
            before: Resnet::new(channels, channels, kind, vb.pp("resnets.0"))?,
            norm: group_norm(kind.groups, channels, kind.epsilon, attention.pp("group_norm"))?,
            q: part("to_q", "query")?,
            k: part("to_k", "key")?,
            v: part("to_v", "value")?,
            out: part("to_out.0", "proj_attn")?,
            after: Resnet::new(channels, channels, kind, vb.pp("resnets.1"))?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let x = self.before.forward(x, None, pass)?;
        let shape = x.dims4()?;
        let flat = self.norm.forward(&x)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        let part = |layer: &Linear| attention::split(&layer.forward(&flat)?, 1);
        let seen = attention::attend(&part(&self.q)?, &part(&self.k)?, &part(&self.v)?, None, pass)?;
        let seen = self.out.forward(&attention::join(&seen)?)?.transpose(1, 2)?.reshape(shape)?;
        self.after.forward(&(x + seen)?, None, pass)
    }
}
