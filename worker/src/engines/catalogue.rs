//! What an engine in front of a server knows of its models, between two looks at what the server has.

use std::{
    fmt::Display,
    sync::{Arc, PoisonError, RwLock},
};

use riff_hub::{canonical::Digest, model::ModelSpec};

use crate::engine::EngineError;

/// The model versions that a server had when it was last asked.
pub struct Catalogue<T>(RwLock<Vec<(Digest, Arc<T>)>>);

impl<T> Default for Catalogue<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: AsRef<ModelSpec>> Catalogue<T> {
    /// Takes the place of what was known before; gives what the hub is told.
    pub fn renew(&self, models: Vec<T>) -> Vec<ModelSpec> {
        let specs = models.iter().map(|model| model.as_ref().clone()).collect();
        let models = models.into_iter().map(|model| (model.as_ref().digest(), Arc::new(model))).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = models;
        specs
    }

    /// A version; `engine` says whose in the error.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] if there is none, or none any more.
    pub fn get(&self, version: Digest, engine: &dyn Display) -> Result<Arc<T>, EngineError> {
        let models = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = models.iter().find(|(digest, _)| *digest == version).map(|(_, model)| model.clone());
        found.ok_or_else(|| {
            EngineError::Unavailable(format!("{engine} does not serve that version of the model any more"))
        })
    }
}
