//! A schema's properties as fields: what a flag or a form control for each of them admits.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::normal;
use crate::{
    canonical::Digest,
    model::{Media, ModelSpec, input},
};

/// One input that people can set.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The property's name.
    pub name: String,
    /// The flag's usual name, without dashes.
    pub flag: String,
    /// Further names of the flag.
    pub aliases: Vec<String>,
    /// Name for people.
    pub title: String,
    /// What it does, in a sentence.
    pub help: String,
    /// What it admits.
    pub kind: Kind,
    /// Its default, `null` for an input that may be left out; only a seed has none.
    pub default: Option<Value>,
    order: i64,
}

/// What a field admits.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A whole number.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
        /// It is a multiple of this.
        multiple: i64,
    },
    /// A number.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// On or off.
    Switch,
    /// Text.
    Text {
        /// Longest, in characters.
        max_chars: usize,
    },
    /// One of a few words.
    Choice(Vec<String>),
    /// Texts; the flag may be repeated.
    List,
    /// A picture or sound, by the name of its blob.
    File(Media),
    /// Several; the flag may be repeated.
    Files(Media),
}

impl Kind {
    /// What it admits, as words in a sentence.
    pub fn expected(&self) -> String {
        match self {
            Self::Integer { min, max, multiple: 1 } => format!("a whole number from {min} to {max}"),
            Self::Integer { min, max, multiple } => {
                format!("a multiple of {multiple} from {min} to {max}")
            }
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Switch => "nothing, or on or off".to_owned(),
            Self::Text { max_chars } => format!("text of at most {max_chars} characters"),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::List => "some text; give it again for more".to_owned(),
            Self::File(media) => format!("the id of {} that is here", media.words()),
            Self::Files(media) => format!("the id of {} that is here; give it again for more", media.words()),
        }
    }

    /// What a file for it holds; text for what takes none.
    pub fn media(&self) -> Media {
        match self {
            Self::File(media) | Self::Files(media) => *media,
            _ => Media::Text,
        }
    }

    /// Whether it admits a value.
    pub fn admits(&self, value: &Value) -> bool {
        match self {
            Self::Integer { min, max, multiple } => {
                value.as_i64().is_some_and(|number| (*min..=*max).contains(&number) && number % multiple == 0)
            }
            Self::Number { min, max } => value.as_f64().is_some_and(|number| (*min..=*max).contains(&number)),
            Self::Switch => value.is_boolean(),
            Self::Text { max_chars } => value.as_str().is_some_and(|text| text.chars().count() <= *max_chars),
            Self::Choice(words) => value.as_str().is_some_and(|word| words.iter().any(|known| known == word)),
            Self::List => value.is_array(),
            Self::File(_) => names_blob(value),
            Self::Files(_) => value.as_array().is_some_and(|items| items.iter().all(names_blob)),
        }
    }
}

impl Field {
    /// A value that works, as it is typed.
    pub fn example(&self) -> String {
        match (&self.kind, &self.default) {
            (Kind::Text { .. } | Kind::List, _) => "some words".to_owned(),
            (Kind::Switch, _) => "on".to_owned(),
            (Kind::File(_) | Kind::Files(_), _) => Digest::of_bytes(b"").to_string(),
            (_, Some(Value::String(text))) => text.clone(),
            (Kind::Integer { min, .. }, None | Some(Value::Null)) => min.max(&7).to_string(),
            (kind, None | Some(Value::Null)) => kind.expected(),
            (_, Some(value)) => value.to_string(),
        }
    }
}

fn names_blob(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<Digest>().is_ok())
}

/// The inputs that people can set, in the order of forms. Hidden ones (`x-hidden`), which only moves set, are left out.
pub fn fields(spec: &ModelSpec) -> Vec<Field> {
    let properties = spec.properties().into_iter().flatten();
    let mut fields: Vec<Field> =
        properties.filter_map(|(name, property)| field(name, property.as_object()?)).collect();
    fields.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
    fields
}

