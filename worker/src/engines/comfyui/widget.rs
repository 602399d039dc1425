//! One widget of a node as an input of Riff: its schema for the hub, read from what the server says of the node's kind
//! (`GET /object_info/KIND`, <https://docs.comfy.org/development/comfyui-server/comms_routes>).

use riff_hub::model::input;
use serde_json::{Map, Value, json};

use super::marks::Wish;

/// Whole numbers beyond this are no limits that anybody set.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;
/// Most bytes of a list of choices: a schema has at most 64 KiB in all.
const MAX_CHOICES: usize = 12 * 1_024;
/// Pixels of a side where the server sets no limit, or one that no device reaches.
const MAX_SIDE: f64 = 2_048.0;
/// Most results of one recipe.
const MAX_COUNT: f64 = 16.0;
/// Widgets that inputs mean where the node has none of their name.
const USUAL: [(&str, &[&str]); 12] = [
    ("prompt", &["text", "prompt", "string", "value", "clip_l"]),
    (input::NEGATIVE_PROMPT, &["text", "negative", "string", "value"]),
    (input::SEED, &["noise_seed", "value"]),
    (input::COUNT, &["batch_size", "amount", "value"]),
    (input::IMAGE, &["image", "upload"]),
    ("mask", &["image", "mask"]),
    ("checkpoint", &["ckpt_name", "unet_name"]),
    ("lora", &["lora_name"]),
    ("lora_strength", &["strength_model", "strength"]),
    ("sampler", &["sampler_name"]),
    ("guidance", &["cfg"]),
    ("strength", &["denoise"]),
];

/// How a value is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// As it is.
    Plain,
    /// As the name that the server gave an uploaded picture.
    Picture {
        /// Whether the workflow's own picture stays where none is given.
        optional: bool,
    },
}

/// A widget as the hub sees it.
#[derive(Debug)]
pub struct Widget {
    /// Its schema.
    pub schema: Map<String, Value>,
    /// How its values are sent.
    pub sent: Sent,
}

/// The widget of a node that an input means: by its own name, by one that it usually has, or the only one there is.
pub fn find<'a>(name: &str, wish: &Wish, class: &'a Value) -> Option<&'a str> {
    let groups = ["required", "optional"].map(|group| class.pointer(&format!("/input/{group}")));
    let widgets: Vec<&str> = groups
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .flatten()
        .filter(|(_, declared)| kind(declared).is_some())
        .map(|(widget, _)| widget.as_str())
        .collect();
    let has = |wanted: &str| widgets.iter().copied().find(|widget| *widget == wanted);
    if let Some(wanted) = &wish.widget {
        return has(wanted);
    }
    let usual = USUAL.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, widgets)| widgets);
    let only = match widgets.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    has(name).or_else(|| usual.iter().find_map(|widget| has(widget))).or(only)
}

/// What the server says of a widget: `[type, options]`.
pub fn declared<'a>(widget: &str, class: &'a Value) -> Option<&'a Value> {
    ["required", "optional"].iter().find_map(|group| class["input"][group].get(widget))
}

enum Kind<'a> {
    Whole,
    Real,
    Text,
    Switch,
    Choice(&'a [Value]),
    Picture,
}

/// `None` for what no widget sets: the outputs of other nodes.
fn kind(declared: &Value) -> Option<Kind<'_>> {
    let options = &declared[1];
    match &declared[0] {
        _ if options["image_upload"] == true => Some(Kind::Picture),
        _ if options["forceInput"] == true => None,
        Value::Array(choices) => Some(Kind::Choice(choices)),
        Value::String(name) => match name.as_str() {
            "INT" => Some(Kind::Whole),
            "FLOAT" => Some(Kind::Real),
            "STRING" => Some(Kind::Text),
            "BOOLEAN" => Some(Kind::Switch),
            "COMBO" => Some(Kind::Choice(options["options"].as_array().map_or(&[], Vec::as_slice))),
            _ => None,
        },
        _ => None,
    }
}

/// The choices of a widget that has some, and only those that the server knows.
pub fn choices(declared: &Value) -> Option<&[Value]> {
    match kind(declared) {
        Some(Kind::Choice(choices)) if declared[1]["remote"].is_null() => Some(choices),
        _ => None,
    }
}

