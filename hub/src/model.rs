//! What a model says of itself. A model *is* its schema: flags, forms, validation and the moves that
//! its results offer are all read from the JSON Schema of its inputs, and from nothing else.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{canonical::Digest, recipe::Recipe};

/// The names of inputs that mean the same in every model. A schema that declares one of them takes part
/// in the flags and moves that go with it; anything else in a schema is the model's own.
pub mod input {
    /// Seed of all randomness, an integer from 0 to 2³²−1. Image `i` of a grid uses `seed + i`.
    pub const SEED: &str = "seed";
    /// How many results one recipe gives (a grid is 4).
    pub const COUNT: &str = "count";
    /// Width in pixels.
    pub const WIDTH: &str = "width";
    /// Height in pixels.
    pub const HEIGHT: &str = "height";
    /// What must not be in the picture.
    pub const NEGATIVE_PROMPT: &str = "negative_prompt";
    /// `[[seed, strength], …]`: each step walks from the latent towards that seed's. Makes *vary*.
    pub const VARIATIONS: &str = "variations";
    /// `[{"prompt", "seed", "variations", "weight"}, …]`: latents mixed with this one. Makes *blend*.
    pub const BLEND: &str = "blend";
    /// Horizontal centre of the view, in widths of the unzoomed picture. Makes *pan*.
    pub const VIEW_X: &str = "view_x";
    /// Vertical centre of the view, in heights of the unzoomed picture.
    pub const VIEW_Y: &str = "view_y";
    /// How much of the plane the view covers; 1 is the unzoomed picture. Makes *zoom*.
    pub const VIEW_SCALE: &str = "view_scale";
    /// How much of [`IMAGE`] is painted anew, 0 to 1.
    pub const STRENGTH: &str = "strength";
    /// Earlier turns of a conversation: `[{"role", "content"}, …]`. Makes *reply*.
    pub const HISTORY: &str = "history";
    /// How many times as many pixels a side [`IMAGE`] gets. Makes a model of pictures one that *upscale* uses.
    pub const UPSCALE: &str = "upscale";
    /// A picture to look at: the name of its blob, or nothing. Its schema has `"x-media": "image"`. Makes *describe*. Beside
    /// [`VIEW_SCALE`] it is what the view is of: what lies beyond the picture is painted anew.
    pub const IMAGE: &str = "image";
    /// Sound to listen to: the name of its blob, or nothing. Its schema has `"x-media": "audio"`. Makes *transcribe*.
    pub const AUDIO: &str = "audio";
}

/// What a model makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    /// Pictures; the `/imagine` command.
    Image,
    /// Sound; the `/sound` command.
    Audio,
    /// Text; the `/ask` command.
    Text,
}

impl Media {
    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "picture",
            Self::Audio => "sound",
            Self::Text => "text",
        }
    }

    /// One of it, in a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::Image => "a picture",
            Self::Audio => "a sound",
            Self::Text => "a text",
        }
    }
}

/// What one run is expected to cost, in seconds of the device, before the hub has measured any.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds every run takes, whatever its size.
    pub fixed: f64,
    /// Seconds a megapixel of output (width × height × count / 10⁶).
    #[serde(default)]
    pub per_megapixel: f64,
    /// Seconds a token of output (up to `max_tokens`).
    #[serde(default)]
    pub per_token: f64,
    /// Seconds to load the weights.
    #[serde(default)]
    pub load: f64,
}

impl Cost {
    /// What a run of a recipe is expected to cost in milliseconds of the device, at least 1; `ratio` is what the hub has
    /// measured over what is announced.
    pub fn estimate_ms(&self, recipe: &Recipe, ratio: f64) -> i64 {
        let (width, height) = recipe.size().unwrap_or((0, 0));
        let megapixels = f64::from(width) * f64::from(height) * f64::from(recipe.count()) / 1e6;
        let tokens = recipe.integer("max_tokens").unwrap_or(0) as f64;
        let seconds = self.fixed + self.per_megapixel * megapixels + self.per_token * tokens;
        ((seconds * ratio * 1_000.0).ceil() as i64).max(1)
    }
}

/// A worker's word that a model costs it money: it runs the model only when workers that do not say so would take long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Overflow {
    /// Expected seconds until the result, by the other workers, beyond which a job may go to this one.
    pub after_seconds: f64,
}

/// One immutable version of a model, as the worker that serves it announces it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Short lowercase name that members type, such as `abstract`.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// The card: what it is, and what it is not, in a paragraph.
    pub card: String,
    /// SPDX expression of the weights' licence.
    pub license: String,
    /// What it makes.
    pub media: Media,
    /// JSON Schema (an object with `properties`) of every input but the prompt itself. Each property has
    /// a `default`; `x-flags` lists further names its flag goes by (`["cfg"]`), `x-order` its place in forms.
    pub schema: Map<String, Value>,
    /// Hash of whatever makes results differ: weights and the engine's own version.
    pub fingerprint: Digest,
    /// Expected cost.
    pub cost: Cost,
    /// Whether its results are for adults; used only in channels for them. No part of the version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mature: bool,
    /// Set by a worker that runs it as overflow. What one worker says for itself: no part of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// Prompts to try it with, each with its flags; no part of the version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

impl ModelSpec {
    /// The version digest: equal exactly when two announcements give the same results from the same recipe.
    pub fn digest(&self) -> Digest {
        Digest::of_json(&serde_json::json!({
            "name": self.name,
            "media": self.media,
            "schema": self.schema,
            "fingerprint": self.fingerprint,
        }))
    }

    /// Whether it enlarges pictures that are there already: *upscale* uses it, and no prompt goes to it unless it names it.
    pub fn is_upscaler(&self) -> bool {
        self.media == Media::Image && self.takes(input::IMAGE) && self.takes(input::UPSCALE)
    }

    /// Whether prompts may go to it that do not name it: not if it enlarges pictures, and not if an input has to be given
    /// (`"x-required": true` in its schema).
    pub fn takes_words_alone(&self) -> bool {
        let needed = |property: &Value| property.get("x-required") == Some(&Value::Bool(true));
        !self.is_upscaler() && !self.properties().into_iter().flat_map(Map::values).any(needed)
    }

    /// The schema of one input, where the model has it.
    pub fn property(&self, name: &str) -> Option<&Map<String, Value>> {
        self.properties()?.get(name)?.as_object()
    }

    /// All inputs by name.
    pub fn properties(&self) -> Option<&Map<String, Value>> {
        self.schema.get("properties")?.as_object()
    }

    /// Whether the model has such an input.
    pub fn takes(&self, name: &str) -> bool {
        self.property(name).is_some()
    }
}
