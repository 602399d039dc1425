//! What workers told the hubs of their attempts and what they heard, noted where it passed by: the evidence of who acted on
//! a job as its holder, whatever the hubs believe.

use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

/// What a worker did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    Lease,
    Report,
    Upload,
    Complete,
    Fail,
    Release,
}

/// What the hub said to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    /// The attempt is over, or nobody wants it any more.
    Refused,
    /// No answer, or one that says nothing of what was done.
    Unknown,
}

/// A call about an attempt, with the times between which the hub had it, in milliseconds since 1970.
#[derive(Debug, Clone)]
pub struct Call {
    pub worker: String,
    pub act: Act,
    pub job: String,
    pub attempt: i64,
    pub arrived: i64,
    pub answered: i64,
    pub outcome: Outcome,
}

/// All calls, in the order of their answers.
#[derive(Default)]
pub struct Calls(Mutex<Vec<Call>>);

impl Calls {
    pub fn note(&self, calls: impl IntoIterator<Item = Call>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(calls);
    }

    pub fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The machine's clock, which is PostgreSQL's too.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// What a request is about, if it is about an attempt. Requests for jobs are not: they are read in [`leases`].
pub fn attempt_of(path: &str, query: &str, body: &[u8]) -> Option<(Act, String, i64)> {
    let mut parts = path.strip_prefix("/worker/v1/jobs/")?.split('/');
    let job = parts.next()?.to_owned();
    let act = match parts.next()? {
        "report" => Act::Report,
        "outputs" => Act::Upload,
        "complete" => Act::Complete,
        "fail" => Act::Fail,
        "release" => Act::Release,
        // It asks, and changes nothing.
        _ => return None,
    };
    let attempt = match act {
        Act::Upload => query.split('&').find_map(|pair| pair.strip_prefix("attempt="))?.parse().ok()?,
        _ => serde_json::from_slice::<Value>(body).ok()?["attempt"].as_i64()?,
    };
    Some((act, job, attempt))
}

/// What an answer to such a request says.
pub fn outcome(act: Act, status: u16, body: &[u8]) -> Outcome {
    match status {
        200..300 if act == Act::Report => {
            let signal = serde_json::from_slice::<Value>(body).unwrap_or_default();
            if signal["signal"] == "continue" { Outcome::Taken } else { Outcome::Refused }
        }
        200..300 => Outcome::Taken,
        400..500 => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

/// The attempts that an answer to a request for a job gives, the first and those that came with it.
pub fn leases(body: &[u8]) -> Vec<(String, i64)> {
    let Ok(lease) = serde_json::from_slice::<Value>(body) else {
        return Vec::new();
    };
    let others = lease["others"].as_array().cloned().unwrap_or_default();
    let given = |lease: &Value| Some((lease["job"].as_str()?.to_owned(), lease["attempt"].as_i64()?));
    std::iter::once(&lease).chain(&others).filter_map(given).collect()
}
