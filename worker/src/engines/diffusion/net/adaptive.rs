//! What transformers of pictures take from the time and the prompt as a whole: an embedding, and of that the shifts, scales and
//! gates of their blocks. <https://arxiv.org/abs/2212.09748>.

use candle_core::{Result, Tensor};
use candle_nn::{LayerNorm, Linear, Module, VarBuilder, linear};

use super::layers::waves;

/// Numbers that the time becomes before it is embedded.
const WAVES: usize = 256;
/// What guidance is multiplied with, so that it is as large as steps are.
const PER_GUIDANCE: f64 = 1_000.0;
/// What keeps the norms from dividing by nothing.
pub const EPSILON: f64 = 1e-6;

/// Two layers, from numbers or a prompt to the width of the network.
struct Embedding(Linear, Linear);

impl Embedding {
    fn new(from: usize, width: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self(linear(from, width, vb.pp("linear_1"))?, linear(width, width, vb.pp("linear_2"))?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.1.forward(&self.0.forward(x)?.silu()?)
    }
}

/// Sizes of the embedding.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Width of the network.
    pub width: usize,
    /// Size of the prompt as a whole.
    pub pooled: usize,
    /// Whether the network is told how much the prompt counts.
    pub guidance: bool,
}

/// The embedding of the time, of guidance where the network is told it, and of the prompt as a whole.
pub struct Told {
    time: Embedding,
    guidance: Option<Embedding>,
    pooled: Embedding,
}

impl Told {
    /// Reads one.
    pub fn new(size: Size, vb: VarBuilder) -> Result<Self> {
        let guidance = || Embedding::new(WAVES, size.width, vb.pp("guidance_embedder"));
        Ok(Self {
            time: Embedding::new(WAVES, size.width, vb.pp("timestep_embedder"))?,
            guidance: size.guidance.then(guidance).transpose()?,
            pooled: Embedding::new(size.pooled, size.width, vb.pp("text_embedder"))?,
        })
    }

    /// A step of training, guidance and a prompt as a whole, (batch, size), as (batch, width), with the activation that every
    /// block begins with.
    pub fn forward(&self, step: f64, guidance: f64, pooled: &Tensor) -> Result<Tensor> {
        let (device, dtype) = (pooled.device(), pooled.dtype());
        let wave = |number: f64| waves(&[number], WAVES, 0.0, device)?.to_dtype(dtype);
        let mut told = self.time.forward(&wave(step)?)?;
        if let Some(embedding) = &self.guidance {
            told = (told + embedding.forward(&wave(guidance * PER_GUIDANCE)?)?)?;
        }
        self.pooled.forward(pooled)?.broadcast_add(&told)?.silu()
    }
}

/// The shifts, scales and gates of one block.
pub struct Adaptive {
    linear: Linear,
    parts: usize,
}

impl Adaptive {
    /// Reads one that gives so many parts.
    pub fn new(width: usize, parts: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self { linear: linear(width, parts * width, vb.pp("linear"))?, parts })
    }

    /// The parts, each (batch, 1, width).
    pub fn forward(&self, told: &Tensor) -> Result<Vec<Tensor>> {
        self.linear.forward(told)?.unsqueeze(1)?.chunk(self.parts, 2)
    }
}

/// A norm whose scale and shift come from elsewhere.
pub struct Norm(LayerNorm);

impl Norm {
    /// One for networks of so many channels.
    pub fn new(width: usize, vb: &VarBuilder) -> Result<Self> {
        let (dtype, device) = (vb.dtype(), vb.device());
        let (ones, zeros) = (Tensor::ones(width, dtype, device)?, Tensor::zeros(width, dtype, device)?);
        Ok(Self(LayerNorm::new(ones, zeros, EPSILON)))
    }

    /// (batch, length, width) to the same.
    pub fn forward(&self, x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
        self.0.forward(x)?.broadcast_mul(&scale.affine(1.0, 1.0)?)?.broadcast_add(shift)
    }
}

/// The norm before the last layer, with its scale and shift.
pub struct Last {
    norm: Norm,
    adaptive: Adaptive,
    linear: Linear,
}

impl Last {
    /// Reads `norm_out` and `proj_out`.
    pub fn new(width: usize, to: usize, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            norm: Norm::new(width, vb)?,
            adaptive: Adaptive::new(width, 2, vb.pp("norm_out"))?,
            linear: linear(width, to, vb.pp("proj_out"))?,
        })
    }

    /// (batch, length, width) to (batch, length, to).
    pub fn forward(&self, x: &Tensor, told: &Tensor) -> Result<Tensor> {
        let parts = self.adaptive.forward(told)?;
        let [scale, shift] = [&parts[0], &parts[1]];
        self.linear.forward(&self.norm.forward(x, shift, scale)?)
    }
}
