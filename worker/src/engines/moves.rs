//! The hidden inputs that riffs set (`docs/worker-protocol.md`), as every engine with seeds reads them.

use riff_hub::{model::input, prompt::Prompt, recipe::Recipe};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::engine::EngineError;

/// A step of a variation: the seed to walk towards, and how far.
pub type Step = (u32, f64);

/// A seed, and the seeds that a result walked towards.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    /// Where it begins.
    pub seed: u32,
    /// In order.
    pub steps: Vec<Step>,
}

/// A picture that is blended in.
#[derive(Debug, Clone, Deserialize)]
pub struct Source {
    /// Its words.
    pub prompt: Prompt,
    /// Its seed.
    pub seed: u32,
    /// The steps of its variations.
    #[serde(default)]
    pub variations: Vec<Step>,
    /// How much it counts beside the picture's own 1.
    pub weight: f64,
}

impl Source {
    /// Its seed with its steps.
    pub fn walk(&self) -> Walk {
        Walk { seed: self.seed, steps: self.variations.clone() }
    }
}

/// The walks of a recipe's results: result `i` of a grid counts up the seed of the last variation, or else the seed itself.
///
/// # Errors
/// [`EngineError::Input`] if the variations cannot be read.
pub fn walks(recipe: &Recipe) -> Result<Vec<Walk>, EngineError> {
    let steps: Vec<Step> = list(recipe, input::VARIATIONS, "a list of [seed, strength]")?;
    let walk = |i: u32| {
        let mut steps = steps.clone();
        let seed = match steps.last_mut() {
            Some((towards, _)) => {
                *towards = towards.wrapping_add(i);
                recipe.seed()
            }
            None => recipe.seed().wrapping_add(i),
        };
        Walk { seed, steps }
    };
    Ok((0..recipe.count()).map(walk).collect())
}

/// What is blended in.
///
/// # Errors
/// [`EngineError::Input`] if it cannot be read.
pub fn sources(recipe: &Recipe) -> Result<Vec<Source>, EngineError> {
    list(recipe, input::BLEND, "a list of {prompt, seed, variations, weight}")
}

fn list<T: DeserializeOwned>(recipe: &Recipe, name: &str, expected: &str) -> Result<Vec<T>, EngineError> {
    match recipe.params.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            serde_json::from_value(value.clone()).map_err(|error| bad(name, &format!("{expected} ({error})")))
        }
    }
}

/// An input that cannot be read.
pub fn bad(name: &str, expected: &str) -> EngineError {
    EngineError::Input(format!("{name} cannot be read: expected {expected}"))
}
