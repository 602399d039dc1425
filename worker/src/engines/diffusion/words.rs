//! Prompts to what the network goes by.

use candle_core::{Error, Tensor};

use super::{
    Result,
    net::{Encoded, TextEncoder},
    tokens::{Tokens, Window},
};
use crate::engines::neural::Pass;

/// Most windows of one text. Eight of 75 tokens are about 400 words.
const MAX_WINDOWS: usize = 8;

/// Words with a weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    /// The words; may be empty.
    pub text: String,
    /// How much they count beside others, above 0.
    pub weight: f64,
}

/// What a prompt became.
#[derive(Clone)]
pub struct Condition {
    /// Words, (1, length, size).
    pub words: Tensor,
    /// The prompt as a whole, (1, size), for XL.
    pub pooled: Option<Tensor>,
}

/// Which layer's words a family goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Stable Diffusion 1 and 2: the last layer of one encoder.
    One,
    /// XL: the layer before the last of each encoder, side by side.
    Xl,
}

/// The text encoders of a checkpoint.
pub struct Texts {
    /// Each with its tokenizer.
    pub encoders: Vec<(Tokens, TextEncoder)>,
    /// Which family it is.
    pub family: Family,
    /// Whether nothing to push away from is zeros and not an empty text.
    pub empty_is_zero: bool,
}

impl Texts {
    /// Whether words can be encoded at all.
    ///
    /// # Errors
    /// A sentence for members.
    pub fn check(&self, words: &[Words]) -> Result<(), String> {
        for one in words {
            let windows = self.windows(&one.text)?;
            let count = windows.iter().map(Vec::len).max().unwrap_or(0);
            if count > MAX_WINDOWS {
                return Err(format!(
                    "the prompt is too long: it takes {count} windows of tokens, and at most {MAX_WINDOWS} are read; \
                     shorten it"
                ));
            }
        }
        Ok(())
    }

    /// Encodes words, as the mean by their weights.
    ///
    /// # Errors
    /// Those of the network.
    pub fn encode(&self, words: &[Words], pass: &Pass) -> Result<Condition> {
        let windows = |one: &Words| self.windows(&one.text).map_err(Error::Msg);
        let texts: Vec<Vec<Vec<Window>>> = words.iter().map(windows).collect::<Result<_>>()?;
        let most = texts.iter().flatten().map(Vec::len).max().unwrap_or(1);
        let total: f64 = words.iter().map(|one| one.weight).sum();
        let mut sum: Option<Condition> = None;
        for (one, windows) in words.iter().zip(&texts) {
            let part = self.text(windows, most, pass)?;
            let weighted = |x: Tensor| x.affine(one.weight / total, 0.0);
            let part =
                Condition { words: weighted(part.words)?, pooled: part.pooled.map(weighted).transpose()? };
            sum = Some(match sum {
                None => part,
                Some(sum) => Condition {
                    words: (sum.words + part.words)?,
                    pooled: sum.pooled.zip(part.pooled).map(|(a, b)| a + b).transpose()?,
                },
            });
        }
        sum.ok_or_else(|| Error::Msg("there are no words to encode".to_owned()))
    }

    /// The same for what to push away from.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_negative(&self, words: &[Words], pass: &Pass) -> Result<Condition> {
        let encoded = self.encode(words, pass)?;
        if !self.empty_is_zero || words.iter().any(|one| !one.text.trim().is_empty()) {
            return Ok(encoded);
        }
        Ok(Condition {
            words: encoded.words.zeros_like()?,
            pooled: encoded.pooled.map(|pooled| pooled.zeros_like()).transpose()?,
        })
    }

    /// The same length for all: those with fewer windows get empty ones.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn even(&self, conditions: &mut [Condition], pass: &Pass) -> Result<()> {
        let lengths = conditions.iter().map(|one| one.words.dim(1)).collect::<Result<Vec<_>>>()?;
        let most = lengths.iter().copied().max().unwrap_or(0);
        if lengths.iter().all(|length| *length == most) {
            return Ok(());
        }
        let empty = self.encode(&[Words { text: String::new(), weight: 1.0 }], pass)?.words;
        for condition in conditions {
            let missing = most - condition.words.dim(1)?;
            let padding = empty.repeat((1, missing / empty.dim(1)?, 1))?;
            condition.words = Tensor::cat(&[&condition.words, &padding], 1)?;
        }
        Ok(())
    }

    /// The windows of a text for each encoder.
    fn windows(&self, text: &str) -> Result<Vec<Vec<Window>>, String> {
        self.encoders.iter().map(|(tokens, _)| tokens.windows(text)).collect()
    }

    fn text(&self, windows: &[Vec<Window>], most: usize, pass: &Pass) -> Result<Condition> {
        let mut sides = Vec::new();
        let mut pooled = None;
        for ((tokens, encoder), windows) in self.encoders.iter().zip(windows) {
            let empty = tokens.windows("").map_err(Error::Msg)?;
            let padding = std::iter::repeat_n(&empty[0], most - windows.len());
            let encoded: Vec<Encoded> = windows
                .iter()
                .chain(padding)
                .map(|window| encoder.forward(&window.ids, window.end, pass))
                .collect::<Result<_>>()?;
            // XL has the whole from its last encoder; the first window stands for the prompt.
            pooled = encoded[0].pooled.clone();
            let words = encoded.into_iter().map(|one| match self.family {
                Family::One => one.last,
                Family::Xl => one.before_last,
            });
            sides.push(Tensor::cat(&words.collect::<Vec<_>>(), 1)?);
        }
        Ok(Condition { words: Tensor::cat(&sides, 2)?, pooled })
    }
}
