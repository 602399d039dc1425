//! The one trait between Riff and whatever runs a model.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use riff_hub::{canonical::Digest, model::ModelSpec, recipe::Recipe};
use tokio_util::sync::CancellationToken;

/// One result: the bytes of a PNG picture or of UTF-8 text.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// `image/png` or `text/plain; charset=utf-8`.
    pub media_type: &'static str,
    /// The encoded bytes.
    pub bytes: Bytes,
}

/// Something worth showing before the result is there.
#[derive(Debug, Clone)]
pub enum Update {
    /// Part done, 0 to 1, and for pictures perhaps a small JPEG (at most 256 pixels a side; a grid is one picture).
    Progress {
        /// Part done, 0 to 1.
        done: f32,
        /// JPEG bytes.
        preview: Option<Bytes>,
    },
    /// All text so far.
    Text {
        /// Part done, 0 to 1.
        done: f32,
        /// The text.
        text: String,
    },
}

/// What an engine is given beside the recipe: where updates go, and whether to stop.
#[derive(Clone)]
pub struct RunContext {
    /// Receives every update; cheap, never blocks.
    pub updates: Arc<dyn Fn(Update) + Send + Sync>,
    /// Cancelled when nobody wants the result any more. Engines look at least every 100 ms.
    pub cancel: CancellationToken,
}

/// Why a run gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// [`RunContext::cancel`] was seen.
    #[error("cancelled")]
    Cancelled,
    /// The weights are missing, truncated or of a kind the engine cannot read.
    #[error("{0}")]
    Weights(String),
    /// The recipe asks for what the engine cannot do; another attempt would fail alike.
    #[error("{0}")]
    Input(String),
    /// Anything else; another attempt may go better.
    #[error("{0}")]
    Failed(String),
}

/// Runs models. Adding an engine is one file in `engines/` and one line in its registry.
#[async_trait]
pub trait Engine: Send + Sync {
    /// The model versions it can load. Cheap enough for start-up: reads headers and hashes, not whole weights.
    fn models(&self) -> Vec<ModelSpec>;

    /// Whether a version's weights are in memory.
    fn loaded(&self, model: Digest) -> bool;

    /// Brings a version's weights into memory; does nothing if they are there.
    async fn load(&self, model: Digest) -> Result<(), EngineError>;

    /// Runs one recipe, giving `recipe.count()` artifacts. The version is loaded.
    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError>;
}