fn field(name: &str, property: &Map<String, Value>) -> Option<Field> {
    if property.get("x-hidden") == Some(&Value::Bool(true)) {
        return None;
    }
    let text = |key: &str| property.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let plain = name.replace('_', "-");
    let mut names: Vec<String> = property
        .get("x-flags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|flag| flag.as_str().map(str::to_owned))
        .collect();
    if !names.contains(&plain) {
        names.push(plain.clone());
    }
    let title = text("title");
    Some(Field {
        name: name.to_owned(),
        flag: names.remove(0),
        aliases: names,
        title: if title.is_empty() { plain } else { title },
        help: text("description"),
        kind: kind(name, property)?,
        default: property.get("default").cloned().map(normal),
        order: property.get("x-order").and_then(Value::as_i64).unwrap_or(i64::MAX),
    })
}

fn kind(name: &str, property: &Map<String, Value>) -> Option<Kind> {
    let number = |key: &str| property.get(key).and_then(Value::as_f64);
    let words = property.get("enum").and_then(Value::as_array);
    if let Some(words) = words.filter(|words| words.iter().any(Value::is_string)) {
        return Some(Kind::Choice(words.iter().filter_map(|w| w.as_str().map(str::to_owned)).collect()));
    }
    let file = media_of(property);
    match (json_type(property)?, file) {
        ("integer", _) => Some(Kind::Integer {
            min: number("minimum").unwrap_or(if name == input::SEED { 0.0 } else { -1e15 }) as i64,
            max: number("maximum").unwrap_or(if name == input::SEED { f64::from(u32::MAX) } else { 1e15 })
                as i64,
            multiple: number("multipleOf").map_or(1, |multiple| (multiple as i64).max(1)),
        }),
        ("number", _) => Some(Kind::Number {
            min: number("minimum").unwrap_or(-1e15),
            max: number("maximum").unwrap_or(1e15),
        }),
        ("boolean", _) => Some(Kind::Switch),
        ("string", Some(media)) => Some(Kind::File(media)),
        ("string", None) => Some(Kind::Text { max_chars: number("maxLength").unwrap_or(4_000.0) as usize }),
        ("array", _) => {
            let items = property.get("items").and_then(Value::as_object)?;
            let texts = items.get("type").and_then(Value::as_str) == Some("string");
            texts.then(|| media_of(items).map_or(Kind::List, Kind::Files))
        }
        _ => None,
    }
}

/// The JSON type, that beside `null` for an input that may be left out.
fn json_type(property: &Map<String, Value>) -> Option<&str> {
    match property.get("type")? {
        Value::Array(types) => types.iter().filter_map(Value::as_str).find(|known| *known != "null"),
        known => known.as_str(),
    }
}

/// What the blob holds that text by this schema names, if it names one.
fn media_of(schema: &Map<String, Value>) -> Option<Media> {
    match schema.get("x-media").and_then(Value::as_str)? {
        "image" => Some(Media::Image),
        "audio" => Some(Media::Audio),
        _ => None,
    }
}

/// The files that inputs name, and what each is, hidden inputs included.
pub fn files(params: &BTreeMap<String, Value>, spec: &ModelSpec) -> Vec<(Media, Digest)> {
    let of = |(name, property): (&String, &Value)| {
        let value = params.get(name)?;
        match kind(name, property.as_object()?)? {
            Kind::File(media) => Some((media, std::slice::from_ref(value))),
            Kind::Files(media) => Some((media, value.as_array()?.as_slice())),
            _ => None,
        }
    };
    let named = spec.properties().into_iter().flatten().filter_map(of);
    let named = named.flat_map(|(media, values)| values.iter().map(move |value| (media, value)));
    named.filter_map(|(media, value)| Some((media, value.as_str()?.parse().ok()?))).collect()
}

/// A typed number in its normal form.
pub fn parse_number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    Some(normal((number + 0.0).into()))
}
