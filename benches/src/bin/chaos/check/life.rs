//! The lives of jobs, as PostgreSQL noted them: each is made once, goes through its states as the state machine has it, and
//! ends once.

use super::Violations;
use crate::history::{Change, is_final};

pub fn check(changes: &[Change], violations: &mut Violations) {
    for life in changes.chunk_by(|one, other| one.job == other.job) {
        let job = &life[0].job;
        let made = life.iter().filter(|change| change.was.is_none()).count();
        if made != 1 || life[0].was.is_some() {
            violations.add("a job is made once", job.clone());
        }
        let ends = life.iter().filter(|change| change.is_end()).count();
        if ends != 1 {
            violations.add("a job ends exactly once", format!("{job}: {ends} times: {}", told(life)));
        }
        for change in life {
            if let Some(wrong) = wrong(change) {
                violations.add(
                    "a job goes from state to state as it may",
                    format!("{job}: {wrong}: {}", told(life)),
                );
            }
        }
    }
}

/// What is wrong with a change, if anything is.
fn wrong(change: &Change) -> Option<&'static str> {
    let Some(was) = change.was.as_deref() else {
        let made = change.state.as_deref() == Some("queued") && change.attempt == Some(0);
        return (!made).then_some("it was not made as a queued job");
    };
    let Some(state) = change.state.as_deref() else {
        return Some("it was deleted");
    };
    let same_attempt = change.attempt == change.attempt_was;
    let same_holder = same_attempt && change.worker == change.worker_was;
    match (was, state) {
        (was, _) if is_final(was) => Some("it changed after its end"),
        ("queued", "leased") => {
            let next = change.attempt == change.attempt_was.map(|attempt| attempt + 1);
            (!next).then_some("the attempt's number did not grow by one")
        }
        ("leased" | "running", "running") => (!same_holder).then_some("its holder changed within an attempt"),
        ("leased" | "running", "queued") => {
            (!same_attempt || change.worker.is_some()).then_some("it was put back with a holder")
        }
        ("leased" | "running", "succeeded" | "failed") => {
            (!same_holder).then_some("its holder changed as it ended")
        }
        ("queued" | "leased" | "running", "cancelled" | "expired") => {
            (!same_attempt).then_some("its attempt changed as it ended")
        }
        _ => Some("there is no such change"),
    }
}

fn told(life: &[Change]) -> String {
    let one = |change: &Change| {
        let state = change.state.as_deref().unwrap_or("gone");
        format!("{state}/{}", change.attempt.unwrap_or_default())
    };
    let mut states: Vec<String> = life.iter().map(one).collect();
    states.dedup();
    states.join(" ")
}
