//! What a checkpoint takes, and what a recipe asks of it.

use riff_hub::{
    model::{ModelSpec, input},
    prompt::Prompt,
    recipe::Recipe,
    schema,
};
use serde_json::{Map, Value, json};

use super::{family::Guidance, sampler::Sampler, words::Words};
use crate::{
    engine::EngineError,
    engines::{
        moves::{self, Source, bad},
        neural::{
            Edge,
            noise::Grain,
            original::{self, Original},
        },
    },
};

/// Most steps of a run.
pub const MAX_STEPS: u32 = 150;
/// Most guidance.
pub const MAX_GUIDANCE: f64 = 30.0;
/// Most LoRAs at once, and the range of their strengths.
const LORAS: (u32, f64) = (8, 4.0);
const STEPS: &str = "steps";
const GUIDANCE: &str = "guidance_scale";
const SAMPLER: &str = "sampler";
const TILE: &str = "tile";
const LORA: &str = "loras";

/// What inputs are where members leave them open, and how far they go.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Side in pixels.
    pub side: u32,
    /// Longest side in pixels.
    pub max_side: u32,
    /// Sides are multiples of this.
    pub multiple: u32,
    /// Most pictures.
    pub max_count: u32,
    /// Steps.
    pub steps: u32,
    /// Guidance.
    pub guidance: f64,
    /// What guidance is to it.
    pub guided: Guidance,
    /// Sampler.
    pub sampler: Sampler,
    /// Those that work with it.
    pub samplers: Vec<Sampler>,
    /// Whether pictures can repeat without a seam.
    pub repeats: bool,
    /// Names of LoRAs.
    pub loras: Vec<String>,
}

/// What is the same for all results of a pass. Recipes of equal shape can go through the network together.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Steps.
    pub steps: usize,
    /// Guidance.
    pub guidance: f64,
    /// Sampler.
    pub sampler: Sampler,
    /// What lies beyond the border.
    pub edge: Edge,
    /// LoRAs with their strengths, by name.
    pub loras: Vec<(String, f64)>,
    /// The picture to begin with.
    pub original: Option<Original>,
}

/// One result.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it shows.
    pub positive: Vec<Words>,
    /// What it does not.
    pub negative: Vec<Words>,
    /// Where its noise comes from.
    pub grain: Grain,
}

/// A recipe, ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What its results share.
    pub shape: Shape,
    /// Its results.
    pub items: Vec<Item>,
}

/// The inputs of a checkpoint.
pub fn schema(defaults: &Defaults) -> Map<String, Value> {
    let side = |title: &str, text: &str, order: u32| {
        json!({"type": "integer", "title": title, "description": text, "minimum": 64, "maximum": defaults.max_side,
               "multipleOf": defaults.multiple, "default": defaults.side, "x-order": order})
    };
    let list = json!({"type": "array", "default": [], "maxItems": 64, "x-hidden": true});
    let samplers: Vec<_> = defaults.samplers.iter().map(|sampler| sampler.name()).collect();
    let mut properties = json!({
        "seed": {"type": "integer", "title": "Seed", "description": "The same seed and words give the same picture; picture number 2 of a grid has the next seed.",
                 "minimum": 0, "maximum": u32::MAX, "x-order": 1},
        "count": {"type": "integer", "title": "Pictures", "description": "How many pictures one prompt gives.", "minimum": 1,
                  "maximum": defaults.max_count, "default": defaults.max_count.min(4), "x-flags": ["n"], "x-order": 2},
        "width": side("Width", "Pixels from left to right.", 3),
        "height": side("Height", "Pixels from top to bottom.", 4),
        "steps": {"type": "integer", "title": "Steps", "description": "Steps from noise to picture.", "minimum": 1,
                  "maximum": MAX_STEPS, "default": defaults.steps, "x-order": 6},
        "sampler": {"type": "string", "title": "Sampler", "description": "The way from noise to picture.", "enum": samplers,
                    "default": defaults.sampler.name(), "x-order": 8},
        "variations": list,
        "blend": list,
    });
    for (name, schema) in original::inputs(9) {
        properties[&name] = schema;
    }
    if defaults.guided == Guidance::Push {
        properties[input::NEGATIVE_PROMPT] = json!({
            "type": "string", "title": "Not", "description": "What must not be there.", "maxLength": 1_000, "default": "",
            "x-flags": ["no"], "x-order": 5,
        });
    }
    if let Some(text) = said_of(defaults.guided) {
        properties[GUIDANCE] = json!({
            "type": "number", "title": "Guidance scale", "description": text, "minimum": 0, "maximum": MAX_GUIDANCE,
            "default": defaults.guidance, "x-flags": ["cfg"], "x-order": 7,
        });
    }
    if defaults.repeats {
        properties[TILE] = json!({"type": "boolean", "title": "Tile", "description": "Repeats without a seam.", "default": false, "x-order": 12});
    }
    if !defaults.loras.is_empty() {
        properties[LORA] = loras(&defaults.loras);
    }
    let schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    schema.as_object().cloned().unwrap_or_default()
}

