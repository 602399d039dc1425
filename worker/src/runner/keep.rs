//! Keeping a lease: reports while the job runs, and an ear for its cancel from the moment it is leased.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::future::join_all;
use reqwest::StatusCode;
use riff_hub::{
    canonical::Digest,
    schema,
    wire::{Lease, Report, Signal},
};
use tokio::{
    sync::{OnceCell, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{BACKOFF, HOLD, Session, patiently};
use crate::{
    client::{CallError, Client},
    engine::{EngineError, Files, RunContext, Update},
};

/// Most reports a second of one job: what a person can tell apart.
const REPORT_EVERY: Duration = Duration::from_millis(150);

/// A job that this worker holds.
pub(super) struct Held {
    pub lease: Lease,
    /// Cancelled when nobody wants its results any more, or another worker has it.
    pub cancel: CancellationToken,
    /// Cancelled when it begins to run: from then on it is reported on.
    pub begun: CancellationToken,
    pub shown: watch::Sender<Shown>,
    pub files: Arc<HubFiles>,
}

impl Held {
    pub fn new(session: &Session<'_>, lease: Lease) -> Self {
        let cancel = CancellationToken::new();
        let spec = session.engines.spec(lease.recipe.model);
        let named = spec.map(|spec| schema::files(&lease.recipe.params, &spec)).unwrap_or_default();
        let named = named.into_iter().map(|(_, blob)| blob).collect();
        let files = Arc::new(HubFiles {
            client: session.client.clone(),
            cancel: cancel.clone(),
            named,
            fetched: Mutex::default(),
        });
        let begun = CancellationToken::new();
        Self { lease, cancel, begun, shown: watch::Sender::new(Shown::default()), files }
    }

    /// What an engine is given to run it with.
    pub fn context(&self) -> RunContext {
        let shown = self.shown.clone();
        RunContext {
            job: self.lease.job.clone(),
            updates: Arc::new(move |update| shown.send_modify(|shown| shown.take(update))),
            cancel: self.cancel.clone(),
            files: self.files.clone(),
        }
    }
}

/// The files of recipes, fetched from the hub once, before or when an engine asks for them.
pub(super) struct HubFiles {
    client: Client,
    cancel: CancellationToken,
    named: Vec<Digest>,
    fetched: Mutex<HashMap<Digest, Arc<OnceCell<Bytes>>>>,
}

impl HubFiles {
    /// Fetches the pictures that the recipe names. One that does not come is asked for again by the engine, which then
    /// says why.
    pub async fn fetch(&self) {
        join_all(self.named.iter().map(|blob| self.get(*blob))).await;
    }
}

#[async_trait]
impl Files for HubFiles {
    async fn get(&self, blob: Digest) -> Result<Bytes, EngineError> {
        let cell = {
            let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            fetched.entry(blob).or_default().clone()
        };
        let fetch = || async {
            match patiently(&self.cancel, || self.client.blob(blob)).await {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => Err(EngineError::Cancelled),
                Err(CallError::Refused { status: StatusCode::NOT_FOUND, .. }) => {
                    Err(EngineError::Input(format!("the hub does not have the picture {blob} any more")))
                }
                Err(error) => Err(EngineError::Failed(format!("the picture {blob} did not arrive: {error}"))),
            }
        };
        cell.get_or_try_init(fetch).await.cloned()
    }
}

/// The newest state of a job's progress.
#[derive(Default)]
pub(super) struct Shown {
    pub done: f32,
    preview: Option<Bytes>,
    text: Option<String>,
}

impl Shown {
    fn take(&mut self, update: Update) {
        match update {
            Update::Progress { done, preview } => {
                self.done = done;
                self.preview = preview.or(self.preview.take());
            }
            Update::Text { done, text } => {
                self.done = done;
                self.text = Some(text);
            }
        }
    }
}

/// Returns only when the job is no longer ours, or nobody wants it any more.
pub(super) async fn keep(session: &Session<'_>, held: &Held) -> CallError {
    let reporting = async {
        held.begun.cancelled().await;
        beat(session, held).await
    };
    tokio::select! {
        error = reporting => error,
        error = listen(session.client, held) => error,
    }
}

/// Reports progress as it comes, and at least every heartbeat. Returns only when the job is no longer ours.
async fn beat(session: &Session<'_>, held: &Held) -> CallError {
    let welcome = session.welcome();
    let mut progress = held.shown.subscribe();
    let mut heartbeat = interval(Duration::from_millis(welcome.heartbeat_ms.max(50)));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // One may be lost, and the next still comes before the lease is over.
    let within = Duration::from_millis(welcome.lease_ms / 3);
    let mut heard = Instant::now();
    let mut last_preview = None;
    loop {
        tokio::select! {
            _ = heartbeat.tick() => {}
            Ok(()) = progress.changed() => {}
        }
        let report = {
            let shown = progress.borrow_and_update();
            let preview = shown.preview.clone().filter(|preview| last_preview.as_ref() != Some(preview));
            last_preview = preview.clone().or(last_preview);
            Report {
                attempt: held.lease.attempt,
                progress: shown.done,
                preview: preview.map(|bytes| BASE64_STANDARD.encode(bytes)),
                text: shown.text.clone(),
            }
        };
        match session.client.report(&held.lease.job, &report, within).await {
            Ok(Signal::Continue) => heard = Instant::now(),
            Ok(Signal::Cancel) => held.cancel.cancel(),
            Err(error)
                if error.is_passing() && heard.elapsed().as_millis() < u128::from(welcome.lease_ms) =>
            {
                tracing::warn!(job = held.lease.job, %error, "report failed");
            }
            Err(error) => return error,
        }
        sleep(REPORT_EVERY).await;
    }
}

/// Hears a cancel within milliseconds, not at the next heartbeat. Returns only when the job is no longer ours.
async fn listen(client: &Client, held: &Held) -> CallError {
    loop {
        match client.signal(&held.lease.job, held.lease.attempt, HOLD).await {
            Ok(Signal::Continue) => {}
            Ok(Signal::Cancel) => {
                tracing::info!(job = held.lease.job, "cancelled");
                held.cancel.cancel();
                return std::future::pending().await;
            }
            Err(error) if error.is_passing() => sleep(BACKOFF.0).await,
            Err(error) => return error,
        }
    }
}
