//! The prompt box's settings form: what was set becomes flags behind the words, so that a form and a typed line are the
//! same thing from there on.

use std::collections::HashMap;

use riff_hub::{
    admission::Refusal,
    hub::Hub,
    model::{Media, ModelSpec},
    prompt,
    recipe::Recipe,
    schema::{self, Field, Kind},
};

use super::form::Form;

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
    /// `number`, `text`, `checkbox`, `select` or `file`.
    pub kind: &'static str,
    /// Name of a file in the form.
    pub upload: String,
    /// Media types of files, as a browser's dialog takes them.
    pub accept: &'static str,
    /// Smallest number.
    pub min: String,
    /// Largest number.
    pub max: String,
    /// Step of numbers.
    pub step: String,
    /// Words to choose from.
    pub choices: Vec<String>,
}

/// Prefix of the settings' names in the form, and of the files' that take the place of one.
const PREFIX: &str = "set.";
const FILE_PREFIX: &str = "file.";
/// What people choose files of: the kinds that the hub takes.
const PICTURES: &str = "image/png,image/jpeg,image/webp";
const SOUNDS: &str = "audio/wav,audio/mpeg,audio/ogg,audio/flac,.wav,.mp3,.ogg,.opus,.flac";

/// Takes in the files of a form, and puts their names where the settings are. An input that takes several keeps those it
/// has.
///
/// # Errors
/// What [`Hub::take`] says of a file, and [`Refusal::Missing`] for one that no input takes.
pub async fn take_files(hub: &Hub, spec: Option<&ModelSpec>, form: &mut Form) -> Result<(), Refusal> {
    for (name, bytes) in std::mem::take(&mut form.files) {
        let input = name.strip_prefix(FILE_PREFIX).unwrap_or_default();
        let fields = spec.map(schema::fields).unwrap_or_default();
        let kind = fields.into_iter().find(|field| field.name == input).map(|field| field.kind);
        let set = form.fields.entry(format!("{PREFIX}{input}")).or_default();
        *set = match kind {
            Some(Kind::File(media)) => hub.take(media, bytes).await?.to_string(),
            Some(Kind::Files(media)) => format!("{set} {}", hub.take(media, bytes).await?),
            _ => return Err(Refusal::Missing(format!("input “{input}” for a file"))),
        };
    }
    Ok(())
}

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
        Kind::File(_) | Kind::Files(_) => ("file", String::new(), String::new(), String::new(), Vec::new()),
        Kind::Text { .. } | Kind::List => ("text", String::new(), String::new(), String::new(), Vec::new()),
    };
    Control {
        name: format!("{PREFIX}{}", field.name),
        upload: format!("{FILE_PREFIX}{}", field.name),
        title: field.title.clone(),
        flag: field.flag.clone(),
        expected: field.kind.expected(),
        help: field.help.clone(),
        value: value.map(prompt::written).unwrap_or_default(),
        kind,
        accept: match field.kind {
            Kind::File(Media::Audio) | Kind::Files(Media::Audio) => SOUNDS,
            _ => PICTURES,
        },
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
