//! What workers tell of the jobs they hold: report, store outputs, complete, fail.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use tokio::{
    sync::broadcast,
    time::{Instant, timeout_at},
};

use super::{Change, Event, Hub, Live};
use crate::{
    blobs::BlobError,
    embed,
    job::{Job, Output, State},
    measure::Waste,
    media::{self, BadMedia, Checked},
    model::Media,
    recipe::Recipe,
    safety::Watch,
    schema::BadSpec,
    sound,
    span::Span,
    step,
    store::{Completion, Ending, Retry, StoreError},
    trace, wire,
};

/// Why a worker's call was refused.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// It speaks another protocol.
    #[error(
        "this hub speaks worker protocol {hub}, the worker speaks {0}; update the older of the two",
        hub = wire::PROTOCOL
    )]
    Protocol(u32),
    /// An announced model that cannot be taken.
    #[error("model {name:?} is refused: {source}")]
    Spec {
        /// Its name.
        name: String,
        /// Why.
        source: BadSpec,
    },
    /// It asks for work before it said hello to this hub.
    #[error("worker {0:?} has not said hello to this hub; send POST /worker/v1/hello first")]
    Unknown(String),
    /// It uploaded what the hub does not take.
    #[error("output {index} is refused: {source}")]
    Media {
        /// Which output.
        index: u32,
        /// Why.
        source: BadMedia,
    },
    /// It uploaded more outputs than the recipe makes.
    #[error("output {index} is refused: the recipe makes {count}")]
    TooMany {
        /// Which output.
        index: u32,
        /// How many there are.
        count: u32,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blobs.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// Longest time a request is held.
pub(super) const MAX_HOLD: Duration = Duration::from_secs(60);
/// Reports extend a lease once this part of it is gone.
const SPARED: i64 = 4;
/// Longest device time that one attempt may charge.
const MAX_COST_MS: i64 = 24 * 60 * 60 * 1_000;

impl Hub {
    /// Takes a heartbeat with its progress.
    pub async fn report(
        &self,
        worker: &str,
        job: &str,
        report: wire::Report,
    ) -> Result<wire::Signal, WorkError> {
        self.heard_of(worker);
        let least = self.settings.lease.as_millis() as i64 / SPARED;
        let held = (job, worker, report.attempt);
        let job = match self.store.report(held, self.lease_until(), least).await {
            Err(StoreError::LeaseLost { .. }) => return self.signal_of(worker, job, report.attempt).await,
            reported => reported?,
        };
        step::done("reported");
        let preview = self.preview_of(&job, &report).await?;
        let live = self.note_progress(&job, report, preview);
        if !self.store.is_alone() {
            self.store.put_live(&job.id, &live).await?;
        }
        self.tell(&job.channel, &job.id, Change::Progress);
        Ok(wire::Signal::Continue)
    }

    /// A report's preview, if it is one and may be shown.
    async fn preview_of(&self, job: &Job, report: &wire::Report) -> Result<Option<Vec<u8>>, WorkError> {
        let decoded = report.preview.as_ref().and_then(|text| BASE64_STANDARD.decode(text).ok());
        match decoded.filter(|bytes| media::check_preview(bytes).is_ok()) {
            Some(bytes) if self.may_show(job, &bytes).await? => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    fn note_progress(&self, job: &Job, report: wire::Report, preview: Option<Vec<u8>>) -> Live {
        let mut live = self.live.entry(job.id.clone()).or_default();
        if report.progress.is_finite() {
            live.progress = report.progress.clamp(live.progress, 1.0);
        }
        if let Some(bytes) = preview {
            let number = live.preview.as_ref().map_or(0, |(_, number)| number + 1);
            live.preview = Some((Bytes::from(bytes), number));
        }
        if let Some(text) = report.text.filter(|text| text.len() <= media::MAX_TEXT_BYTES) {
            live.text = Some(text);
        }
        live.clone()
    }

    /// Waits up to `hold` for the hub to want something of the worker that holds the job.
    pub async fn signal(
        &self,
        worker: &str,
        job: &str,
        attempt: u32,
        hold: Duration,
    ) -> Result<wire::Signal, WorkError> {
        let mut events = self.subscribe();
        let deadline = Instant::now() + hold.min(MAX_HOLD);
        loop {
            let signal = self.signal_of(worker, job, attempt).await?;
            if signal != wire::Signal::Continue || Instant::now() >= deadline {
                return Ok(signal);
            }
            let changed = changed(&mut events, job);
            let _ = timeout_at(deadline, changed).await;
        }
    }

    async fn signal_of(&self, worker: &str, job: &str, attempt: u32) -> Result<wire::Signal, WorkError> {
        if self.store.holds(job, worker, attempt).await? {
            return Ok(wire::Signal::Continue);
        }
        match self.store.job(job).await? {
            Some(found) if found.state == State::Cancelled => Ok(wire::Signal::Cancel),
            _ => Err(StoreError::LeaseLost { job: job.to_owned(), attempt }.into()),
        }
    }

    /// Checks, re-encodes and stores one output of a running attempt.
    pub async fn store_output(
        &self,
        (worker, job, attempt): (&str, &str, u32),
        index: u32,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<wire::Stored, WorkError> {
        let held = self.store.held(job, worker, attempt).await?;
        let (_, recipe) = held.ok_or_else(|| StoreError::LeaseLost { job: job.to_owned(), attempt })?;
        let output = self.check_output(recipe, index, media_type, bytes).await?;
        let blob = output.blob;
        self.store.add_output(job, worker, attempt, output).await?;
        step::done("output-stored");
        Ok(wire::Stored { blob })
    }

    async fn check_output(
        &self,
        recipe: Recipe,
        index: u32,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Output, WorkError> {
        let missing = || StoreError::Missing(format!("model {}", recipe.model));
        let model = self.model(recipe.model).await?.ok_or_else(missing)?;
        if index >= recipe.count() {
            return Err(WorkError::TooMany { index, count: recipe.count() });
        }
        let media_type = media_type.to_owned();
        let wanted = model.spec.media;
        let (watch, sounds) = (self.watch.get().cloned(), self.settings.sounds);
        let made = tokio::task::spawn_blocking(move || {
            let mut safety = None;
            let made = make((&media_type, &bytes), (wanted, sounds), |image| {
                safety = watch.map(|watch| see(&watch, image)).transpose()?;
                embed::write_png(image, &recipe, index, &model.spec)
            })?;
            Ok((made, safety))
        })
        .await
        .map_err(|_| BadMedia::Unreadable("decoding it crashed".to_owned()))
        .and_then(|made| made)
        .map_err(|source| WorkError::Media { index, source })?;
        let (made, safety) = made;
        Ok(Output {
            idx: i64::from(index),
            bytes: made.bytes.len() as i64,
            blob: self.blobs.put(made.bytes).await?,
            media_type: made.media_type.to_owned(),
            width: made.size.map(|(width, _)| i64::from(width)),
            height: made.size.map(|(_, height)| i64::from(height)),
            safety,
        })
    }

    /// Ends a job in success.
    pub async fn complete(&self, worker: &str, job: &str, done: &wire::Complete) -> Result<(), WorkError> {
        let ms = |seconds: f64| ((seconds * 1_000.0).ceil() as i64).clamp(0, MAX_COST_MS);
        let completion = Completion {
            job: job.to_owned(),
            worker: worker.to_owned(),
            attempt: done.attempt,
            outputs: i64::from(done.outputs),
            run_ms: ms(done.gpu_seconds),
            load_ms: ms(done.load_seconds),
            allowance_ms: self.settings.allowance_ms,
            now: self.seam.now(),
        };
        if self.withhold(worker, job, done.attempt).await? {
            return Ok(());
        }
        let load_ms = completion.load_ms;
        let ending = self.store.complete(completion).await?;
        step::done("completed");
        if let Ending::Now(job) = &ending {
            let trace = trace::of(&job.id);
            tracing::info!(job = job.id, worker, cost_ms = job.cost_ms, trace, "completed");
            self.traced(|now| Span::attempt(job, now, None));
            if load_ms > 0 {
                // A worker is not trusted: it cannot have loaded for longer than it held the job.
                let held_ms = self.seam.now() - job.leased_at.unwrap_or_else(|| self.seam.now());
                self.metrics.loaded(&self.name_of(job.model).await, load_ms.min(held_ms));
            }
            self.ended(job).await;
        }
        Ok(())
    }

    /// Ends an attempt in failure.
    pub async fn fail(&self, worker: &str, job: &str, fail: &wire::Fail) -> Result<(), WorkError> {
        let retry = match (fail.retry, fail.kind) {
            (false, _) => Retry::Never,
            (true, wire::FailKind::Other) => self.retry(),
            (true, wire::FailKind::OutOfMemory) => self.elsewhere(),
        };
        let reason: String = fail.reason.chars().take(500).collect();
        let held = (job, worker, fail.attempt);
        let job = self.store.fail(held, &reason, retry, self.seam.now()).await?;
        step::done("failed");
        // It may have been set aside for it.
        self.look_at_models().await?;
        let trace = trace::of(&job.id);
        tracing::warn!(job = job.id, trace, worker, reason, state = job.state.as_str(), "attempt failed");
        self.metrics.wasted(Waste::Failed, &job, self.seam.now());
        self.traced(|now| Span::attempt(&job, now, Some(&reason)));
        self.ended(&job).await;
        Ok(())
    }

    /// What follows the end of an attempt, whether or not it was the job's.
    pub(super) async fn ended(&self, job: &Job) {
        self.live.remove(&job.id);
        self.count_end(job).await;
        self.tell(&job.channel, &job.id, Change::State);
        if job.state.is_final() {
            self.call_posters();
        } else {
            self.wake_for(job.model);
        }
    }

    pub(super) fn lease_until(&self) -> i64 {
        self.seam.now() + self.settings.lease.as_millis() as i64
    }
}

/// Resolves when a job's state may have changed.
pub(super) async fn changed(events: &mut broadcast::Receiver<Event>, job: &str) {
    while let Ok(event) = events.recv().await {
        if &*event.job == job && event.change != Change::Progress {
            return;
        }
    }
}

struct Made {
    media_type: &'static str,
    bytes: Bytes,
    size: Option<(u32, u32)>,
}

/// What the classifier sees in a result, as it is kept. What nobody could look at is not taken.
fn see(watch: &Watch, image: &image::RgbImage) -> Result<String, BadMedia> {
    let findings = watch.classifier.look(image).map_err(|why| {
        tracing::error!(why, "the safety classifier failed");
        BadMedia::Unreadable("the safety classifier failed".to_owned())
    })?;
    serde_json::to_string(&findings).map_err(|error| BadMedia::Unreadable(error.to_string()))
}

/// Reads an upload within limits and writes it anew, so that nothing but pixels, sound or text gets through.
fn make(
    (media_type, bytes): (&str, &Bytes),
    (wanted, sounds): (Media, sound::Limits),
    write_png: impl FnOnce(&image::RgbImage) -> Result<Vec<u8>, BadMedia>,
) -> Result<Made, BadMedia> {
    match media::check(media_type, wanted, bytes, sounds)? {
        Checked::Image(image) => {
            let image = image.into_rgb8();
            Ok(Made {
                media_type: "image/png",
                bytes: write_png(&image)?.into(),
                size: Some(image.dimensions()),
            })
        }
        Checked::Sound(sound) => {
            Ok(Made { media_type: sound.container.media_type(), bytes: sound.bytes, size: None })
        }
        Checked::Text(text) => {
            Ok(Made { media_type: "text/plain; charset=utf-8", bytes: text.into(), size: None })
        }
    }
}
