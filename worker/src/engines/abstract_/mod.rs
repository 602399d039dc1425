//! `abstract`: pictures without weights to download, drawn from prompt and seed by a compositional pattern-producing
//! network. It owns nothing, gives the same bytes for the same recipe on every machine, and never draws a thing.
//! `docs/abstract.md` says which words do what.

mod latent;
mod math;
mod paint;
mod recipe;
mod words;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use image::RgbImage;
use rayon::prelude::*;
use riff_hub::{
    canonical::Digest,
    model::{Cost, Media, ModelSpec},
    pictures,
    recipe::Recipe,
};
use serde_json::{Map, Value, json};

use self::{
    paint::{Painter, View},
    recipe::Plan,
};
use crate::{
    engine::{Artifact, Engine, EngineError, RunContext, Update},
    engines::{blocking, picture},
};

/// Prompts that show what the engine does with words.
const EXAMPLES: [&str; 3] = [
    "a mandala of gold and sapphire",
    "calm sea at dawn --width 768 --height 512",
    "wild fire::2 forest::1 --n 1",
];

/// Changes whenever the same recipe would give other bytes.
const VERSION: &str = "riff abstract 1";
/// Pixels of a preview's longer side; a grid's preview has four of half that.
const PREVIEW: u32 = 256;
/// Rows painted between two looks at whether anybody still wants the picture.
const BAND: u32 = 64;

/// The engine.
pub struct AbstractEngine {
    spec: ModelSpec,
}

impl Default for AbstractEngine {
    fn default() -> Self {
        Self {
            spec: ModelSpec {
                name: "abstract".to_owned(),
                title: "Abstract".to_owned(),
                card: include_str!("card.md").trim().to_owned(),
                license: "CC0-1.0".to_owned(),
                media: Media::Image,
                schema: schema(),
                fingerprint: Digest::of_bytes(VERSION.as_bytes()),
                cost: Cost { fixed: 0.05, per_megapixel: 0.35, per_token: 0.0, load: 0.0 },
                mature: false,
                overflow: None,
                examples: EXAMPLES.map(str::to_owned).into(),
            },
        }
    }
}

fn schema() -> Map<String, Value> {
    let whole = |title: &str, text: &str, range: (u32, u32), default: u32, order: u32| {
        json!({"type": "integer", "title": title, "description": text, "minimum": range.0, "maximum": range.1,
               "default": default, "x-order": order})
    };
    let mut count = whole("Pictures", "How many pictures one prompt gives.", (1, 4), 4, 2);
    count["x-flags"] = json!(["n"]);
    let mut width = whole("Width", "Pixels from left to right.", (64, 2_048), 512, 3);
    width["multipleOf"] = json!(8);
    let mut height = whole("Height", "Pixels from top to bottom.", (64, 2_048), 512, 4);
    height["multipleOf"] = json!(8);
    let number = |title: &str, text: &str, max: f64, default: f64, flags: &[&str], order: u32| {
        json!({"type": "number", "title": title, "description": text, "minimum": 0, "maximum": max, "default": default,
               "x-flags": flags, "x-order": order})
    };
    let view = |default: f64, limits: (f64, f64)| json!({"type": "number", "minimum": limits.0, "maximum": limits.1, "default": default, "x-hidden": true});
    let list = json!({"type": "array", "default": [], "maxItems": 64, "x-hidden": true});
    let properties = json!({
        "seed": {"type": "integer", "title": "Seed", "description": "The same seed and words give the same picture; picture number 2 of a grid has the next seed.",
                 "minimum": 0, "maximum": u32::MAX, "x-order": 1},
        "count": count,
        "width": width,
        "height": height,
        "negative_prompt": {"type": "string", "title": "Not", "description": "Words to push away from.", "maxLength": 1_000,
                            "default": "", "x-flags": ["no"], "x-order": 5},
        "steps": whole("Steps", "Octaves of detail.", (1, 12), 6, 6),
        "guidance_scale": number("Guidance scale", "How much the words count against the seed.", 20.0, 7.0, &["cfg", "stylize", "s"], 7),
        "chaos": whole("Chaos", "How far pictures stray from the words.", (0, 100), 0, 8),
        "image_weight": number("Image weight", "How much blended pictures count.", 3.0, 1.0, &["iw"], 9),
        "tile": {"type": "boolean", "title": "Tile", "description": "Repeats without a seam.", "default": false, "x-order": 10},
        "variations": list,
        "blend": list,
        "view_x": view(0.5, (-1e6, 1e6)),
        "view_y": view(0.5, (-1e6, 1e6)),
        "view_scale": view(1.0, (0.001, 64.0)),
    });
    let schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    schema.as_object().cloned().unwrap_or_default()
}

#[async_trait]
impl Engine for AbstractEngine {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        Ok(vec![self.spec.clone()])
    }

    fn loaded(&self, _model: Digest) -> bool {
        true
    }

    async fn load(&self, _model: Digest) -> Result<(), EngineError> {
        Ok(())
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        let plan = Plan::read(recipe)?;
        let context = context.clone();
        blocking(move || draw(&plan, &context)).await
    }
}

fn draw(plan: &Plan, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
    let painters: Vec<Painter> =
        plan.latents.iter().map(|latent| Painter::new(latent, plan.octaves, plan.rolled)).collect();
    (context.updates)(Update::Progress { done: 0.02, preview: preview(&painters, &plan.view) });
    let bands = (plan.view.height.div_ceil(BAND) as usize * painters.len()) as f32;
    let mut finished = 0.0;
    let mut artifacts = Vec::new();
    for painter in &painters {
        let pixels = paint(painter, &plan.view, &mut || {
            if context.cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            finished += 1.0;
            (context.updates)(Update::Progress { done: 0.02 + 0.96 * finished / bands, preview: None });
            Ok(())
        })?;
        artifacts.push(Artifact { media_type: "image/png".into(), bytes: picture::png(&pixels)? });
    }
    Ok(artifacts)
}

fn paint(
    painter: &Painter,
    view: &View,
    after_band: &mut dyn FnMut() -> Result<(), EngineError>,
) -> Result<RgbImage, EngineError> {
    let stride = view.width as usize * 3;
    let mut pixels = vec![0; stride * view.height as usize];
    for (band, rows) in pixels.chunks_mut(stride * BAND as usize).enumerate() {
        let first = band as u32 * BAND;
        rows.par_chunks_mut(stride).enumerate().for_each(|(y, row)| painter.row(view, first + y as u32, row));
        after_band()?;
    }
    RgbImage::from_raw(view.width, view.height, pixels)
        .ok_or_else(|| EngineError::Failed("sizes disagree".to_owned()))
}

/// All pictures, small, in one: what a member sees within a blink.
fn preview(painters: &[Painter], view: &View) -> Option<Bytes> {
    let columns = pictures::columns(painters.len() as u32);
    let longer = view.width.max(view.height) as f32;
    let fit = |side: u32| ((side as f32 / longer * (PREVIEW / columns) as f32) as u32).max(1);
    let small = View { width: fit(view.width), height: fit(view.height), ..*view };
    let painted = painters.iter().map(|painter| paint(painter, &small, &mut || Ok(())).ok());
    picture::sheet(&painted.collect::<Option<Vec<_>>>()?)
}

/// The engine, as the registry wants it.
pub fn engine() -> Arc<dyn Engine> {
    Arc::new(AbstractEngine::default())
}

#[cfg(test)]
mod tests;
