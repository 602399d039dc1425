//! The network of Flux.1: <https://github.com/black-forest-labs/flux>.

use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear};

use super::{
    Given, Pass,
    adaptive::{Adaptive, Last, Norm, Size, Told},
    joint::{Heads, Joint, Kind, Project, QueryNorm},
    layers::by_places,
    patches::{self, Order},
    turns::Turns,
};
use crate::engines::diffusion::transformers::{FluxConfig, PACKED};

/// A block in which words and picture are one.
struct Single {
    norm: Norm,
    adaptive: Adaptive,
    project: Project,
    widen: Linear,
    out: Linear,
    width: usize,
}

impl Single {
    fn new(heads: Heads, vb: VarBuilder) -> Result<Self> {
        let width = heads.width();
        Ok(Self {
            norm: Norm::new(width, &vb)?,
            adaptive: Adaptive::new(width, 3, vb.pp("norm"))?,
            project: Project::usual(heads, QueryNorm::Rms, &vb.pp("attn"))?,
            widen: linear(width, 4 * width, vb.pp("proj_mlp"))?,
            out: linear(5 * width, width, vb.pp("proj_out"))?,
            width,
        })
    }

    /// (batch, length, width) to the same.
    fn forward(&self, x: &Tensor, told: &Tensor, turns: &Turns, pass: &Pass) -> Result<Tensor> {
        let parts = self.adaptive.forward(told)?;
        let [shift, scale, gate] = [&parts[0], &parts[1], &parts[2]];
        let normed = |x: &Tensor| self.norm.forward(x, shift, scale);
        let drawn = self.project.forward(x, normed, pass)?.drawn(Some(turns), pass)?;
        let cost = 9 * self.width * self.width;
        let [made] = by_places([x, &drawn], cost, pass, |[x, drawn]| {
            let wide = self.widen.forward(&normed(&x)?)?.gelu()?;
            let made = self.out.forward(&Tensor::cat(&[&drawn, &wide], 2)?)?;
            Ok([(x + made.broadcast_mul(gate)?)?])
        })?;
        Ok(made)
    }
}

/// The network.
pub struct Flux {
    picture: Linear,
    words: Linear,
    told: Told,
    joint: Vec<Joint>,
    single: Vec<Single>,
    last: Last,
    axes: [usize; 3],
}

impl Flux {
    /// Reads one.
    pub fn new(config: &FluxConfig, vb: VarBuilder) -> Result<Self> {
        let heads = Heads { count: config.num_attention_heads, size: config.attention_head_dim };
        let width = heads.width();
        let kind = Kind { heads, norm: QueryNorm::Rms, words_end: false, alone: false };
        let joint = |i| Joint::new(kind, vb.pp("transformer_blocks").pp(i));
        let single = |i| Single::new(heads, vb.pp("single_transformer_blocks").pp(i));
        let told = Size { width, pooled: config.pooled_projection_dim, guidance: config.guidance_embeds };
        Ok(Self {
            picture: linear(config.in_channels, width, vb.pp("x_embedder"))?,
            words: linear(config.joint_attention_dim, width, vb.pp("context_embedder"))?,
            told: Told::new(told, vb.pp("time_text_embed"))?,
            joint: (0..config.num_layers).map(joint).collect::<Result<_>>()?,
            single: (0..config.num_single_layers).map(single).collect::<Result<_>>()?,
            last: Last::new(width, config.in_channels, &vb)?,
            axes: config.axes_dims_rope,
        })
    }

    /// The velocity of `latents`, (batch, channels, rows, columns), at a step of its training; the same shape.
    pub fn forward(&self, latents: &Tensor, step: f64, given: &Given, pass: &Pass) -> Result<Tensor> {
        let (_, _, rows, columns) = latents.dims4()?;
        let told = self.told.forward(step, given.guidance, given.pooled()?)?;
        let mut picture = self.picture.forward(&patches::cut(latents, PACKED)?)?;
        let mut words = self.words.forward(given.words)?;
        let length = words.dim(1)?;
        let turns = self.turns(length, (rows / PACKED, columns / PACKED), latents)?;
        for block in &self.joint {
            pass.check()?;
            (words, picture) = block.forward((&words, &picture), &told, Some(&turns), pass)?;
        }
        let mut all = Tensor::cat(&[&words, &picture], 1)?;
        for block in &self.single {
            pass.check()?;
            all = block.forward(&all, &told, &turns, pass)?;
        }
        let picture = all.narrow(1, length, picture.dim(1)?)?.contiguous()?;
        patches::lay(&self.last.forward(&picture, &told)?, (rows, columns), PACKED, Order::Channels)
    }

    /// Words are nowhere; squares of the picture are where they are.
    fn turns(&self, words: usize, (rows, columns): (usize, usize), like: &Tensor) -> Result<Turns> {
        let nowhere = std::iter::repeat_n([0, 0, 0], words);
        let squares = (0..rows).flat_map(|row| (0..columns).map(move |column| [0, row, column]));
        let places: Vec<[usize; 3]> = nowhere.chain(squares).collect();
        Turns::new(&places, &self.axes, like.device())
    }
}
