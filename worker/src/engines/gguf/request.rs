//! What a recipe asks of a language model in this process.

use riff_hub::recipe::Recipe;
use serde_json::{Map, Value};

use super::sample::Sampler;
use crate::{
    engine::EngineError,
    engines::language::{self, DEFAULT_TEMPERATURE, DEFAULT_TOP_P, Question, TEMPERATURE, TOP_P, Turn},
};

/// Most tokens of an answer.
const MAX_TOKENS: u32 = 2_048;

/// A recipe, ready to run.
#[derive(Debug, Clone)]
pub struct Request {
    /// The conversation, the prompt last.
    pub turns: Vec<Turn>,
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// What ends the answer, and is not part of it.
    pub stops: Vec<String>,
}

/// The inputs of every language model.
pub fn schema() -> Map<String, Value> {
    language::schema(language::properties(MAX_TOKENS))
}

impl Request {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`EngineError::Input`] naming the input that cannot be read.
    pub fn read(recipe: &Recipe) -> Result<Self, EngineError> {
        let Question { turns, max_tokens, stops } = Question::read(recipe, MAX_TOKENS)?;
        let number = |name: &str, default: f64| recipe.number(name).unwrap_or(default) as f32;
        let sampler = Sampler {
            temperature: number(TEMPERATURE, DEFAULT_TEMPERATURE),
            top_p: number(TOP_P, DEFAULT_TOP_P),
            seed: recipe.seed(),
        };
        Ok(Self { turns, sampler, max_tokens: max_tokens as usize, stops })
    }
}
