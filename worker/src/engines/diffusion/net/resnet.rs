//! The block that every network of pictures is made of, and changes of size between blocks.

use candle_core::{Result, Tensor};
use candle_nn::{GroupNorm, Linear, Module, VarBuilder, group_norm, linear};

use super::{Pass, layers::Conv};

/// Two convolutions beside a shortcut: <https://arxiv.org/abs/1512.03385>.
pub struct Resnet {
    norm1: GroupNorm,
    conv1: Conv,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
}

/// What is the same in all blocks of a network.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Groups of a norm.
    pub groups: usize,
    /// What keeps a norm from dividing by nothing.
    pub epsilon: f64,
    /// Size of the time's embedding, in networks that have one.
    pub time: Option<usize>,
}

impl Resnet {
    /// Reads one.
    pub fn new(from: usize, to: usize, kind: Kind, vb: VarBuilder) -> Result<Self> {
        let norm = |channels, name| group_norm(kind.groups, channels, kind.epsilon, vb.pp(name));
        Ok(Self {
            norm1: norm(from, "norm1")?,
            conv1: Conv::new(from, to, 3, 1, vb.pp("conv1"))?,
            time: kind.time.map(|size| linear(size, to, vb.pp("time_emb_proj"))).transpose()?,
            norm2: norm(to, "norm2")?,
            conv2: Conv::new(to, to, 3, 1, vb.pp("conv2"))?,
            shortcut: match from == to {
                true => None,
                false => Some(Conv::new(from, to, 1, 1, vb.pp("conv_shortcut"))?),
            },
        })
    }

    /// `time` is (batch, size), with its activation applied.
    pub fn forward(&self, x: &Tensor, time: Option<&Tensor>, pass: &Pass) -> Result<Tensor> {
        let mut inner = self.conv1.forward(&self.norm1.forward(x)?.silu()?, pass)?;
        if let (Some(layer), Some(time)) = (&self.time, time) {
            inner = inner.broadcast_add(&layer.forward(time)?.unsqueeze(2)?.unsqueeze(3)?)?;
        }
        let inner = self.conv2.forward(&self.norm2.forward(&inner)?.silu()?, pass)?;
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, pass)? + inner,
            None => x + inner,
        }
    }
}

/// Twice the size (or that of the skip that follows), then a convolution.
pub struct Upsample(Conv);

impl Upsample {
    /// Reads one.
    pub fn new(channels: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self(Conv::new(channels, channels, 3, 1, vb.pp("conv"))?))
    }

    /// To so many rows and columns.
    pub fn forward(&self, x: &Tensor, (rows, columns): (usize, usize), pass: &Pass) -> Result<Tensor> {
        self.0.forward(&x.upsample_nearest2d(rows, columns)?, pass)
    }
}
