//! The text half of CLIP: <https://arxiv.org/abs/2103.00020>.

use candle_core::{DType, Device, Error, IndexOp, Result, Tensor};
use candle_nn::{
    Embedding, LayerNorm, Linear, Module, VarBuilder, embedding, layer_norm, linear, linear_no_bias,
};

use super::{Pass, attention};
use crate::engines::diffusion::config::TextConfig;

/// What a text became.
pub struct Encoded {
    /// Words after the last layer and its norm, (1, length, size).
    pub last: Tensor,
    /// Words before the last layer, (1, length, size).
    pub before_last: Tensor,
    /// The text as a whole, (1, size).
    pub whole: Tensor,
}

/// What stands for a text as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// The token that ends it.
    End,
    /// A projection of that.
    Projected,
}

#[derive(Clone, Copy)]
enum Activation {
    Gelu,
    QuickGelu,
}

struct Layer {
    norm1: LayerNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm2: LayerNorm,
    widen: Linear,
    narrow: Linear,
}

/// The network.
pub struct TextEncoder {
    words: Embedding,
    places: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    projection: Option<Linear>,
    heads: usize,
    activation: Activation,
}

impl TextEncoder {
    /// Reads one.
    pub fn new(config: &TextConfig, whole: Whole, vb: VarBuilder) -> Result<Self> {
        let (size, inner) = (config.hidden_size, config.intermediate_size);
        let activation = match config.hidden_act.as_str() {
            "gelu" => Activation::Gelu,
            "quick_gelu" => Activation::QuickGelu,
            other => {
                return Err(Error::Msg(format!(
                    "a text encoder with the activation {other:?}: expected gelu or quick_gelu"
                )));
            }
        };
        let projected = config.projection_dim.unwrap_or(size);
        let projection = match whole {
            Whole::End => None,
            Whole::Projected => Some(linear_no_bias(size, projected, vb.pp("text_projection"))?),
        };
        let vb = vb.pp("text_model");
        let layer = |i: usize| {
            let vb = vb.pp("encoder.layers").pp(i);
            let part = |name| linear(size, size, vb.pp("self_attn").pp(name));
            let norm = |name| layer_norm(size, config.layer_norm_eps, vb.pp(name));
            Ok(Layer {
                norm1: norm("layer_norm1")?,
                q: part("q_proj")?,
                k: part("k_proj")?,
                v: part("v_proj")?,
                out: part("out_proj")?,
                norm2: norm("layer_norm2")?,
                widen: linear(size, inner, vb.pp("mlp.fc1"))?,
                narrow: linear(inner, size, vb.pp("mlp.fc2"))?,
            })
        };
        let places = vb.pp("embeddings.position_embedding");
        Ok(Self {
            words: embedding(config.vocab_size, size, vb.pp("embeddings.token_embedding"))?,
            places: places.get((config.max_position_embeddings, size), "weight")?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            norm: layer_norm(size, config.layer_norm_eps, vb.pp("final_layer_norm"))?,
            projection,
            heads: config.num_attention_heads,
            activation,
        })
    }

    /// Encodes one window of tokens, which ends at the place `end`.
    pub fn forward(&self, ids: &[u32], end: usize, pass: &Pass) -> Result<Encoded> {
        let device = self.places.device();
        let words = self.words.forward(&Tensor::new(ids, device)?)?;
        let mut x = (words + self.places.narrow(0, 0, ids.len())?)?.unsqueeze(0)?;
        let mask = mask(ids.len(), device)?;
        let mut before_last = x.clone();
        for layer in &self.layers {
            before_last = x;
            x = self.layer(layer, &before_last, &mask, pass)?;
        }
        let last = self.norm.forward(&x)?;
        let whole = last.i((.., end))?;
        let whole = match &self.projection {
            Some(layer) => layer.forward(&whole)?,
            None => whole,
        };
        Ok(Encoded { last, before_last, whole })
    }

    fn layer(&self, layer: &Layer, x: &Tensor, mask: &Tensor, pass: &Pass) -> Result<Tensor> {
        let inner = layer.norm1.forward(x)?;
        let part = |layer: &Linear| attention::split(&layer.forward(&inner)?, self.heads);
        let seen = attention::attend(&part(&layer.q)?, &part(&layer.k)?, &part(&layer.v)?, Some(mask), pass)?;
        let x = (x + layer.out.forward(&attention::join(&seen)?)?)?;
        let wide = layer.widen.forward(&layer.norm2.forward(&x)?)?;
        let wide = match self.activation {
            Activation::Gelu => wide.gelu_erf()?,
            Activation::QuickGelu => (&wide * candle_nn::ops::sigmoid(&wide.affine(1.702, 0.0)?)?)?,
        };
        &x + layer.narrow.forward(&wide)?
    }
}

/// Words see those before them.
fn mask(length: usize, device: &Device) -> Result<Tensor> {
    let of = |i: usize| (0..length).map(move |j| if j > i { f32::NEG_INFINITY } else { 0.0 });
    let mask: Vec<f32> = (0..length).flat_map(of).collect();
    Tensor::from_vec(mask, (length, length), device)?.to_dtype(DType::F32)
}
