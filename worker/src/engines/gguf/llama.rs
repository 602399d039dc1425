//! The forward pass of the Llama family (Llama, SmolLM, Mistral, TinyLlama) over quantised weights.
//!
//! Weights keep the quantisation of the file where candle has fast kernels for it, else they become Q8_0, which loses
//! next to nothing. Query, key and value are one matrix, and so are gate and up: a token costs four multiplications a
//! layer.

use std::{borrow::Cow, fs::File, io::BufReader, sync::Arc};

use candle_core::{
    DType, Device, Module, Result, Tensor,
    quantized::{GgmlDType, QMatMul, QStorage, QTensor, gguf_file::Content},
};
use candle_nn::{kv_cache::KvCache, ops, rotary_emb::rope_i};

use super::file::{Flaw, number, text, whole};
use crate::engines::gpu;

/// Positions that a conversation's memory grows by.
const MEMORY_STEP: usize = 512;

/// The sizes of a model.
#[derive(Debug, Clone)]
pub struct Shape {
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    epsilon: f32,
    rope_base: f32,
    /// Most tokens of a conversation.
    pub context: usize,
}

impl Shape {
    /// Reads the header.
    pub fn read(content: &Content) -> std::result::Result<Self, Flaw> {
        let family = text(content, "general.architecture")?;
        if family != "llama" {
            return Err(Flaw::Unsupported { what: "architecture", found: family.to_owned(), can: "llama" });
        }
        let size = |key: &str| whole(content, &format!("llama.{key}")).map(|size| size as usize);
        let heads = size("attention.head_count")?;
        let width = size("embedding_length")?;
        let kv_heads = size("attention.head_count_kv").unwrap_or(heads);
        if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 || width % heads != 0 {
            return Err(Flaw::Broken(format!("{heads} heads, {kv_heads} for keys, width {width}")));
        }
        Ok(Self {
            layers: size("block_count")?,
            heads,
            kv_heads,
            head: size("attention.key_length").unwrap_or(width / heads),
            epsilon: number(content, "llama.attention.layer_norm_rms_epsilon")? as f32,
            rope_base: number(content, "llama.rope.freq_base").unwrap_or(10_000.0) as f32,
            context: size("context_length")?,
        })
    }
}

/// What a model remembers of one conversation.
pub struct Memory {
    layers: Vec<KvCache>,
    length: usize,
}

/// The next tokens of a conversation: how many, the rotations of their places, and what each may see of the others.
struct Span {
    count: usize,
    cos: Tensor,
    sin: Tensor,
    mask: Option<Tensor>,
}

struct Layer {
    attention_norm: Tensor,
    query_key_value: QMatMul,
    output: QMatMul,
    mlp_norm: Tensor,
    gate_up: QMatMul,
    down: QMatMul,
}

/// Weights in memory. Shared by all conversations.
pub struct Llama {
    /// Its sizes.
    pub shape: Shape,
    device: Device,
    embedding: Arc<QTensor>,
    layers: Vec<Layer>,
    norm: Tensor,
    head: QMatMul,
    cos: Tensor,
    sin: Tensor,
}

impl Llama {
    /// Reads the weights.
    pub fn load(reader: &mut BufReader<File>, content: &Content) -> std::result::Result<Self, Flaw> {
        let shape = Shape::read(content)?;
        Self::read(reader, content, shape).map_err(|error| Flaw::Broken(error.to_string()))
    }

    fn read(reader: &mut BufReader<File>, content: &Content, shape: Shape) -> Result<Self> {
        let device = gpu::found()?;
        let mut weights = Weights { reader, content, device: &device };
        let layers = (0..shape.layers).map(|i| weights.layer(i)).collect::<Result<_>>()?;
        let embedding = weights.joined(&["token_embd.weight"])?;
        let head = match content.tensor_infos.contains_key("output.weight") {
            true => weights.joined(&["output.weight"])?,
            false => embedding.clone(),
        };
        let norm = weights.vector("output_norm.weight")?;
        let (cos, sin) = rotations(&shape, &device)?;
        Ok(Self { head: QMatMul::from_arc(head)?, embedding, layers, norm, cos, sin, shape, device })
    }

