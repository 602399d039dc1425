//! The network: a U-Net that sees a noisy picture, a time and the words, and says which way the picture goes. What
//! `models/doodle/model.py` has in torch, tensor for tensor.

use candle_core::{Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear, linear_no_bias, ops::layer_norm};
use serde::Deserialize;

use crate::engines::neural::{
    Pass, attention,
    conv::{self, Conv},
    layers::waves,
};

/// Sinusoids for each of time, step and guidance, cosines and sines together.
const WAVES: usize = 128;
/// Times, from 0 to 1, are waves' numbers from 0 to this.
const SPAN: f64 = 1_000.0;
/// Guidance that counts as 1.
const MUCH_GUIDANCE: f64 = 10.0;
/// Size of a head in the attention among words.
const WORD_HEAD: usize = 64;
/// What keeps norms from dividing by nothing.
const EPSILON: f32 = 1e-5;
/// A predicted picture says the velocity as if at least so far from the end of the way.
const CLOSEST: f64 = 0.05;

/// What a network says of a noisy picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Predicts {
    /// Which way the picture goes.
    #[default]
    Velocity,
    /// Where it ends.
    Picture,
}

/// Sizes of a network, as its weights say them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Shape {
    /// Pixels of a side of the squares that it learned from.
    pub size: usize,
    /// Pixels of the side of what is one place to the network.
    pub patch: usize,
    /// Channels of each level, from fine to coarse.
    pub channels: Vec<usize>,
    /// Blocks of each level on the way down, and again on the way up.
    pub blocks: Vec<usize>,
    /// The level from which on places look at each other and at the words.
    pub attends: usize,
    /// Size of a head.
    pub head: usize,
    /// Size of what time and words are embedded in.
    pub embedding: usize,
    /// Size of a word's state.
    pub text: usize,
    /// Layers among the words.
    pub text_blocks: usize,
    /// What it says.
    #[serde(default)]
    pub predicts: Predicts,
}

impl Shape {
    /// What sides of pictures are multiples of, in pixels.
    pub fn unit(&self) -> usize {
        self.patch << (self.channels.len() - 1)
    }
}

/// What a step of the way goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// From 0, noise, to 1, the picture.
    pub time: f64,
    /// How far this step goes.
    pub step: f64,
    /// How much the words count; 1 is as in what it learned from.
    pub guidance: f64,
}

/// The network.
pub struct Doodle {
    shape: Shape,
    words: Words,
    pooled: Linear,
    embed: (Linear, Linear),
    enter: Conv,
    down: Vec<Vec<Level>>,
    shrink: Vec<Conv>,
    middle: Level,
    up: Vec<Vec<Level>>,
    grow: Vec<Conv>,
    leave: Conv,
}

