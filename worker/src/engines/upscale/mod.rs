//! `upscale`: pictures enlarged by networks of the ESRGAN family, one for every pair of `.param` and `.bin` files among
//! the weights. It owns the networks from their first job on. It adds detail that looks likely, not detail that was there.

mod ncnn;
pub(super) mod network;
pub(super) mod tiles;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use image::RgbImage;
use riff_hub::{
    canonical::Digest,
    media::MAX_PIXELS,
    model::{Cost, Media, ModelSpec, input},
    pictures::{self, Format},
    recipe::Recipe,
};
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use self::network::Network;
use super::{blocking, picture};
use crate::engine::{Artifact, Engine, EngineError, RunContext, Update};

/// Changes whenever the same recipe would give other bytes.
const VERSION: &str = "riff upscale 1";

struct Entry {
    param: PathBuf,
    spec: ModelSpec,
    network: OnceCell<Arc<Network>>,
}

/// The engine.
pub struct UpscaleEngine {
    entries: Vec<Arc<Entry>>,
}

impl UpscaleEngine {
    /// Looks through a folder. Networks that cannot be used are left out, with a warning that names them.
    pub fn open(folder: &Path) -> Self {
        let opened = params(folder).into_iter().filter_map(|path| match Entry::open(&path) {
            Ok(entry) => Some(Arc::new(entry)),
            Err(why) => {
                tracing::warn!(%why, "an upscaler is left out");
                None
            }
        });
        Self { entries: opened.collect() }
    }

    fn entry(&self, model: Digest) -> Result<&Arc<Entry>, EngineError> {
        let found = self.entries.iter().find(|entry| entry.spec.digest() == model);
        found.ok_or_else(|| EngineError::Failed("this worker has no such upscaler".to_owned()))
    }
}

/// The `.param` files of a folder, by name. That there is no folder was said by the language engine.
fn params(folder: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path());
    let mut paths: Vec<PathBuf> =
        listed.filter(|path| path.extension().is_some_and(|ending| ending == "param")).collect();
    paths.sort();
    paths
}

impl Entry {
    /// Reads a network once, to see that it can be used, and forgets it again.
    fn open(param: &Path) -> Result<Self, String> {
        let network = network::open(param)?;
        if network.factor() != 4 {
            let factor = network.factor();
            return Err(format!("{}: it enlarges {factor} times; 4 was expected", param.display()));
        }
        let hash = |path: &Path| std::fs::read(path).map(|bytes| blake3::hash(&bytes));
        let bin = param.with_extension("bin");
        let hashes = hash(param).and_then(|first| Ok((first, hash(&bin)?)));
        let (first, second) = hashes.map_err(|error| format!("{}: {error}", param.display()))?;
        let bytes = std::fs::metadata(&bin).map_or(0, |file| file.len()) as f64;
        let stem = param.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let fingerprint = Digest::of_bytes(format!("{VERSION} {first} {second}").as_bytes());
        Ok(Self { param: param.to_owned(), spec: spec(&stem, fingerprint, bytes), network: OnceCell::new() })
    }

    async fn load(self: &Arc<Self>) -> Result<&Arc<Network>, EngineError> {
        let entry = self.clone();
        let load = move || network::open(&entry.param).map(Arc::new).map_err(EngineError::Weights);
        self.network.get_or_try_init(|| blocking(load)).await
    }
}

fn spec(stem: &str, fingerprint: Digest, bytes: f64) -> ModelSpec {
    // The factor is an input, so that the name does not say it.
    let title = stem.strip_suffix("-x4").unwrap_or(stem).to_owned();
    let fits =
        |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_ascii_lowercase() } else { '-' };
    ModelSpec {
        name: title.chars().map(fits).take(64).collect(),
        card: format!(
            "{title}: enlarges pictures two or four times. It draws in detail that looks likely, which need not be what \
             was there. It takes no words."
        ),
        title,
        // What Real-ESRGAN's own networks are under (https://github.com/xinntao/Real-ESRGAN/blob/master/LICENSE).
        license: if stem.starts_with("realesr") { "BSD-3-Clause" } else { "LicenseRef-unknown" }.to_owned(),
        media: Media::Image,
        schema: schema(),
        fingerprint,
        // A guess for a picture of 512² on two cores, from the size of the weights, until the hub has measured.
        cost: Cost { fixed: bytes / 1e5, per_megapixel: 0.0, per_token: 0.0, load: bytes / 1e8 },
        overflow: None,
        mature: false,
        examples: Vec::new(),
    }
}

