//! Text to tokens and back, by the vocabulary and merges that a GGUF file carries.
//!
//! Text never becomes a special token here, whatever it spells: those come from the chat template alone.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Content;
use tokenizers::{
    PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
    models::bpe::BPE,
    pre_tokenizers::{
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::file::{Flaw, text, texts, whole, wholes};

/// `tokenizer.ggml.token_type` of tokens that are no text.
const CONTROL: u64 = 3;
/// Names of tokens that end an answer in the families of models we know.
const ENDS: [&str; 6] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>", "<|end|>"];
/// How Llama 3 splits text into words.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A part of a prompt: a special token or text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A token that no text gives.
    Special(u32),
    /// Text.
    Text(String),
}

/// A vocabulary.
pub struct Tokens {
    tokenizer: Tokenizer,
    /// What each token stands for; nothing for special ones.
    bytes: Vec<Vec<u8>>,
    /// Special tokens by what templates call them, longest first.
    special: Vec<(String, u32)>,
    ends: Vec<u32>,
    begin: Option<u32>,
}

impl Tokens {
    /// Reads the vocabulary of a file.
    pub fn read(content: &Content) -> Result<Self, Flaw> {
        let kind = text(content, "tokenizer.ggml.model")?;
        if kind != "gpt2" {
            return Err(Flaw::Unsupported { what: "tokenizer", found: kind.to_owned(), can: "gpt2" });
        }
        let names = texts(content, "tokenizer.ggml.tokens")?;
        let kinds = wholes(content, "tokenizer.ggml.token_type")?;
        let is_special = |id: usize| kinds.get(id) == Some(&CONTROL);
        let mut special: Vec<(String, u32)> = names
            .iter()
            .enumerate()
            .filter(|(id, _)| is_special(*id))
            .map(|(id, name)| (name.clone(), id as u32))
            .collect();
        special.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let mut ends: Vec<u32> =
            special.iter().filter(|(name, _)| ENDS.contains(&name.as_str())).map(|(_, id)| *id).collect();
        ends.extend(whole(content, "tokenizer.ggml.eos_token_id").ok().map(|id| id as u32));
        let letters = letters();
        let spell = |(id, name): (usize, &String)| match is_special(id) {
            true => Vec::new(),
            false => name.chars().filter_map(|letter| letters.get(&letter).copied()).collect(),
        };
        let adds_begin = matches!(
            content.metadata.get("tokenizer.ggml.add_bos_token"),
            Some(candle_core::quantized::gguf_file::Value::Bool(true))
        );
        let begin = whole(content, "tokenizer.ggml.bos_token_id").ok().map(|id| id as u32);
        Ok(Self {
            bytes: names.iter().enumerate().map(spell).collect(),
            begin: begin.filter(|_| adds_begin),
            tokenizer: tokenizer(content, names)?,
            special,
            ends,
        })
    }

    /// The tokens of a prompt.
    pub fn encode(&self, pieces: &[Piece]) -> Result<Vec<u32>, String> {
        let mut ids: Vec<u32> = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Special(id) => ids.push(*id),
                Piece::Text(text) => {
                    let encoding = self.tokenizer.encode_fast(text.as_str(), false);
                    ids.extend(encoding.map_err(|error| error.to_string())?.get_ids());
                }
            }
        }
        if let Some(begin) = self.begin.filter(|begin| ids.first() != Some(begin)) {
            ids.insert(0, begin);
        }
        Ok(ids)
    }

    /// The bytes that a token stands for.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether a token ends the answer.
    pub fn ends(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// The special token that a template's text begins with, and how many bytes name it.
    pub fn special_at(&self, text: &str) -> Option<(u32, usize)> {
        let found = self.special.iter().find(|(name, _)| !name.is_empty() && text.starts_with(name.as_str()));
        found.map(|(name, id)| (*id, name.len()))
    }
}

fn tokenizer(content: &Content, names: Vec<String>) -> Result<Tokenizer, Flaw> {
    let vocabulary = names.into_iter().zip(0..).collect::<HashMap<String, u32>>();
    let merges = texts(content, "tokenizer.ggml.merges")?;
    let merges = merges.iter().filter_map(|merge| merge.split_once(' '));
    let merges = merges.map(|(left, right)| (left.to_owned(), right.to_owned())).collect::<Vec<_>>();
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
        .build()
        .map_err(|error| Flaw::Broken(error.to_string()))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(words(content)?));
    Ok(tokenizer)
}

/// How text is split into words before merging: `tokenizer.ggml.pre` names a family.
fn words(content: &Content) -> Result<PreTokenizerWrapper, Flaw> {
    let spelled = |regex| PreTokenizerWrapper::from(ByteLevel::new(false, true, regex));
    let steps = match text(content, "tokenizer.ggml.pre").unwrap_or("default") {
        "default" | "gpt-2" => vec![spelled(true)],
        "smollm" | "starcoder" | "refact" => vec![Digits::new(true).into(), spelled(true)],
        "llama-bpe" | "llama3" => {
            let pattern = SplitPattern::Regex(LLAMA3.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| Flaw::Broken(error.to_string()))?;
            vec![split.into(), spelled(false)]
        }
        other => {
            return Err(Flaw::Unsupported {
                what: "tokenizer.ggml.pre",
                found: other.to_owned(),
                can: "default, gpt-2, smollm, starcoder, refact, llama-bpe",
            });
        }
    };
    Ok(Sequence::new(steps).into())
}

/// The letters that byte-level vocabularies write bytes with: printable ones stand for themselves, the rest follow
/// from U+0100 on.
fn letters() -> HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=u8::MAX).filter(|byte| !printable(byte)).zip(0x100_u32..);
    let others = others.filter_map(|(byte, letter)| Some((char::from_u32(letter)?, byte)));
    (0..=u8::MAX).filter(printable).map(|byte| (char::from(byte), byte)).chain(others).collect()
}
