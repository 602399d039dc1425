//! What a recipe asks for, read into latents and a view.

use riff_hub::{model::input, prompt::Prompt, recipe::Recipe};
use serde::Deserialize;
use serde_json::Value;

use super::{latent::Latent, paint::View};
use crate::engine::EngineError;

/// Guidance at which words count as the table says.
const ORDINARY_GUIDANCE: f64 = 7.0;

/// Pictures of one recipe; the schema offers fewer.
const MAX_PICTURES: u32 = 16;

/// A recipe, ready to draw.
pub struct Plan {
    /// One a picture.
    pub latents: Vec<Latent>,
    /// What of the plane is shown.
    pub view: View,
    /// Octaves of detail.
    pub octaves: u32,
    /// Whether the plane repeats.
    pub rolled: bool,
}

/// A step of a variation: the seed to walk towards, and how far.
type Step = (u32, f64);

/// A picture that is blended in.
#[derive(Deserialize)]
struct Source {
    prompt: Prompt,
    seed: u32,
    #[serde(default)]
    variations: Vec<Step>,
    weight: f64,
}

impl Plan {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`EngineError::Input`] naming the input that cannot be read.
    pub fn read(recipe: &Recipe) -> Result<Self, EngineError> {
        let number = |name: &str, default: f64| recipe.number(name).unwrap_or(default);
        let (width, height) =
            recipe.size().ok_or_else(|| bad("width and height", "whole numbers of pixels"))?;
        if !(1..=8_192).contains(&width) || !(1..=8_192).contains(&height) {
            return Err(bad("width and height", "from 1 to 8192 pixels"));
        }
        let scale = number(input::VIEW_SCALE, 1.0);
        if scale <= 0.0 {
            return Err(bad(input::VIEW_SCALE, "a number above 0"));
        }
        if !(1..=MAX_PICTURES).contains(&recipe.count()) {
            return Err(bad(input::COUNT, "from 1 to 16 pictures"));
        }
        let words = Words::of(recipe)?;
        let steps: Vec<Step> = list(recipe, input::VARIATIONS, "a list of [seed, strength]")?;
        let sources: Vec<Source> =
            list(recipe, input::BLEND, "a list of {prompt, seed, variations, weight}")?;
        let weight = number("image_weight", 1.0);
        let latent = |i: u32| {
            let own = words.latent(&recipe.prompt, &pinned(recipe.seed(), &steps, i));
            mixed(own, &sources, weight, &words)
        };
        Ok(Self {
            latents: (0..recipe.count()).map(latent).collect(),
            view: View { x: number(input::VIEW_X, 0.5), y: number(input::VIEW_Y, 0.5), scale, width, height },
            octaves: recipe.integer("steps").unwrap_or(6) as u32,
            rolled: recipe.switch("tile"),
        })
    }
}

/// Picture `i` of a grid counts up the seed of the last variation, or else the seed itself.
fn pinned(seed: u32, steps: &[Step], i: u32) -> (u32, Vec<Step>) {
    let mut steps = steps.to_vec();
    match steps.last_mut() {
        Some((towards, _)) => {
            *towards = towards.wrapping_add(i);
            (seed, steps)
        }
        None => (seed.wrapping_add(i), steps),
    }
}

/// How words count in this recipe.
struct Words {
    negative: Option<Latent>,
    pull: f64,
    stray: f64,
}

impl Words {
    fn of(recipe: &Recipe) -> Result<Self, EngineError> {
        let chaos = recipe.number("chaos").unwrap_or(0.0) / 100.0;
        let negative = match recipe.text(input::NEGATIVE_PROMPT).map(str::trim) {
            None | Some("") => None,
            Some(text) => Some(Latent::of_words(
                &Prompt::verbatim(text).map_err(|error| EngineError::Input(error.to_string()))?,
            )),
        };
        let guidance = recipe.number("guidance_scale").unwrap_or(ORDINARY_GUIDANCE);
        Ok(Self {
            negative,
            pull: guidance / ORDINARY_GUIDANCE * (1.0 - 0.5 * chaos),
            stray: 1.0 + 0.6 * chaos,
        })
    }

    fn latent(&self, prompt: &Prompt, (seed, steps): &(u32, Vec<Step>)) -> Latent {
        let mut scattered = Latent::of_seed(*seed);
        for (towards, amount) in steps {
            scattered = scattered.towards(&Latent::of_seed(*towards), amount.clamp(0.0, 1.0));
        }
        let pushed = scattered.times(self.stray).plus(&Latent::of_words(prompt), self.pull);
        match &self.negative {
            Some(negative) => pushed.plus(negative, -self.pull),
            None => pushed,
        }
    }
}

/// The mean of a latent and those blended in, by weight.
fn mixed(own: Latent, sources: &[Source], image_weight: f64, words: &Words) -> Latent {
    let mut total = 1.0;
    let mut lengths = own.length();
    let mut sum = own;
    for source in sources {
        let weight = source.weight.max(0.0) * image_weight;
        let theirs = words.latent(&source.prompt, &(source.seed, source.variations.clone()));
        total += weight;
        lengths += weight * theirs.length();
        sum = sum.plus(&theirs, weight);
    }
    // A mean is shorter than what it is of; it is stretched to their mean length, lest blends be duller than parents.
    let wanted = lengths / total;
    let length = sum.length();
    if length > 0.0 { sum.times(wanted / length) } else { sum }
}

fn list<T: serde::de::DeserializeOwned>(
    recipe: &Recipe,
    name: &str,
    expected: &str,
) -> Result<Vec<T>, EngineError> {
    match recipe.params.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            serde_json::from_value(value.clone()).map_err(|error| bad(name, &format!("{expected} ({error})")))
        }
    }
}

fn bad(name: &str, expected: &str) -> EngineError {
    EngineError::Input(format!("{name} cannot be read: expected {expected}"))
}
