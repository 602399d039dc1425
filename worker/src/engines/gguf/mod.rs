//! `gguf`: language models in this process, one for every `.gguf` file among the weights.
//!
//! It owns the files' headers from the start and a file's weights from its first job on, and gives the same text for
//! the same recipe. It never goes to the network, and never lets a member's words be a model's special tokens.

mod chat;
mod file;
mod llama;
mod request;
mod sample;
mod tokens;

use std::{collections::HashSet, path::Path, sync::Arc};

use async_trait::async_trait;
use riff_hub::{canonical::Digest, model::ModelSpec, recipe::Recipe};
use tokio::sync::OnceCell;

use self::{
    chat::Chat,
    file::{Flaw, ModelFile},
    llama::{Llama, Memory},
    request::Request,
    tokens::Tokens,
};
use crate::engine::{Artifact, Engine, EngineError, RunContext, Update};
use crate::engines::language::Stream;

/// Tokens of a prompt that are taken in at once.
const CHUNK: usize = 32;

/// A model that can run.
struct Language {
    llama: Llama,
    tokens: Tokens,
    chat: Chat,
}

struct Entry {
    file: ModelFile,
    weights: OnceCell<Arc<Language>>,
}

/// The engine.
pub struct GgufEngine {
    entries: Vec<Arc<Entry>>,
}

impl GgufEngine {
    /// Looks through a folder. Files that cannot be used are left out, with a warning that names them; so is a folder
    /// that is not there.
    pub fn open(folder: &Path) -> Self {
        let mut names = HashSet::new();
        let mut entries = Vec::new();
        for path in files(folder) {
            match ModelFile::open(&path) {
                Ok(file) if names.insert(file.spec.name.clone()) => {
                    entries.push(Arc::new(Entry { file, weights: OnceCell::new() }));
                }
                Ok(file) => {
                    tracing::warn!(file = %path.display(), name = file.spec.name, "left out: another file has its name");
                }
                Err(flaw) => tracing::warn!(file = %path.display(), "left out: it {flaw}"),
            }
        }
        Self { entries }
    }

    /// The models of the files that can be used.
    pub fn models(&self) -> Vec<ModelSpec> {
        self.entries.iter().map(|entry| entry.file.spec.clone()).collect()
    }

    fn entry(&self, model: Digest) -> Option<&Arc<Entry>> {
        self.entries.iter().find(|entry| entry.file.spec.digest() == model)
    }
}

/// The `.gguf` files of a folder, by name.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "no language models: the folder cannot be read");
            return Vec::new();
        }
    };
    let paths = listed.filter_map(|item| item.ok().map(|item| item.path()));
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")))
        .collect();
    paths.sort();
    paths
}

#[async_trait]
impl Engine for GgufEngine {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        Ok(self.models())
    }

    fn loaded(&self, model: Digest) -> bool {
        self.entry(model).is_some_and(|entry| entry.weights.initialized())
    }

    async fn load(&self, model: Digest) -> Result<(), EngineError> {
        let entry = self.entry(model).ok_or_else(unknown)?;
        entry.load().await.map(drop)
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        let request = Request::read(recipe)?;
        let language = self.entry(recipe.model).ok_or_else(unknown)?.load().await?.clone();
        let context = context.clone();
        let text = blocking(move || language.answer(&request, &context)).await?;
        Ok(vec![Artifact { media_type: "text/plain; charset=utf-8".into(), bytes: text.into() }])
    }
}

impl Entry {
    async fn load(self: &Arc<Self>) -> Result<&Arc<Language>, EngineError> {
        let entry = self.clone();
        let load = move || {
            let weights = |flaw: Flaw| EngineError::Weights(format!("{} {flaw}", entry.file.path.display()));
            Language::load(&entry.file).map(Arc::new).map_err(weights)
        };
        self.weights.get_or_try_init(|| blocking(load)).await
    }
}

impl Language {
    fn load(file: &ModelFile) -> Result<Self, Flaw> {
        let (mut reader, content) = file.reopen()?;
        let tokens = Tokens::read(&content)?;
        let chat = Chat::read(&content)?;
        Ok(Self { llama: Llama::load(&mut reader, &content)?, tokens, chat })
    }

    fn answer(&self, request: &Request, context: &RunContext) -> Result<String, EngineError> {
        let capacity = self.llama.shape.context;
        let most = request.max_tokens.min(capacity / 2);
        let prompt = self.chat.fit(&self.tokens, &request.turns, capacity - most)?;
        let mut memory = self.llama.memory();
        let mut logits = Vec::new();
        for chunk in prompt.chunks(CHUNK) {
            logits = self.forward(chunk, &mut memory, context)?;
        }
        let mut stream = Stream::new(request.stops.clone());
        let mut shown = 0;
        for position in 0..most {
            let token = request.sampler.choose(&logits, position as u32);
            if self.tokens.ends(token) {
                break;
            }
            stream.push(self.tokens.bytes(token));
            let text = stream.shown();
            if text.len() > shown {
                shown = text.len();
                let done = (position + 1) as f32 / most as f32;
                (context.updates)(Update::Text { done, text: text.to_owned() });
            }
            if stream.stopped() || position + 1 == most {
                break;
            }
            logits = self.forward(&[token], &mut memory, context)?;
        }
        Ok(stream.finish())
    }

    fn forward(
        &self,
        ids: &[u32],
        memory: &mut Memory,
        context: &RunContext,
    ) -> Result<Vec<f32>, EngineError> {
        let keep_on = || !context.cancel.is_cancelled();
        let logits = self.llama.forward(ids, memory, &keep_on);
        logits.map_err(|error| EngineError::Failed(error.to_string()))?.ok_or(EngineError::Cancelled)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| EngineError::Failed(format!("the language engine crashed: {error}")))?
}

fn unknown() -> EngineError {
    EngineError::Failed("this worker has no such language model".to_owned())
}

/// The engine, as the registry wants it.
pub fn engine(weights: &Path) -> Arc<dyn Engine> {
    Arc::new(GgufEngine::open(weights))
}

#[cfg(test)]
mod tests;
