//! Text to the pieces of words that T5 reads, by a checkpoint's `tokenizer.json`.
//!
//! Text never becomes a special token here, whatever it spells.

use std::path::Path;

use tokenizers::Tokenizer;

use super::flaw::Flaw;

/// The file that says how text is cut.
pub const FILE: &str = "tokenizer.json";
/// Tokens behind a text, and behind that.
const END: &str = "</s>";
const FILLER: &str = "<pad>";

/// A tokenizer.
pub struct Pieces {
    tokenizer: Tokenizer,
    end: u32,
    filler: u32,
    length: usize,
}

impl Pieces {
    /// Reads `tokenizer.json`. `length` is how many tokens the encoder gets.
    ///
    /// # Errors
    /// [`Flaw::Io`] and [`Flaw::Broken`].
    pub fn open(folder: &Path, length: usize) -> Result<Self, Flaw> {
        let file = folder.join(FILE);
        let text = std::fs::read(&file).map_err(|error| Flaw::Io { file: file.clone(), error })?;
        let broken = |why: String| Flaw::Broken { file: file.clone(), why };
        let mut tokenizer = Tokenizer::from_bytes(text).map_err(|error| broken(error.to_string()))?;
        let whole = tokenizer.with_truncation(None).map_err(|error| broken(error.to_string()))?;
        whole.with_padding(None).set_encode_special_tokens(true);
        let id =
            |name: &str| tokenizer.token_to_id(name).ok_or_else(|| broken(format!("it has no token {name}")));
        let (end, filler) = (id(END)?, id(FILLER)?);
        Ok(Self { tokenizer, end, filler, length })
    }

    /// One above the highest token.
    pub fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// Text as tokens, as many as the encoder gets.
    ///
    /// # Errors
    /// A sentence for members, if the text has more or cannot be cut.
    pub fn of(&self, text: &str) -> Result<Vec<u32>, String> {
        let encoded = self.tokenizer.encode_fast(text, false);
        let encoded = encoded.map_err(|error| format!("the prompt cannot be read: {error}"))?;
        let mut ids = encoded.get_ids().to_vec();
        let most = self.length - 1;
        if ids.len() > most {
            let count = ids.len();
            return Err(format!(
                "the prompt is too long: it takes {count} tokens, and at most {most} are read; shorten it"
            ));
        }
        ids.push(self.end);
        ids.resize(self.length, self.filler);
        Ok(ids)
    }
}
