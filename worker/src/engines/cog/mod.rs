//! `cog`: models in [Cog](https://cog.run) containers and servers, such as all of Replicate's.
//!
//! It owns nothing but the address: the server's OpenAPI document says which inputs the model has, and the server runs it.
//! A request is answered when its prediction ended, and a dropped request cancels it, so a worker that dies leaves no work
//! behind. What comes before the end is shown: events of models that stream, reports to [`webhook`] of the others.

mod background;
mod server;
mod settings;
mod webhook;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use riff_hub::{
    model::{Media, ModelSpec},
    recipe::Recipe,
};
use serde_json::Value;
use tokio::{
    sync::{OnceCell, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

pub use self::settings::{Keys, Prefer, Settings, Webhook};
use self::{
    server::{Answer, Event, Server},
    webhook::Hooks,
};
use super::{
    catalogue::Catalogue,
    predictor::{
        Prediction,
        input::Inline,
        model::Model,
        output,
        progress::{News, Share},
    },
};
use crate::engine::{Artifact, Engine, EngineError, RunContext};

/// How often the server is asked how it is while it works.
const LOOK: Duration = Duration::from_secs(5);
/// How often in a row it may be silent.
const SILENCES: u32 = 3;
/// How long a cancelled prediction may clean up.
const CLEAN_UP: Duration = Duration::from_secs(5);
/// First and longest wait before a server that has no room is asked again: it answers a moment before it has room.
const ROOM: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(256));
/// How long a server may have no room.
const NO_ROOM: Duration = Duration::from_secs(20);
/// Pictures of a model whose last run was over within this need no reports: nobody could see them, and they cost the
/// server about 6 ms a run.
const A_BLINK: Duration = Duration::from_millis(300);
/// Reports that are asked for: of text, and of pictures, which would come in full with each.
const TEXT_EVENTS: [&str; 3] = ["start", "output", "logs"];
const PICTURE_EVENTS: [&str; 2] = ["start", "logs"];

/// The engine.
pub struct CogEngine {
    settings: Settings,
    server: Server,
    models: Catalogue<Model>,
    hooks: OnceCell<Option<Hooks>>,
    /// How long the last run took, in milliseconds.
    took: AtomicU64,
}

/// The engine, as the registry wants it.
pub fn engine(settings: Settings) -> Arc<dyn Engine> {
    Arc::new(CogEngine::new(settings))
}

impl CogEngine {
    /// An engine in front of a server, which may be down.
    pub fn new(settings: Settings) -> Self {
        let server = Server::new(&settings.endpoint);
        Self {
            settings,
            server,
            models: Catalogue::default(),
            hooks: OnceCell::new(),
            took: AtomicU64::new(u64::MAX),
        }
    }

    /// Where the server reports to, set up with the first run.
    async fn hooks(&self) -> Option<&Hooks> {
        let open = || async {
            let opened = Hooks::open(&self.settings.endpoint.url, &self.settings.own.webhook).await;
            opened.unwrap_or_else(|error| {
                tracing::warn!(engine = %self.settings, %error, "progress is not shown: no server for reports");
                None
            })
        };
        self.hooks.get_or_init(open).await.as_ref()
    }

    /// One prediction, shown while it runs, stopped when nobody wants it any more.
    async fn predict(&self, id: &str, run: &Run<'_>) -> Result<Value, EngineError> {
        let (tell, mut told) = watch::channel(News::default());
        let mut answer = pin!(self.ask(id, run, tell));
        let mut well = pin!(self.watch());
        let limit = self.settings.endpoint.timeout;
        let over = Instant::now() + limit;
        let stopped = loop {
            tokio::select! {
                biased;
                () = run.context.cancel.cancelled() => break EngineError::Cancelled,
                ended = &mut answer => return ended,
                Ok(()) = told.changed() => run.share.show(&told.borrow_and_update(), run.context),
                error = &mut well => break error,
                () = sleep_until(over) => {
                    break EngineError::Failed(format!("the model took longer than {limit:?}"));
                }
            }
        };
        self.server.cancel(id).await;
        let _ = timeout(CLEAN_UP, answer).await;
        Err(stopped)
    }

    /// Asks for a prediction and waits for its end; asks again while the server has no room.
    async fn ask(&self, id: &str, run: &Run<'_>, tell: watch::Sender<News>) -> Result<Value, EngineError> {
        let until = Instant::now() + NO_ROOM;
        let mut wait = ROOM.0;
        loop {
            let begun = Instant::now();
            let ended = match self.settings.own.prefer {
                Prefer::RespondAsync => self.ask_in_background(id, run, &tell).await?,
                Prefer::Wait if run.model.streams => self.ask_streaming(id, run, &tell).await?,
                Prefer::Wait => self.ask_plainly(id, run, &tell).await?,
            };
            if let Some(prediction) = ended {
                self.took.store(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
                return prediction.outcome();
            }
            self.server.health().await?.check()?;
            if Instant::now() > until {
                return Err(EngineError::Unavailable(format!(
                    "{} has no room for a prediction",
                    self.settings
                )));
            }
            sleep(wait).await;
            wait = (wait * 2).min(ROOM.1);
        }
    }

    async fn ask_plainly(
        &self,
        id: &str,
        run: &Run<'_>,
        tell: &watch::Sender<News>,
    ) -> Result<Option<Prediction>, EngineError> {
        let worth_it = run.share.text || self.took.load(Ordering::Relaxed) > A_BLINK.as_millis() as u64;
        let hooks = if worth_it { self.hooks().await } else { None };
        let listening = hooks.map(|hooks| hooks.listen(id, tell.clone()));
        let events: &[&str] = if run.share.text { &TEXT_EVENTS } else { &PICTURE_EVENTS };
        let webhook = listening.as_ref().map(|(url, _)| (url.clone(), events));
        let request = server::request(id, run.request.clone(), webhook);
        match self.server.predict(id, &request).await? {
            Answer::Ended(prediction) => Ok(Some(prediction)),
            Answer::Full => Ok(None),
            Answer::InHand => {
                self.server.cancel(id).await;
                Ok(None)
            }
        }
    }

    async fn ask_streaming(
        &self,
        id: &str,
        run: &Run<'_>,
        tell: &watch::Sender<News>,
    ) -> Result<Option<Prediction>, EngineError> {
        let request = server::request(id, run.request.clone(), None);
        let Some(events) = self.server.stream(id, &request).await? else {
            return Ok(None);
        };
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            match event? {
                Event::Output(piece) => tell.send_modify(|news| news.push(&piece)),
                Event::Log(text) => tell.send_modify(|news| news.log(&text)),
                Event::Ended(prediction) => return Ok(Some(prediction)),
            }
        }
        Err(EngineError::Failed("the server's stream broke off before the prediction ended".to_owned()))
    }

    /// Looks after the server while it works. Returns only if it is silent, or says that it is not well.
    async fn watch(&self) -> EngineError {
        let mut silences = 0;
        loop {
            sleep(LOOK).await;
            match self.server.health().await.and_then(|health| health.check()) {
                Ok(()) => silences = 0,
                Err(error) => {
                    silences += 1;
                    if silences == SILENCES {
                        return EngineError::Unavailable(format!("{} is lost: {error}", self.settings));
                    }
                }
            }
        }
    }
}

/// One of the predictions that a recipe takes.
struct Run<'a> {
    model: &'a Model,
    request: Value,
    share: Share,
    context: &'a RunContext,
}

