//! What the queue looks like from one job's place: position and expected wait, from what present workers can
//! really serve. The order itself is a column of the store (see `store::lease`).

use std::collections::{HashMap, HashSet};

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
    /// Priority lane.
    pub lane: i64,
    /// Start tag.
    pub start_tag: i64,
}

impl Waiting {
    fn key(&self) -> Key {
        (self.lane, self.start_tag, self.job.clone())
    }
}

/// A place of a worker at which a job runs.
#[derive(Debug, Clone)]
pub struct Server {
    /// The model versions it serves, and how.
    pub models: HashMap<Digest, Pace>,
    /// Those of them that it serves only as overflow, each with the milliseconds that a job must be expected to take
    /// without it.
    pub overflow: HashMap<Digest, i64>,
    /// Those of them that are in memory.
    pub loaded: HashSet<Digest>,
    /// How long it is still busy with what it has, in milliseconds.
    pub busy_ms: i64,
}

/// How a worker runs a model.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// What it takes for what others take one second for.
    pub factor: f64,
    /// What loading takes, in milliseconds.
    pub load_ms: i64,
}

impl Server {
    /// How long a job of that estimate takes here, in milliseconds.
    fn takes(&self, model: Digest, estimate_ms: i64) -> i64 {
        let load = |pace: &Pace| if self.loaded.contains(&model) { 0 } else { pace.load_ms };
        let takes = |pace: &Pace| (estimate_ms as f64 * pace.factor) as i64 + load(pace);
        self.models.get(&model).map_or(estimate_ms, takes)
    }

    /// When it is done with a job if it is free from then on. A model that another has in memory it loads only once the job
    /// has waited for as long as that takes (see [`crate::affinity`]).
    fn done_ms(&self, free_ms: i64, job: &Waiting, is_loaded: bool) -> i64 {
        let load_ms = self.models.get(&job.model).map_or(0, |pace| pace.load_ms);
        let patience_ms = if is_loaded && !self.loaded.contains(&job.model) { load_ms } else { 0 };
        free_ms.max(patience_ms) + self.takes(job.model, job.estimate_ms)
    }

    /// Whether it serves a version whatever others do.
    fn is_ordinary_for(&self, model: &Digest) -> bool {
        self.models.contains_key(model) && !self.overflow.contains_key(model)
    }

    /// Whether it serves a version as overflow, for a job that others would be done with after `ordinary_ms`.
    fn is_overflow_for(&self, model: &Digest, ordinary_ms: Option<i64>) -> bool {
        self.overflow.get(model).is_some_and(|after_ms| is_beyond(ordinary_ms, *after_ms))
    }
}

/// Whether a wait is longer than a limit. One without an end is.
fn is_beyond(wait_ms: Option<i64>, limit_ms: i64) -> bool {
    wait_ms.is_none_or(|wait_ms| wait_ms > limit_ms)
}

/// Where a queued job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// 1 for the next job; counts only jobs that compete for a worker that could serve this one.
    pub position: u32,
    /// Expected milliseconds until its result; `None` while no present worker serves its model.
    pub eta_ms: Option<i64>,
}

/// A place in the serving order: lane, start tag, id.
pub type Key = (i64, i64, String);

/// The queue as it was at one moment, played once over the fleet: every job goes to the worker that is done with it first,
/// which is seldom one that would have to load the model while another has it in memory. Those that serve it as overflow count once the others would take too long. Gives the place of each job, and
/// a close one of a job that came since.
pub struct Line {
    /// In the serving order.
    jobs: Vec<Played>,
    by_id: HashMap<String, usize>,
    fleet: Vec<Server>,
}

/// A job in the line.
struct Played {
    key: Key,
    model: Digest,
    place: Place,
    /// When the workers that serve it as no overflow would be done with it.
    ordinary_ms: Option<i64>,
}

