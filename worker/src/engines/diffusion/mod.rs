//! `diffusion`: Stable Diffusion 1, 2, XL, 3 and 3.5, their turbo and inpainting kin, and Flux.1, run in this process by candle:
//! from a folder in the layout of diffusers, a repository in the cache of a model hub, or a single file.
//!
//! It owns a checkpoint's configuration from the start and its weights from its first job on, and gives the same picture
//! for the same recipe on one kind of machine. It never goes to the network unless its section says so, never reads files
//! that could run code, and never judges what a picture shows.

mod checkpoint;
mod config;
mod denoise;
mod download;
mod family;
mod flaw;
mod flow;
mod folder;
mod ldm;
mod location;
mod lora;
mod memory;
mod model;
mod net;
mod paint;
mod pieces;
mod request;
mod sampler;
mod schedule;
mod settings;
mod single;
mod source;
mod tokens;
mod transformers;
pub(super) mod weights;
mod words;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use riff_hub::{canonical::Digest, model::ModelSpec, recipe::Recipe};

pub use self::settings::Settings;
use self::{
    checkpoint::Checkpoint,
    download::{Download, Wanted},
    flaw::Flaw,
    location::Repository,
    model::Model,
    request::Request,
};
use crate::{
    engine::{Artifact, Engine, EngineError, RunContext},
    engines::blocking,
};

/// What networks give: candle's errors, unless another is named.
type Result<T, E = candle_core::Error> = std::result::Result<T, E>;

/// The engine of one checkpoint.
pub struct DiffusionEngine {
    settings: Arc<Settings>,
    known: RwLock<Option<Arc<Checkpoint>>>,
    loaded: RwLock<Option<Loaded>>,
    /// Held while weights are read, so that they are read once.
    loading: tokio::sync::Mutex<()>,
    download: Download,
}

/// A checkpoint in memory.
#[derive(Clone)]
struct Loaded {
    digest: Digest,
    loras: Vec<(String, f64)>,
    model: Arc<Model>,
}

impl DiffusionEngine {
    /// An engine that has not looked at its folder yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            known: RwLock::default(),
            loaded: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
            download: Download::default(),
        }
    }

    fn known(&self, digest: Digest) -> Result<Arc<Checkpoint>, EngineError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        known
            .filter(|known| known.spec.digest() == digest)
            .ok_or_else(|| EngineError::Failed("this worker has no such model any more".to_owned()))
    }

    /// What is said of a checkpoint that is not there: it may be on its way.
    fn missing(&self, flaw: Flaw) -> EngineError {
        let settings = &self.settings;
        let wanted = settings.download && matches!(flaw, Flaw::NotInCache { .. });
        let Some(repository) = Repository::of(settings).filter(|_| wanted) else {
            return flaw.into();
        };
        let Ok(token) = settings.token_env.as_ref().map(std::env::var).transpose() else {
            let variable = settings.token_env.as_deref().unwrap_or_default();
            return EngineError::Unavailable(format!(
                "the variable {variable}, which token_env names, is not set: set it to a token of an account"
            ));
        };
        let (endpoint, variant) = (settings.endpoint.clone(), settings.variant.clone());
        self.download.go_on(Wanted { repository, endpoint, token, variant })
    }

    fn in_memory(&self) -> Option<Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, loaded: Option<Loaded>) {
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
    }

    /// The model with LoRAs merged in. Another choice of them is read anew, and takes the place of the one before.
    async fn model(&self, digest: Digest, loras: &[(String, f64)]) -> Result<Arc<Model>, EngineError> {
        let _alone = self.loading.lock().await;
        let fits = |loaded: &Loaded| loaded.digest == digest && loaded.loras == loras;
        if let Some(loaded) = self.in_memory().filter(fits) {
            return Ok(loaded.model);
        }
        self.known(digest)?;
        self.keep(None);
        let (settings, chosen) = (self.settings.clone(), loras.to_vec());
        let load = move || {
            // It is looked at again, as the files may have changed meanwhile.
            let checkpoint = Arc::new(Checkpoint::open(&settings)?);
            if checkpoint.spec.digest() != digest {
                return Err(Flaw::Changed(settings.path.clone()).into());
            }
            Model::load(checkpoint, &settings, &chosen).map(Arc::new)
        };
        let model = blocking(load).await?;
        self.keep(Some(Loaded { digest, loras: loras.to_vec(), model: model.clone() }));
        Ok(model)
    }
}

#[async_trait]
impl Engine for DiffusionEngine {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        if let Some(said) = self.download.under_way() {
            return Err(said);
        }
        let settings = self.settings.clone();
        let opened = blocking(move || Ok(Checkpoint::open(&settings))).await?;
        let checkpoint = opened.map_err(|flaw| self.missing(flaw))?;
        let spec = checkpoint.spec.clone();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(checkpoint));
        Ok(vec![spec])
    }

    fn loaded(&self, model: Digest) -> bool {
        self.in_memory().is_some_and(|loaded| loaded.digest == model)
    }

    async fn load(&self, model: Digest) -> Result<(), EngineError> {
        if self.loaded(model) {
            return Ok(());
        }
        self.model(model, &[]).await.map(drop)
    }

    async fn unload(&self, model: Digest) {
        let _alone = self.loading.lock().await;
        if self.loaded(model) {
            self.keep(None);
        }
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        let known = self.known(recipe.model)?;
        let request = Request::read(recipe, &known.spec, known.net.guidance(), &known.lora_names())?;
        let pixels = match &request.shape.original {
            Some(original) => Some(original.pixels(request.shape.size, context).await?),
            None => None,
        };
        let model = tokio::select! {
            biased;
            () = context.cancel.cancelled() => return Err(EngineError::Cancelled),
            model = self.model(recipe.model, &request.shape.loras) => model?,
        };
        let context = context.clone();
        blocking(move || paint::paint(&model, &request, pixels.as_ref(), &context)).await
    }
}

/// The engine, as the registry wants it.
pub fn engine(settings: Settings) -> Arc<dyn Engine> {
    Arc::new(DiffusionEngine::new(settings))
}

#[cfg(test)]
mod parity;
