//! Flags, read and written by a model's schema.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::Value;

use super::{
    BadPrompt, Prompt,
    line::{self, Draft, Typed},
    permute,
};
use crate::{
    model::{Media, ModelSpec, input},
    schema::{self, Field, Kind},
};

/// Inputs by name.
pub type Params = BTreeMap<String, Value>;

impl Draft {
    /// Reads the flags by a model's schema: the prompt, and every input with defaults filled in. The seed is there only
    /// if it was typed.
    ///
    /// # Errors
    /// An unknown flag, a value out of range, or an empty prompt.
    pub fn resolve(&self, spec: &ModelSpec) -> Result<(Prompt, Params), BadPrompt> {
        let fields = schema::fields(spec);
        let mut words = self.head.clone();
        let mut params = Params::new();
        let mut ratio = None;
        for typed in &self.flags {
            if typed.name == RATIO && takes_ratio(&fields) {
                ratio = Some(parse_ratio(typed, &mut words)?);
                continue;
            }
            let field = find(&fields, &typed.name).ok_or_else(|| unknown(&fields, typed, spec))?;
            let value = parse_value(field, typed, &mut words)?;
            insert(&mut params, field, value)?;
        }
        if let Some(ratio) = ratio {
            apply_ratio(&fields, ratio, &mut params)?;
        }
        schema::fill_defaults(&mut params, spec);
        let prompt = match spec.media {
            Media::Image => words.parse()?,
            Media::Audio | Media::Text => Prompt::verbatim(&words)?,
        };
        Ok((prompt, params))
    }
}

/// The line that resolves to this prompt and these inputs; inputs at their default are left out.
pub fn render(prompt: &Prompt, params: &Params, spec: &ModelSpec) -> String {
    let mut body = line::escape(prompt.as_str());
    for field in schema::fields(spec) {
        let Some(value) = params.get(&field.name).filter(|value| Some(*value) != field.default.as_ref())
        else {
            continue;
        };
        for text in flag_values(&field, value) {
            body.push_str(&format!(" --{}", field.flag));
            line::append(&mut body, &line::escape(&text));
        }
    }
    if spec.media == Media::Image {
        body = permute::escape(&body);
    }
    format!("{} {body} --model {}", spec.media.command().as_str(), spec.name)
}

/// The line that words and settings make. Settings go by the input's name and hold what somebody typed or picked; one
/// that is empty or at its default adds nothing. The setting `model` names the model, unless the words do.
pub fn compose(words: &str, spec: &ModelSpec, settings: &[(String, String)]) -> String {
    let mut line = words.trim().to_owned();
    let setting =
        |name: &str| settings.iter().find(|(set, _)| set == name).map_or("", |(_, typed)| typed.trim());
    let model = setting("model");
    if !model.is_empty() && !line.contains("--model ") {
        line.push_str(&format!(" --model {model}"));
    }
    for field in schema::fields(spec) {
        let typed = setting(&field.name);
        if !typed.is_empty() && typed != field.default.as_ref().map(written).unwrap_or_default() {
            line.push_str(&typed_flag(&field, typed, spec.media));
        }
    }
    line
}

/// A value as a form holds it.
pub fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) | Value::Null => String::new(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// A flag as it is typed behind the words; only pictures' lines have choices to escape.
pub fn typed_flag(field: &Field, typed: &str, media: Media) -> String {
    match (&field.kind, media) {
        (Kind::Switch, _) if typed == "on" => format!(" --{}", field.flag),
        (Kind::Text { .. } | Kind::List, Media::Image) => {
            format!(" --{} {}", field.flag, super::escape_words(&quote(typed)))
        }
        (Kind::Text { .. } | Kind::List, Media::Audio | Media::Text) => {
            format!(" --{} {}", field.flag, line::escape(&quote(typed)))
        }
        (Kind::Files(_), _) => {
            typed.split_whitespace().map(|picture| format!(" --{} {picture}", field.flag)).collect()
        }
        _ => format!(" --{} {typed}", field.flag),
    }
}

/// What is written after each of the flag's occurrences.
fn flag_values(field: &Field, value: &Value) -> Vec<String> {
    match (&field.kind, value) {
        (Kind::Switch, Value::Bool(true)) => vec![String::new()],
        (Kind::List | Kind::Files(_), Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).map(quote).collect()
        }
        (Kind::Text { .. }, Value::String(text)) => vec![quote(text)],
        (_, Value::String(text)) => vec![text.clone()],
        _ => vec![value.to_string()],
    }
}

