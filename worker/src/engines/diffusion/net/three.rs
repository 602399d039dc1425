//! The network of Stable Diffusion 3 and 3.5: <https://arxiv.org/abs/2403.03206>.

use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear};

use super::{
    Given, Pass,
    adaptive::{Last, Size, Told},
    joint::{Heads, Joint, Kind, QueryNorm},
    patches::{self, Order},
};
use crate::engines::diffusion::transformers::ThreeConfig;

/// The network.
pub struct Three {
    /// A convolution of squares that do not overlap.
    cut: Linear,
    /// Where places are, (1, side × side, width): the middle of a square picture is the middle of this.
    places: Tensor,
    words: Linear,
    told: Told,
    blocks: Vec<Joint>,
    last: Last,
    config: ThreeConfig,
}

impl Three {
    /// Reads one.
    pub fn new(config: &ThreeConfig, vb: VarBuilder) -> Result<Self> {
        let heads = Heads { count: config.num_attention_heads, size: config.attention_head_dim };
        let (width, side, longest) = (heads.width(), config.patch_size, config.pos_embed_max_size);
        let numbers = config.in_channels * side * side;
        let cut = vb.pp("pos_embed.proj");
        let weight = cut.get((width, config.in_channels, side, side), "weight")?.reshape((width, numbers))?;
        let block = |i: usize| {
            let kind = Kind {
                heads,
                norm: if config.qk_norm.is_some() { QueryNorm::Rms } else { QueryNorm::Absent },
                words_end: i + 1 == config.num_layers,
                alone: config.dual_attention_layers.contains(&i),
            };
            Joint::new(kind, vb.pp("transformer_blocks").pp(i))
        };
        let told = Size { width, pooled: config.pooled_projection_dim, guidance: false };
        Ok(Self {
            cut: Linear::new(weight, Some(cut.get(width, "bias")?)),
            places: vb.get((1, longest * longest, width), "pos_embed.pos_embed")?,
            words: linear(config.joint_attention_dim, width, vb.pp("context_embedder"))?,
            told: Told::new(told, vb.pp("time_text_embed"))?,
            blocks: (0..config.num_layers).map(block).collect::<Result<_>>()?,
            last: Last::new(width, config.out_channels() * side * side, &vb)?,
            config: config.clone(),
        })
    }

    /// The velocity of `latents`, (batch, channels, rows, columns), at a step of its training; the same shape.
    pub fn forward(&self, latents: &Tensor, step: f64, given: &Given, pass: &Pass) -> Result<Tensor> {
        let (_, _, rows, columns) = latents.dims4()?;
        let side = self.config.patch_size;
        let told = self.told.forward(step, 0.0, given.pooled()?)?;
        let places = self.places(rows / side, columns / side)?;
        let mut picture = self.cut.forward(&patches::cut(latents, side)?)?.broadcast_add(&places)?;
        let mut words = self.words.forward(given.words)?;
        for block in &self.blocks {
            pass.check()?;
            (words, picture) = block.forward((&words, &picture), &told, None, pass)?;
        }
        patches::lay(&self.last.forward(&picture, &told)?, (rows, columns), side, Order::Latents)
    }

    /// The middle of the places, (1, rows × columns, width).
    fn places(&self, rows: usize, columns: usize) -> Result<Tensor> {
        let longest = self.config.pos_embed_max_size;
        if rows > longest || columns > longest {
            candle_core::bail!(
                "the network has places for pictures of {longest} squares a side, and {columns}×{rows} were asked for"
            );
        }
        let width = self.places.dim(2)?;
        self.places
            .reshape((longest, longest, width))?
            .narrow(0, (longest - rows) / 2, rows)?
            .narrow(1, (longest - columns) / 2, columns)?
            .contiguous()?
            .reshape((1, rows * columns, width))
    }
}