/// What members are told of guidance, where they can choose it.
fn said_of(guided: Guidance) -> Option<&'static str> {
    match guided {
        Guidance::Push => {
            Some("How much the words count. With 1 or less, what must not be there counts for nothing.")
        }
        Guidance::Told => Some("How much the words count."),
        Guidance::Fixed => None,
    }
}

/// The input with LoRAs.
fn loras(names: &[String]) -> Value {
    let (most, strength) = LORAS;
    let names = names.join(", ");
    let text =
        format!("Add-ons, each with a strength from -{strength} to {strength} as in NAME:0.8: {names}.");
    json!({"type": "array", "items": {"type": "string"}, "title": "LoRAs", "description": text, "default": [],
           "maxItems": most, "x-flags": ["lora"], "x-order": 13})
}

impl Request {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`EngineError::Input`] naming the input that cannot be read.
    pub fn read(
        recipe: &Recipe,
        spec: &ModelSpec,
        guided: Guidance,
        loras: &[String],
    ) -> Result<Self, EngineError> {
        schema::validate(&recipe.params, spec).map_err(|error| EngineError::Input(error.to_string()))?;
        let sampler = recipe.text(SAMPLER).and_then(Sampler::named);
        let shape = Shape {
            size: recipe.size().ok_or_else(|| bad("width and height", "whole numbers of pixels"))?,
            steps: recipe.integer(STEPS).ok_or_else(|| bad(STEPS, "a whole number"))? as usize,
            guidance: match guided {
                Guidance::Fixed => 1.0,
                _ => recipe.number(GUIDANCE).ok_or_else(|| bad(GUIDANCE, "a number"))?,
            },
            sampler: sampler.ok_or_else(|| bad(SAMPLER, "the name of a sampler"))?,
            edge: if recipe.switch(TILE) { Edge::Wrap } else { Edge::Zero },
            loras: chosen(recipe, loras)?,
            original: Original::read(recipe)?,
        };
        let sources = moves::sources(recipe)?;
        let (positive, negative) = words(recipe, &sources);
        if guided != Guidance::Push && negative.iter().any(|one| !one.text.is_empty()) {
            return Err(EngineError::Input(
                "this model cannot push away from anything: leave out the parts of the prompt with a weight below 0".to_owned(),
            ));
        }
        let item = |walk| Item {
            positive: positive.clone(),
            negative: negative.clone(),
            grain: Grain::new(walk, &sources),
        };
        Ok(Self { shape, items: moves::walks(recipe)?.into_iter().map(item).collect() })
    }
}

/// LoRAs as members write them, by name, so that their order makes no difference.
fn chosen(recipe: &Recipe, known: &[String]) -> Result<Vec<(String, f64)>, EngineError> {
    let list = recipe.params.get(LORA).and_then(Value::as_array);
    let mut chosen = Vec::new();
    for text in list.into_iter().flatten().filter_map(Value::as_str) {
        let (name, strength) = text.rsplit_once(':').unwrap_or((text, "1"));
        let strength: f64 = strength.trim().parse().unwrap_or(f64::NAN);
        if !known.iter().any(|one| one == name) || !(-LORAS.1..=LORAS.1).contains(&strength) {
            let expected = format!(
                "NAME or NAME:STRENGTH with a strength from -{} to {}, and the names {}",
                LORAS.1,
                LORAS.1,
                known.join(", ")
            );
            return Err(bad(&format!("the LoRA {text:?}"), &expected));
        }
        chosen.push((name.to_owned(), strength));
    }
    chosen.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    Ok(chosen)
}

/// What is to be seen and what is not: parts of the prompt with a weight below 0 belong to the latter.
fn words(recipe: &Recipe, sources: &[Source]) -> (Vec<Words>, Vec<Words>) {
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    let own = std::iter::once((&recipe.prompt, 1.0));
    let blended = sources.iter().map(|source| (&source.prompt, source.weight.max(0.0)));
    for (prompt, weight) in own.chain(blended) {
        sort(prompt, weight, &mut positive, &mut negative);
    }
    let not = recipe.text(input::NEGATIVE_PROMPT).unwrap_or_default().trim();
    if !not.is_empty() {
        negative.push(Words { text: not.to_owned(), weight: 1.0 });
    }
    for list in [&mut positive, &mut negative] {
        if list.is_empty() {
            list.push(Words { text: String::new(), weight: 1.0 });
        }
    }
    (positive, negative)
}

/// The parts of a prompt, their weights shared out so that the prompt counts as `weight`.
fn sort(prompt: &Prompt, weight: f64, positive: &mut Vec<Words>, negative: &mut Vec<Words>) {
    let parts = prompt.parts();
    let total: f64 = parts.iter().map(|part| part.weight.max(0.0)).sum();
    for part in parts {
        let words = |weight| Words { text: part.text.clone(), weight };
        match part.weight {
            above if above > 0.0 && weight > 0.0 => positive.push(words(weight * above / total)),
            below if below < 0.0 && weight > 0.0 => negative.push(words(weight * -below)),
            _ => {}
        }
    }
}
