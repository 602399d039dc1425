//! The blocks in which a picture looks at itself and at the words.

use candle_core::{Result, Tensor};
use candle_nn::{
    GroupNorm, LayerNorm, Linear, Module, VarBuilder, group_norm, layer_norm, linear, linear_no_bias,
};

use super::{Pass, attention, layers::Conv};

/// What keeps the norm before the blocks from dividing by nothing.
const EPSILON: f64 = 1e-6;
/// The same within the blocks.
const INNER_EPSILON: f64 = 1e-5;

/// Sizes of one.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Channels.
    pub channels: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Size of a word's embedding.
    pub words: usize,
    /// Groups of the norm.
    pub groups: usize,
    /// How channels go in and out.
    pub projection: Projection,
}

/// How channels go in and out. Both are the same arithmetic; their weights have other shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// By a convolution of one pixel.
    Convolution,
    /// By a matrix.
    Linear,
}

enum Project {
    Convolution(Conv),
    Linear(Linear),
}

/// Several blocks over a picture.
pub struct Transformer {
    norm: GroupNorm,
    into: Project,
    blocks: Vec<Block>,
    out: Project,
}

impl Transformer {
    /// Reads one.
    pub fn new(size: Size, vb: VarBuilder) -> Result<Self> {
        let channels = size.channels;
        let project = |vb: VarBuilder| match size.projection {
            Projection::Convolution => Conv::new(channels, channels, 1, 1, vb).map(Project::Convolution),
            Projection::Linear => linear(channels, channels, vb).map(Project::Linear),
        };
        let blocks = vb.pp("transformer_blocks");
        Ok(Self {
            norm: group_norm(size.groups, channels, EPSILON, vb.pp("norm"))?,
            into: project(vb.pp("proj_in"))?,
            blocks: (0..size.layers).map(|i| Block::new(size, blocks.pp(i))).collect::<Result<_>>()?,
            out: project(vb.pp("proj_out"))?,
        })
    }

    /// `words` is (batch, length, size).
    pub fn forward(&self, x: &Tensor, words: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (batch, channels, rows, columns) = x.dims4()?;
        let flat = |x: &Tensor| x.flatten_from(2)?.transpose(1, 2)?.contiguous();
        let picture = |x: &Tensor| x.transpose(1, 2)?.reshape((batch, channels, rows, columns))?.contiguous();
        let inner = self.norm.forward(x)?;
        let mut inner = match &self.into {
            Project::Convolution(conv) => flat(&conv.forward(&inner, pass)?)?,
            Project::Linear(linear) => linear.forward(&flat(&inner)?)?,
        };
        for block in &self.blocks {
            inner = block.forward(&inner, words, pass)?;
        }
        let inner = match &self.out {
            Project::Convolution(conv) => conv.forward(&picture(&inner)?, pass)?,
            Project::Linear(linear) => picture(&linear.forward(&inner)?)?,
        };
        x + inner
    }
}

struct Block {
    norm1: LayerNorm,
    itself: Attention,
    norm2: LayerNorm,
    words: Attention,
    norm3: LayerNorm,
    widen: Linear,
    narrow: Linear,
}

impl Block {
    fn new(size: Size, vb: VarBuilder) -> Result<Self> {
        let channels = size.channels;
        let norm = |name| layer_norm(channels, INNER_EPSILON, vb.pp(name));
        Ok(Self {
            norm1: norm("norm1")?,
            itself: Attention::new(size, channels, vb.pp("attn1"))?,
            norm2: norm("norm2")?,
            words: Attention::new(size, size.words, vb.pp("attn2"))?,
            norm3: norm("norm3")?,
            widen: linear(channels, channels * 8, vb.pp("ff.net.0.proj"))?,
            narrow: linear(channels * 4, channels, vb.pp("ff.net.2"))?,
        })
    }

    fn forward(&self, x: &Tensor, words: &Tensor, pass: &Pass) -> Result<Tensor> {
        let inner = self.norm1.forward(x)?;
        let x = (x + self.itself.forward(&inner, &inner, pass)?)?;
        let x = (&x + self.words.forward(&self.norm2.forward(&x)?, words, pass)?)?;
        pass.check()?;
        let wide = self.widen.forward(&self.norm3.forward(&x)?)?;
        let halves = wide.chunk(2, 2)?;
        let gated = (&halves[0] * halves[1].contiguous()?.gelu_erf()?)?;
        &x + self.narrow.forward(&gated)?
    }
}

struct Attention {
    heads: usize,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

impl Attention {
    fn new(size: Size, from: usize, vb: VarBuilder) -> Result<Self> {
        let channels = size.channels;
        Ok(Self {
            heads: size.heads,
            q: linear_no_bias(channels, channels, vb.pp("to_q"))?,
            k: linear_no_bias(from, channels, vb.pp("to_k"))?,
            v: linear_no_bias(from, channels, vb.pp("to_v"))?,
            out: linear(channels, channels, vb.pp("to_out.0"))?,
        })
    }

    fn forward(&self, x: &Tensor, at: &Tensor, pass: &Pass) -> Result<Tensor> {
        let split = |x: Tensor| attention::split(&x, self.heads);
        let (q, k, v) = (self.q.forward(x)?, self.k.forward(at)?, self.v.forward(at)?);
        let drawn = attention::attend(&split(q)?, &split(k)?, &split(v)?, None, pass)?;
        self.out.forward(&attention::join(&drawn)?)
    }
}
