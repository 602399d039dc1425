//! `a1111`: servers with the API of [AUTOMATIC1111's web UI](https://github.com/AUTOMATIC1111/stable-diffusion-webui):
//! that, Forge, SD.Next.
//!
//! What the server has (checkpoints, samplers, schedulers, LoRAs, upscalers) is the schema. A request is answered when its
//! pictures are there; meanwhile the server is asked how far it is. It stops what it works on at anybody's word, so the
//! engine only asks for that while the work is its own, and remembers what it could not stop.

mod model;
mod request;
mod server;
mod settings;

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use riff_hub::{model::ModelSpec, recipe::Recipe};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

pub use self::settings::Settings;
use self::{
    model::{Model, Task},
    server::{Server, State},
};
use crate::{
    engine::{Artifact, Engine, EngineError, RunContext, Update},
    engines::{catalogue::Catalogue, picture},
};

/// How often the server is asked how far it is.
const LOOK: Duration = Duration::from_millis(300);
/// How often in a row it may be silent.
const SILENCES: u32 = 3;
/// Most tasks that are remembered to be stopped.
const MAX_ABANDONED: usize = 64;
/// How often a task is looked for of which the server knows nothing: it may only just have heard of it.
const MAX_LOOKS: u32 = 3;

/// The engine.
pub struct A1111Engine {
    settings: Settings,
    server: Server,
    models: Catalogue<Model>,
    /// Tasks that nobody waits for and that the server may still have before it, each with how often it is still looked for.
    abandoned: Mutex<Vec<(String, u32)>>,
}

/// The engine, as the registry wants it.
pub fn engine(settings: Settings) -> Arc<dyn Engine> {
    Arc::new(A1111Engine::new(settings))
}

impl A1111Engine {
    /// An engine in front of a server, which may be down.
    pub fn new(settings: Settings) -> Self {
        let server = Server::new(&settings.endpoint, settings.own.auth.clone());
        Self { settings, server, models: Catalogue::default(), abandoned: Mutex::default() }
    }

    /// Runs a recipe as a task, and shows how far it is.
    async fn make(
        &self,
        recipe: &Recipe,
        model: &Model,
        task: &str,
        context: &RunContext,
    ) -> Result<Vec<Artifact>, EngineError> {
        self.stop_abandoned().await;
        let request = request::of(recipe, model, &self.settings, task, &*context.files).await?;
        let mut answer = pin!(self.server.make(request.path, &request.body, recipe.count()));
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = Shown::default();
        let answer = loop {
            let state = async {
                look.tick().await;
                self.state(task, shown.preview).await
            };
            tokio::select! {
                biased;
                answer = &mut answer => break answer?,
                state = state => self.show(state, model, &mut shown, context).await?,
            }
        };
        request::pictures(&answer, recipe, model).await
    }

    /// How a task is. Where nobody else uses the server, names do not matter, which not every server knows.
    async fn state(&self, task: &str, seen: i64) -> Result<State, EngineError> {
        match self.settings.own.exclusive {
            true => self.server.state_of_api(task).await,
            false => self.server.state(task, seen).await,
        }
    }

    async fn show(
        &self,
        state: Result<State, EngineError>,
        model: &Model,
        shown: &mut Shown,
        context: &RunContext,
    ) -> Result<(), EngineError> {
        let state = match state {
            Ok(state) => state,
            Err(error) => {
                shown.silences += 1;
                return match shown.silences {
                    SILENCES => Err(EngineError::Unavailable(format!("the server is lost: {error}"))),
                    _ => Ok(()),
                };
            }
        };
        shown.silences = 0;
        // What has no name of its own is only known to be ours where nobody else is there.
        let named = model.task == Task::Paint;
        if !state.active.filter(|_| named).unwrap_or(self.settings.own.exclusive) {
            return Ok(());
        }
        let preview = match state.preview.as_deref().and_then(|preview| request::decode(preview).ok()) {
            Some(bytes) => picture::preview(bytes).await,
            None => None,
        };
        shown.preview = state.preview_id;
        if state.done > shown.done || preview.is_some() {
            shown.done = shown.done.max(state.done);
            (context.updates)(Update::Progress { done: shown.done, preview });
        }
        Ok(())
    }

    /// Stops a task that nobody wants any more: at once if the server works on it, later if it waits.
    async fn abandon(&self, task: &str) {
        self.abandoned(|tasks| {
            tasks.push((task.to_owned(), MAX_LOOKS));
            let surplus = tasks.len().saturating_sub(MAX_ABANDONED);
            tasks.drain(..surplus);
        });
        self.stop_abandoned().await;
    }

    async fn stop_abandoned(&self) {
        for (task, _) in self.abandoned(|tasks| tasks.clone()) {
            let left = match self.stop(&task).await {
                Ok(left) => left,
                Err(error) => {
                    tracing::warn!(engine = %self.settings, task, %error, "it could not be stopped");
                    Left::Unknown
                }
            };
            self.abandoned(|tasks| {
                tasks.iter_mut().filter(|(known, _)| *known == task).for_each(|(_, looks)| match left {
                    Left::Waiting => {}
                    Left::Unknown => *looks -= 1,
                    Left::Nothing => *looks = 0,
                });
                tasks.retain(|(_, looks)| *looks > 0);
            });
        }
    }

    async fn stop(&self, task: &str) -> Result<Left, EngineError> {
        let state = self.state(task, -1).await?;
        match state.active {
            _ if state.queued => Ok(Left::Waiting),
            Some(true) => self.server.interrupt().await.map(|()| Left::Nothing),
            Some(false) if state.ended => Ok(Left::Nothing),
            Some(false) => Ok(Left::Unknown),
            None if self.settings.own.exclusive => self.server.interrupt().await.map(|()| Left::Nothing),
            None => {
                tracing::warn!(
                    engine = %self.settings, task,
                    "it is left to run: the server does not say whose its work is; set `exclusive` if nobody else uses it"
                );
                Ok(Left::Nothing)
            }
        }
    }

    fn abandoned<T>(&self, change: impl FnOnce(&mut Vec<(String, u32)>) -> T) -> T {
        change(&mut self.abandoned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is left of a task to be stopped.
enum Left {
    Nothing,
    /// It has not begun. The API cannot take it out of the queue.
    Waiting,
    /// The server does not know it, or not yet.
    Unknown,
}

/// What was shown of a run so far.
struct Shown {
    done: f32,
    preview: i64,
    silences: u32,
}

impl Default for Shown {
    fn default() -> Self {
        Self { done: 0.0, preview: -1, silences: 0 }
    }
}

#[async_trait]
impl Engine for A1111Engine {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        let models = model::of(&self.server.stock().await?, &self.settings)?;
        self.stop_abandoned().await;
        Ok(self.models.renew(models))
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        let model = self.models.get(recipe.model, &self.settings)?;
        if context.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        // An attempt's own, so that what an earlier one left behind is never taken for this one.
        let task = format!("riff-{}-{:08x}", context.job, rand::random::<u32>());
        let limit = self.settings.endpoint.timeout;
        let over = Instant::now() + limit;
        let ended = tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(EngineError::Cancelled),
            made = self.make(recipe, &model, &task, context) => return made,
            () = sleep_until(over) => Err(EngineError::Failed(format!(
                "the server took longer than {limit:?}, which timeout_seconds allows"
            ))),
        };
        if model.task == Task::Paint {
            self.abandon(&task).await;
        }
        ended
    }
}