fn schema() -> Map<String, Value> {
    let properties = json!({
        "image": {"type": "string", "title": "Picture", "description": "The picture to enlarge.", "default": "",
                  "x-media": "image", "x-order": 1},
        "upscale": {"type": "integer", "title": "Times", "description": "How many times as many pixels a side.",
                    "enum": [2, 4], "minimum": 2, "maximum": 4, "default": 2, "x-order": 2},
    });
    let schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    schema.as_object().cloned().unwrap_or_default()
}

#[async_trait]
impl Engine for UpscaleEngine {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        Ok(self.entries.iter().map(|entry| entry.spec.clone()).collect())
    }

    fn loaded(&self, model: Digest) -> bool {
        self.entry(model).is_ok_and(|entry| entry.network.initialized())
    }

    async fn load(&self, model: Digest) -> Result<(), EngineError> {
        self.entry(model)?.load().await.map(drop)
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        let times = match recipe.integer(input::UPSCALE) {
            Some(times @ (2 | 4)) => times as u32,
            _ => return Err(EngineError::Input("a picture is enlarged 2 or 4 times".to_owned())),
        };
        let file = picture::bytes(recipe, input::IMAGE, context).await?;
        let file =
            file.ok_or_else(|| EngineError::Input("there is no picture to enlarge: add one".to_owned()))?;
        let network = self.entry(recipe.model)?.load().await?.clone();
        let (context, cancel) = (context.clone(), context.cancel.clone());
        let work = blocking(move || work(&network, &file, times, &context));
        tokio::select! {
            done = work => Ok(vec![Artifact { media_type: "image/png".into(), bytes: done? }]),
            // The layer at work may take longer than whoever cancelled waits; it ends by itself.
            () = cancel.cancelled() => Err(EngineError::Cancelled),
        }
    }
}

fn work(network: &Network, file: &Bytes, times: u32, context: &RunContext) -> Result<Bytes, EngineError> {
    let unreadable = |error: &dyn std::fmt::Display| EngineError::Input(format!("the picture: {error}"));
    let picture = pictures::decode(&[file]).map_err(|error| unreadable(&error))?.pop();
    let picture = picture.ok_or_else(|| unreadable(&"it is not there"))?;
    check_size(&picture, times)?;
    let keep_on = || !context.cancel.is_cancelled();
    let tell = |done: f32| (context.updates)(Update::Progress { done, preview: None });
    tell(0.0);
    let large = tiles::enlarge(network, &picture, &keep_on, &|done| tell(done * 0.95))?;
    let side = picture.width().max(picture.height()) * times;
    let failed = |error: riff_hub::media::BadMedia| EngineError::Failed(error.to_string());
    let exact = pictures::shrink(&large, side).map_err(failed)?;
    pictures::encode(&exact, Format::Png).map(Bytes::from).map_err(failed)
}

/// Refuses what would pass the hub's limit, also while it is four times as large on its way to twice.
fn check_size(picture: &RgbImage, times: u32) -> Result<(), EngineError> {
    let (width, height) = picture.dimensions();
    match u64::from(width) * u64::from(height) * 16 > MAX_PIXELS {
        true => Err(EngineError::Input(format!(
            "a picture of {width}×{height} pixels is too large to be enlarged {times} times: at most {} pixels in all",
            MAX_PIXELS / 16
        ))),
        false => Ok(()),
    }
}

/// The engine, as the registry wants it.
pub fn engine(weights: &Path) -> Arc<dyn Engine> {
    Arc::new(UpscaleEngine::open(weights))
}

#[cfg(test)]
mod tests;
