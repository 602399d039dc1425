//! The spans of a job's trace (<https://opentelemetry.io/docs/concepts/signals/traces/#spans>): the job itself, its waits, its
//! attempts and its posts. Their ids follow from the job, so that hubs and workers that never met agree on them.

use crate::{
    job::{Job, State},
    trace,
};

/// Part of what happened to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Id of the trace.
    pub trace: u128,
    /// Its own id.
    pub id: u64,
    /// The span that it is a part of.
    pub parent: Option<u64>,
    /// What happened.
    pub name: &'static str,
    /// From when, in milliseconds since 1970.
    pub from_ms: i64,
    /// Until when, in the same.
    pub to_ms: i64,
    /// What else there is to know.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed.
    pub error: Option<String>,
}

impl Span {
    /// From the prompt to the end of the job.
    pub fn job(job: &Job, now: i64) -> Self {
        let failed = matches!(job.state, State::Failed | State::Expired);
        let error = failed.then(|| job.reason.clone().unwrap_or_else(|| job.state.as_str().to_owned()));
        let attributes = vec![
            ("riff.state", job.state.as_str().to_owned()),
            ("riff.recipe", job.recipe.to_string()),
            ("riff.channel", job.channel.clone()),
        ];
        let to_ms = job.finished_at.unwrap_or(now);
        Self { parent: None, attributes, error, ..Self::of(&job.id, "job", 0, job.created_at, to_ms) }
    }

    /// From when it could be leased to the lease.
    pub fn wait(job: &Job, now: i64) -> Self {
        Self::of(&job.id, "wait", job.attempt, job.created_at.max(job.not_before), now)
    }

    /// From a lease to its end.
    pub fn attempt(job: &Job, now: i64, error: Option<&str>) -> Self {
        let attributes = vec![
            ("riff.worker", job.worker.clone().unwrap_or_default()),
            ("riff.attempt", job.attempt.to_string()),
        ];
        // Workers know it by this as the parent of what they do: see `trace::parent`.
        let id = trace::span(&format!("{} {}", job.id, job.attempt));
        let from_ms = job.leased_at.unwrap_or(now);
        Self {
            id,
            attributes,
            error: error.map(str::to_owned),
            ..Self::of(&job.id, "attempt", job.attempt, from_ms, now)
        }
    }

    /// The moment in which a job's end was posted.
    pub fn post(job: &str, surface: &'static str, now: i64) -> Self {
        Self { attributes: vec![("riff.surface", surface.to_owned())], ..Self::of(job, "post", 0, now, now) }
    }

    fn of(job: &str, name: &'static str, number: i64, from_ms: i64, to_ms: i64) -> Self {
        let id = |name: &str, number| trace::span(&format!("{job} {name} {number}"));
        Self {
            trace: u128::from_str_radix(&trace::of(job), 16).unwrap_or(1),
            id: id(name, number),
            parent: Some(id("job", 0)),
            name,
            from_ms,
            to_ms: to_ms.max(from_ms),
            attributes: Vec::new(),
            error: None,
        }
    }
}
