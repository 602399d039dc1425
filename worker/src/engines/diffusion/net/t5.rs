//! The encoder half of T5 1.1: <https://arxiv.org/abs/1910.10683>, <https://arxiv.org/abs/2002.05202>.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Embedding, Linear, Module, RmsNorm, VarBuilder, embedding, linear_no_bias, rms_norm};

use super::{Pass, attention, layers::by_places};
use crate::engines::diffusion::transformers::T5Config;

struct Layer {
    norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    feed_norm: RmsNorm,
    gate: Linear,
    widen: Linear,
    narrow: Linear,
}

/// The network.
pub struct T5 {
    words: Embedding,
    /// How much a place counts for another by how far it is, (distances, heads).
    distances: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    config: T5Config,
    gives: DType,
}

impl T5 {
    /// Reads one that gives numbers of the type `gives`, whatever its own are.
    pub fn new(config: &T5Config, gives: DType, vb: VarBuilder) -> Result<Self> {
        let (size, inner) = (config.d_model, config.num_heads * config.d_kv);
        // Files have one name for it or the other, or both.
        let shared = match vb.contains_tensor("shared.weight") {
            true => vb.pp("shared"),
            false => vb.pp("encoder.embed_tokens"),
        };
        let vb = vb.pp("encoder");
        let norm = |vb: VarBuilder| rms_norm(size, config.layer_norm_epsilon, vb.set_dtype(DType::F32));
        let layer = |i: usize| {
            let (look, feed) = (vb.pp("block").pp(i).pp("layer.0"), vb.pp("block").pp(i).pp("layer.1"));
            let (attention, dense) = (look.pp("SelfAttention"), feed.pp("DenseReluDense"));
            Ok(Layer {
                norm: norm(look.pp("layer_norm"))?,
                q: linear_no_bias(size, inner, attention.pp("q"))?,
                k: linear_no_bias(size, inner, attention.pp("k"))?,
                v: linear_no_bias(size, inner, attention.pp("v"))?,
                out: linear_no_bias(inner, size, attention.pp("o"))?,
                feed_norm: norm(feed.pp("layer_norm"))?,
                gate: linear_no_bias(size, config.d_ff, dense.pp("wi_0"))?,
                widen: linear_no_bias(size, config.d_ff, dense.pp("wi_1"))?,
                narrow: linear_no_bias(config.d_ff, size, dense.pp("wo"))?,
            })
        };
        let distances = vb.pp("block.0.layer.0.SelfAttention.relative_attention_bias");
        Ok(Self {
            words: embedding(config.vocab_size, size, shared)?,
            distances: embedding(config.relative_attention_num_buckets, config.num_heads, distances)?,
            layers: (0..config.num_layers).map(layer).collect::<Result<_>>()?,
            norm: norm(vb.pp("final_layer_norm"))?,
            config: config.clone(),
            gives,
        })
    }

    /// Encodes tokens, (1, length, size). All of them are seen, those that fill up the length too.
    pub fn forward(&self, ids: &[u32], pass: &Pass) -> Result<Tensor> {
        let device = self.words.embeddings().device();
        let distances = self.distances(ids.len(), device)?;
        // What runs through the layers grows too large for half precision, layer by layer.
        let x = self.words.forward(&Tensor::new(ids, device)?)?;
        let mut x = x.to_dtype(DType::F32)?.unsqueeze(0)?;
        for layer in &self.layers {
            x = self.look(layer, &x, &distances, pass)?;
            x = self.feed(layer, &x, pass)?;
        }
        self.norm.forward(&x)?.to_dtype(self.gives)
    }

    /// (heads, length, length).
    fn distances(&self, length: usize, device: &Device) -> Result<Tensor> {
        let at = |from: usize| (0..length).map(move |to| self.bucket(from, to));
        let buckets: Vec<u32> = (0..length).flat_map(at).collect();
        let buckets = Tensor::from_vec(buckets, (length, length), device)?;
        self.distances.forward(&buckets)?.to_dtype(DType::F32)?.permute((2, 0, 1))?.contiguous()
    }

    /// Which of the distances a place has to another: near ones one by one, far ones by their logarithm, in single precision as
    /// in training, since the borders between them hang on it.
    fn bucket(&self, from: usize, to: usize) -> u32 {
        let half = self.config.relative_attention_num_buckets / 2;
        let near = half / 2;
        let far = self.config.relative_attention_max_distance as f64 / near as f64;
        let side = if to > from { half } else { 0 };
        let distance = from.abs_diff(to);
        let bucket = match distance < near {
            true => distance,
            false => {
                let part = (distance as f32 / near as f32).ln() / far.ln() as f32;
                (near + (part * (half - near) as f32) as usize).min(half - 1)
            }
        };
        (side + bucket) as u32
    }

    fn normed(&self, norm: &RmsNorm, x: &Tensor) -> Result<Tensor> {
        norm.forward(x)?.to_dtype(self.words.embeddings().dtype())
    }

    fn look(&self, layer: &Layer, x: &Tensor, distances: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (size, heads) = (self.config.d_model, self.config.num_heads);
        let inner = heads * self.config.d_kv;
        let [q, k, v] = by_places([x], 3 * size * inner, pass, |[x]| {
            let x = self.normed(&layer.norm, &x)?;
            Ok([layer.q.forward(&x)?, layer.k.forward(&x)?, layer.v.forward(&x)?])
        })?;
        let split = |x: &Tensor| attention::split(x, heads);
        // T5 takes scores as they are; attention here scales them.
        let q = split(&q)?.affine((self.config.d_kv as f64).sqrt(), 0.0)?;
        let drawn = attention::attend(&q, &split(&k)?, &split(&v)?, Some(distances), pass)?;
        let [out] = by_places([&attention::join(&drawn)?], size * inner, pass, |[x]| {
            Ok([layer.out.forward(&x)?.to_dtype(DType::F32)?])
        })?;
        x + out
    }

    fn feed(&self, layer: &Layer, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let cost = 3 * self.config.d_model * self.config.d_ff;
        let [made] = by_places([x], cost, pass, |[x]| {
            let inner = self.normed(&layer.feed_norm, &x)?;
            let wide = (layer.gate.forward(&inner)?.gelu()? * layer.widen.forward(&inner)?)?;
            Ok([(x + layer.narrow.forward(&wide)?.to_dtype(DType::F32)?)?])
        })?;
        Ok(made)
    }
}
