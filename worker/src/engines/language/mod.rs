//! What all language models share, wherever they run: their inputs, what a recipe asks of them, and how their text grows.
//!
//! It never talks to a model.

mod stream;

use riff_hub::{model::input, recipe::Recipe};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

pub use self::stream::Stream;
use crate::engine::EngineError;

/// How adventurous the answer is.
pub const TEMPERATURE: &str = "temperature";
/// How many unlikely words are left out.
pub const TOP_P: &str = "top_p";
/// Most tokens of the answer.
pub const MAX_TOKENS: &str = "max_tokens";
/// What ends the answer.
pub const STOP: &str = "stop";
/// Who the model is.
pub const SYSTEM: &str = "system";

/// Temperature where a recipe has none.
pub const DEFAULT_TEMPERATURE: f64 = 0.7;
/// Top p where a recipe has none.
pub const DEFAULT_TOP_P: f64 = 0.9;
/// Tokens of an answer where a recipe does not say.
const DEFAULT_MAX_TOKENS: u32 = 256;
/// Most stop strings.
const MAX_STOPS: usize = 16;
/// Longest system prompt, in characters.
const MAX_SYSTEM: usize = 4_000;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Whoever set the model up.
    System,
    /// A member.
    User,
    /// The model.
    Assistant,
}

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// By whom.
    pub role: Role,
    /// What.
    pub content: String,
}

/// What a recipe asks, sampling aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The conversation, what the system says first and the prompt last.
    pub turns: Vec<Turn>,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// What ends the answer, and is not part of it.
    pub stops: Vec<String>,
}

/// The inputs of a language model that answers with at most so many tokens.
pub fn properties(max_tokens: u32) -> Map<String, Value> {
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
                        "minimum": 0, "maximum": 2, "default": DEFAULT_TEMPERATURE,
                        "x-flags": ["temperature", "temp"], "x-order": 2},
        "top_p": {"type": "number", "title": "Top p", "description": "How many unlikely words are left out; 1 is none.",
                  "minimum": 0, "maximum": 1, "default": DEFAULT_TOP_P, "x-order": 3},
        "max_tokens": {"type": "integer", "title": "Length", "description": "Most tokens of the answer (a word is one or two).",
                       "minimum": 1, "maximum": max_tokens, "default": DEFAULT_MAX_TOKENS.min(max_tokens),
                       "x-flags": ["max"], "x-order": 4},
        "system": {"type": "string", "title": "System", "description": "Who the model is and how it should answer.",
                   "maxLength": MAX_SYSTEM, "default": "", "x-order": 5},
        "stop": {"type": "array", "title": "Stop", "description": "Text before which the answer ends.",
                 "items": {"type": "string"}, "maxItems": MAX_STOPS, "default": [], "x-order": 6},
        "history": {"type": "array", "default": [], "x-hidden": true, "items": turn},
    });
    properties.as_object().cloned().unwrap_or_default()
}

/// A schema with such inputs and no others.
pub fn schema(properties: Map<String, Value>) -> Map<String, Value> {
    let schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    schema.as_object().cloned().unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stops {
    One(String),
    Many(Vec<String>),
}

impl Question {
    /// Reads a recipe for a model that answers with at most so many tokens.
    ///
    /// # Errors
    /// [`EngineError::Input`] naming the input that cannot be read.
    pub fn read(recipe: &Recipe, max_tokens: u32) -> Result<Self, EngineError> {
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
        let asked = recipe.integer(MAX_TOKENS).unwrap_or(DEFAULT_MAX_TOKENS.into());
        Ok(Self { turns, max_tokens: asked.clamp(1, max_tokens.into()) as u32, stops })
    }

    /// Forgets the older half of what was said before, in whole questions and answers, never what the system says and
    /// never the prompt. False if there is nothing left to forget.
    pub fn forget(&mut self) -> bool {
        let oldest = usize::from(self.turns.first().is_some_and(|turn| turn.role == Role::System));
        let before = self.turns.len() - oldest - 1;
        // A question goes with its answer: models are not trained on conversations that begin with an answer.
        let pairs = before.div_ceil(2).div_ceil(2);
        self.turns.drain(oldest..oldest + (pairs * 2).min(before));
        before > 0
    }
}

fn read<T: DeserializeOwned>(recipe: &Recipe, name: &str, expected: &str) -> Result<Option<T>, EngineError> {
    let value = recipe.params.get(name).cloned().unwrap_or(Value::Null);
    serde_json::from_value(value)
        .map_err(|error| EngineError::Input(format!("{name} cannot be read: expected {expected} ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_half_is_forgotten_and_never_the_prompt_or_the_system() {
        let turn = |role, content: &str| Turn { role, content: content.to_owned() };
        let mut turns = vec![turn(Role::System, "be kind")];
        for i in 0..3 {
            turns.push(turn(Role::User, &format!("question {i}")));
            turns.push(turn(Role::Assistant, &format!("answer {i}")));
        }
        turns.push(turn(Role::User, "and now?"));
        let mut question = Question { turns, max_tokens: 1, stops: Vec::new() };
        let words = |question: &Question| {
            question.turns.iter().map(|turn| turn.content.clone()).collect::<Vec<_>>().join(", ")
        };
        assert!(question.forget());
        assert_eq!(words(&question), "be kind, question 2, answer 2, and now?");
        assert!(question.forget());
        assert_eq!(words(&question), "be kind, and now?");
        assert!(!question.forget());
        assert_eq!(words(&question), "be kind, and now?");
    }
}
