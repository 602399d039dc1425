//! The recipe: an immutable, content-addressed description of one generation. It alone reruns the result.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    canonical::{self, Digest},
    model::input,
    prompt::Prompt,
};

/// A recipe's id: the BLAKE3 hash of its canonical JSON.
pub type RecipeId = Digest;

/// The move that made a recipe from its parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Move {
    /// The same settings, opened by somebody else and changed at will.
    Fork,
    /// A nearby result.
    Vary,
    /// The same settings with a new seed.
    Reroll,
    /// Prompt or settings edited.
    Remix,
    /// The same picture with more pixels.
    Upscale,
    /// The same picture from further away.
    Zoom,
    /// The same picture, looking elsewhere.
    Pan,
    /// Two or more results mixed.
    Blend,
    /// The next turn of a conversation.
    Reply,
    /// What a picture shows, in words.
    Describe,
}

impl Move {
    /// The word for it, as stored and as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Vary => "vary",
            Self::Reroll => "reroll",
            Self::Remix => "remix",
            Self::Upscale => "upscale",
            Self::Zoom => "zoom",
            Self::Pan => "pan",
            Self::Blend => "blend",
            Self::Reply => "reply",
            Self::Describe => "describe",
        }
    }
}

/// One result of one recipe.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Parent {
    /// The recipe.
    pub recipe: RecipeId,
    /// Which of its results, from 0.
    pub index: u32,
}

/// Text that was expected to name a result and does not.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no result: expected RECIPE.INDEX, such as 4eb5….0")]
pub struct BadParent(String);

impl fmt::Display for Parent {
    /// `RECIPE.INDEX`: a result's name in addresses and forms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.recipe, self.index)
    }
}

impl FromStr for Parent {
    type Err = BadParent;
    fn from_str(text: &str) -> Result<Self, BadParent> {
        let parts = text.split_once('.').and_then(|(recipe, index)| {
            Some(Self { recipe: recipe.parse().ok()?, index: index.parse().ok()? })
        });
        parts.ok_or_else(|| BadParent(text.to_owned()))
    }
}

/// Where a recipe came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The move.
    #[serde(rename = "move")]
    pub made_by: Move,
    /// What it was made from, in order.
    pub parents: Vec<Parent>,
}

/// An immutable description of one generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Version of this format; 1.
    pub riff: u32,
    /// Digest of the model version that runs it.
    pub model: Digest,
    /// What was asked for, in the canonical form of the prompt grammar, without flags.
    pub prompt: Prompt,
    /// Every input of the model's schema by name, defaults filled in.
    pub params: BTreeMap<String, Value>,
    /// The move and parents, for a riff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Recipe {
    /// The current format version.
    pub const FORMAT: u32 = 1;

    /// The id: equal for everybody who asks for the same thing.
    pub fn id(&self) -> RecipeId {
        Digest::of_json(self)
    }

    /// Canonical JSON, the bytes that [`Recipe::id`] hashes.
    pub fn canonical(&self) -> String {
        canonical::to_string(self)
    }

    /// Equal for recipes of a model that differ in nothing but prompt and seed: they can run together.
    pub fn shape(&self) -> Digest {
        let rest: BTreeMap<&String, &Value> =
            self.params.iter().filter(|(name, _)| name.as_str() != input::SEED).collect();
        Digest::of_json(&rest)
    }

    /// How much it makes: pixels of all pictures, or most tokens of an answer; what memory it takes grows with it.
    pub fn amount(&self) -> i64 {
        let pixels = |(width, height)| i64::from(width) * i64::from(height) * i64::from(self.count());
        let tokens = || self.integer("max_tokens").map(|tokens| tokens.min(u64::from(u32::MAX)) as i64);
        self.size().map(pixels).or_else(tokens).unwrap_or_else(|| self.count().into())
    }

    /// The seed of the first result; 0 for a model without one.
    pub fn seed(&self) -> u32 {
        self.integer(input::SEED).unwrap_or(0) as u32
    }

    /// How many results it gives.
    pub fn count(&self) -> u32 {
        self.integer(input::COUNT).unwrap_or(1) as u32
    }

    /// Width and height in pixels, where the model has them.
    pub fn size(&self) -> Option<(u32, u32)> {
        Some((self.integer(input::WIDTH)? as u32, self.integer(input::HEIGHT)? as u32))
    }

    /// An input that is a whole number.
    pub fn integer(&self, name: &str) -> Option<u64> {
        self.params.get(name)?.as_u64()
    }

    /// An input that is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.params.get(name)?.as_f64()
    }

    /// An input that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name)?.as_str()
    }

    /// An input that is a switch; off where it is missing.
    pub fn switch(&self, name: &str) -> bool {
        self.params.get(name).and_then(Value::as_bool) == Some(true)
    }
}
