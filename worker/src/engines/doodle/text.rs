//! The text encoder all-MiniLM-L6-v2 (Apache-2.0, <https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2>), a BERT of
//! six layers: <https://arxiv.org/abs/1810.04805>.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Error, Result, Tensor};
use candle_nn::{Embedding, LayerNorm, Linear, Module, VarBuilder, embedding, layer_norm, linear};
use tokenizers::{
    Tokenizer, models::wordpiece::WordPiece, normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer,
};

use super::parts;
use crate::engines::neural::{Pass, attention};

const WIDTH: usize = 384;
const HEADS: usize = 12;
const LAYERS: usize = 6;
const INNER: usize = 1536;
const WORDS: usize = 30_522;
const PLACES: usize = 512;
const EPSILON: f64 = 1e-12;
/// Most tokens of a text, with the marks at its ends: as many as doodle was trained with.
const LIMIT: usize = 48;

/// The encoder with its tokenizer.
pub struct Encoder {
    tokens: Tokenizer,
    words: Embedding,
    places: Embedding,
    kinds: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Encoder {
    /// Reads the parts of the weights, under their published names, and the vocabulary.
    ///
    /// # Errors
    /// With a sentence that names the file.
    pub fn open(
        weights: &[PathBuf],
        vocabulary: &Path,
        device: &Device,
    ) -> std::result::Result<Self, String> {
        let tokens = tokens(vocabulary)
            .map_err(|error| format!("{} cannot be used: {error}", vocabulary.display()))?;
        Self::new(tokens, VarBuilder::from_tensors(parts::tensors(weights)?, DType::F32, device))
            .map_err(|error| format!("the text encoder cannot be used: {error}"))
    }

    fn new(tokens: Tokenizer, vb: VarBuilder) -> Result<Self> {
        let table = vb.pp("embeddings");
        Ok(Self {
            tokens,
            words: embedding(WORDS, WIDTH, table.pp("word_embeddings"))?,
            places: embedding(PLACES, WIDTH, table.pp("position_embeddings"))?,
            kinds: embedding(2, WIDTH, table.pp("token_type_embeddings"))?,
            norm: layer_norm(WIDTH, EPSILON, table.pp("LayerNorm"))?,
            layers: (0..LAYERS).map(|at| Layer::new(vb.pp("encoder.layer").pp(at))).collect::<Result<_>>()?,
        })
    }

    /// The ids of a text's tokens, and how many were left out as it is too long.
    ///
    /// # Errors
    /// [`Error::Msg`] if the vocabulary lacks BERT's marks.
    pub fn ids(&self, text: &str) -> Result<(Vec<u32>, usize)> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Msg(error.to_string());
        let encoding = self.tokens.encode_fast(text, false).map_err(failed)?;
        let mark = |mark: &str| {
            self.tokens.token_to_id(mark).ok_or_else(|| Error::Msg(format!("the vocabulary lacks {mark}")))
        };
        let kept = encoding.get_ids().len().min(LIMIT - 2);
        let mut ids = vec![mark("[CLS]")?];
        ids.extend(&encoding.get_ids()[..kept]);
        ids.push(mark("[SEP]")?);
        Ok((ids, encoding.get_ids().len() - kept))
    }

    /// The state of each token, (1, tokens, 384).
    ///
    /// # Errors
    /// Those of the device, and that of `pass`.
    pub fn encode(&self, ids: &[u32], pass: &Pass) -> Result<Tensor> {
        let device = self.words.embeddings().device();
        let ids = Tensor::new(ids, device)?;
        let places = Tensor::arange(0, ids.elem_count() as u32, device)?;
        let sum = (self.words.forward(&ids)? + self.places.forward(&places)?)?;
        let sum = sum.broadcast_add(&self.kinds.forward(&Tensor::zeros(1, DType::U32, device)?)?)?;
        let mut x = self.norm.forward(&sum)?.unsqueeze(0)?;
        for layer in &self.layers {
            x = layer.forward(&x, pass)?;
        }
        Ok(x)
    }
}

/// Uncased WordPiece, as BERT's.
fn tokens(vocabulary: &Path) -> tokenizers::Result<Tokenizer> {
    let model = WordPiece::from_file(&vocabulary.to_string_lossy()).unk_token("[UNK]".to_owned()).build()?;
    let mut tokens = Tokenizer::new(model);
    tokens.with_normalizer(Some(BertNormalizer::new(true, true, Some(true), true)));
    tokens.with_pre_tokenizer(Some(BertPreTokenizer));
    Ok(tokens)
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm1: LayerNorm,
    up: Linear,
    down: Linear,
    norm2: LayerNorm,
}

impl Layer {
    fn new(vb: VarBuilder) -> Result<Self> {
        let own = vb.pp("attention.self");
        Ok(Self {
            query: linear(WIDTH, WIDTH, own.pp("query"))?,
            key: linear(WIDTH, WIDTH, own.pp("key"))?,
            value: linear(WIDTH, WIDTH, own.pp("value"))?,
            out: linear(WIDTH, WIDTH, vb.pp("attention.output.dense"))?,
            norm1: layer_norm(WIDTH, EPSILON, vb.pp("attention.output.LayerNorm"))?,
            up: linear(WIDTH, INNER, vb.pp("intermediate.dense"))?,
            down: linear(INNER, WIDTH, vb.pp("output.dense"))?,
            norm2: layer_norm(WIDTH, EPSILON, vb.pp("output.LayerNorm"))?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let split = |layer: &Linear| attention::split(&layer.forward(x)?, HEADS);
        let (query, key, value) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        let drawn = attention::join(&attention::attend(&query, &key, &value, None, pass)?)?;
        let x = self.norm1.forward(&(x + self.out.forward(&drawn)?)?)?;
        let inner = self.down.forward(&self.up.forward(&x)?.gelu_erf()?)?;
        self.norm2.forward(&(x + inner)?)
    }
}
