//! What the hub asks of a model before it takes it in.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::fields;
use crate::model::{ModelSpec, input};

/// Why a model's description is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadSpec {
    /// The name.
    #[error("its name must be 1 to 64 of a-z, 0-9, '.', '-' and '_', starting with a letter or digit")]
    Name,
    /// A text that is too long.
    #[error("its {what} is longer than {limit} bytes")]
    TooLong {
        /// Which.
        what: &'static str,
        /// In bytes.
        limit: usize,
    },
    /// No `properties`.
    #[error("its schema must be an object with \"properties\"")]
    NoProperties,
    /// Not a JSON Schema.
    #[error("its schema is not valid JSON Schema: {0}")]
    Schema(String),
    /// An input that has no default, or one that the schema itself refuses.
    #[error("its input {0:?} needs a default that its own schema admits")]
    Default(String),
    /// Two inputs that share a flag.
    #[error("its inputs {first:?} and {second:?} share the flag --{flag}")]
    Flag {
        /// The flag.
        flag: String,
        /// One input.
        first: String,
        /// Another.
        second: String,
    },
    /// An input with a known name and another meaning.
    #[error("its input {name:?} must be {expected}, which is what that name means to the hub")]
    Meaning {
        /// The input.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// An overflow that begins at no time.
    #[error("its overflow must begin after a number of seconds from 0 to 31536000")]
    Overflow,
    /// Costs that are negative or no number.
    #[error("its costs must be seconds, zero or more")]
    Cost,
}

/// Longest name, in bytes.
const MAX_NAME: usize = 64;
/// Longest card, in bytes.
const MAX_CARD: usize = 16 * 1_024;
/// Latest begin of an overflow, in seconds: a year.
const MAX_OVERFLOW: f64 = 31_536_000.0;
/// Largest schema, in bytes of canonical JSON.
const MAX_SCHEMA: usize = 64 * 1_024;

/// Inputs whose names mean the same everywhere, with the JSON type that goes with it.
const KNOWN: [(&str, &str, &str); 13] = [
    (input::SEED, "integer", "an integer from 0 to 4294967295"),
    (input::COUNT, "integer", "an integer from 1 to at most 16"),
    (input::WIDTH, "integer", "an integer of pixels"),
    (input::HEIGHT, "integer", "an integer of pixels"),
    (input::NEGATIVE_PROMPT, "string", "text"),
    (input::VARIATIONS, "array", "an array of [seed, strength]"),
    (input::BLEND, "array", "an array of sources"),
    (input::VIEW_X, "number", "a number"),
    (input::VIEW_Y, "number", "a number"),
    (input::VIEW_SCALE, "number", "a number"),
    (input::HISTORY, "array", "an array of turns"),
    (input::IMAGE, "string", "a string with \"x-media\": \"image\""),
    (input::AUDIO, "string", "a string with \"x-media\": \"audio\""),
];

/// Checks a description that a worker announced.
///
/// # Errors
/// [`BadSpec`], naming the first thing that is wrong.
pub fn check_spec(spec: &ModelSpec) -> Result<(), BadSpec> {
    check_texts(spec)?;
    let cost = &spec.cost;
    let costs = [cost.fixed, cost.per_megapixel, cost.per_token, cost.load];
    if costs.iter().any(|cost| !cost.is_finite() || *cost < 0.0) {
        return Err(BadSpec::Cost);
    }
    if spec.overflow.is_some_and(|overflow| !(0.0..=MAX_OVERFLOW).contains(&overflow.after_seconds)) {
        return Err(BadSpec::Overflow);
    }
    let properties = spec.properties().ok_or(BadSpec::NoProperties)?;
    jsonschema::validator_for(&Value::Object(spec.schema.clone()))
        .map_err(|error| BadSpec::Schema(error.to_string()))?;
    for (name, property) in properties {
        check_default(name, property)?;
    }
    check_meanings(properties)?;
    check_flags(spec)
}

fn check_texts(spec: &ModelSpec) -> Result<(), BadSpec> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    let starts = spec.name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if spec.name.len() > MAX_NAME || !starts || !spec.name.chars().all(fits) {
        return Err(BadSpec::Name);
    }
    let schema = crate::canonical::to_string(&spec.schema);
    let limits = [
        ("title", &spec.title, MAX_NAME * 4),
        ("licence", &spec.license, MAX_NAME * 4),
        ("card", &spec.card, MAX_CARD),
        ("schema", &schema, MAX_SCHEMA),
    ];
    match limits.into_iter().find(|(_, text, limit)| text.len() > *limit) {
        Some((what, _, limit)) => Err(BadSpec::TooLong { what, limit }),
        None => Ok(()),
    }
}

fn check_default(name: &str, property: &Value) -> Result<(), BadSpec> {
    if name == input::SEED {
        return Ok(());
    }
    let admitted = property.get("default").is_some_and(|default| jsonschema::is_valid(property, default));
    if admitted { Ok(()) } else { Err(BadSpec::Default(name.to_owned())) }
}

fn check_meanings(properties: &Map<String, Value>) -> Result<(), BadSpec> {
    for (name, json_type, expected) in KNOWN {
        let Some(property) = properties.get(name) else {
            continue;
        };
        let number = |key: &str| property.get(key).and_then(Value::as_f64);
        let bounded = match name {
            input::COUNT => {
                number("maximum").is_some_and(|max| max <= 16.0) && number("minimum") == Some(1.0)
            }
            input::WIDTH | input::HEIGHT => {
                number("maximum").is_some() && number("minimum").is_some_and(|min| min >= 1.0)
            }
            input::IMAGE | input::AUDIO => property.get("x-media").and_then(Value::as_str) == Some(name),
            _ => true,
        };
        if !bounded || property.get("type").and_then(Value::as_str) != Some(json_type) {
            return Err(BadSpec::Meaning { name, expected });
        }
    }
    Ok(())
}

fn check_flags(spec: &ModelSpec) -> Result<(), BadSpec> {
    let mut owners: HashMap<String, String> = HashMap::new();
    for field in fields(spec) {
        for flag in field.aliases.iter().chain([&field.flag]) {
            if let Some(first) = owners.insert(flag.clone(), field.name.clone()) {
                return Err(BadSpec::Flag { flag: flag.clone(), first, second: field.name });
            }
        }
    }
    Ok(())
}
