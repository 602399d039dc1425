//! Reading an OpenAPI document: references are followed and alternatives chosen, within limits.

use std::cell::Cell;

use serde_json::{Map, Value};

use crate::engine::EngineError;

/// How deep references and alternatives may nest.
const MAX_DEPTH: usize = 8;
/// Most references that are followed in a document.
const MAX_STEPS: usize = 2_000;
/// Most inputs of a model.
const MAX_INPUTS: usize = 256;

/// An input as the document lists it.
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its type, with nothing left to look up at its top.
    pub schema: Map<String, Value>,
    /// Whether the model does without.
    pub need: Need,
}

/// Whether a model does without an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must be given.
    Required,
    /// It may be left out.
    Optional,
}

/// A document's types.
pub struct Components<'a> {
    schemas: &'a Map<String, Value>,
    steps: Cell<usize>,
}

impl<'a> Components<'a> {
    /// The types of a document.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] if it has none.
    pub fn of(document: &'a Value) -> Result<Self, EngineError> {
        let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
        let schemas =
            schemas.ok_or_else(|| bad("it has no components.schemas: is this a model that Cog packed?"))?;
        Ok(Self { schemas, steps: Cell::new(0) })
    }

    /// A type by its name, such as `Input`, with nothing left to look up at its top.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] if it is not there or never ends.
    pub fn named(&self, name: &str) -> Result<Map<String, Value>, EngineError> {
        let schema = self.schemas.get(name).ok_or_else(|| bad(&format!("it has no type {name:?}")))?;
        self.resolve(schema, MAX_DEPTH)
    }

    /// The inputs of the model, by name.
    ///
    /// # Errors
    /// As [`Self::named`], and if there are too many.
    pub fn inputs(&self) -> Result<Vec<Listed>, EngineError> {
        let input = self.named("Input")?;
        let none = Map::new();
        let properties = input.get("properties").and_then(Value::as_object).unwrap_or(&none);
        if properties.len() > MAX_INPUTS {
            return Err(bad(&format!("it has {} inputs; at most {MAX_INPUTS} are read", properties.len())));
        }
        let required = input.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
        let read = |(name, schema): (&String, &Value)| {
            let need = if is_required(name) { Need::Required } else { Need::Optional };
            Ok(Listed { name: name.clone(), schema: self.resolve(schema, MAX_DEPTH)?, need })
        };
        properties.iter().map(read).collect()
    }

    /// A type with its reference, `allOf` and the first alternative that is not `null` folded into it.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] if it never ends.
    pub fn resolve(&self, schema: &Value, depth: usize) -> Result<Map<String, Value>, EngineError> {
        self.steps.set(self.steps.get() + 1);
        if depth == 0 || self.steps.get() > MAX_STEPS {
            return Err(bad("its types refer to each other without end, or too deep"));
        }
        let own = schema.as_object().cloned().unwrap_or_default();
        let mut folded = Map::new();
        if let Some(reference) = own.get("$ref").and_then(Value::as_str) {
            let name = reference.rsplit('/').next().unwrap_or_default();
            let target = self.schemas.get(name).ok_or_else(|| bad(&format!("{reference:?} is not in it")))?;
            folded.extend(self.resolve(target, depth - 1)?);
        }
        for part in own.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            folded.extend(self.resolve(part, depth - 1)?);
        }
        let alternatives =
            ["anyOf", "oneOf"].into_iter().filter_map(|key| own.get(key)?.as_array()).flatten();
        let (nothing, alternatives): (Vec<&Value>, Vec<&Value>) =
            alternatives.partition(|schema| schema.get("type").is_some_and(|kind| kind == "null"));
        if let Some(first) = alternatives.first() {
            folded.extend(self.resolve(first, depth - 1)?);
        }
        if !nothing.is_empty() {
            folded.insert("nullable".to_owned(), true.into());
        }
        folded.extend(
            own.into_iter().filter(|(key, _)| !matches!(key.as_str(), "$ref" | "allOf" | "anyOf" | "oneOf")),
        );
        Ok(folded)
    }

    /// The type of an array's items.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn items(&self, array: &Map<String, Value>) -> Result<Map<String, Value>, EngineError> {
        array.get("items").map_or(Ok(Map::new()), |items| self.resolve(items, MAX_DEPTH))
    }
}

/// Whether a type is an address of a file.
pub fn is_file(schema: &Map<String, Value>) -> bool {
    is(schema, "string") && schema.get("format").is_some_and(|format| format == "uri")
}

/// Whether a type is of a JSON type.
pub fn is(schema: &Map<String, Value>, kind: &str) -> bool {
    schema.get("type").is_some_and(|known| known == kind)
}

fn bad(reason: &str) -> EngineError {
    EngineError::Unavailable(format!("the model's schema cannot be used: {reason}"))
}
