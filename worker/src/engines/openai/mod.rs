//! `openai`: models behind a server that speaks the API of OpenAI: vLLM, llama.cpp, Ollama, llamafile, SGLang, LM Studio and
//! others. Chats are streamed; pictures come from models that the settings say make them; models that transcribe are told by their
//! names.
//!
//! It owns what it knows of the server's models and of what they cost. It never loads or unloads any: the server does.

mod answer;
mod api;
mod chat;
mod cost;
mod events;
mod fault;
mod images;
mod models;
mod settings;
mod transcribe;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use riff_hub::{model::ModelSpec, recipe::Recipe};
use tokio::time::timeout;

pub use self::settings::Settings;
use self::{
    cost::Costs,
    models::{Served, Task},
};
use crate::{
    engine::{Artifact, Engine, EngineError, RunContext},
    engines::catalogue::Catalogue,
    http,
};

/// The engine in front of one server.
pub struct OpenAiEngine {
    settings: Settings,
    models: Catalogue<Served>,
    /// By the server's name of the model.
    costs: Mutex<HashMap<String, Costs>>,
    /// Models of the settings that the server did not list last time.
    unlisted: Mutex<Vec<String>>,
}

impl OpenAiEngine {
    /// An engine that has not asked its server anything yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, models: Catalogue::default(), costs: Mutex::default(), unlisted: Mutex::default() }
    }

    fn costs<T>(&self, id: &str, change: impl FnOnce(&mut Costs) -> T) -> T {
        let mut costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        change(costs.entry(id.to_owned()).or_default())
    }

    /// Warns of models that are not there, once until that changes.
    fn warn_of(&self, unlisted: Vec<String>) {
        let mut before = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        if *before != unlisted {
            for id in &unlisted {
                tracing::warn!(server = %self.settings, model = id, "left out: the server does not list it");
            }
            *before = unlisted;
        }
    }

    async fn make(
        &self,
        served: &Served,
        recipe: &Recipe,
        context: &RunContext,
    ) -> Result<Vec<Artifact>, EngineError> {
        let api = &self.settings.api;
        let (text, measured) = match served.task {
            Task::Paint => return images::paint(api, served, recipe, context).await,
            Task::Transcribe => (transcribe::write(api, served, recipe, context).await?, None),
            Task::Chat => chat::answer(api, served, recipe, context).await?,
        };
        if let Some(measured) = measured {
            self.costs(&served.id, |costs| costs.learn(measured));
        }
        Ok(vec![Artifact { media_type: "text/plain; charset=utf-8".into(), bytes: text.into() }])
    }
}

#[async_trait]
impl Engine for OpenAiEngine {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        let listed = self.settings.api.models().await?;
        if listed.is_none() && self.settings.models.is_empty() {
            return Err(EngineError::Unavailable(format!(
                "{} has no list of models: is `url` the address of the API, mostly ending in /v1? If it is, name the \
                 models in `models`",
                self.settings
            )));
        }
        let has: Vec<String> = listed.iter().flatten().map(|one| one.id.clone()).collect();
        let (mut served, unlisted) = models::serve(&self.settings, listed);
        if served.is_empty() {
            return Err(EngineError::Unavailable(format!(
                "{} has no model to serve: it lists {}, and `models` has {}",
                self.settings,
                http::quoted(&format!("{has:?}")),
                http::quoted(&format!("{unlisted:?}")),
            )));
        }
        self.warn_of(unlisted);
        for one in served.iter_mut().filter(|one| one.task == Task::Chat) {
            one.spec.cost = self.costs(&one.id, Costs::announced);
        }
        Ok(self.models.renew(served))
    }

    /// Dropping the call closes its connection, which is how servers hear that nobody wants the answer any more.
    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        let served = self.models.get(recipe.model, &self.settings)?;
        let limit = self.settings.timeout;
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(EngineError::Cancelled),
            made = timeout(limit, self.make(&served, recipe, context)) => made.unwrap_or_else(|_| {
                Err(EngineError::Failed(format!("the model server took longer than {limit:?}, which timeout_seconds allows")))
            }),
        }
    }
}

/// The engine, as the registry wants it.
pub fn engine(settings: Settings) -> Arc<dyn Engine> {
    Arc::new(OpenAiEngine::new(settings))
}
