//! What doodle takes, and what a recipe asks of it.

use riff_hub::{
    model::{ModelSpec, input},
    recipe::Recipe,
    schema,
};
use serde_json::{Map, Value, json};

use super::model::Header;
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

/// Steps that a distilled network learned to take.
const LEARNED: u64 = 8;
/// Steps of one that was not: the more, the nearer it comes to what it learned.
const STEPS: [u32; 4] = [4, 8, 12, 20];
/// How many times as many pixels a side the results have as the network draws.
pub const TIMES: u32 = 4;

/// What is the same for all results of a recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Pixels of the results, from left to right and from above to below.
    pub size: (u32, u32),
    /// Steps from noise to picture.
    pub steps: usize,
    /// How much the words count.
    pub guidance: f64,
    /// What lies beyond the border.
    pub edge: Edge,
    /// The picture to begin with.
    pub original: Option<Original>,
}

/// Words, and how much they count beside others.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    /// The words.
    pub text: String,
    /// Above 0.
    pub weight: f64,
}

/// A recipe, ready to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What its results share.
    pub shape: Shape,
    /// What they show.
    pub words: Vec<Words>,
    /// What they are to keep away from, for a network that is guided; often nothing.
    pub not: String,
    /// Where the noise of each comes from.
    pub grains: Vec<Grain>,
}

/// The inputs.
pub fn schema(header: &Header) -> Map<String, Value> {
    // The guidance that a distilled one learned ends where pictures of the other are spoilt.
    let (guidance, strongest) = if header.distilled { (1.5, 4.0) } else { (2.5, 6.0) };
    // It learned from squares, and can be trusted with what is not too far from those.
    let (unit, learned) = (header.shape.unit(), header.shape.size);
    let pixels = |units: usize| (units * unit) as u32 * TIMES;
    let (least, most) = ((learned * 3 / 4 / unit).max(1), learned * 3 / 2 / unit);
    let side = |title: &str, from_to: &str, order: u32| {
        json!({"type": "integer", "title": title, "description": format!("Pixels from {from_to}."),
                 "minimum": pixels(least), "maximum": pixels(most), "multipleOf": pixels(1), "default": pixels(learned / unit), "x-order": order})
    };
    let list = json!({"type": "array", "default": [], "maxItems": 64, "x-hidden": true});
    let mut properties = json!({
        "seed": {"type": "integer", "title": "Seed", "description": "The same seed and words give the same picture; picture number 2 of a grid has the next seed.",
                 "minimum": 0, "maximum": u32::MAX, "x-order": 1},
        "count": {"type": "integer", "title": "Pictures", "description": "How many pictures one prompt gives.", "minimum": 1,
                  "maximum": 4, "default": 4, "x-flags": ["n"], "x-order": 2},
        "width": side("Width", "left to right", 3),
        "height": side("Height", "above to below", 4),
        "guidance_scale": {"type": "number", "title": "Guidance scale", "description": "How much the words count.",
                           "minimum": 1.0, "maximum": strongest, "default": guidance, "x-flags": ["cfg", "stylize", "s"], "x-order": 7},
        "tile": {"type": "boolean", "title": "Tile", "description": "Repeats without a seam.", "default": false, "x-order": 11},
        "variations": list,
        "blend": list,
    });
    if !header.distilled {
        properties["steps"] = json!({
            "type": "integer", "title": "Steps", "description": "Steps from noise to picture.", "enum": STEPS,
            "minimum": STEPS[0], "maximum": STEPS[3], "default": 12, "x-order": 5
        });
        // Guidance that is built in leads away from nothing in particular.
        properties[input::NEGATIVE_PROMPT] = json!({
            "type": "string", "title": "Not", "description": "Words to keep away from.", "maxLength": 1_000, "default": "",
            "x-flags": ["no"], "x-order": 6
        });
    }
    for (name, schema) in original::inputs(8) {
        properties[&name] = schema;
    }
    let schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    schema.as_object().cloned().unwrap_or_default()
}

impl Request {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`EngineError::Input`] naming the input that cannot be read, or what of the prompt cannot be drawn.
    pub fn read(recipe: &Recipe, spec: &ModelSpec) -> Result<Self, EngineError> {
        schema::validate(&recipe.params, spec).map_err(|error| EngineError::Input(error.to_string()))?;
        let sources = moves::sources(recipe)?;
        let (words, mut not) = words(recipe, &sources);
        let is_english = |words: &Words| words.text.chars().any(|letter| letter.is_ascii_alphabetic());
        if words.is_empty() || !words.iter().all(is_english) {
            return Err(EngineError::Input(
                "Doodle knows English words alone: say what to draw, such as \"a blue cat next to two trees\""
                    .to_owned(),
            ));
        }
        if !not.is_empty() && !spec.takes(input::NEGATIVE_PROMPT) {
            return Err(EngineError::Input(
                "Doodle cannot leave things out: take the part with a weight below 0 out of the prompt"
                    .to_owned(),
            ));
        }
        not.extend(recipe.text(input::NEGATIVE_PROMPT).filter(|text| !text.is_empty()).map(str::to_owned));
        Ok(Self {
            shape: Shape {
                size: (side(recipe, input::WIDTH)?, side(recipe, input::HEIGHT)?),
                steps: recipe.integer("steps").unwrap_or(LEARNED) as usize,
                guidance: recipe.number("guidance_scale").ok_or_else(|| bad("guidance_scale", "a number"))?,
                edge: if recipe.switch("tile") { Edge::Wrap } else { Edge::Zero },
                original: Original::read(recipe)?,
            },
            words,
            not: not.join(", "),
            grains: moves::walks(recipe)?.into_iter().map(|walk| Grain::new(walk, &sources)).collect(),
        })
    }
}

fn side(recipe: &Recipe, name: &str) -> Result<u32, EngineError> {
    recipe.integer(name).and_then(|side| side.try_into().ok()).ok_or_else(|| bad(name, "a whole number"))
}

/// The parts of the prompt and of those blended in, the weights of each prompt shared out so that it counts as it should; and the
/// parts with a weight below 0.
fn words(recipe: &Recipe, sources: &[Source]) -> (Vec<Words>, Vec<String>) {
    let blended =
        sources.iter().map(|source| (&source.prompt, source.weight)).filter(|(_, counts)| *counts > 0.0);
    let (mut words, mut not) = (Vec::new(), Vec::new());
    for (prompt, counts) in std::iter::once((&recipe.prompt, 1.0)).chain(blended) {
        let parts = prompt.parts();
        let total: f64 = parts.iter().map(|part| part.weight.max(0.0)).sum();
        for part in parts {
            if part.weight < 0.0 {
                not.push(part.text);
            } else if part.weight > 0.0 {
                words.push(Words { text: part.text, weight: counts * part.weight / total });
            }
        }
    }
    (words, not)
}
