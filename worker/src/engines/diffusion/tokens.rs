//! Text to the tokens of CLIP, by the vocabulary and merges of a checkpoint.
//!
//! Text never becomes a special token here, whatever it spells.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::{
    PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
    models::bpe::BPE,
    normalizers::unicode::NFC,
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::{config, flaw::Flaw};

/// How CLIP splits text into words.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// What CLIP's merges end words with.
const END_OF_WORD: &str = "</w>";
/// Names of the tokens around a text.
const AROUND: (&str, &str) = ("<|startoftext|>", "<|endoftext|>");

/// `special_tokens_map.json`: a name, or an object with it.
#[derive(Deserialize)]
struct Special {
    #[serde(default)]
    pad_token: Value,
}

impl Special {
    /// What fills windows.
    fn read(folder: &Path) -> Result<String, Flaw> {
        let special: Self = config::read(&folder.join("special_tokens_map.json"))?;
        let pad = special.pad_token.get("content").unwrap_or(&special.pad_token).as_str();
        Ok(pad.unwrap_or(AROUND.1).to_owned())
    }
}

/// A window of tokens, as long as the encoder takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The tokens.
    pub ids: Vec<u32>,
    /// The place of the first end token.
    pub end: usize,
}

/// A tokenizer.
pub struct Tokens {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
    pad: u32,
    length: usize,
}

impl Tokens {
    /// Reads `vocab.json` and `merges.txt`, and `special_tokens_map.json` where nothing says what windows are filled with
    /// (`pad`). `length` is that of a window.
    ///
    /// # Errors
    /// [`Flaw::Io`] and [`Flaw::Broken`].
    pub fn open(folder: &Path, pad: Option<&str>, length: usize) -> Result<Self, Flaw> {
        let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
        let broken = |why: String| Flaw::Broken { file: vocab.clone(), why };
        let names = [&vocab, &merges].map(|path| path.display().to_string());
        let bpe = BPE::from_file(&names[0], &names[1])
            .end_of_word_suffix(END_OF_WORD.to_owned())
            .unk_token(AROUND.1.to_owned())
            .build()
            .map_err(|error| broken(error.to_string()))?;
        let mut tokenizer = Tokenizer::new(bpe);
        let split = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Removed, true)
            .map_err(|error| broken(error.to_string()))?;
        let bytes = ByteLevel::new(false, true, false);
        let steps = vec![PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(bytes)];
        tokenizer.with_normalizer(Some(NFC)).with_pre_tokenizer(Some(Sequence::new(steps)));
        let id =
            |name: &str| tokenizer.token_to_id(name).ok_or_else(|| broken(format!("it has no token {name}")));
        let pad = match pad {
            Some(pad) => pad.to_owned(),
            None => Special::read(folder)?,
        };
        let (start, end, pad) = (id(AROUND.0)?, id(AROUND.1)?, id(&pad)?);
        Ok(Self { tokenizer, start, end, pad, length })
    }

    /// How many tokens there are.
    pub fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Text as windows, at least one; words run on from one to the next.
    ///
    /// # Errors
    /// A sentence, if the text cannot be split.
    pub fn windows(&self, text: &str) -> Result<Vec<Window>, String> {
        let encoded = self.tokenizer.encode_fast(text.to_lowercase(), false);
        let encoded = encoded.map_err(|error| format!("the prompt cannot be read: {error}"))?;
        let room = self.length.saturating_sub(2).max(1);
        let mut pieces: Vec<&[u32]> = encoded.get_ids().chunks(room).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        Ok(pieces.into_iter().map(|piece| self.window(piece)).collect())
    }

    fn window(&self, piece: &[u32]) -> Window {
        let mut ids = vec![self.start];
        ids.extend(piece);
        let end = ids.len();
        ids.push(self.end);
        ids.resize(self.length, self.pad);
        Window { ids, end }
    }
}
