//! `gguf`: language models in this process, one for every `.gguf` file among the weights.
//!
//! It owns the files' headers from the start and a file's weights from its first job on, and gives the same text for
//! the same recipe, whether it runs alone or together with others. It never goes to the network, and never lets a member's words be a model's special tokens.

mod answer;
mod chat;
mod file;
mod llama;
mod request;
mod sample;
mod tokens;

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use riff_hub::{canonical::Digest, model::ModelSpec, recipe::Recipe};
use tokio::sync::Mutex;

use self::{
    chat::Chat,
    file::{Flaw, ModelFile},
    llama::Llama,
    request::Request,
    tokens::Tokens,
};
use crate::{
    engine::{Artifact, Engine, EngineError, RunContext},
    engines::{blocking, is_out_of_memory},
};

/// Answers that grow together. More gain little on a processor and take memory.
const TOGETHER: u32 = 8;

/// A model that can run.
struct Language {
    llama: Llama,
    tokens: Tokens,
    chat: Chat,
}

struct Entry {
    file: ModelFile,
    weights: RwLock<Option<Arc<Language>>>,
    /// Held while they are loaded.
    loading: Mutex<()>,
}

/// The engine.
pub struct GgufEngine {
    entries: Vec<Arc<Entry>>,
    /// Files that cannot be used, each with the reason.
    left_out: Vec<String>,
}

impl GgufEngine {
    /// Looks through a folder. Files that cannot be used are left out, with a warning that names them; so is a folder
    /// that is not there.
    pub fn open(folder: &Path) -> Self {
        let mut names = HashSet::new();
        let mut entries = Vec::new();
        let mut left_out = Vec::new();
        for path in files(folder) {
            let why = match ModelFile::open(&path) {
                Ok(file) if names.insert(file.spec.name.clone()) => {
                    entries.push(Arc::new(Entry::new(file)));
                    continue;
                }
                Ok(file) => format!("another file has its name, {}", file.spec.name),
                Err(flaw) => format!("it {flaw}"),
            };
            tracing::warn!(file = %path.display(), "left out: {why}");
            left_out.push(format!("{}: {why}", path.display()));
        }
        Self { entries, left_out }
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
        self.entry(model).is_some_and(|entry| entry.weights().is_some())
    }

    async fn load(&self, model: Digest) -> Result<(), EngineError> {
        let entry = self.entry(model).ok_or_else(unknown)?;
        entry.load().await.map(drop)
    }

    async fn unload(&self, model: Digest) {
        if let Some(entry) = self.entry(model) {
            *entry.weights.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn left_out(&self) -> Vec<String> {
        self.left_out.clone()
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        self.run_batch(&[(recipe, context)]).await.pop().unwrap_or_else(|| Err(unknown()))
    }

    fn batch(&self, _model: Digest) -> u32 {
        TOGETHER
    }

    async fn run_batch(&self, runs: &[(&Recipe, &RunContext)]) -> Vec<Result<Vec<Artifact>, EngineError>> {
        let Some((first, _)) = runs.first() else {
            return Vec::new();
        };
        let language = match self.entry(first.model) {
            Some(entry) => entry.load().await,
            None => Err(unknown()),
        };
        let requests: Result<Vec<_>, EngineError> =
            runs.iter().map(|(recipe, context)| Ok((Request::read(recipe)?, (*context).clone()))).collect();
        // They differ in prompt and seed alone: what is wrong with one is wrong with all.
        let answered = match (language, requests) {
            (Ok(language), Ok(requests)) => blocking(move || Ok(answer::all(&language, &requests))).await,
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        let artifact = |text: String| {
            vec![Artifact { media_type: "text/plain; charset=utf-8".into(), bytes: text.into() }]
        };
        match answered {
            Ok(answers) => answers.into_iter().map(|answer| answer.map(artifact)).collect(),
            Err(error) => runs.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

impl Entry {
    fn new(file: ModelFile) -> Self {
        Self { file, weights: RwLock::default(), loading: Mutex::default() }
    }

    fn weights(&self) -> Option<Arc<Language>> {
        self.weights.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn load(self: &Arc<Self>) -> Result<Arc<Language>, EngineError> {
        let _one_at_a_time = self.loading.lock().await;
        if let Some(weights) = self.weights() {
            return Ok(weights);
        }
        let entry = self.clone();
        let load = move || {
            let weights = |flaw: Flaw| match flaw {
                Flaw::Broken(reason) if is_out_of_memory(&reason) => EngineError::OutOfMemory(reason),
                flaw => EngineError::Weights(format!("{} {flaw}", entry.file.path.display())),
            };
            Language::load(&entry.file).map(Arc::new).map_err(weights)
        };
        let language = blocking(load).await?;
        *self.weights.write().unwrap_or_else(PoisonError::into_inner) = Some(language.clone());
        Ok(language)
    }
}

impl Language {
    fn load(file: &ModelFile) -> Result<Self, Flaw> {
        let (mut reader, content) = file.reopen()?;
        let tokens = Tokens::read(&content)?;
        let chat = Chat::read(&content)?;
        Ok(Self { llama: Llama::load(&mut reader, &content)?, tokens, chat })
    }
}

/// What an error of the device means.
fn failed(error: candle_core::Error) -> EngineError {
    let reason = error.to_string();
    if is_out_of_memory(&reason) { EngineError::OutOfMemory(reason) } else { EngineError::Failed(reason) }
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
