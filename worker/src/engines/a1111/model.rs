//! What a server has as models of Riff: one that paints, from words or from a picture, and one that makes pictures larger.

use riff_hub::{
    canonical::Digest,
    model::{Media, ModelSpec, input},
};
use serde_json::{Map, Value, json};

use super::{
    server::{Checkpoint, Stock},
    settings::Settings,
};
use crate::{
    engine::EngineError,
    engines::{
        inputs::{name_flags, schema_of},
        section::Described,
    },
};

/// Changes whenever the same recipe would be sent differently.
const VERSION: &str = "riff a1111 1";
/// Most pictures of one recipe.
const MOST: u32 = 9;
/// Most bytes of a list of choices: a schema has at most 64 KiB in all, and a LoRA's list is there twice.
const MAX_CHOICES: usize = 10 * 1_024;
/// The choice that is none.
pub const NONE: &str = "none";
/// How many LoRAs a recipe has, and what each is called.
pub const LORAS: [(&str, &str); 2] = [("lora", "lora_weight"), ("lora_2", "lora_2_weight")];

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Pictures from words, or from a picture and words.
    Paint,
    /// A larger picture from a picture.
    Upscale,
}

/// A model, and what of the server belongs to it.
#[derive(Debug, Clone)]
pub struct Model {
    /// As the hub sees it.
    pub spec: ModelSpec,
    /// What it does.
    pub task: Task,
    /// The checkpoints that members choose from.
    pub checkpoints: Vec<Checkpoint>,
}

impl AsRef<ModelSpec> for Model {
    fn as_ref(&self) -> &ModelSpec {
        &self.spec
    }
}

/// The models of a server.
///
/// # Errors
/// [`EngineError::Unavailable`] if there is nothing to paint with.
pub fn of(stock: &Stock, settings: &Settings) -> Result<Vec<Model>, EngineError> {
    let checkpoints = chosen(stock, settings)?;
    if stock.samplers.is_empty() {
        return Err(EngineError::Unavailable("the server has no sampler: is it still starting?".to_owned()));
    }
    let mut models = vec![painter(stock, settings, checkpoints)];
    // The first is "None", which only resizes.
    let upscalers: Vec<&str> =
        stock.upscalers.iter().map(String::as_str).filter(|name| *name != "None").collect();
    if settings.own.upscale && !upscalers.is_empty() {
        models.push(upscaler(&upscalers, settings));
    }
    Ok(models)
}

/// The checkpoints of the settings, or all, in order of their names.
fn chosen(stock: &Stock, settings: &Settings) -> Result<Vec<Checkpoint>, EngineError> {
    let mut checkpoints = stock.checkpoints.clone();
    checkpoints.sort_by(|a, b| a.model_name.cmp(&b.model_name));
    checkpoints.dedup_by(|a, b| a.model_name == b.model_name);
    for wanted in &settings.own.checkpoints {
        if !checkpoints.iter().any(|checkpoint| checkpoint.model_name == *wanted) {
            tracing::warn!(engine = %settings, checkpoint = wanted, "left out: the server does not list it");
        }
    }
    if !settings.own.checkpoints.is_empty() {
        checkpoints.retain(|checkpoint| settings.own.checkpoints.contains(&checkpoint.model_name));
    }
    match checkpoints.is_empty() {
        false => Ok(checkpoints),
        true => Err(EngineError::Unavailable(
            "the server has no checkpoint, or none of those in `checkpoints`: put one into models/Stable-diffusion".to_owned(),
        )),
    }
}

fn painter(stock: &Stock, settings: &Settings, checkpoints: Vec<Checkpoint>) -> Model {
    let names: Vec<&str> = checkpoints.iter().map(|checkpoint| checkpoint.model_name.as_str()).collect();
    let current = checkpoints.iter().find(|checkpoint| checkpoint.title == stock.current);
    let current = current.map_or(names[0], |checkpoint| checkpoint.model_name.as_str());
    let mut list = canvas(settings);
    list.extend(sampling(stock));
    list.push(("checkpoint", choice("Checkpoint", &names, current)));
    list.extend(originals());
    list.extend(loras(stock));
    let spec = spec(settings, &settings.described, list);
    Model { spec, task: Task::Paint, checkpoints }
}

