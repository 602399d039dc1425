//! The prompt box's settings form: what was set becomes flags behind the words, so that a form and a typed line are the
//! same thing from there on.

use std::collections::HashMap;

use riff_hub::{
    model::ModelSpec,
    prompt,
    recipe::Recipe,
    schema::{self, Field, Kind},
};

/// A control of the form.
pub struct Control {
    /// Name in the form.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// The flag.
    pub flag: String,
    /// What the flag takes.
    pub expected: String,
    /// What it does.
    pub help: String,
    /// What it holds now.
    pub value: String,
    /// `number`, `text`, `checkbox` or `select`.
    pub kind: &'static str,
    /// Smallest number.
    pub min: String,
    /// Largest number.
    pub max: String,
    /// Step of numbers.
    pub step: String,
    /// Words to choose from.
    pub choices: Vec<String>,
}

/// Prefix of the settings' names in the form.
const PREFIX: &str = "set.";

/// The controls for a model, holding a recipe's values where one is edited.
pub fn controls(spec: &ModelSpec, edited: Option<&Recipe>) -> Vec<Control> {
    schema::fields(spec).iter().map(|field| control(field, edited)).collect()
}

fn control(field: &Field, edited: Option<&Recipe>) -> Control {
    let value = edited.and_then(|recipe| recipe.params.get(&field.name)).or(field.default.as_ref());
    let (kind, min, max, step, choices) = match &field.kind {
        Kind::Integer { min, max, multiple } => {
            ("number", min.to_string(), max.to_string(), multiple.to_string(), Vec::new())
        }
        Kind::Number { min, max } => {
            ("number", min.to_string(), max.to_string(), "any".to_owned(), Vec::new())
        }
        Kind::Switch => ("checkbox", String::new(), String::new(), String::new(), Vec::new()),
        Kind::Choice(words) => ("select", String::new(), String::new(), String::new(), words.clone()),
        Kind::Text { .. } | Kind::List | Kind::Image | Kind::Images => {
            ("text", String::new(), String::new(), String::new(), Vec::new())
        }
    };
    Control {
        name: format!("{PREFIX}{}", field.name),
        title: field.title.clone(),
        flag: field.flag.clone(),
        expected: field.kind.expected(),
        help: field.help.clone(),
        value: value.map(prompt::written).unwrap_or_default(),
        kind,
        min,
        max,
        step,
        choices,
    }
}

/// The line that the form's words and settings make.
pub fn line(words: &str, spec: Option<&ModelSpec>, form: &HashMap<String, String>) -> String {
    let Some(spec) = spec else {
        return words.trim().to_owned();
    };
    let mut settings: Vec<(String, String)> = form
        .iter()
        .filter_map(|(name, typed)| Some((name.strip_prefix(PREFIX)?.to_owned(), typed.clone())))
        .collect();
    if form.get("model") == Some(&spec.name) {
        settings.push(("model".to_owned(), spec.name.clone()));
    }
    prompt::compose(words, spec, &settings)
}
