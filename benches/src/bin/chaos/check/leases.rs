//! Leases: no job is in two hands at once, and nothing that is done to it comes from who does not hold it. When an attempt held
//! its job is what PostgreSQL noted; what was done to it, and when, is what the workers said and heard.

use std::collections::HashMap;

use super::Violations;
use crate::{
    calls::{Act, Call, Outcome},
    history::Change,
};

/// Changes are noted, and calls timed, in whole milliseconds.
const ROUNDING: i64 = 1;

/// An attempt at a job.
#[derive(Debug)]
struct Attempt<'a> {
    number: i64,
    worker: &'a str,
    begun: i64,
    /// When it held the job no more; missing if it never lost it.
    ended: Option<i64>,
    /// Up to when it was promised the job, at most.
    promised: i64,
    succeeded: bool,
}

pub fn check(changes: &[Change], calls: &[Call], violations: &mut Violations) {
    let mut of_job: HashMap<&str, Vec<&Call>> = HashMap::new();
    for call in calls {
        of_job.entry(&call.job).or_default().push(call);
    }
    for life in changes.chunk_by(|one, other| one.job == other.job) {
        let attempts = attempts(life);
        let calls = of_job.remove(life[0].job.as_str()).unwrap_or_default();
        apart(&life[0].job, &attempts, &calls, violations);
        for call in calls {
            owned(call, &attempts, violations);
        }
    }
    for (job, calls) in of_job {
        let what = format!("{job}, by {}", calls[0].worker);
        violations.add("what workers are given exists", what);
    }
}

fn attempts(life: &[Change]) -> Vec<Attempt<'_>> {
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    for change in life {
        if change.is_lease() {
            attempts.push(Attempt {
                number: change.attempt.unwrap_or_default(),
                worker: change.worker.as_deref().unwrap_or_default(),
                begun: change.at,
                ended: None,
                promised: change.until.unwrap_or_default(),
                succeeded: false,
            });
        } else if let Some(last) = attempts.last_mut() {
            if change.is_held() {
                last.promised = last.promised.max(change.until.unwrap_or_default());
            } else if last.ended.is_none() {
                last.ended = Some(change.at);
                last.succeeded = change.state.as_deref() == Some("succeeded");
            }
        }
    }
    attempts
}

/// Whether the attempts at a job came one after the other: the next one begins when the last one has given the job up, or when
/// what it was promised is over. Nothing was promised to a worker that had gone by then: it heard no answer and made no call.
fn apart(job: &str, attempts: &[Attempt<'_>], calls: &[&Call], violations: &mut Violations) {
    for pair in attempts.windows(2) {
        let (one, next) = (&pair[0], &pair[1]);
        let its =
            || calls.iter().filter(|call| (call.attempt, call.worker.as_str()) == (one.number, one.worker));
        let promised = its().next().is_some();
        let gave_up = its().any(|call| {
            matches!(call.act, Act::Fail | Act::Release)
                && call.outcome != Outcome::Refused
                && call.arrived <= next.begun + ROUNDING
        });
        if promised && !gave_up && next.begun + ROUNDING < one.promised {
            let early = one.promised - next.begun;
            let what = format!(
                "{job}: attempt {} of {} began {early} ms before that of {} was over",
                next.number, next.worker, one.worker
            );
            violations.add("no lease is held twice at once", what);
        }
    }
}

/// Whether what a worker did, and the hub took, was done by the attempt that held the job then.
fn owned(call: &Call, attempts: &[Attempt<'_>], violations: &mut Violations) {
    if call.outcome != Outcome::Taken {
        return;
    }
    let (job, worker, number) = (&call.job, &call.worker, call.attempt);
    let Some(attempt) = attempts.iter().find(|attempt| attempt.number == number && attempt.worker == *worker)
    else {
        let what = format!("{job}: attempt {number} of {worker} ({:?})", call.act);
        return violations.add("an attempt is the worker's to whom it was given", what);
    };
    let began = attempt.begun <= call.answered + ROUNDING;
    let held = attempt.ended.is_none_or(|ended| call.arrived <= ended + ROUNDING);
    let harmless = match call.act {
        // The same end told twice, because its answer was lost, is answered as before.
        Act::Complete => attempt.succeeded,
        // One that comes while the end is being committed is told what still holds. What it changes is in the job's life.
        Act::Report => true,
        Act::Lease => true,
        _ => false,
    };
    if !began || !held && !harmless {
        let late = attempt.ended.map_or(0, |ended| call.arrived - ended);
        let what =
            format!("{job}: {:?} of attempt {number} of {worker}, {late} ms after it was over", call.act);
        violations.add("only who holds a job acts on it", what);
    }
}
