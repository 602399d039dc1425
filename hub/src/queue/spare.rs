//! Which jobs of the queue go to workers that serve a model as overflow: those that the others would take too long for. A
//! simpler play than that of expected times, as it has to be right only where there is much too much to do: every job goes to
//! the worker that is done with it first.

use std::collections::HashSet;

use super::{Server, Turn, Waiting};
use crate::canonical::Digest;

/// What becomes of a job.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dealt {
    /// When the workers that serve it as no overflow would be done with it, in milliseconds from now.
    pub ordinary_ms: Option<i64>,
    /// When a worker is done with it that serves it as overflow, if it goes to one.
    pub taken_ms: Option<i64>,
}

/// Deals a queue, in its serving order. Where nobody serves anything as overflow, there is nothing to deal.
pub(super) fn deal(queue: &[Waiting], fleet: &[Server]) -> Vec<Dealt> {
    if fleet.iter().all(|server| server.overflow.is_empty()) {
        return vec![Dealt::default(); queue.len()];
    }
    let mut places: Vec<Served<'_>> = fleet.iter().map(Served::new).collect();
    queue.iter().map(|job| dealt(&job.turn, &mut places)).collect()
}

fn dealt(job: &Turn, places: &mut [Served<'_>]) -> Dealt {
    let first = |able: &dyn Fn(&Server) -> bool| {
        let able = places.iter().enumerate().filter(|(_, place)| able(place.server));
        able.map(|(number, place)| (place.done_ms(job), number)).min()
    };
    let ordinary = first(&|server| server.ordinary_pace(&job.model).is_some());
    let ordinary_ms = ordinary.map(|(done_ms, _)| done_ms);
    let is_due = |after_ms: &i64| is_beyond(ordinary_ms, *after_ms);
    let spare = first(&|server| server.overflow.get(&job.model).is_some_and(is_due));
    let Some((done_ms, number)) = ordinary.into_iter().chain(spare).min() else {
        return Dealt { ordinary_ms, taken_ms: None };
    };
    places[number].free_ms = done_ms;
    places[number].loaded.insert(job.model);
    let is_spare = spare == Some((done_ms, number)) && ordinary != spare;
    Dealt { ordinary_ms, taken_ms: is_spare.then_some(done_ms) }
}

/// Whether a wait is longer than a limit. One without an end is.
pub(super) fn is_beyond(wait_ms: Option<i64>, limit_ms: i64) -> bool {
    wait_ms.is_none_or(|wait_ms| wait_ms > limit_ms)
}

/// A place at which jobs run one after the other.
struct Served<'a> {
    server: &'a Server,
    loaded: HashSet<Digest>,
    free_ms: i64,
}

impl<'a> Served<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, loaded: server.loaded.clone(), free_ms: server.busy_ms }
    }

    fn done_ms(&self, job: &Turn) -> i64 {
        let pace = self.server.models.get(&job.model);
        let load_ms = pace.filter(|_| !self.loaded.contains(&job.model)).map_or(0, |pace| pace.load_ms);
        self.free_ms + load_ms + self.server.runs_ms(&job.model, job.estimate_ms)
    }
}
