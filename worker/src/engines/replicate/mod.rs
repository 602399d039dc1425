//! `replicate`: models at [Replicate](https://replicate.com/docs/reference/http), or at another service with its API, as
//! overflow: they cost money for each run, so they are announced as such, and the hub gives them jobs only when other workers
//! would take long.
//!
//! It owns the account's ledger: nothing is begun that could go beyond the month's cap, and what was begun is stopped and
//! paid for whatever becomes of its job.

mod api;
mod fault;
mod ledger;
mod money;
mod run;
mod settings;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::join_all;
use riff_hub::{
    canonical::Digest,
    model::{Media, ModelSpec},
    recipe::Recipe,
    seam::{Seam, System},
};
use tokio::time::Instant;

pub use self::settings::Settings;
use self::{
    api::{Api, Place},
    fault::Fault,
    ledger::Ledger,
    money::Price,
    run::{Account, Run},
};
use super::{
    catalogue::Catalogue,
    picture,
    predictor::{
        input::{Carry, fetched},
        model::{Identity, Model},
        output,
        progress::Share,
    },
};
use crate::engine::{Artifact, Engine, EngineError, Files, RunContext};

/// How long nothing is sent after the account was refused: somebody has to see to it first.
const CLOSED: Duration = Duration::from_secs(600);
/// Largest file that goes along in a request, in bytes; larger ones are uploaded first:
/// <https://replicate.com/docs/topics/predictions/input-files>.
const INLINE: usize = 256 << 10;

/// The engine in front of one account.
pub struct ReplicateEngine {
    settings: Settings,
    account: Account,
    models: Catalogue<Served>,
    /// Until when nothing is sent, and why.
    closed: Mutex<Option<(Instant, String)>>,
    /// What was left out last time, and why.
    left_out: Mutex<Vec<String>>,
}

/// A model that is served.
pub struct Served {
    model: Model,
    place: Place,
    price: Price,
    timeout: Duration,
}

impl AsRef<ModelSpec> for Served {
    fn as_ref(&self) -> &ModelSpec {
        &self.model.spec
    }
}

/// The engine, as the registry wants it.
pub fn engine(settings: Settings) -> Arc<dyn Engine> {
    Arc::new(ReplicateEngine::new(settings, Arc::new(System)))
}

impl ReplicateEngine {
    /// An engine that has asked nothing yet.
    pub fn new(settings: Settings, seam: Arc<dyn Seam>) -> Self {
        let account = Account {
            api: Arc::new(Api::new(&settings)),
            ledger: Arc::new(Ledger::new(&settings.ledger, settings.monthly)),
            seam,
            stopping: Arc::default(),
        };
        Self {
            settings,
            account,
            models: Catalogue::default(),
            closed: Mutex::default(),
            left_out: Mutex::default(),
        }
    }

    /// Sends nothing for a while.
    fn close(&self, pause: Duration, words: &str) {
        let until = Instant::now() + pause.min(CLOSED);
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some((until, words.to_owned()));
    }

    fn check_open(&self) -> Result<(), EngineError> {
        match &*self.closed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((until, words)) if Instant::now() < *until => Err(EngineError::Unavailable(words.clone())),
            _ => Ok(()),
        }
    }

    async fn describe(&self, model: &settings::Model) -> Result<Served, EngineError> {
        let described = self.account.api.describe(&model.id).await.map_err(|fault| match fault {
            Fault::Missing(words) => EngineError::Unavailable(format!("{}: {words}", model.id)),
            fault => fault.into(),
        })?;
        let most = model.price.most(model.timeout);
        self.account.ledger(move |ledger, now| ledger.allows(most, now)).await?;
        let card = model.described(&described.description);
        let told = model.told(&card, self.settings.overflow);
        Ok(Served {
            model: Model::read(&described.document, Identity::Container(&described.version), &told)?,
            place: described.place,
            price: model.price,
            timeout: model.timeout,
        })
    }

    /// Warns of models that are left out, once until that changes.
    fn warn_of(&self, left_out: Vec<String>) {
        let mut before = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        if *before != left_out {
            for error in &left_out {
                tracing::warn!(engine = %self.settings, error, "a model is left out");
            }
            *before = left_out;
        }
    }
}

/// Files that go along where they are small, and are uploaded where they are not.
struct Uploads<'a> {
    files: &'a dyn Files,
    api: &'a Api,
}

#[async_trait]
impl Carry for Uploads<'_> {
    async fn carry(&self, blob: Digest) -> Result<String, EngineError> {
        let (bytes, media_type) = fetched(blob, self.files).await?;
        match bytes.len() <= INLINE {
            true => Ok(picture::data_url(&bytes, media_type)),
            false => Ok(self.api.upload(bytes, media_type).await?),
        }
    }
}

#[async_trait]
impl Engine for ReplicateEngine {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        self.check_open()?;
        let mut served = Vec::new();
        let mut left_out = Vec::new();
        for described in join_all(self.settings.models.iter().map(|model| self.describe(model))).await {
            match described {
                Ok(one) => served.push(one),
                Err(error) => left_out.push(error),
            }
        }
        if let (true, Some(first)) = (served.is_empty(), left_out.first()) {
            return Err(EngineError::Unavailable(first.to_string()));
        }
        self.warn_of(left_out.iter().map(ToString::to_string).collect());
        Ok(self.models.renew(served))
    }

    fn left_out(&self) -> Vec<String> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        if context.cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        self.check_open()?;
        let served = self.models.get(recipe.model, &self.settings)?;
        let model = &served.model;
        let runs = if model.repeats { recipe.count() } else { 1 };
        let text = model.spec.media == Media::Text;
        let pictures = Uploads { files: &*context.files, api: &self.account.api };
        let mut artifacts = Vec::new();
        for index in 0..runs {
            let input = tokio::select! {
                input = model.request(recipe, index, &pictures) => input?,
                () = context.cancel.cancelled() => return Err(EngineError::Cancelled),
            };
            let share = Share { index, of: runs, pieces: recipe.integer("max_tokens"), text };
            let output = self.predict(&Run { served: &served, input, share, context }).await?;
            if text {
                artifacts.push(output::text(&output, model.join)?);
                continue;
            }
            let wanted = if model.repeats { 1 } else { recipe.count() };
            artifacts.extend(tokio::select! {
                made = output::files(&output, (model.spec.media, wanted), &*self.account.api) => made?,
                () = context.cancel.cancelled() => return Err(EngineError::Cancelled),
            });
        }
        Ok(artifacts)
    }
}