type Inputs = Vec<(&'static str, Value)>;

fn canvas(settings: &Settings) -> Inputs {
    let side = |title: &str| {
        json!({"type": "integer", "title": title, "minimum": 64, "maximum": settings.own.max_side, "multipleOf": 8,
               "default": settings.own.side.min(settings.own.max_side)})
    };
    vec![
        (
            input::COUNT,
            json!({"type": "integer", "title": "Pictures", "description": "How many pictures one prompt gives.",
                              "minimum": 1, "maximum": MOST, "default": 1, "x-flags": ["n"]}),
        ),
        (input::SEED, json!({"type": "integer", "title": "Seed", "minimum": 0, "maximum": u32::MAX})),
        (input::WIDTH, side("Width")),
        (input::HEIGHT, side("Height")),
        (
            input::NEGATIVE_PROMPT,
            json!({"type": "string", "title": "Without", "default": "",
                                        "description": "What must not be in the picture."}),
        ),
    ]
}

fn sampling(stock: &Stock) -> Inputs {
    let listed = |title: &str, list: &[String]| {
        let names: Vec<&str> = list.iter().map(String::as_str).collect();
        names.first().map(|first| choice(title, &names, first))
    };
    let mut inputs = vec![
        ("steps", json!({"type": "integer", "title": "Steps", "minimum": 1, "maximum": 150, "default": 20})),
        (
            "guidance",
            json!({"type": "number", "title": "Guidance", "minimum": 1, "maximum": 30, "default": 7.0,
                            "description": "How closely the picture follows the prompt."}),
        ),
    ];
    inputs.extend(listed("Sampler", &stock.samplers).map(|sampler| ("sampler", sampler)));
    inputs.extend(listed("Scheduler", &stock.schedulers).map(|scheduler| ("scheduler", scheduler)));
    inputs
}

fn originals() -> Inputs {
    vec![
        (
            input::IMAGE,
            json!({"type": "string", "title": "Picture", "x-media": "image", "default": "",
                              "description": "A picture to start from."}),
        ),
        (
            "mask",
            json!({"type": "string", "title": "Mask", "x-media": "image", "default": "",
                        "description": "Where the picture is painted anew: white is new, black stays."}),
        ),
        (
            "strength",
            json!({"type": "number", "title": "Strength", "minimum": 0, "maximum": 1, "default": 0.75,
                            "description": "How far from the picture the result may go."}),
        ),
    ]
}

fn loras(stock: &Stock) -> Inputs {
    if stock.loras.is_empty() {
        return Vec::new();
    }
    let mut names = vec![NONE];
    names.extend(stock.loras.iter().map(String::as_str));
    let weight =
        json!({"type": "number", "title": "Weight of the LoRA", "minimum": -2, "maximum": 2, "default": 1.0});
    LORAS
        .into_iter()
        .flat_map(|(name, of)| [(name, choice("LoRA", &names, NONE)), (of, weight.clone())])
        .collect()
}

fn upscaler(upscalers: &[&str], settings: &Settings) -> Model {
    let described = Described {
        name: format!("{}-upscale", settings.described.name),
        title: settings.described.title.as_ref().map(|title| format!("{title}: larger")),
        ..settings.described.clone()
    };
    let list = vec![
        (input::IMAGE, json!({"type": "string", "title": "Picture", "x-media": "image", "default": ""})),
        (
            "scale",
            json!({"type": "number", "title": "Times larger", "minimum": 1, "maximum": 4, "default": 2.0}),
        ),
        ("upscaler", choice("Upscaler", upscalers, upscalers[0])),
    ];
    Model { spec: spec(settings, &described, list), task: Task::Upscale, checkpoints: Vec::new() }
}

/// A list of choices, cut where it is longer than a schema may be. The default is always there.
fn choice(title: &str, choices: &[&str], default: &str) -> Value {
    let mut room = MAX_CHOICES;
    let fits = |choice: &&&str| {
        let fits = **choice == default || room >= choice.len() + 3;
        room = room.saturating_sub(choice.len() + 3);
        fits
    };
    let shown: Vec<&&str> = choices.iter().filter(fits).collect();
    if shown.len() < choices.len() {
        tracing::warn!(
            input = title,
            shown = shown.len(),
            of = choices.len(),
            "a long list of choices was cut"
        );
    }
    json!({"type": "string", "title": title, "enum": shown, "default": default})
}

fn spec(settings: &Settings, described: &Described, list: Vec<(&str, Value)>) -> ModelSpec {
    let mut properties = Map::new();
    for (order, (name, mut schema)) in list.into_iter().enumerate() {
        schema["x-order"] = order.into();
        properties.insert(name.to_owned(), schema);
    }
    name_flags(&mut properties);
    ModelSpec {
        schema: schema_of(properties),
        fingerprint: Digest::of_json(&json!({
            "engine": VERSION,
            "version": settings.endpoint.version,
            "extra": settings.own.extra,
        })),
        ..described.spec(Media::Image)
    }
}