#[async_trait]
impl Engine for CogEngine {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        let health = self.server.health().await?;
        health.check()?;
        self.check_background().await?;
        let model = Model::read(
            &self.server.schema().await?,
            self.settings.identity(&health.version),
            &self.settings.told(),
        )?;
        Ok(self.models.renew(vec![model]))
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        let model = self.models.get(recipe.model, &self.settings)?;
        let runs = if model.repeats { recipe.count() } else { 1 };
        let text = model.spec.media == Media::Text;
        let mut artifacts = Vec::new();
        for index in 0..runs {
            let id = if index == 0 { context.job.clone() } else { format!("{}-{index}", context.job) };
            let pictures = Inline(&*context.files);
            let request = tokio::select! {
                biased;
                () = context.cancel.cancelled() => return Err(EngineError::Cancelled),
                request = model.request(recipe, index, &pictures) => request?,
            };
            let run = Run {
                model: &model,
                request,
                share: Share { index, of: runs, pieces: recipe.integer("max_tokens"), text },
                context,
            };
            let output = self.predict(&id, &run).await?;
            match text {
                true => artifacts.push(output::text(&output, model.join)?),
                false => {
                    let wanted = if model.repeats { 1 } else { recipe.count() };
                    artifacts.extend(tokio::select! {
                        biased;
                        () = context.cancel.cancelled() => return Err(EngineError::Cancelled),
                        made = output::files(&output, (model.spec.media, wanted), &self.server) => made?,
                    });
                }
            }
        }
        Ok(artifacts)
    }
}
