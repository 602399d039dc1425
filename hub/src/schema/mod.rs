//! A model's JSON Schema as everybody here uses it: fields for flags and forms, defaults, validation.
//!
//! The schema is the only source: nothing else in Riff says which inputs a model has or what they admit.

mod check;
mod field;

use std::collections::BTreeMap;

use serde_json::Value;

pub use check::{BadSpec, check_spec};
pub use field::{Field, Kind, fields, files, parse_number};

use crate::model::ModelSpec;

/// Inputs that a model does not take.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{} does not work for the model {model}: {problem}.", name(.input))]
pub struct BadInput {
    /// The model's name.
    pub model: String,
    /// The input, or nothing where several are at fault.
    pub input: String,
    /// What is wrong with it.
    pub problem: String,
}

fn name(input: &str) -> String {
    match input {
        "" => "This combination of settings".to_owned(),
        input => format!("“{input}”"),
    }
}

/// Fills in the default of every input that is missing.
pub fn fill_defaults(params: &mut BTreeMap<String, Value>, spec: &ModelSpec) {
    for (name, property) in spec.properties().into_iter().flatten() {
        if let Some(default) = property.get("default").filter(|_| !params.contains_key(name)) {
            params.insert(name.clone(), normal(default.clone()));
        }
    }
}

/// Checks complete inputs against the schema.
///
/// # Errors
/// [`BadInput`], naming the first input at fault.
pub fn validate(params: &BTreeMap<String, Value>, spec: &ModelSpec) -> Result<(), BadInput> {
    let bad = |input: &str, problem: String| BadInput {
        model: spec.name.clone(),
        input: input.to_owned(),
        problem,
    };
    let validator = jsonschema::validator_for(&Value::Object(spec.schema.clone()))
        .map_err(|error| bad("", error.to_string()))?;
    let instance = Value::Object(params.clone().into_iter().collect());
    match validator.iter_errors(&instance).next() {
        None => Ok(()),
        Some(error) => {
            let path = error.instance_path().to_string();
            let input = path.trim_start_matches('/').split('/').next().unwrap_or_default();
            Err(bad(input, error.to_string()))
        }
    }
}

/// Whole numbers are written without a fraction, so that `7` and `7.0` are the same input.
pub(crate) fn normal(value: Value) -> Value {
    /// Whole numbers up to here are exact in a double (2⁵³).
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value.as_f64() {
        Some(number) if value.is_f64() && number.fract() == 0.0 && number.abs() <= EXACT => {
            Value::from(number as i64)
        }
        _ => value,
    }
}
