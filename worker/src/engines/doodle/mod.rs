//! `doodle`: Riff's own small text-to-image model, which draws everyday things on a CPU. `models/doodle` says what it knows and
//! how it was made. It owns its network, the text encoder and an upscaler from its first job on, and gives the same bytes for the
//! same recipe on one kind of machine.

mod draw;
mod model;
mod network;
mod parts;
mod request;
mod text;

use std::{num::NonZero, path::Path, sync::Arc, thread};

use async_trait::async_trait;
use riff_hub::{
    canonical::Digest,
    model::{Cost, Media, ModelSpec},
    recipe::Recipe,
};
use tokio::sync::OnceCell;

use self::{
    draw::Job,
    model::{Files, Model},
    request::Request,
};
use super::blocking;
use crate::engine::{Artifact, Engine, EngineError, RunContext};

/// Prompts that show what it draws.
const EXAMPLES: [&str; 4] = [
    "a blue cat next to two trees at night",
    "two penguins in the snow",
    "a pink unicorn",
    "a moon above a house",
];

/// The engine.
pub struct DoodleEngine {
    found: Result<Option<(Files, ModelSpec)>, String>,
    model: OnceCell<Arc<Model>>,
}

impl DoodleEngine {
    /// Looks through a folder.
    pub fn open(folder: &Path) -> Self {
        let found = Files::find(folder).map(|files| {
            files.map(|files| {
                let spec = spec(&files);
                (files, spec)
            })
        });
        if let Err(why) = &found {
            tracing::warn!(%why, "doodle is left out");
        }
        Self { found, model: OnceCell::new() }
    }

    fn found(&self, model: Digest) -> Result<&(Files, ModelSpec), EngineError> {
        let found = self.found.as_ref().ok().and_then(Option::as_ref);
        found.filter(|(_, spec)| spec.digest() == model).ok_or_else(unknown)
    }

    async fn model(&self, files: &Files) -> Result<&Arc<Model>, EngineError> {
        let files = files.clone();
        self.model.get_or_try_init(|| blocking(move || Model::load(&files).map(Arc::new))).await
    }
}

/// What members read about it.
fn card(things: &[String]) -> String {
    let card = include_str!("card.md").trim();
    match things.is_empty() {
        true => card.to_owned(),
        false => format!("{card}\n\nThings it can draw: {}.", things.join(", ")),
    }
}

fn spec(files: &Files) -> ModelSpec {
    ModelSpec {
        name: "doodle".to_owned(),
        title: "Doodle".to_owned(),
        card: card(&files.header.things),
        license: "MIT OR Apache-2.0".to_owned(),
        media: Media::Image,
        schema: request::schema(&files.header),
        fingerprint: files.fingerprint,
        // A guess for two cores, until the hub has measured.
        cost: Cost { fixed: 1.5, per_megapixel: 0.0, per_token: 0.0, load: files.bytes as f64 / 1e8 },
        mature: false,
        overflow: None,
        examples: EXAMPLES.map(str::to_owned).into(),
    }
}

#[async_trait]
impl Engine for DoodleEngine {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        Ok(self.found.iter().flatten().map(|(_, spec)| spec.clone()).collect())
    }

    fn loaded(&self, model: Digest) -> bool {
        self.model.initialized() && self.found(model).is_ok()
    }

    async fn load(&self, model: Digest) -> Result<(), EngineError> {
        let (files, _) = self.found(model)?;
        self.model(files).await.map(drop)
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        self.run_batch(&[(recipe, context)]).await.pop().unwrap_or_else(|| Err(unknown()))
    }

    fn batch(&self, _model: Digest) -> u32 {
        // A grid of four keeps four cores busy.
        (thread::available_parallelism().map_or(1, NonZero::get) / 4).max(1) as u32
    }

    async fn run_batch(&self, runs: &[(&Recipe, &RunContext)]) -> Vec<Result<Vec<Artifact>, EngineError>> {
        let drawn = async {
            let (first, _) = runs.first().ok_or_else(unknown)?;
            let (files, spec) = self.found(first.model)?;
            let model = self.model(files).await?.clone();
            let mut jobs = Vec::with_capacity(runs.len());
            for (recipe, context) in runs {
                jobs.push(job(spec, recipe, context).await);
            }
            blocking(move || Ok(draw::draw(&model, &jobs))).await
        };
        drawn.await.unwrap_or_else(|error| runs.iter().map(|_| Err(error.clone())).collect())
    }

    fn left_out(&self) -> Vec<String> {
        self.found.as_ref().err().cloned().into_iter().collect()
    }
}

async fn job(spec: &ModelSpec, recipe: &Recipe, context: &RunContext) -> Result<Job, EngineError> {
    let request = Request::read(recipe, spec)?;
    let original = match &request.shape.original {
        Some(original) => Some(original.pixels(request.shape.size, context).await?),
        None => None,
    };
    Ok(Job { request, original, context: context.clone() })
}

fn unknown() -> EngineError {
    EngineError::Failed("this worker has no doodle".to_owned())
}

/// The engine, as the registry wants it.
pub fn engine(weights: &Path) -> Arc<dyn Engine> {
    Arc::new(DoodleEngine::open(weights))
}

#[cfg(test)]
mod parity;