/// Text is written bare where it reads back the same, else as a JSON string.
fn quote(text: &str) -> String {
    let bare = !text.is_empty() && text.trim() == text && !text.starts_with('"') && !text.contains('\n');
    if bare { text.to_owned() } else { Value::from(text).to_string() }
}

/// A text value and the words left after it: a JSON string, or everything.
fn unquote(rest: &str) -> (String, &str) {
    let rest = rest.trim();
    if rest.starts_with('"') {
        let mut read = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        if let Some(Ok(text)) = read.next() {
            return (text, &rest[read.byte_offset()..]);
        }
    }
    (rest.to_owned(), "")
}

fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.flag == name || field.aliases.iter().any(|alias| alias == name))
}

fn insert(params: &mut Params, field: &Field, value: Value) -> Result<(), BadPrompt> {
    let twice = || BadPrompt::Twice { flag: field.flag.clone() };
    match (params.get_mut(&field.name), value) {
        (Some(Value::Array(items)), Value::Array(more)) => items.extend(more),
        (Some(_), _) => return Err(twice()),
        (None, value) => {
            params.insert(field.name.clone(), value);
        }
    }
    Ok(())
}

fn parse_value(field: &Field, typed: &Typed, words: &mut String) -> Result<Value, BadPrompt> {
    let (word, left) = line::take_word(&typed.rest);
    let bad = |given: &str| BadPrompt::Value {
        flag: typed.name.clone(),
        given: format!("--{} {given}", typed.name).trim_end().to_owned(),
        expected: field.kind.expected(),
        example: field.example(),
    };
    let (value, left) = match &field.kind {
        Kind::Integer { .. } | Kind::Number { .. } => {
            let number = schema::parse_number(word).ok_or_else(|| bad(word))?;
            (number, left)
        }
        Kind::Switch => match word {
            "true" | "on" => (Value::Bool(true), left),
            "false" | "off" => (Value::Bool(false), left),
            _ => (Value::Bool(true), typed.rest.as_str()),
        },
        Kind::Choice(_) | Kind::File(_) => (Value::from(word), left),
        Kind::Files(_) => (Value::from(vec![word]), left),
        Kind::Text { .. } => {
            let (text, left) = unquote(&typed.rest);
            (Value::from(text), left)
        }
        Kind::List => {
            let (text, left) = unquote(&typed.rest);
            if text.is_empty() {
                return Err(bad(""));
            }
            (Value::from(vec![text]), left)
        }
    };
    if !field.kind.admits(&value) {
        return Err(bad(match field.kind {
            Kind::Text { .. } => "…",
            _ => word,
        }));
    }
    line::append(words, left);
    Ok(value)
}

/// The flag for a picture's shape, which is no input of its own.
pub(super) const RATIO: &str = "ar";

/// What a flag sets: an input, or [`RATIO`]; the flag itself where the model has none such.
pub(super) fn key(fields: &[Field], flag: &str) -> String {
    find(fields, flag).map_or(flag, |field| &field.name).to_owned()
}

/// Whether a model takes a flag as it stands, with no words left over.
pub(super) fn fit(fields: &[Field], typed: &Typed, spec: &ModelSpec) -> Result<(), BadPrompt> {
    let mut left = String::new();
    match typed.name == RATIO && takes_ratio(fields) {
        true => drop(parse_ratio(typed, &mut left)?),
        false => {
            let field = find(fields, &typed.name).ok_or_else(|| unknown(fields, typed, spec))?;
            parse_value(field, typed, &mut left)?;
        }
    }
    if left.is_empty() { Ok(()) } else { Err(BadPrompt::NotFlags(left)) }
}

