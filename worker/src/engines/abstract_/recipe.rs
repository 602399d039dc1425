//! What a recipe asks for, read into latents and a view.

use riff_hub::{model::input, prompt::Prompt, recipe::Recipe};

use super::{latent::Latent, paint::View};
use crate::{
    engine::EngineError,
    engines::moves::{self, Source, Walk, bad},
};

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
        let sources = moves::sources(recipe)?;
        let weight = number("image_weight", 1.0);
        let latent = |walk: &Walk| mixed(words.latent(&recipe.prompt, walk), &sources, weight, &words);
        Ok(Self {
            latents: moves::walks(recipe)?.iter().map(latent).collect(),
            view: View { x: number(input::VIEW_X, 0.5), y: number(input::VIEW_Y, 0.5), scale, width, height },
            octaves: recipe.integer("steps").unwrap_or(6) as u32,
            rolled: recipe.switch("tile"),
        })
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

    fn latent(&self, prompt: &Prompt, walk: &Walk) -> Latent {
        let mut scattered = Latent::of_seed(walk.seed);
        for (towards, amount) in &walk.steps {
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
        let theirs = words.latent(&source.prompt, &source.walk());
        total += weight;
        lengths += weight * theirs.length();
        sum = sum.plus(&theirs, weight);
    }
    // A mean is shorter than what it is of; it is stretched to their mean length, lest blends be duller than parents.
    let wanted = lengths / total;
    let length = sum.length();
    if length > 0.0 { sum.times(wanted / length) } else { sum }
}
