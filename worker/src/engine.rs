//! The one trait between Riff and whatever runs a model.

use std::{borrow::Cow, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use riff_hub::{canonical::Digest, model::ModelSpec, recipe::Recipe};
use tokio_util::sync::CancellationToken;

/// One result: the bytes of a picture (PNG, JPEG or WebP), of sound (WAV, MP3, Ogg or FLAC), or of UTF-8 text.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// What the bytes are, such as `image/png` or `text/plain; charset=utf-8`.
    pub media_type: Cow<'static, str>,
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

/// The pictures and sounds that recipes name, as the hub has them.
#[async_trait]
pub trait Files: Send + Sync {
    /// The bytes of a file that a recipe names.
    ///
    /// # Errors
    /// [`EngineError::Input`] if the file is not there, [`EngineError::Failed`] if it did not arrive.
    async fn get(&self, blob: Digest) -> Result<Bytes, EngineError>;
}

/// What an engine is given beside the recipe: which job it is, where updates go, whether to stop, and files.
///
/// The default is a run that nobody watches: `RunContext { updates, ..RunContext::default() }`.
#[derive(Clone)]
pub struct RunContext {
    /// Name of the job, the same in every attempt at it. Engines in front of a server give it to theirs.
    pub job: String,
    /// Receives every update; cheap, never blocks.
    pub updates: Arc<dyn Fn(Update) + Send + Sync>,
    /// Cancelled when nobody wants the result any more. Engines look at least every 100 ms.
    pub cancel: CancellationToken,
    /// Where the files are that the recipe names.
    pub files: Arc<dyn Files>,
}

impl Default for RunContext {
    fn default() -> Self {
        Self {
            job: "unnamed".to_owned(),
            updates: Arc::new(|_| {}),
            cancel: CancellationToken::new(),
            files: Arc::new(NoFiles),
        }
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext")
            .field("job", &self.job)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

/// No files at all.
struct NoFiles;

#[async_trait]
impl Files for NoFiles {
    async fn get(&self, blob: Digest) -> Result<Bytes, EngineError> {
        Err(EngineError::Input(format!("the file {blob} is not here: this run has none")))
    }
}

/// Why a run gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
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
    /// The device has too little memory for this recipe; a smaller one, or another device, may do.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The server behind the engine is down or not ready; another worker, or this one later, may do.
    #[error("{0}")]
    Unavailable(String),
    /// The engine broke down under the run. It is made anew.
    #[error("the engine crashed: {0}")]
    Crashed(String),
    /// Anything else; another attempt may go better.
    #[error("{0}")]
    Failed(String),
}

impl EngineError {
    /// Whether another attempt at the same recipe may go better.
    pub fn is_worth_retrying(&self) -> bool {
        !matches!(self, Self::Cancelled | Self::Input(_))
    }
}

/// Runs models. Adding an engine is one module in `engines/` and one line in its registry.
#[async_trait]
pub trait Engine: Send + Sync {
    /// The model versions that it serves now. Engines in front of a server ask it. Called at the start and about every
    /// 30 s, also while something runs; a change is announced to the hub. Cheap: headers and hashes, not whole weights.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] if the server cannot say. The engine's models are then withdrawn until it can.
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError>;

    /// Whether a version's weights are in memory. They are as good as that where a server loads what it needs when it needs
    /// it, and does not say.
    fn loaded(&self, _model: Digest) -> bool {
        true
    }

    /// Brings a version's weights into memory; does nothing if they are there.
    ///
    /// # Errors
    /// [`EngineError::Weights`] or [`EngineError::OutOfMemory`], saying why they are not.
    async fn load(&self, _model: Digest) -> Result<(), EngineError> {
        Ok(())
    }

    /// Drops a version's weights from memory, where the engine has them there. Runs that use them may go on.
    async fn unload(&self, _model: Digest) {}

    /// Runs one recipe, giving `recipe.count()` artifacts. The version is loaded.
    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError>;

    /// How many recipes of a version, which differ in prompt and seed alone, [`Self::run_batch`] runs faster together than
    /// one by one.
    fn batch(&self, _model: Digest) -> u32 {
        1
    }

    /// Runs recipes of one version that differ in prompt and seed alone, at once. Each has its own updates, its own
    /// cancel, and its own outcome, in their order; and each gives what it gives by itself.
    async fn run_batch(&self, runs: &[(&Recipe, &RunContext)]) -> Vec<Result<Vec<Artifact>, EngineError>> {
        let mut outcomes = Vec::with_capacity(runs.len());
        for (recipe, context) in runs {
            outcomes.push(self.run(recipe, context).await);
        }
        outcomes
    }

    /// What it could serve and does not, each with the reason, for operators.
    fn left_out(&self) -> Vec<String> {
        Vec::new()
    }
}
