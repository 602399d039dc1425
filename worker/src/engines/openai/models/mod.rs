//! A server's models as the hub is told of them: names, schemas, fingerprints.

use std::collections::HashMap;

use riff_hub::{
    canonical::Digest,
    model::{Cost, Media, ModelSpec, input},
};
use serde_json::{Map, Value, json};

use super::{
    settings::{Model, Optional, Settings},
    transcribe,
    wire::Listed,
};
use crate::engines::language::{self, STOP, TEMPERATURE, TOP_P};

/// Changes whenever the same recipe would be put to a server in another way.
const VERSION: &str = "riff openai 1";
/// The input of picture models that have a few sizes.
pub const SIZE: &str = "size";
/// Most tokens of an answer, where neither the section nor the server says.
const MAX_TOKENS: u32 = 4_096;
/// Most pictures of a prompt, where the section does not say.
const MAX_COUNT: u32 = 4;
/// Most models that are taken from a server's list.
const MAX_MODELS: usize = 64;
/// Longest name, in bytes.
const MAX_NAME: usize = 64;
/// Parts of names of models that do not chat. Lists do not say what a model is for.
const MUTE: [&str; 7] = ["embed", "rerank", "tts", "moderation", "dall-e", "gpt-image", "stable-diffusion"];
/// Parts of names of models that write down what is said.
const SCRIBES: [&str; 2] = ["whisper", "transcribe"];
/// What a run of a model that does not chat costs before the hub has measured any.
const PICTURES: Cost = Cost { fixed: 5.0, per_megapixel: 5.0, per_token: 0.0, load: 0.0 };
/// Questions that any model that chats can answer.
const QUESTIONS: [&str; 3] = [
    "Name three colours.",
    "Write a haiku about rain on a tent.",
    "Explain tides to a child in two sentences.",
];

/// What a model is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// To answer.
    Chat,
    /// To make pictures.
    Paint,
    /// To write down what is said.
    Transcribe,
}

impl Task {
    fn of(model: &Model) -> Self {
        let named = || SCRIBES.iter().any(|part| model.id.to_lowercase().contains(part));
        match model.media {
            Some(Media::Image) => Self::Paint,
            _ if model.transcribes.unwrap_or_else(named) => Self::Transcribe,
            _ => Self::Chat,
        }
    }

    fn media(self) -> Media {
        match self {
            Self::Paint => Media::Image,
            Self::Chat | Self::Transcribe => Media::Text,
        }
    }
}

/// A model that is served.
#[derive(Debug, Clone)]
pub struct Served {
    /// What it does.
    pub task: Task,
    /// What the server calls it.
    pub id: String,
    /// What the hub is told.
    pub spec: ModelSpec,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// More fields of every request.
    pub extra: Map<String, Value>,
}

impl AsRef<ModelSpec> for Served {
    fn as_ref(&self) -> &ModelSpec {
        &self.spec
    }
}

/// The models to serve of what a server lists, or of the section where the server has no list. The second part names those
/// of the section that the server does not list.
pub fn serve(settings: &Settings, listed: Option<Vec<Listed>>) -> (Vec<Served>, Vec<String>) {
    let mut unlisted = Vec::new();
    let mut chosen: Vec<(Model, Option<Listed>)> = Vec::new();
    match (settings.models.is_empty(), listed) {
        (true, listed) => {
            let chats = |one: &Listed| !MUTE.iter().any(|part| one.id.to_lowercase().contains(part));
            for one in listed.unwrap_or_default().into_iter().filter(chats).take(MAX_MODELS) {
                chosen.push((Model { id: one.id.clone(), ..settings.others.clone() }, Some(one)));
            }
        }
        (false, None) => chosen.extend(settings.models.iter().map(|model| (model.clone(), None))),
        (false, Some(listed)) => {
            for model in &settings.models {
                match listed.iter().find(|one| one.is_called(&model.id)) {
                    Some(one) => chosen.push((model.clone(), Some(one.clone()))),
                    None => unlisted.push(model.id.clone()),
                }
            }
        }
    }
    let names = names(settings.name.as_deref(), chosen.iter().map(|(model, _)| model).collect());
    let served = chosen.into_iter().zip(names).map(|((model, listed), name)| describe(model, listed, name));
    (served.collect(), unlisted)
}

/// Names for members, each there once as far as that can be had.
fn names(whole: Option<&str>, models: Vec<&Model>) -> Vec<String> {
    let mut times: HashMap<String, usize> = HashMap::new();
    for model in &models {
        *times.entry(short(&model.id)).or_default() += 1;
    }
    let alone = models.len() == 1;
    let name = |model: &&Model| {
        let own = match times.get(&short(&model.id)) {
            Some(1) => short(&model.id),
            _ => plain(&model.id),
        };
        match (&model.name, whole) {
            (Some(name), _) => name.clone(),
            (None, Some(whole)) if alone => whole.to_owned(),
            (None, Some(whole)) => plain(&format!("{whole}-{own}")),
            (None, None) => own,
        }
    };
    models.iter().map(name).collect()
}