impl Line {
    /// Plays the queue, given in its serving order.
    pub fn play(queue: Vec<Waiting>, mut fleet: Vec<Server>) -> Self {
        let mut free_at: Vec<i64> = fleet.iter().map(|server| server.busy_ms).collect();
        let mut ahead: HashMap<Digest, u32> = HashMap::new();
        let mut jobs = Vec::with_capacity(queue.len());
        let mut by_id = HashMap::with_capacity(queue.len());
        for waiting in queue {
            let rivals: u32 = ahead
                .iter()
                .filter(|(model, _)| compete(&fleet, model, &waiting.model))
                .map(|(_, count)| count)
                .sum();
            let is_loaded = fleet.iter().any(|server| server.loaded.contains(&waiting.model));
            let done = |i: usize| fleet[i].done_ms(free_at[i], &waiting, is_loaded);
            let first = |able: &dyn Fn(&Server) -> bool| {
                (0..fleet.len()).filter(|&i| able(&fleet[i])).map(|i| (done(i), i)).min()
            };
            let ordinary = first(&|server| server.is_ordinary_for(&waiting.model));
            let ordinary_ms = ordinary.map(|(done_ms, _)| done_ms);
            let spare = first(&|server| server.is_overflow_for(&waiting.model, ordinary_ms));
            let eta_ms = ordinary.into_iter().chain(spare).min().map(|(done_ms, first)| {
                free_at[first] = done_ms;
                fleet[first].loaded.insert(waiting.model);
                done_ms
            });
            *ahead.entry(waiting.model).or_default() += 1;
            by_id.insert(waiting.job.clone(), jobs.len());
            let place = Place { position: rivals + 1, eta_ms };
            jobs.push(Played { key: waiting.key(), model: waiting.model, place, ordinary_ms });
        }
        Self { jobs, by_id, fleet }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The first `most` jobs that a worker may take which serves these versions as overflow: those that the others would
    /// be done with only after the milliseconds given.
    pub fn overflowing(&self, offers: &HashMap<Digest, i64>, most: usize) -> Vec<String> {
        let may = |played: &&Played| {
            offers.get(&played.model).is_some_and(|after_ms| is_beyond(played.ordinary_ms, *after_ms))
        };
        self.jobs.iter().filter(may).take(most).map(|played| played.key.2.clone()).collect()
    }

    /// The place of a job that waits. One that was enqueued after this line was played is put behind the last rival that
    /// is served before it.
    pub fn place(&self, job: &Waiting) -> Place {
        if let Some(at) = self.by_id.get(&job.job) {
            return self.jobs[*at].place;
        }
        let key = job.key();
        let rank = self.jobs.partition_point(|played| played.key < key);
        let rival =
            self.jobs[..rank].iter().rev().find(|played| compete(&self.fleet, &played.model, &job.model));
        let served = self.fleet.iter().filter(|server| server.models.contains_key(&job.model));
        let before = rival.and_then(|played| played.place.eta_ms);
        let eta =
            |server: &Server| before.unwrap_or(server.busy_ms) + server.takes(job.model, job.estimate_ms);
        Place { position: rival.map_or(0, |played| played.place.position) + 1, eta_ms: served.map(eta).min() }
    }
}

/// Whether jobs of two models ever wait for each other.
fn compete(fleet: &[Server], one: &Digest, other: &Digest) -> bool {
    one == other
        || fleet.iter().any(|server| server.models.contains_key(one) && server.models.contains_key(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> Digest {
        Digest::of_bytes(name.as_bytes())
    }

    fn waiting(job: &str, name: &str, estimate_ms: i64) -> Waiting {
        // Ids in the tests are in the serving order.
        Waiting { job: job.to_owned(), model: model(name), estimate_ms, lane: 1, start_tag: 0 }
    }

    fn server(names: &[&str], busy_ms: i64) -> Server {
        let pace = Pace { factor: 1.0, load_ms: 0 };
        let models = names.iter().map(|name| (model(name), pace)).collect();
        Server { models, overflow: HashMap::new(), loaded: HashSet::new(), busy_ms }
    }

    /// A server that serves a model once others would take longer than that.
    fn spare(name: &str, after_ms: i64) -> Server {
        Server { overflow: [(model(name), after_ms)].into(), ..server(&[name], 0) }
    }

    #[test]
    fn overflow_is_for_jobs_that_the_others_would_take_too_long_for() {
        let queue = ["a", "b", "c", "d", "e"].map(|job| waiting(job, "flux", 1_000));
        let line = Line::play(queue.to_vec(), vec![server(&["flux"], 0), spare("flux", 2_000)]);
        let eta = queue.each_ref().map(|job| line.place(job).eta_ms.unwrap());
        assert_eq!(eta, [1_000, 2_000, 1_000, 2_000, 3_000], "it takes over what is beyond, and no more");
        assert_eq!(line.overflowing(&[(model("flux"), 2_000)].into(), 9), ["c", "d", "e"]);
        assert_eq!(line.overflowing(&[(model("flux"), 2_000)].into(), 2), ["c", "d"]);
        assert_eq!(line.overflowing(&[(model("flux"), 3_000)].into(), 9), [""; 0]);
        assert_eq!(line.overflowing(&[(model("sd"), 0)].into(), 9), [""; 0]);
    }

    #[test]
    fn overflow_takes_what_nobody_else_serves() {
        let queue = [waiting("a", "flux", 1_000)];
        let line = Line::play(queue.to_vec(), vec![spare("flux", 60_000), server(&["sd"], 0)]);
        assert_eq!(line.place(&queue[0]).eta_ms, Some(1_000));
        assert_eq!(line.overflowing(&[(model("flux"), 60_000)].into(), 9), ["a"]);
    }

    #[test]
    fn jobs_that_no_worker_serves_delay_nobody() {
        let queue = [waiting("a", "absent", 60_000), waiting("b", "flux", 2_000)];
        let line = Line::play(queue.to_vec(), vec![server(&["flux"], 500)]);
        assert_eq!(line.place(&queue[1]), Place { position: 1, eta_ms: Some(2_500) });
        assert_eq!(line.place(&queue[0]).eta_ms, None);
    }

    #[test]
    fn the_first_free_able_worker_takes_the_next_job() {
        let queue = [waiting("a", "flux", 4_000), waiting("b", "sd", 1_000), waiting("c", "flux", 1_000)];
        let line = Line::play(queue.to_vec(), vec![server(&["flux"], 0), server(&["flux", "sd"], 1_000)]);
        let eta = |at: usize| line.place(&queue[at]).eta_ms.unwrap();
        assert_eq!((eta(0), eta(1), eta(2)), (4_000, 2_000, 3_000));
        assert_eq!(line.place(&queue[2]).position, 3);
    }

    #[test]
    fn a_worker_takes_what_it_was_measured_to_take() {
        let mut slow = server(&["flux"], 0);
        slow.models.insert(model("flux"), Pace { factor: 3.0, load_ms: 10_000 });
        let queue = [waiting("a", "flux", 1_000), waiting("b", "flux", 1_000)];
        let line = Line::play(queue.to_vec(), vec![slow]);
        let eta = |job: &Waiting| line.place(job).eta_ms.unwrap();
        assert_eq!((eta(&queue[0]), eta(&queue[1])), (13_000, 16_000), "it is loaded once");
        assert_eq!(eta(&waiting("c", "flux", 1_000)), 19_000);
    }

    #[test]
    fn who_came_since_stands_behind_the_last_rival_before_them() {
        let queue = [waiting("a", "flux", 4_000), waiting("c", "flux", 1_000)];
        let line = Line::play(queue.to_vec(), vec![server(&["flux"], 0)]);
        assert_eq!(line.place(&waiting("b", "flux", 500)), Place { position: 2, eta_ms: Some(4_500) });
        assert_eq!(line.place(&waiting("d", "flux", 500)), Place { position: 3, eta_ms: Some(5_500) });
        assert_eq!(line.place(&waiting("d", "absent", 500)), Place { position: 1, eta_ms: None });
    }
}
