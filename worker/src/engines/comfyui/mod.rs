//! `comfyui`: workflows on a [ComfyUI](https://docs.comfy.org) server, each a model.
//!
//! The author marks in the titles of nodes what members set ([`marks`]); what such an input may be is the server's word. A
//! prompt goes into the server's queue under a name that the job gives, so that an attempt finds what an earlier one left
//! behind. How it ended, only the server's history says; the socket is for what comes before that.

mod marks;
mod model;
mod outcome;
mod progress;
mod run;
mod server;
mod settings;
mod socket;
mod widget;
mod workflow;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use riff_hub::{
    canonical::Digest,
    model::{Media, ModelSpec},
    recipe::Recipe,
};
use tokio::time::timeout;

pub use self::settings::Settings;
use self::{
    model::{Model, Told},
    outcome::Made,
    progress::Share,
    run::Run,
    server::{File, Server},
    socket::Events,
    workflow::Workflow,
};
use crate::{
    engine::{Artifact, Engine, EngineError, RunContext, Update},
    engines::{catalogue::Catalogue, picture, sound},
};

/// How many questions the server is asked at once.
const AT_ONCE: usize = 8;

/// The engine.
pub struct ComfyUiEngine {
    settings: Settings,
    server: Server,
    models: Catalogue<Model>,
}

/// The engine, as the registry wants it.
pub fn engine(settings: Settings) -> Arc<dyn Engine> {
    Arc::new(ComfyUiEngine::new(settings))
}

impl ComfyUiEngine {
    /// An engine in front of a server, which may be down.
    pub fn new(settings: Settings) -> Self {
        let server = Server::new(&settings.endpoint);
        Self { settings, server, models: Catalogue::default() }
    }

    async fn workflow(&self) -> Result<Workflow, EngineError> {
        let place = self.settings.own.workflow.display();
        let read = tokio::fs::read(&self.settings.own.workflow).await;
        let file = read.map_err(|error| {
            EngineError::Unavailable(format!(
                "the workflow {place} cannot be read ({error}): check `workflow`"
            ))
        })?;
        Workflow::read(&file)
            .map_err(|wrong| EngineError::Unavailable(format!("the workflow {place} {wrong}")))
    }

    async fn ask(&self, workflow: &Workflow) -> Result<Told, EngineError> {
        let version = self.server.version().await?;
        let classes: Vec<String> = workflow.classes().into_iter().map(str::to_owned).collect();
        let ask = |name: String| async move {
            let class = self.server.class(&name).await?;
            Ok::<_, EngineError>(class.map(|class| (name, class)))
        };
        let told = stream::iter(classes).map(ask).buffer_unordered(AT_ONCE);
        let classes: BTreeMap<_, _> =
            told.try_filter_map(|class| async move { Ok(class) }).try_collect().await?;
        Ok(Told { version, classes })
    }

    /// Runs a recipe for a client; a prompt of its that an earlier attempt left behind is stopped first.
    async fn make(
        &self,
        model: &Model,
        recipe: &Recipe,
        client: &str,
        context: &RunContext,
    ) -> Result<Vec<Artifact>, EngineError> {
        run::stop(&self.server, client).await?;
        let mut uploaded = BTreeMap::new();
        for name in model.pictures(recipe)? {
            let png = picture::named(name, &*context.files).await?;
            uploaded.insert(name, self.server.upload(name, png).await?);
        }
        let mut events = Events::of(self.server.events(client));
        // A prompt that is queued before the server knows whom to tell of it is told of from somewhere in its middle.
        events.next().await;
        let runs = if model.repeats { recipe.count() } else { 1 };
        let wanted = if model.repeats { 1 } else { recipe.count() };
        let mut artifacts = Vec::new();
        for index in 0..runs {
            let share = Share { index, of: runs };
            let run = Run { server: &self.server, model, client, share, context };
            let entry = run.to_the_end(&model.prompt(recipe, index, &uploaded), &mut events).await?;
            match outcome::read(&entry, model)? {
                Made::Files(files) => {
                    artifacts.extend(self.fetch(files, model.spec.media, wanted as usize).await?);
                }
                Made::Text(text) => {
                    (context.updates)(Update::Text { done: 1.0, text: text.clone() });
                    artifacts.push(Artifact {
                        media_type: "text/plain; charset=utf-8".into(),
                        bytes: text.into(),
                    });
                }
            }
        }
        Ok(artifacts)
    }

    async fn fetch(
        &self,
        files: Vec<File>,
        media: Media,
        wanted: usize,
    ) -> Result<Vec<Artifact>, EngineError> {
        let given = files.len();
        if given < wanted {
            return Err(EngineError::Failed(format!(
                "the workflow gave {given} {}s where {wanted} were asked for; does it save them, and does `outputs` say how \
                 many?",
                media.as_str()
            )));
        }
        if given > wanted {
            tracing::warn!(engine = %self.settings, given, wanted, "surplus files are dropped; set `outputs` to keep them");
        }
        let mut artifacts = Vec::with_capacity(wanted);
        for file in files.iter().take(wanted) {
            let bytes = self.server.view(file).await?;
            let checked = match media {
                Media::Audio => sound::checked(bytes),
                _ => picture::checked(bytes).await,
            };
            artifacts.push(checked.map_err(|wrong| {
                let (name, kind) = (&file.filename, media.as_str());
                EngineError::Failed(format!("the result {name:?} is no {kind} that Riff shows: {wrong}"))
            })?);
        }
        Ok(artifacts)
    }
}

#[async_trait]
impl Engine for ComfyUiEngine {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        let workflow = self.workflow().await?;
        let told = self.ask(&workflow).await?;
        let model = Model::read(workflow, &told, &self.settings)?;
        Ok(self.models.renew(vec![model]))
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        let model = self.models.get(recipe.model, &self.settings)?;
        if context.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let client = format!("riff-{}", Digest::of_bytes(context.job.as_bytes()));
        let limit = self.settings.endpoint.timeout;
        let ended = tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(EngineError::Cancelled),
            made = timeout(limit, self.make(&model, recipe, &client, context)) => made.unwrap_or_else(|_| {
                Err(EngineError::Failed(format!("the workflow took longer than {limit:?}, which timeout_seconds allows")))
            }),
        };
        // A server that is gone has nothing to be stopped.
        if matches!(ended, Err(EngineError::Cancelled | EngineError::Failed(_)))
            && let Err(error) = run::stop(&self.server, &client).await
        {
            tracing::warn!(engine = %self.settings, job = context.job, %error, "its prompt could not be stopped");
        }
        ended
    }
}