    /// An empty memory.
    pub fn memory(&self) -> Memory {
        let step = MEMORY_STEP.min(self.shape.context);
        Memory { layers: vec![KvCache::new(1, step); self.layers.len()], length: 0 }
    }

    /// Takes in the next tokens of each of some conversations; `keep_on` is asked before every layer, and `None` is what
    /// comes of its refusal. What comes of its consent are the logits after the last token of each. They are what each
    /// conversation gives by itself: the weights are read once for all, and attention is each one's own.
    pub fn forward(
        &self,
        parts: &mut [(&[u32], &mut Memory)],
        keep_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Vec<f32>>>> {
        let ids: Vec<u32> = parts.iter().flat_map(|(ids, _)| ids.iter().copied()).collect();
        let mut state = self.embedding.embedding(&Tensor::new(ids, &self.device)?)?.to_dtype(DType::F32)?;
        let spans = parts.iter().map(|(ids, memory)| self.span(ids.len(), memory.length));
        let spans = spans.collect::<Result<Vec<_>>>()?;
        for (at, layer) in self.layers.iter().enumerate() {
            if !keep_on() {
                return Ok(None);
            }
            let normed = ops::rms_norm(&state, &layer.attention_norm, self.shape.epsilon)?;
            state = (state + self.attend(layer, &normed, at, parts, &spans)?)?;
            let normed = ops::rms_norm(&state, &layer.mlp_norm, self.shape.epsilon)?;
            let activated = ops::swiglu(&layer.gate_up.forward(&normed)?)?;
            state = (state + layer.down.forward(&activated)?)?;
        }
        let (mut end, mut last) = (0, Vec::with_capacity(parts.len()));
        for (ids, memory) in parts {
            memory.length += ids.len();
            end += ids.len();
            last.push(state.narrow(0, end - 1, 1)?);
        }
        let normed = ops::rms_norm(&Tensor::cat(&last, 0)?, &self.norm, self.shape.epsilon)?;
        Ok(Some(self.head.forward(&normed)?.to_vec2()?))
    }

    /// What the next tokens of a conversation have in common in every layer.
    fn span(&self, count: usize, before: usize) -> Result<Span> {
        Ok(Span {
            count,
            cos: self.cos.narrow(0, before, count)?,
            sin: self.sin.narrow(0, before, count)?,
            mask: self.mask(count, before)?,
        })
    }

    fn attend(
        &self,
        layer: &Layer,
        normed: &Tensor,
        at: usize,
        parts: &mut [(&[u32], &mut Memory)],
        spans: &[Span],
    ) -> Result<Tensor> {
        let all = layer.query_key_value.forward(normed)?;
        let mut begin = 0;
        let mut seen = Vec::with_capacity(parts.len());
        for ((_, memory), span) in parts.iter_mut().zip(spans) {
            let own = all.narrow(0, begin, span.count)?;
            seen.push(self.look(&own, &mut memory.layers[at], span)?);
            begin += span.count;
        }
        layer.output.forward(&Tensor::cat(&seen, 0)?)
    }

    /// Attention of one conversation's new tokens to all before them, by their queries, keys and values.
    fn look(&self, all: &Tensor, memory: &mut KvCache, span: &Span) -> Result<Tensor> {
        let Shape { heads, kv_heads, head, .. } = self.shape;
        let count = span.count;
        // One head after the other, each with all its positions: (heads, count, head).
        let split = |first: usize, heads: usize| {
            let part = all.narrow(1, first * head, heads * head)?;
            part.reshape((count, heads, head))?.transpose(0, 1)?.contiguous()
        };
        let turn = |part: Tensor| rope_i(&part.unsqueeze(0)?, &span.cos, &span.sin)?.squeeze(0);
        let query = turn(split(0, heads)?)?;
        let key = turn(split(heads, kv_heads)?)?;
        let value = split(heads + kv_heads, kv_heads)?;
        let (keys, values) = memory.append(&key, &value)?;
        let known = keys.dim(1)?;
        // The query heads that share a key head are rows of one product, so that keys are never copied.
        let query = query.reshape((kv_heads, heads / kv_heads * count, head))?;
        let query = (query * (1.0 / (head as f64).sqrt()))?;
        let mut scores = query.matmul(&keys.transpose(1, 2)?)?;
        if let Some(mask) = &span.mask {
            scores = scores.reshape((heads, count, known))?.broadcast_add(mask)?;
        }
        let shares = ops::softmax_last_dim(&scores)?.reshape((kv_heads, heads / kv_heads * count, known))?;
        let seen = shares.matmul(&values)?.reshape((heads, count, head))?;
        seen.transpose(0, 1)?.reshape((count, heads * head))
    }

    /// Keeps each of the new tokens from seeing those after it; one alone has none after it.
    fn mask(&self, count: usize, before: usize) -> Result<Option<Tensor>> {
        if count == 1 {
            return Ok(None);
        }
        let known = before + count;
        let cell = |i: usize| if i % known > before + i / known { f32::NEG_INFINITY } else { 0.0 };
        let cells: Vec<f32> = (0..count * known).map(cell).collect();
        Tensor::from_vec(cells, (1, count, known), &self.device).map(Some)
    }
}

/// Cosines and sines by position and pair of numbers.
fn rotations(shape: &Shape, device: &Device) -> Result<(Tensor, Tensor)> {
    let pairs = shape.head / 2;
    let speed = |pair: usize| libm::powf(shape.rope_base, -2.0 * pair as f32 / shape.head as f32);
    let speeds: Vec<f32> = (0..pairs).map(speed).collect();
    let angles: Vec<f32> =
        (0..shape.context).flat_map(|at| speeds.iter().map(move |s| at as f32 * s)).collect();
    let angles = Tensor::from_vec(angles, (shape.context, pairs), device)?;
    Ok((angles.cos()?, angles.sin()?))
}

/// A file's tensors.
struct Weights<'a> {
    reader: &'a mut BufReader<File>,
    content: &'a Content,
    device: &'a Device,
}