impl Doodle {
    /// Reads one.
    ///
    /// # Errors
    /// Candle's, naming the tensor that is missing or has another shape.
    pub fn new(shape: &Shape, vb: VarBuilder) -> Result<Self> {
        let Shape { channels, blocks, embedding, text, .. } = shape;
        let pixels = 3 * shape.patch * shape.patch;
        let level = |from, to, depth, vb| Level::new(from, to, shape, depth >= shape.attends, vb);
        let (mut down, mut shrink, mut up, mut grow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut inner = channels[0];
        let coarsest = channels.len() - 1;
        for (depth, &outer) in channels.iter().enumerate() {
            let mut parts = Vec::new();
            for part in 0..blocks[depth] {
                parts.push(level(inner, outer, depth, vb.pp("down").pp(depth).pp(part))?);
                inner = outer;
            }
            down.push(parts);
            if depth < coarsest {
                shrink.push(Conv::new(inner, inner, vb.pp("shrink").pp(depth))?);
            }
        }
        let middle = Level::new(inner, inner, shape, true, vb.pp("middle"))?;
        for (turn, depth) in (0..=coarsest).rev().enumerate() {
            let outer = channels[depth];
            let mut parts = Vec::new();
            for part in 0..blocks[depth] {
                parts.push(level(inner + outer, outer, depth, vb.pp("up").pp(turn).pp(part))?);
                inner = outer;
            }
            up.push(parts);
            if depth > 0 {
                let finer = channels[depth - 1];
                grow.push(Conv::new(inner, finer, vb.pp("grow").pp(turn))?);
                inner = finer;
            }
        }
        Ok(Self {
            shape: shape.clone(),
            words: Words::new(*text, shape.text_blocks, vb.pp("words"))?,
            pooled: linear(*text, *embedding, vb.pp("pooled"))?,
            embed: (
                linear(3 * WAVES, *embedding, vb.pp("embed").pp(0))?,
                linear(*embedding, *embedding, vb.pp("embed").pp(2))?,
            ),
            enter: Conv::new(pixels, channels[0], vb.pp("enter"))?,
            down,
            shrink,
            middle,
            up,
            grow,
            leave: Conv::new(inner, pixels, vb.pp("leave"))?,
        })
    }

    /// What the words mean to it, (1, tokens, size), from the encoder's states in that shape.
    ///
    /// # Errors
    /// Those of the device, and that of `pass`.
    pub fn read(&self, states: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.words.forward(states, pass)
    }

    /// The velocity from noise towards the picture, in the shape of `x`, (batch, 3, rows, columns), both multiples of
    /// [`Shape::unit`]. `words` is what [`Self::read`] gives, for all of a batch.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn velocity(&self, x: &Tensor, moment: Moment, words: &Tensor, pass: &Pass) -> Result<Tensor> {
        let embedding = self.embedding(moment, words)?;
        let view = View { embedding: &embedding, words: &words.repeat((x.dim(0)?, 1, 1))?, pass };
        let noisy = x;
        let mut x = self.enter.forward(&conv::patches(noisy, self.shape.patch)?, pass)?;
        let mut skips = Vec::new();
        for (depth, level) in self.down.iter().enumerate() {
            for part in level {
                x = part.forward(&x, &view)?;
                skips.push(x.clone());
            }
            if let Some(shrink) = self.shrink.get(depth) {
                x = shrink.halve(&x, pass)?;
            }
        }
        x = self.middle.forward(&x, &view)?;
        for (turn, level) in self.up.iter().enumerate() {
            for part in level {
                let beside: Vec<Tensor> = std::iter::once(x).chain(skips.pop()).collect();
                x = part.forward(&Tensor::cat(&beside, 3)?, &view)?;
            }
            if let Some(grow) = self.grow.get(turn) {
                x = grow.forward(&conv::enlarged(&x, 2)?, pass)?;
            }
        }
        let found = conv::shuffled(&self.leave.forward(&level(&x)?.silu()?, pass)?, self.shape.patch)?;
        let found = found.permute((0, 3, 1, 2))?.contiguous()?;
        match self.shape.predicts {
            Predicts::Velocity => Ok(found),
            Predicts::Picture => (found - noisy)? / (1.0 - moment.time).max(CLOSEST),
        }
    }

    /// As [`Self::velocity`] for a network that has no guidance built in: away from what `blank`, which is what the encoder's states
    /// of no words, or of words to keep away from, give, would do (<https://arxiv.org/abs/2207.12598>).
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn guided(
        &self,
        x: &Tensor,
        moment: Moment,
        words: &Tensor,
        blank: &Tensor,
        pass: &Pass,
    ) -> Result<Tensor> {
        let plain = Moment { step: 0.0, guidance: 1.0, ..moment };
        let without = self.velocity(x, plain, blank, pass)?;
        let with = self.velocity(x, plain, words, pass)?;
        ((with - &without)? * moment.guidance)? + without
    }

    /// Time and words as one row, (1, size).
    fn embedding(&self, moment: Moment, words: &Tensor) -> Result<Tensor> {
        let numbers = [moment.time, moment.step, moment.guidance / MUCH_GUIDANCE].map(|number| number * SPAN);
        let waves = waves(&numbers, WAVES, 0.0, words.device())?.reshape((1, 3 * WAVES))?;
        let time = self.embed.1.forward(&self.embed.0.forward(&waves)?.silu()?)?;
        (time + self.pooled.forward(&words.mean(1)?)?)?.silu()
    }
}

/// What every block sees beside the picture.
struct View<'a> {
    embedding: &'a Tensor,
    words: &'a Tensor,
    pass: &'a Pass<'a>,
}

/// Each place's channels, or each word's, with mean 0 and deviation 1.
fn level(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(candle_core::D::Minus1)?;
    let (one, zero) = norm(width, x.device())?;
    layer_norm(&x.contiguous()?, &one, &zero, EPSILON)
}

fn norm(width: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let one = Tensor::ones(width, candle_core::DType::F32, device)?;
    Ok((one.clone(), one.zeros_like()?))
}

/// Two convolutions beside a shortcut; time and words scale and shift what lies between them.
struct Block {
    conv1: Conv,
    conv2: Conv,
    modulation: Linear,
    shortcut: Option<Conv>,
}

