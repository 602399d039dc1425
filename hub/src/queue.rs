//! What the queue looks like from one job's place: position and expected wait, from what present workers can
//! really serve. The order itself is a column of the store (see `store::lease`).

use std::collections::HashSet;

use crate::canonical::Digest;

/// A queued job.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The job.
    pub job: String,
    /// The model version that it needs.
    pub model: Digest,
    /// Expected cost in milliseconds of the device.
    pub estimate_ms: i64,
}

/// A worker that is there.
#[derive(Debug, Clone)]
pub struct Server {
    /// The model versions it serves.
    pub models: HashSet<Digest>,
    /// How long it is still busy with what it has, in milliseconds.
    pub busy_ms: i64,
}

/// Where a queued job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// 1 for the next job; counts only jobs that compete for a worker that could serve this one.
    pub position: u32,
    /// Expected milliseconds until its result; `None` while no present worker serves its model.
    pub eta_ms: Option<i64>,
}

/// Plays the queue, given in its serving order, over the fleet: every job goes to the worker that can serve it and is
/// free first. Returns the place of `job`, or `None` if it is not queued.
pub fn place(queue: &[Waiting], fleet: &[Server], job: &str) -> Option<Place> {
    let own = queue.iter().position(|waiting| waiting.job == job)?;
    let model = queue[own].model;
    let rivals = |waiting: &&Waiting| {
        waiting.model == model
            || fleet
                .iter()
                .any(|server| server.models.contains(&model) && server.models.contains(&waiting.model))
    };
    let position = 1 + queue[..own].iter().filter(rivals).count() as u32;
    let mut free_at: Vec<i64> = fleet.iter().map(|server| server.busy_ms).collect();
    let mut eta_ms = None;
    for waiting in &queue[..=own] {
        let able = (0..fleet.len()).filter(|&i| fleet[i].models.contains(&waiting.model));
        let Some(first) = able.min_by_key(|&i| free_at[i]) else {
            continue;
        };
        free_at[first] += waiting.estimate_ms;
        if waiting.job == job {
            eta_ms = Some(free_at[first]);
        }
    }
    Some(Place { position, eta_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> Digest {
        Digest::of_bytes(name.as_bytes())
    }

    fn waiting(job: &str, name: &str, estimate_ms: i64) -> Waiting {
        Waiting { job: job.to_owned(), model: model(name), estimate_ms }
    }

    fn server(names: &[&str], busy_ms: i64) -> Server {
        Server { models: names.iter().map(|name| model(name)).collect(), busy_ms }
    }

    #[test]
    fn jobs_that_no_worker_serves_delay_nobody() {
        let queue = [waiting("a", "absent", 60_000), waiting("b", "flux", 2_000)];
        let fleet = [server(&["flux"], 500)];
        let place_b = place(&queue, &fleet, "b").unwrap();
        assert_eq!(place_b, Place { position: 1, eta_ms: Some(2_500) });
        assert_eq!(place(&queue, &fleet, "a").unwrap().eta_ms, None);
    }

    #[test]
    fn the_first_free_able_worker_takes_the_next_job() {
        let queue = [waiting("a", "flux", 4_000), waiting("b", "sd", 1_000), waiting("c", "flux", 1_000)];
        let fleet = [server(&["flux"], 0), server(&["flux", "sd"], 1_000)];
        let eta = |job| place(&queue, &fleet, job).unwrap().eta_ms.unwrap();
        assert_eq!((eta("a"), eta("b"), eta("c")), (4_000, 2_000, 3_000));
        assert_eq!(place(&queue, &fleet, "c").unwrap().position, 3);
    }
}
