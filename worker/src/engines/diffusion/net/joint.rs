//! The blocks in which a picture and the words look at each other as equals: MM-DiT, <https://arxiv.org/abs/2403.03206>.
//! Stable Diffusion 3 and Flux are made of them.

use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module, RmsNorm, VarBuilder, linear, rms_norm};

use super::{
    Pass,
    adaptive::{Adaptive, EPSILON, Norm},
    attention,
    layers::by_places,
    turns::Turns,
};

/// Heads of attention and the size of each; together they make the width of the network.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// How many.
    pub count: usize,
    /// Channels of each.
    pub size: usize,
}

impl Heads {
    /// Channels of the network.
    pub fn width(self) -> usize {
        self.count * self.size
    }
}

/// Whether queries and keys have norms of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryNorm {
    /// They have none.
    Absent,
    /// <https://arxiv.org/abs/1910.07467>.
    Rms,
}

/// Queries, keys and values, each (batch, heads, length, size).
pub struct Seen {
    /// What each place looks for.
    pub queries: Tensor,
    /// What each place is found by.
    pub keys: Tensor,
    /// What each place gives.
    pub values: Tensor,
}

impl Seen {
    /// The places of both, these first.
    pub fn then(&self, other: &Self) -> Result<Self> {
        let both = |a: &Tensor, b: &Tensor| Tensor::cat(&[a, b], 2);
        Ok(Self {
            queries: both(&self.queries, &other.queries)?,
            keys: both(&self.keys, &other.keys)?,
            values: both(&self.values, &other.values)?,
        })
    }

    /// What all places draw from each other, (batch, length, width).
    pub fn drawn(&self, turns: Option<&Turns>, pass: &Pass) -> Result<Tensor> {
        let (mut queries, mut keys) = (self.queries.clone(), self.keys.clone());
        if let Some(turns) = turns {
            (queries, keys) = (turns.apply(&queries)?, turns.apply(&keys)?);
        }
        attention::join(&attention::attend(&queries, &keys, &self.values, None, pass)?)
    }
}

/// The layers that give queries, keys and values.
pub struct Project {
    layers: [Linear; 3],
    norms: Option<[RmsNorm; 2]>,
    heads: Heads,
}

impl Project {
    /// Reads those of the names.
    pub fn new(
        heads: Heads,
        norm: QueryNorm,
        layers: [&str; 3],
        norms: [&str; 2],
        vb: &VarBuilder,
    ) -> Result<Self> {
        let width = heads.width();
        let layer = |name: &str| linear(width, width, vb.pp(name));
        let norm_of = |name: &str| rms_norm(heads.size, EPSILON, vb.pp(name));
        Ok(Self {
            layers: [layer(layers[0])?, layer(layers[1])?, layer(layers[2])?],
            norms: match norm {
                QueryNorm::Absent => None,
                QueryNorm::Rms => Some([norm_of(norms[0])?, norm_of(norms[1])?]),
            },
            heads,
        })
    }

    /// Those of attention of a stream to itself and others, in the usual names.
    pub fn usual(heads: Heads, norm: QueryNorm, vb: &VarBuilder) -> Result<Self> {
        Self::new(heads, norm, ["to_q", "to_k", "to_v"], ["norm_q", "norm_k"], vb)
    }

    /// Multiply-adds that a place takes.
    pub fn cost(&self) -> usize {
        3 * self.heads.width() * self.heads.width()
    }

    /// Of places that went through a norm, (batch, length, width), each as long.
    pub fn layers(&self, x: &Tensor) -> Result<[Tensor; 3]> {
        let [queries, keys, values] = &self.layers;
        Ok([queries.forward(x)?, keys.forward(x)?, values.forward(x)?])
    }

    /// By heads, with their norms.
    pub fn heads(&self, [queries, keys, values]: [Tensor; 3]) -> Result<Seen> {
        let split = |x: &Tensor| attention::split(x, self.heads.count)?.contiguous();
        let (mut queries, mut keys) = (split(&queries)?, split(&keys)?);
        if let Some([of_queries, of_keys]) = &self.norms {
            (queries, keys) = (of_queries.forward(&queries)?, of_keys.forward(&keys)?);
        }
        Ok(Seen { queries, keys, values: split(&values)? })
    }

    /// What places give, after the norm `normed`.
    pub fn forward(
        &self,
        x: &Tensor,
        normed: impl Fn(&Tensor) -> Result<Tensor>,
        pass: &Pass,
    ) -> Result<Seen> {
        self.heads(by_places([x], self.cost(), pass, |[x]| self.layers(&normed(&x)?))?)
    }
}

/// What follows attention: the way out of it, and two layers of which the first is four times as wide.
struct After {
    out: Linear,
    widen: Linear,
    narrow: Linear,
    width: usize,
}

impl After {
    fn new(width: usize, out: VarBuilder, feed: VarBuilder) -> Result<Self> {
        Ok(Self {
            out: linear(width, width, out)?,
            widen: linear(width, 4 * width, feed.pp("net.0.proj"))?,
            narrow: linear(4 * width, width, feed.pp("net.2"))?,
            width,
        })
    }

