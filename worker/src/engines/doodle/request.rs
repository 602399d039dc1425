//! What doodle takes, and what a recipe asks of it.

use riff_hub::{model::ModelSpec, prompt::Prompt, recipe::Recipe, schema};
use serde_json::{Map, Value, json};

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
const FEW: [u32; 4] = [1, 2, 4, 8];
/// Steps of one that was not: the more, the nearer it comes to what it learned.
const MANY: [u32; 4] = [4, 8, 12, 20];
/// Guidance that it learned.
const GUIDANCE: (f64, f64) = (1.0, 6.0);

/// What is the same for all results of a recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
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
    /// Where the noise of each comes from.
    pub grains: Vec<Grain>,
}

/// The inputs.
pub fn schema(distilled: bool) -> Map<String, Value> {
    let (steps, usual) = if distilled { (FEW, 8) } else { (MANY, 12) };
    let list = json!({"type": "array", "default": [], "maxItems": 64, "x-hidden": true});
    let mut properties = json!({
        "seed": {"type": "integer", "title": "Seed", "description": "The same seed and words give the same picture; picture number 2 of a grid has the next seed.",
                 "minimum": 0, "maximum": u32::MAX, "x-order": 1},
        "count": {"type": "integer", "title": "Pictures", "description": "How many pictures one prompt gives.", "minimum": 1,
                  "maximum": 4, "default": 4, "x-flags": ["n"], "x-order": 2},
        "steps": {"type": "integer", "title": "Steps", "description": "Steps from noise to picture.", "enum": steps,
                  "minimum": steps[0], "maximum": steps[3], "default": usual, "x-order": 3},
        "guidance_scale": {"type": "number", "title": "Guidance scale", "description": "How much the words count.",
                           "minimum": GUIDANCE.0, "maximum": GUIDANCE.1, "default": 2.5, "x-flags": ["cfg", "stylize", "s"], "x-order": 4},
        "tile": {"type": "boolean", "title": "Tile", "description": "Repeats without a seam.", "default": false, "x-order": 8},
        "variations": list,
        "blend": list,
    });
    for (name, schema) in original::inputs(5) {
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
        Ok(Self {
            shape: Shape {
                steps: recipe.integer("steps").ok_or_else(|| bad("steps", "a whole number"))? as usize,
                guidance: recipe.number("guidance_scale").ok_or_else(|| bad("guidance_scale", "a number"))?,
                edge: if recipe.switch("tile") { Edge::Wrap } else { Edge::Zero },
                original: Original::read(recipe)?,
            },
            words: words(recipe, &sources)?,
            grains: moves::walks(recipe)?.into_iter().map(|walk| Grain::new(walk, &sources)).collect(),
        })
    }
}

/// The parts of the prompt and of those blended in.
fn words(recipe: &Recipe, sources: &[Source]) -> Result<Vec<Words>, EngineError> {
    let blended = sources.iter().map(|source| (&source.prompt, source.weight.max(0.0)));
    let mut words = Vec::new();
    for (prompt, weight) in std::iter::once((&recipe.prompt, 1.0)).chain(blended) {
        words.extend(parts(prompt, weight)?);
    }
    let is_english = |words: &Words| words.text.chars().any(|letter| letter.is_ascii_alphabetic());
    match words.iter().all(is_english) && !words.is_empty() {
        true => Ok(words),
        false => Err(EngineError::Input(
            "Doodle knows English words alone: say what to draw, such as \"a blue cat next to two trees\""
                .to_owned(),
        )),
    }
}

/// Those of a prompt, their weights shared out so that the prompt counts as `weight`.
fn parts(prompt: &Prompt, weight: f64) -> Result<Vec<Words>, EngineError> {
    let parts = prompt.parts();
    if parts.iter().any(|part| part.weight < 0.0) {
        return Err(EngineError::Input(
            "Doodle cannot leave things out: take the part with a weight below 0 out of the prompt"
                .to_owned(),
        ));
    }
    let total: f64 = parts.iter().map(|part| part.weight).sum();
    let counts = parts.iter().filter(|part| part.weight > 0.0 && weight > 0.0);
    Ok(counts.map(|part| Words { text: part.text.clone(), weight: weight * part.weight / total }).collect())
}