/// Whether a model has a flag.
pub fn has_flag(spec: &ModelSpec, flag: &str) -> bool {
    let fields = schema::fields(spec);
    find(&fields, flag).is_some() || (flag == RATIO && takes_ratio(&fields))
}

fn unknown(fields: &[Field], typed: &Typed, spec: &ModelSpec) -> BadPrompt {
    let mut known: Vec<&str> = fields.iter().map(|field| field.flag.as_str()).collect();
    if takes_ratio(fields) {
        known.push(RATIO);
    }
    known.push("model");
    let names =
        fields.iter().flat_map(|field| &field.aliases).map(String::as_str).chain(known.iter().copied());
    // Nobody mistypes a single letter.
    let nearest = names
        .filter(|name| name.len() > 1)
        .map(|name| (strsim::jaro_winkler(name, &typed.name), name))
        .max_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal))
        .filter(|(likeness, _)| *likeness > 0.7);
    BadPrompt::UnknownFlag {
        flag: typed.name.clone(),
        model: spec.name.clone(),
        nearest: nearest.map_or_else(|| ".".to_owned(), |(_, name)| format!(": did you mean --{name}?")),
        known: known.iter().map(|name| format!("--{name}")).collect::<Vec<_>>().join(" "),
    }
}

fn takes_ratio(fields: &[Field]) -> bool {
    [input::WIDTH, input::HEIGHT].iter().all(|name| fields.iter().any(|field| field.name == *name))
}

fn bad_ratio(given: &str) -> BadPrompt {
    BadPrompt::Value {
        flag: RATIO.to_owned(),
        given: format!("--ar {given}").trim_end().to_owned(),
        expected: "width:height with whole numbers, not longer than 8:1".to_owned(),
        example: "3:2".to_owned(),
    }
}

fn parse_ratio(typed: &Typed, words: &mut String) -> Result<f64, BadPrompt> {
    let (word, left) = line::take_word(&typed.rest);
    let parse = |text: &str| text.parse::<u32>().ok().filter(|side| *side > 0);
    let ratio = word
        .split_once([':', 'x', '/'])
        .and_then(|(width, height)| Some(f64::from(parse(width)?) / f64::from(parse(height)?)));
    let ratio = ratio.filter(|ratio| (0.125..=8.0).contains(ratio)).ok_or_else(|| bad_ratio(word))?;
    line::append(words, left);
    Ok(ratio)
}

/// Keeps the area of the default size, or the side that was typed.
fn apply_ratio(fields: &[Field], ratio: f64, params: &mut Params) -> Result<(), BadPrompt> {
    let side = |name: &str| {
        let field = fields.iter().find(|field| field.name == name)?;
        let default = field.default.as_ref().and_then(Value::as_f64).unwrap_or(512.0);
        match field.kind {
            Kind::Integer { min, max, multiple } => Some((default, min, max, multiple.max(1))),
            _ => None,
        }
    };
    let (Some(w), Some(h)) = (side(input::WIDTH), side(input::HEIGHT)) else {
        return Ok(());
    };
    let typed = |name: &str| params.get(name).and_then(Value::as_f64);
    let (width, height) = match (typed(input::WIDTH), typed(input::HEIGHT)) {
        (Some(_), Some(_)) => return Err(BadPrompt::Twice { flag: RATIO.to_owned() }),
        (Some(width), None) => (width, width / ratio),
        (None, Some(height)) => (height * ratio, height),
        (None, None) => {
            let area = w.0 * h.0;
            ((area * ratio).sqrt(), (area / ratio).sqrt())
        }
    };
    let fit = |exact: f64, (_, min, max, multiple): (f64, i64, i64, i64)| {
        let whole = (exact / multiple as f64).round() as i64 * multiple;
        let lowest = min.div_euclid(multiple) * multiple + if min % multiple == 0 { 0 } else { multiple };
        whole.clamp(lowest.max(multiple), max.div_euclid(multiple) * multiple)
    };
    params.insert(input::WIDTH.to_owned(), fit(width, w).into());
    params.insert(input::HEIGHT.to_owned(), fit(height, h).into());
    Ok(())
}
