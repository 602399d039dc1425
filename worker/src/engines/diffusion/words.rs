//! Prompts to what the network goes by.

use candle_core::{Error, Tensor};

use super::{
    Result,
    family::Family,
    net::{Encoded, T5, TextEncoder},
    pieces::Pieces,
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
    /// Words of T5 that follow them, (1, length, size of words to the network), for Stable Diffusion 3.
    pub more: Option<Tensor>,
    /// The prompt as a whole, (1, size), for networks that are given it.
    pub pooled: Option<Tensor>,
}

impl Condition {
    /// All words as the network gets them, (1, length, size).
    ///
    /// # Errors
    /// Those of the device.
    pub fn all(&self) -> Result<Tensor> {
        let Some(more) = &self.more else {
            return Ok(self.words.clone());
        };
        let missing = more.dim(2)?.saturating_sub(self.words.dim(2)?);
        Tensor::cat(&[&self.words.pad_with_zeros(2, 0, missing)?, more], 1)
    }

    /// What `f` makes of each part.
    fn map(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self {
            words: f(&self.words)?,
            more: self.more.as_ref().map(&f).transpose()?,
            pooled: self.pooled.as_ref().map(&f).transpose()?,
        })
    }

    /// The sum of both, part by part.
    fn plus(self, other: Self) -> Result<Self> {
        let both = |a: Option<Tensor>, b: Option<Tensor>| a.zip(b).map(|(a, b)| a + b).transpose();
        Ok(Self {
            words: (self.words + other.words)?,
            more: both(self.more, other.more)?,
            pooled: both(self.pooled, other.pooled)?,
        })
    }
}

/// The encoder that reads whole sentences.
pub enum Sentences {
    /// T5 with its tokenizer.
    T5(Box<(Pieces, T5)>),
    /// None, in the place of which Stable Diffusion 3 has zeros: (1, length, size).
    Zeros(Tensor),
}

/// The text encoders of a checkpoint.
pub struct Texts {
    /// Those of CLIP, each with its tokenizer.
    pub encoders: Vec<(Tokens, TextEncoder)>,
    /// That of T5, in families that have it.
    pub sentences: Option<Sentences>,
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
            if let Some(Sentences::T5(t5)) = &self.sentences {
                t5.0.of(&one.text)?;
            }
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
            let part = self.text(&one.text, windows, most, pass)?;
            let part = part.map(|x| x.affine(one.weight / total, 0.0))?;
            sum = Some(match sum {
                None => part,
                Some(sum) => sum.plus(part)?,
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
        encoded.map(Tensor::zeros_like)
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

    /// The windows of a text for each encoder of CLIP; only the first, where that stands for the whole and T5 reads the rest.
    fn windows(&self, text: &str) -> Result<Vec<Vec<Window>>, String> {
        let most = if self.family == Family::Flux { 1 } else { usize::MAX };
        let windows = |tokens: &Tokens| {
            let mut windows = tokens.windows(text)?;
            windows.truncate(most);
            Ok(windows)
        };
        self.encoders.iter().map(|(tokens, _)| windows(tokens)).collect()
    }

    fn text(&self, text: &str, windows: &[Vec<Window>], most: usize, pass: &Pass) -> Result<Condition> {
        let (mut sides, mut wholes) = (Vec::new(), Vec::new());
        for ((tokens, encoder), windows) in self.encoders.iter().zip(windows) {
            let empty = tokens.windows("").map_err(Error::Msg)?;
            let padding = std::iter::repeat_n(&empty[0], most - windows.len());
            let encoded: Vec<Encoded> = windows
                .iter()
                .chain(padding)
                .map(|window| encoder.forward(&window.ids, window.end, pass))
                .collect::<Result<_>>()?;
            // The first window stands for the prompt.
            wholes.push(encoded[0].whole.clone());
            let words = encoded.into_iter().map(|one| match self.family {
                Family::One | Family::Flux => one.last,
                Family::Xl | Family::Three => one.before_last,
            });
            sides.push(Tensor::cat(&words.collect::<Vec<_>>(), 1)?);
        }
        let pooled = match self.family {
            Family::One => None,
            // XL has the whole from its last encoder.
            Family::Xl | Family::Flux => wholes.pop(),
            Family::Three => Some(Tensor::cat(&wholes, 1)?),
        };
        match (self.family, self.sentence(text, pass)?) {
            (Family::Flux, Some(words)) => Ok(Condition { words, more: None, pooled }),
            (_, more) => Ok(Condition { words: Tensor::cat(&sides, 2)?, more, pooled }),
        }
    }

    /// A text by T5, or what stands in its place.
    fn sentence(&self, text: &str, pass: &Pass) -> Result<Option<Tensor>> {
        match &self.sentences {
            None => Ok(None),
            Some(Sentences::Zeros(zeros)) => Ok(Some(zeros.clone())),
            Some(Sentences::T5(t5)) => {
                let (pieces, encoder) = &**t5;
                let ids = pieces.of(text).map_err(Error::Msg)?;
                encoder.forward(&ids, pass).map(Some)
            }
        }
    }
}