/// The last part of an id: `Qwen/Qwen2.5-7B-Instruct` is `qwen2.5-7b-instruct`, and `/models/fox.Q4_1.gguf` is `fox.q4_1`.
fn short(id: &str) -> String {
    let id = id.strip_suffix(":latest").unwrap_or(id);
    let id = id.strip_suffix(".gguf").unwrap_or(id);
    plain(id.rsplit(['/', '\\']).next().unwrap_or(id))
}

/// Text as a name may be written.
fn plain(text: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    let mut name = String::new();
    for c in text.to_lowercase().chars().map(|c| if fits(c) { c } else { '-' }) {
        if !(c == '-' && name.ends_with('-')) {
            name.push(c);
        }
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let name = name[..name.len().min(MAX_NAME)].trim_end_matches('-');
    if name.is_empty() { "model".to_owned() } else { name.to_owned() }
}

fn describe(model: Model, listed: Option<Listed>, name: String) -> Served {
    let task = Task::of(&model);
    let context = listed.as_ref().and_then(Listed::context).unwrap_or(u32::MAX);
    let max_tokens = model.max_tokens.unwrap_or(MAX_TOKENS).min(context);
    let sees = model.vision.unwrap_or_else(|| listed.as_ref().is_some_and(Listed::sees));
    let properties = match task {
        Task::Chat => chat_inputs(&model, max_tokens, sees),
        Task::Paint => picture_inputs(&model),
        Task::Transcribe => transcribe::inputs(),
    };
    let fingerprint = json!([VERSION, model.id, model.version, model.extra]);
    let title = model.id.rsplit(['/', '\\']).next().unwrap_or(&model.id);
    let card = format!("The model {}, run by a server beside the worker.", model.id);
    let spec = ModelSpec {
        name,
        title: model.title.unwrap_or_else(|| title.chars().take(MAX_NAME).collect()),
        card: model.card.unwrap_or(card),
        license: model.license.unwrap_or_else(|| "LicenseRef-unknown".to_owned()),
        media: task.media(),
        schema: language::schema(properties),
        fingerprint: Digest::of_json(&fingerprint),
        cost: PICTURES,
        mature: model.mature,
        overflow: None,
        examples: if task == Task::Chat { QUESTIONS.map(str::to_owned).into() } else { Vec::new() },
    };
    Served { task, id: model.id, spec, max_tokens, extra: model.extra }
}

fn chat_inputs(model: &Model, max_tokens: u32, sees: bool) -> Map<String, Value> {
    let mut properties = language::properties(max_tokens);
    let optional = [
        (input::SEED, Optional::Seed),
        (TEMPERATURE, Optional::Temperature),
        (TOP_P, Optional::TopP),
        (STOP, Optional::Stop),
    ];
    for (name, optional) in optional {
        if model.inputs.as_ref().is_some_and(|inputs| !inputs.contains(&optional)) {
            properties.remove(name);
        }
    }
    if sees {
        properties.insert(input::IMAGE.to_owned(), picture_input("A picture to look at."));
    }
    properties
}

fn picture_input(help: &str) -> Value {
    json!({"type": "string", "title": "Picture", "description": help, "x-media": "image", "default": "", "x-order": 7})
}

fn picture_inputs(model: &Model) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut add = |name: &str, property: Value| drop(properties.insert(name.to_owned(), property));
    let most = model.max_count.unwrap_or(MAX_COUNT);
    add(
        input::COUNT,
        json!({"type": "integer", "title": "Pictures", "description": "How many pictures one prompt gives.",
               "minimum": 1, "maximum": most, "default": 1, "x-flags": ["n"], "x-order": 2}),
    );
    add_sizes(model, &mut properties);
    let mut add = |name: &str, property: Value| drop(properties.insert(name.to_owned(), property));
    let has = |optional| model.inputs.as_ref().is_some_and(|inputs| inputs.contains(&optional));
    if has(Optional::Seed) {
        add(
            input::SEED,
            json!({"type": "integer", "title": "Seed", "description": "The same seed and words give the same picture.",
                   "minimum": 0, "maximum": u32::MAX, "x-order": 1}),
        );
    }
    if has(Optional::NegativePrompt) {
        add(
            input::NEGATIVE_PROMPT,
            json!({"type": "string", "title": "Not", "description": "What must not be there.", "maxLength": 1_000,
                   "default": "", "x-flags": ["no"], "x-order": 5}),
        );
    }
    if model.edits {
        add(input::IMAGE, picture_input("A picture to change."));
    }
    properties
}

/// A few sizes to choose from, or any sides.
fn add_sizes(model: &Model, properties: &mut Map<String, Value>) {
    let mut add = |name: &str, property: Value| drop(properties.insert(name.to_owned(), property));
    let side = |title: &str, help: &str, order: u32| {
        json!({"type": "integer", "title": title, "description": help, "minimum": 64, "maximum": 2_048, "multipleOf": 8,
               "default": 1_024, "x-order": order})
    };
    match model.sizes.as_slice() {
        [] => {
            add(input::WIDTH, side("Width", "Pixels from left to right.", 3));
            add(input::HEIGHT, side("Height", "Pixels from top to bottom.", 4));
        }
        sizes => {
            let words: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            add(
                SIZE,
                json!({"type": "string", "title": "Size", "description": "Width and height in pixels.", "enum": words,
                       "default": words[0], "x-order": 3}),
            );
        }
    }
}

#[cfg(test)]
mod tests;