impl Weights<'_> {
    fn layer(&mut self, i: usize) -> Result<Layer> {
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        let [q, k, v] = ["attn_q", "attn_k", "attn_v"].map(name);
        let [gate, up] = ["ffn_gate", "ffn_up"].map(name);
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm"))?,
            query_key_value: QMatMul::from_arc(self.joined(&[&q, &k, &v])?)?,
            output: QMatMul::from_arc(self.joined(&[&name("attn_output")])?)?,
            mlp_norm: self.vector(&name("ffn_norm"))?,
            gate_up: QMatMul::from_arc(self.joined(&[&gate, &up])?)?,
            down: QMatMul::from_arc(self.joined(&[&name("ffn_down")])?)?,
        })
    }

    fn vector(&mut self, name: &str) -> Result<Tensor> {
        self.content.tensor(self.reader, name, &Device::Cpu)?.dequantize(self.device)
    }

    /// Matrices below each other as one.
    fn joined(&mut self, names: &[&str]) -> Result<Arc<QTensor>> {
        let read = |name: &&str| self.content.tensor(self.reader, name, &Device::Cpu);
        let parts = names.iter().map(read).collect::<Result<Vec<_>>>()?;
        let kind = parts[0].dtype();
        let alike = is_fast(kind) && parts.iter().all(|part| part.dtype() == kind);
        let rows =
            parts.iter().map(|part| part.shape().dims2().map(|(rows, _)| rows)).sum::<Result<usize>>()?;
        let shape = (rows, parts[0].shape().dims2()?.1);
        let (bytes, kind) = if alike {
            let bytes =
                parts.iter().map(|part| part.data().map(Cow::into_owned)).collect::<Result<Vec<_>>>()?;
            (bytes.concat(), kind)
        } else {
            let plain = parts.iter().map(|part| part.dequantize(&Device::Cpu)).collect::<Result<Vec<_>>>()?;
            let quantised = QTensor::quantize(&Tensor::cat(&plain, 0)?, GgmlDType::Q8_0)?;
            (quantised.data()?.into_owned(), GgmlDType::Q8_0)
        };
        let storage = QStorage::from_data(Cow::Owned(bytes), self.device, kind)?;
        QTensor::new(storage, shape).map(Arc::new)
    }
}

/// Whether candle has vector code for a quantisation on every processor.
fn is_fast(kind: GgmlDType) -> bool {
    use GgmlDType::{Q2K, Q3K, Q4_0, Q4K, Q5K, Q6K, Q8_0};
    matches!(kind, Q4_0 | Q8_0 | Q2K | Q3K | Q4K | Q5K | Q6K)
}