impl Block {
    fn new(from: usize, to: usize, embedding: usize, vb: VarBuilder) -> Result<Self> {
        let shortcut = (from != to).then(|| Conv::of_one(from, to, vb.pp("shortcut")));
        Ok(Self {
            conv1: Conv::new(from, to, vb.pp("conv1"))?,
            conv2: Conv::new(to, to, vb.pp("conv2"))?,
            modulation: linear(embedding, 2 * to, vb.pp("modulation"))?,
            shortcut: shortcut.transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, view: &View) -> Result<Tensor> {
        let halves = self.modulation.forward(view.embedding)?.chunk(2, 1)?;
        let out = self.conv1.forward(&level(x)?.silu()?, view.pass)?;
        let out = level(&out)?.broadcast_mul(&(&halves[0] + 1.0)?)?.broadcast_add(&halves[1])?;
        let out = self.conv2.forward(&out.silu()?, view.pass)?;
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, view.pass)? + out,
            None => x + out,
        }
    }
}

/// Attention of rows, (batch, length, width), to a context, (batch, length, width).
struct Attention {
    heads: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
}

impl Attention {
    fn new(width: usize, context: usize, head: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            heads: width / head,
            query: linear_no_bias(width, width, vb.pp("query"))?,
            key: linear_no_bias(context, width, vb.pp("key"))?,
            value: linear_no_bias(context, width, vb.pp("value"))?,
            out: linear_no_bias(width, width, vb.pp("out"))?,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor, pass: &Pass) -> Result<Tensor> {
        let split = |layer: &Linear, x: &Tensor| attention::split(&layer.forward(x)?, self.heads);
        let (query, key, value) =
            (split(&self.query, x)?, split(&self.key, context)?, split(&self.value, context)?);
        let drawn = attention::attend(&query, &key, &value, None, pass)?;
        self.out.forward(&attention::join(&drawn)?)
    }
}

/// A small network for each row.
struct Feed {
    up: Linear,
    down: Linear,
}

impl Feed {
    fn new(width: usize, times: usize, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            up: linear_no_bias(width, times * width, vb.pp("up"))?,
            down: linear_no_bias(times * width, width, vb.pp("down"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&self.up.forward(&level(x)?)?.silu()?)
    }
}

/// Attention of places to each other and to the words, and a small network for each place.
struct Transformer {
    attend: Attention,
    read: Attention,
    feed: Feed,
}

impl Transformer {
    fn new(width: usize, shape: &Shape, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            attend: Attention::new(width, width, shape.head, vb.pp("attend"))?,
            read: Attention::new(width, shape.text, shape.head, vb.pp("read"))?,
            feed: Feed::new(width, 3, &vb)?,
        })
    }

    fn forward(&self, x: &Tensor, view: &View) -> Result<Tensor> {
        let flat = x.flatten(1, 2)?;
        let own = level(&flat)?;
        let flat = (flat + self.attend.forward(&own, &own, view.pass)?)?;
        let flat = (&flat + self.read.forward(&level(&flat)?, view.words, view.pass)?)?;
        let flat = (&flat + self.feed.forward(&flat)?)?;
        flat.reshape(x.dims())
    }
}

/// Lets the encoder's states be fitted to pictures.
struct Words {
    enter: Linear,
    blocks: Vec<(Attention, Feed)>,
}

impl Words {
    fn new(width: usize, count: usize, vb: VarBuilder) -> Result<Self> {
        let block = |at: usize| {
            let vb = vb.pp("blocks").pp(at);
            Ok((Attention::new(width, width, WORD_HEAD, vb.pp("attend"))?, Feed::new(width, 2, &vb)?))
        };
        Ok(Self {
            enter: linear(width, width, vb.pp("enter"))?,
            blocks: (0..count).map(block).collect::<Result<_>>()?,
        })
    }

    fn forward(&self, states: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut text = self.enter.forward(states)?;
        for (attend, feed) in &self.blocks {
            let own = level(&text)?;
            text = (text + attend.forward(&own, &own, pass)?)?;
            text = (&text + feed.forward(&text)?)?;
        }
        level(&text)
    }
}

/// A block and, where the level attends, a transformer behind it.
struct Level {
    block: Block,
    transformer: Option<Transformer>,
}

impl Level {
    fn new(from: usize, to: usize, shape: &Shape, attends: bool, vb: VarBuilder) -> Result<Self> {
        let transformer = attends.then(|| Transformer::new(to, shape, vb.pp("transformer")));
        Ok(Self {
            block: Block::new(from, to, shape.embedding, vb.pp("block"))?,
            transformer: transformer.transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, view: &View) -> Result<Tensor> {
        let x = self.block.forward(x, view)?;
        match &self.transformer {
            Some(transformer) => transformer.forward(&x, view),
            None => Ok(x),
        }
    }
}
