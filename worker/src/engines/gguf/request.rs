//! What a recipe asks of a language model.

use riff_hub::{model::input, recipe::Recipe};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    chat::{Role, Turn},
    sample::Sampler,
};
use crate::engine::EngineError;

/// Inputs of language models that mean nothing to other engines.
const TEMPERATURE: &str = "temperature";
const TOP_P: &str = "top_p";
const MAX_TOKENS: &str = "max_tokens";
const STOP: &str = "stop";
const SYSTEM: &str = "system";

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
    let turn = json!({
        "type": "object",
        "properties": {"role": {"enum": ["user", "assistant"]}, "content": {"type": "string"}},
        "required": ["role", "content"],
        "additionalProperties": false,
    });
    let properties = json!({
        "seed": {"type": "integer", "title": "Seed", "description": "The same seed and words give the same answer.",
                 "minimum": 0, "maximum": u32::MAX, "x-order": 1},
        "temperature": {"type": "number", "title": "Temperature",
                        "description": "How adventurous the answer is; 0 always takes the likeliest word.",
                        "minimum": 0, "maximum": 2, "default": 0.7, "x-flags": ["temperature", "temp"], "x-order": 2},
        "top_p": {"type": "number", "title": "Top p", "description": "How many unlikely words are left out; 1 is none.",
                  "minimum": 0, "maximum": 1, "default": 0.9, "x-order": 3},
        "max_tokens": {"type": "integer", "title": "Length", "description": "Most tokens of the answer (a word is one or two).",
                       "minimum": 1, "maximum": 2_048, "default": 256, "x-flags": ["max"], "x-order": 4},
        "system": {"type": "string", "title": "System", "description": "Who the model is and how it should answer.",
                   "maxLength": 4_000, "default": "", "x-order": 5},
        "stop": {"type": "array", "title": "Stop", "description": "Text before which the answer ends.",
                 "items": {"type": "string"}, "maxItems": 16, "default": [], "x-order": 6},
        "history": {"type": "array", "default": [], "x-hidden": true, "items": turn},
    });
    let schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    schema.as_object().cloned().unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stops {
    One(String),
    Many(Vec<String>),
}

impl Request {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`EngineError::Input`] naming the input that cannot be read.
    pub fn read(recipe: &Recipe) -> Result<Self, EngineError> {
        let mut turns = Vec::new();
        if let Some(system) = recipe.text(SYSTEM).filter(|system| !system.trim().is_empty()) {
            turns.push(Turn { role: Role::System, content: system.to_owned() });
        }
        let history: Option<Vec<Turn>> = read(recipe, input::HISTORY, "a list of {role, content}")?;
        turns.extend(history.unwrap_or_default());
        turns.push(Turn { role: Role::User, content: recipe.prompt.as_str().to_owned() });
        let stops = match read(recipe, STOP, "text or a list of texts")? {
            None => Vec::new(),
            Some(Stops::One(stop)) => vec![stop],
            Some(Stops::Many(stops)) => stops,
        };
        let number = |name: &str, default: f64| recipe.number(name).unwrap_or(default) as f32;
        let sampler =
            Sampler { temperature: number(TEMPERATURE, 0.7), top_p: number(TOP_P, 0.9), seed: recipe.seed() };
        let max_tokens = recipe.integer(MAX_TOKENS).unwrap_or(256).clamp(1, 2_048) as usize;
        Ok(Self { turns, sampler, max_tokens, stops })
    }
}

fn read<T: serde::de::DeserializeOwned>(
    recipe: &Recipe,
    name: &str,
    expected: &str,
) -> Result<Option<T>, EngineError> {
    let value = recipe.params.get(name).cloned().unwrap_or(Value::Null);
    serde_json::from_value(value)
        .map_err(|error| EngineError::Input(format!("{name} cannot be read: expected {expected} ({error})")))
}
