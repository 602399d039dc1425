//! The engines, one module each, and the registry that names them.

pub mod abstract_;
#[cfg(feature = "candle")]
pub mod gguf;

use std::{path::PathBuf, sync::Arc};

use riff_hub::{canonical::Digest, model::ModelSpec};

use crate::engine::Engine;

/// Where engines find what they need.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Folder with weights; every `.gguf` in it is a language model.
    pub weights: PathBuf,
}

/// Every engine of a worker.
pub struct Engines(Vec<Arc<dyn Engine>>);

impl Engines {
    /// The engines of this build that have something to run. Weights that cannot be used are left out, with a
    /// warning that names the file.
    pub fn open(sources: &Sources) -> Self {
        #[cfg(not(feature = "candle"))]
        let _ = sources;
        Self(vec![
            abstract_::engine(),
            #[cfg(feature = "candle")]
            gguf::engine(&sources.weights),
        ])
    }

    /// Chosen engines.
    pub fn of_list(engines: Vec<Arc<dyn Engine>>) -> Self {
        Self(engines)
    }

    /// Every model version they can load.
    pub fn models(&self) -> Vec<ModelSpec> {
        self.0.iter().flat_map(|engine| engine.models()).collect()
    }

    /// The versions in memory.
    pub fn loaded(&self) -> Vec<Digest> {
        let digests = self.0.iter().flat_map(|engine| {
            let models = engine.models().into_iter().map(|spec| spec.digest());
            models.filter(|digest| engine.loaded(*digest)).collect::<Vec<_>>()
        });
        digests.collect()
    }

    /// The engine that runs a version.
    pub fn of(&self, model: Digest) -> Option<&Arc<dyn Engine>> {
        self.0.iter().find(|engine| engine.models().iter().any(|spec| spec.digest() == model))
    }
}