/// A widget as an input. `current` is what the workflow has for it.
///
/// # Errors
/// Why it cannot be one, in words that follow "the input NAME ".
pub fn read(name: &str, wish: &Wish, declared: &Value, current: &Value) -> Result<Widget, String> {
    let default = wish.default.as_ref().unwrap_or(current);
    let options = &declared[1];
    let mut sent = Sent::Plain;
    let mut schema = match kind(declared).ok_or("is not set by a widget")? {
        Kind::Whole => number(name, wish, options, default, Round::Whole),
        Kind::Real => number(name, wish, options, default, Round::Nowhere),
        Kind::Text => text(default, options),
        Kind::Switch => json!({"type": "boolean", "default": default.as_bool().unwrap_or(false)}),
        Kind::Choice(choices) => choice(name, wish, choices, default)?,
        Kind::Picture => {
            sent = Sent::Picture { optional: wish.optional == Some(true) };
            json!({"type": "string", "x-media": "image", "default": ""})
        }
    };
    for (key, words) in [("title", &wish.title), ("description", &wish.description)] {
        if let Some(words) = words {
            schema[key] = words.as_str().into();
        }
    }
    Ok(Widget { schema: schema.as_object().cloned().unwrap_or_default(), sent })
}

#[derive(Clone, Copy, PartialEq)]
enum Round {
    Whole,
    Nowhere,
}

/// The least and the most that a number may be.
fn limits(name: &str, wish: &Wish, options: &Value) -> (Option<f64>, Option<f64>) {
    let (least, most) = (limit(options, "min"), limit(options, "max"));
    let (least, most, cap) = match name {
        input::SEED => {
            let top = f64::from(u32::MAX);
            (Some(least.unwrap_or(0.0).max(0.0)), Some(most.unwrap_or(top).min(top)), top)
        }
        input::WIDTH | input::HEIGHT => {
            (Some(least.unwrap_or(16.0).max(1.0)), Some(most.unwrap_or(MAX_SIDE).min(MAX_SIDE)), MAX_WHOLE)
        }
        input::COUNT => return (Some(1.0), Some(wish.max.or(most).unwrap_or(4.0).clamp(1.0, MAX_COUNT))),
        _ => (least, most, MAX_WHOLE),
    };
    (wish.min.or(least), wish.max.map(|most| most.min(cap)).or(most))
}

fn limit(options: &Value, key: &str) -> Option<f64> {
    options[key].as_f64().filter(|limit| limit.abs() <= MAX_WHOLE)
}

fn number(name: &str, wish: &Wish, options: &Value, default: &Value, round: Round) -> Value {
    let (least, most) = limits(name, wish, options);
    let exact = |number: f64| if round == Round::Whole { json!(number as i64) } else { json!(number) };
    let mut made = json!({"type": if round == Round::Whole { "integer" } else { "number" }});
    for (key, limit) in [("minimum", least), ("maximum", most)] {
        if let Some(limit) = limit {
            made[key] = exact(limit);
        }
    }
    let step = options["step"].as_i64().filter(|step| *step > 1);
    if let (Some(step), Round::Whole, input::WIDTH | input::HEIGHT) = (step, round, name) {
        made["multipleOf"] = step.into();
    }
    if name != input::SEED {
        let default = default.as_f64().or_else(|| limit(options, "default")).unwrap_or(0.0);
        let (least, most) = (least.unwrap_or(f64::MIN), most.unwrap_or(f64::MAX));
        made["default"] = exact(default.max(least).min(most));
    }
    made
}

fn text(default: &Value, options: &Value) -> Value {
    let default = default.as_str().or_else(|| options["default"].as_str()).unwrap_or_default();
    json!({"type": "string", "default": default})
}

fn choice(name: &str, wish: &Wish, choices: &[Value], default: &Value) -> Result<Value, String> {
    let has: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
    let wanted: Vec<&str> = match &wish.choices {
        Some(wanted) => {
            if let Some(lost) = wanted.iter().find(|choice| !has.contains(&choice.as_str())) {
                return Err(format!("has the choice {lost:?}, which the server does not have"));
            }
            wanted.iter().map(String::as_str).collect()
        }
        None => has,
    };
    let default = default.as_str().filter(|default| wanted.contains(default)).or(wanted.first().copied());
    let default =
        default.ok_or("has nothing to choose from on the server: put files into its folder of models")?;
    let mut room = MAX_CHOICES.saturating_sub(default.len());
    let fit = |choice: &&str| {
        let fits = *choice == default || room >= choice.len() + 3;
        room = room.saturating_sub(choice.len() + 3);
        fits
    };
    let shown: Vec<&str> = wanted.iter().copied().filter(fit).collect();
    if shown.len() < wanted.len() {
        tracing::warn!(
            input = name,
            shown = shown.len(),
            of = wanted.len(),
            "a long list of choices was cut: set `choices`"
        );
    }
    Ok(json!({"type": "string", "enum": shown, "default": default}))
}
