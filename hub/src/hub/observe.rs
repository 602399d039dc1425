//! What operators see of a hub: whether it can do its work, and the gauges of its metrics.

use super::Hub;
use crate::{
    admission::Refusal,
    canonical::Digest,
    job::{Job, State},
    measure::Waste,
    span::Span,
    store::StoreError,
};

/// What models are called that no catalogue has any more.
const UNKNOWN: &str = "unknown";

impl Hub {
    /// Whether database and blobs answer.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] with the one that does not.
    pub async fn ready(&self) -> Result<(), Refusal> {
        self.store.ping().await?;
        Ok(self.blobs.ping().await?)
    }

    /// Brings the gauges up to date: called when somebody asks for the metrics.
    pub async fn observe(&self) -> Result<(), StoreError> {
        let now = self.seam.now();
        let (models, depths) = (self.models().await?, self.store.depths().await?);
        self.metrics.queue(models.iter().map(|model| model.spec.name.as_str()), &depths, now);
        self.metrics.outbox(&self.store.backlogs().await?, now);
        self.metrics.unfinished(depths.iter().map(|depth| depth.jobs).sum());
        self.metrics.workers(self.present().len());
        self.metrics.connections(&self.store.connections());
        Ok(())
    }

    /// A model's name for the metrics.
    pub(super) async fn name_of(&self, model: Digest) -> String {
        let known = self.model(model).await.ok().flatten();
        known.map_or_else(|| UNKNOWN.to_owned(), |known| known.spec.name)
    }

    /// Has every span of a job handed to `sink` from now on, which must not block. Called once.
    pub fn trace_to(&self, sink: impl Fn(Span) + Send + Sync + 'static) {
        if self.spans.set(Box::new(sink)).is_err() {
            tracing::warn!("spans are exported already");
        }
    }

    /// Tells of a span, where anybody wants to know.
    pub fn traced(&self, span: impl FnOnce(i64) -> Span) {
        if let Some(sink) = self.spans.get() {
            sink(span(self.seam.now()));
        }
    }

    /// Counts the end of a job, and what was wasted on one that was cancelled.
    pub(super) async fn count_end(&self, job: &Job) {
        if !job.state.is_final() {
            return;
        }
        self.metrics.ended(&self.name_of(job.model).await, job);
        if job.state == State::Cancelled && job.worker.is_some() {
            self.metrics.wasted(Waste::Cancelled, job, self.seam.now());
            self.traced(|now| Span::attempt(job, now, Some("cancelled")));
        }
        self.traced(|now| Span::job(job, now));
    }
}
