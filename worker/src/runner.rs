//! The lease loop: say hello, ask for a job, run it, send what came out, ask again.
//!
//! Whoever calls [`run`] owns the loop; it ends when the token it was given is cancelled, after the job in hand.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use reqwest::StatusCode;
use riff_hub::{
    canonical::Digest,
    model::ModelSpec,
    wire::{Complete, Fail, Hello, Lease, LeaseRequest, PROTOCOL, Report, Signal, Welcome},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{CallError, Client},
    engine::{Artifact, Engine, EngineError, Files, RunContext, Update},
    engines::Engines,
};

/// How long a request for work is held open.
const HOLD: Duration = Duration::from_secs(25);
/// Most reports a second of one job: what a person can tell apart.
const REPORT_EVERY: Duration = Duration::from_millis(150);
/// First and longest wait before a call is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Serves a hub until `stop` is cancelled; a job in hand is finished first.
///
/// # Errors
/// [`CallError`] if the hub refuses the worker for good: a wrong token, another protocol, a bad model.
pub async fn run(
    client: &Client,
    name: &str,
    engines: &Engines,
    stop: &CancellationToken,
) -> Result<(), CallError> {
    engines.discover().await;
    let announced = engines.models();
    tokio::select! {
        ended = keep_serving(client, name, engines, stop) => ended,
        error = keep_announcing(client, name, engines, announced, stop) => Err(error),
    }
}

/// Hello and lease loop, and the same again when the hub has forgotten this worker.
async fn keep_serving(
    client: &Client,
    name: &str,
    engines: &Engines,
    stop: &CancellationToken,
) -> Result<(), CallError> {
    loop {
        let models = engines.models();
        tracing::info!(worker = name, models = models.len(), "serving");
        let Some(welcome) = greet(client, name, models, stop).await? else {
            return Ok(());
        };
        match serve(client, name, engines, &welcome, stop).await {
            Err(CallError::Unknown(_)) => {}
            ended => return ended,
        }
    }
}

/// Tells the hub whenever the engines serve something else. Returns only if the hub refuses it for good.
async fn keep_announcing(
    client: &Client,
    name: &str,
    engines: &Engines,
    mut announced: Vec<ModelSpec>,
    stop: &CancellationToken,
) -> CallError {
    loop {
        announced = engines.changed(&announced).await;
        let names: Vec<&str> = announced.iter().map(|spec| spec.name.as_str()).collect();
        tracing::info!(worker = name, models = names.join(" "), "serving something else now");
        match greet(client, name, announced.clone(), stop).await {
            Ok(Some(_)) => {}
            Ok(None) => return std::future::pending().await,
            Err(error) => return error,
        }
    }
}

async fn greet(
    client: &Client,
    name: &str,
    models: Vec<ModelSpec>,
    stop: &CancellationToken,
) -> Result<Option<Welcome>, CallError> {
    let hello = Hello { protocol: PROTOCOL, name: name.to_owned(), models };
    patiently(stop, || client.hello(&hello)).await
}

async fn serve(
    client: &Client,
    name: &str,
    engines: &Engines,
    welcome: &Welcome,
    stop: &CancellationToken,
) -> Result<(), CallError> {
    while !stop.is_cancelled() {
        let request = LeaseRequest {
            worker: name.to_owned(),
            loaded: engines.loaded(),
            wait_ms: HOLD.as_millis() as u64,
        };
        let Some(lease) = patiently(stop, || client.lease(&request)).await?.flatten() else {
            continue;
        };
        let job = lease.job.clone();
        if let Err(error) = work(client, engines, lease, welcome).await {
            tracing::warn!(job, %error, "dropped");
        }
    }
    Ok(())
}

/// Repeats a call with growing waits while it fails in passing; `None` once `stop` is cancelled.
async fn patiently<T, F>(
    stop: &CancellationToken,
    mut call: impl FnMut() -> F,
) -> Result<Option<T>, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut wait = BACKOFF.0;
    loop {
        let answer = tokio::select! {
            answer = call() => answer,
            () = stop.cancelled() => return Ok(None),
        };
        match answer {
            Err(error) if error.is_passing() => tracing::warn!(%error, retry_in = ?wait, "will try again"),
            answer => return answer.map(Some),
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => return Ok(None),
        }
        wait = (wait * 2).min(BACKOFF.1);
    }
}

/// Runs one lease to its end.
async fn work(client: &Client, engines: &Engines, lease: Lease, welcome: &Welcome) -> Result<(), CallError> {
    let cancel = CancellationToken::new();
    let (updates, progress) = watch::channel(Shown::default());
    let beat = beat(client, &lease, welcome, progress, &cancel);
    let listen = listen(client, &lease, &cancel);
    tokio::pin!(beat);
    let started = Instant::now();
    let made = tokio::select! {
        made = make(client, engines, &lease, updates, &cancel) => made,
        error = &mut beat => return Err(error),
        error = listen => return Err(error),
    };
    let tell = tell(client, &lease, made, started.elapsed());
    tokio::pin!(tell);
    tokio::select! {
        told = &mut tell => told,
        // The lease ends with the hub's answer to what is told; only that answer says how.
        _ = beat => tell.await,
    }
}

/// Tells the hub how a run ended.
async fn tell(
    client: &Client,
    lease: &Lease,
    made: Result<Made, EngineError>,
    took: Duration,
) -> Result<(), CallError> {
    match made {
        Ok(made) => deliver(client, lease, made, took).await,
        Err(EngineError::Cancelled) => Ok(()),
        Err(error) => give_up(client, lease, &error.to_string(), error.is_worth_retrying()).await,
    }
}