    /// `x` with what it drew from attention; `parts` are gate, shift, scale and gate.
    fn forward(
        &self,
        x: &Tensor,
        drawn: &Tensor,
        norm: &Norm,
        parts: &[Tensor],
        pass: &Pass,
    ) -> Result<Tensor> {
        let cost = 9 * self.width * self.width;
        let [made] = by_places([x, drawn], cost, pass, |[x, drawn]| {
            let x = (x + self.out.forward(&drawn)?.broadcast_mul(&parts[0])?)?;
            let wide = self.widen.forward(&norm.forward(&x, &parts[1], &parts[2])?)?.gelu()?;
            Ok([(x + self.narrow.forward(&wide)?.broadcast_mul(&parts[3])?)?])
        })?;
        Ok(made)
    }
}

/// One of the two streams of a block.
struct Stream {
    adaptive: Adaptive,
    project: Project,
    /// Nothing, where the stream ends in this block.
    after: Option<After>,
}

/// Parts of [`Adaptive`]: shift, scale and gate of attention, and of what follows it; only scale and shift, in this order, of
/// a stream that ends; and three more of a picture that also looks at itself alone.
const PARTS: usize = 6;
const PARTS_ENDING: usize = 2;
const PARTS_ALONE: usize = 9;

/// What is the same or not in the blocks of a network.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Heads of attention.
    pub heads: Heads,
    /// Norms of queries and keys.
    pub norm: QueryNorm,
    /// Whether this block is the last that sees words.
    pub words_end: bool,
    /// Whether the picture also looks at itself alone, as in Stable Diffusion 3.5 Medium.
    pub alone: bool,
}

/// A block.
pub struct Joint {
    norm: Norm,
    picture: Stream,
    words: Stream,
    alone: Option<(Project, Linear)>,
    width: usize,
}

impl Joint {
    /// Reads one.
    pub fn new(kind: Kind, vb: VarBuilder) -> Result<Self> {
        let (heads, norm, width) = (kind.heads, kind.norm, kind.heads.width());
        let attention = vb.pp("attn");
        let added = ["add_q_proj", "add_k_proj", "add_v_proj"];
        let itself = || {
            let vb = vb.pp("attn2");
            Ok::<_, candle_core::Error>((
                Project::usual(heads, norm, &vb)?,
                linear(width, width, vb.pp("to_out.0"))?,
            ))
        };
        let after = |out, feed| After::new(width, attention.pp(out), vb.pp(feed));
        let (of_picture, of_words) =
            (if kind.alone { PARTS_ALONE } else { PARTS }, if kind.words_end { PARTS_ENDING } else { PARTS });
        Ok(Self {
            norm: Norm::new(width, &vb)?,
            picture: Stream {
                adaptive: Adaptive::new(width, of_picture, vb.pp("norm1"))?,
                project: Project::usual(heads, norm, &attention)?,
                after: Some(after("to_out.0", "ff")?),
            },
            words: Stream {
                adaptive: Adaptive::new(width, of_words, vb.pp("norm1_context"))?,
                project: Project::new(heads, norm, added, ["norm_added_q", "norm_added_k"], &attention)?,
                after: match kind.words_end {
                    true => None,
                    false => Some(after("to_add_out", "ff_context")?),
                },
            },
            alone: kind.alone.then(itself).transpose()?,
            width,
        })
    }

    /// Words and picture, each (batch, length, width), with what they draw from each other. `told` is what
    /// [`super::adaptive::Told`] gives.
    pub fn forward(
        &self,
        (words, picture): (&Tensor, &Tensor),
        told: &Tensor,
        turns: Option<&Turns>,
        pass: &Pass,
    ) -> Result<(Tensor, Tensor)> {
        let (of_words, of_picture) =
            (self.words.adaptive.forward(told)?, self.picture.adaptive.forward(told)?);
        let (shift, scale) = match self.words.after {
            Some(_) => (&of_words[0], &of_words[1]),
            None => (&of_words[1], &of_words[0]),
        };
        let seen = self.words.project.forward(words, |x| self.norm.forward(x, shift, scale), pass)?;
        let normed = |x: &Tensor| self.norm.forward(x, &of_picture[0], &of_picture[1]);
        let seen = seen.then(&self.picture.project.forward(picture, normed, pass)?)?;
        let drawn = seen.drawn(turns, pass)?;
        let length = words.dim(1)?;
        let (by_words, by_picture) = (drawn.narrow(1, 0, length)?, drawn.narrow(1, length, picture.dim(1)?)?);
        let picture = self.with_alone(picture, &of_picture, pass)?;
        let after = |stream: &Stream, x: &Tensor, drawn: &Tensor, parts: &[Tensor]| match &stream.after {
            Some(after) => after.forward(x, drawn, &self.norm, &parts[2..PARTS], pass),
            None => Ok(x.clone()),
        };
        Ok((
            after(&self.words, words, &by_words, &of_words)?,
            after(&self.picture, &picture, &by_picture, &of_picture)?,
        ))
    }

    /// The picture with what it draws from itself alone, where it does.
    fn with_alone(&self, picture: &Tensor, parts: &[Tensor], pass: &Pass) -> Result<Tensor> {
        let Some((project, out)) = &self.alone else {
            return Ok(picture.clone());
        };
        let [shift, scale, gate] = [&parts[PARTS], &parts[PARTS + 1], &parts[PARTS + 2]];
        let seen = project.forward(picture, |x| self.norm.forward(x, shift, scale), pass)?;
        let drawn = seen.drawn(None, pass)?;
        let [made] = by_places([picture, &drawn], self.width * self.width, pass, |[x, drawn]| {
            Ok([(x + out.forward(&drawn)?.broadcast_mul(gate)?)?])
        })?;
        Ok(made)
    }
}