struct Made {
    artifacts: Vec<Artifact>,
    load: Duration,
}

async fn make(
    client: &Client,
    engines: &Engines,
    lease: &Lease,
    updates: watch::Sender<Shown>,
    cancel: &CancellationToken,
) -> Result<Made, EngineError> {
    let model = lease.recipe.model;
    let gone = || EngineError::Unavailable("this worker does not serve that model any more".to_owned());
    let engine = engines.of(model).ok_or_else(gone)?;
    let context = RunContext {
        job: lease.job.clone(),
        updates: Arc::new(move |update| updates.send_modify(|shown| shown.take(update))),
        cancel: cancel.clone(),
        files: Arc::new(HubFiles { client: client.clone(), cancel: cancel.clone() }),
    };
    let made = load_and_run(&**engine, lease, &context).await;
    if let Err(EngineError::Unavailable(_)) = made {
        engines.doubt(model);
    }
    made
}

async fn load_and_run(engine: &dyn Engine, lease: &Lease, context: &RunContext) -> Result<Made, EngineError> {
    let started = Instant::now();
    if !engine.loaded(lease.recipe.model) {
        engine.load(lease.recipe.model).await?;
    }
    let load = started.elapsed();
    let artifacts = engine.run(&lease.recipe, context).await?;
    Ok(Made { artifacts, load })
}

/// The pictures of recipes, fetched from the hub when an engine asks for them.
struct HubFiles {
    client: Client,
    cancel: CancellationToken,
}

#[async_trait]
impl Files for HubFiles {
    async fn get(&self, blob: Digest) -> Result<Bytes, EngineError> {
        match patiently(&self.cancel, || self.client.blob(blob)).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(EngineError::Cancelled),
            Err(CallError::Refused { status: StatusCode::NOT_FOUND, .. }) => {
                Err(EngineError::Input(format!("the hub does not have the picture {blob} any more")))
            }
            Err(error) => Err(EngineError::Failed(format!("the picture {blob} did not arrive: {error}"))),
        }
    }
}

/// The newest state of a job's progress.
#[derive(Default)]
struct Shown {
    done: f32,
    preview: Option<Bytes>,
    text: Option<String>,
    version: u64,
}

impl Shown {
    fn take(&mut self, update: Update) {
        self.version += 1;
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

/// Reports progress as it comes, and at least every heartbeat. Returns only when the job is no longer ours.
async fn beat(
    client: &Client,
    lease: &Lease,
    welcome: &Welcome,
    mut progress: watch::Receiver<Shown>,
    cancel: &CancellationToken,
) -> CallError {
    let mut heartbeat = interval(Duration::from_millis(welcome.heartbeat_ms.max(50)));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                attempt: lease.attempt,
                progress: shown.done,
                preview: preview.map(|bytes| BASE64_STANDARD.encode(bytes)),
                text: shown.text.clone(),
            }
        };
        match client.report(&lease.job, &report).await {
            Ok(Signal::Continue) => heard = Instant::now(),
            Ok(Signal::Cancel) => cancel.cancel(),
            Err(error)
                if error.is_passing() && heard.elapsed().as_millis() < u128::from(welcome.lease_ms) =>
            {
                tracing::warn!(job = lease.job, %error, "report failed");
            }
            Err(error) => {
                cancel.cancel();
                return error;
            }
        }
        sleep(REPORT_EVERY).await;
    }
}

/// Hears a cancel within milliseconds, not at the next heartbeat. Returns only when the job is no longer ours.
async fn listen(client: &Client, lease: &Lease, cancel: &CancellationToken) -> CallError {
    loop {
        match client.signal(&lease.job, lease.attempt, HOLD).await {
            Ok(Signal::Continue) => {}
            Ok(Signal::Cancel) => {
                tracing::info!(job = lease.job, "cancelled");
                cancel.cancel();
                return std::future::pending().await;
            }
            Err(error) if error.is_passing() => sleep(BACKOFF.0).await,
            Err(error) => {
                cancel.cancel();
                return error;
            }
        }
    }
}

async fn deliver(client: &Client, lease: &Lease, made: Made, took: Duration) -> Result<(), CallError> {
    let never = CancellationToken::new();
    for (index, artifact) in made.artifacts.iter().enumerate() {
        let put = || client.put_output(lease, index as u32, &artifact.media_type, artifact.bytes.clone());
        match patiently(&never, put).await {
            Err(CallError::Refused { status, detail }) => {
                let reason = format!("the hub refused result {}: {detail} ({status})", index + 1);
                return give_up(client, lease, &reason, true).await;
            }
            stored => stored?,
        };
    }
    let complete = Complete {
        attempt: lease.attempt,
        outputs: made.artifacts.len() as u32,
        gpu_seconds: took.saturating_sub(made.load).as_secs_f64(),
        load_seconds: made.load.as_secs_f64(),
    };
    patiently(&never, || client.complete(&lease.job, &complete)).await.map(drop)
}

async fn give_up(client: &Client, lease: &Lease, reason: &str, retry: bool) -> Result<(), CallError> {
    tracing::warn!(job = lease.job, reason, "failed");
    let fail = Fail { attempt: lease.attempt, reason: reason.to_owned(), retry };
    patiently(&CancellationToken::new(), || client.fail(&lease.job, &fail)).await.map(drop)
}
