//! What the queue looks like from one job's place: position and expected wait, from what present workers can
//! really serve. The order itself is a column of the store (see `store::lease`).

mod crowd;
mod moment;
mod play;
mod spare;

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicUsize, Ordering},
};

pub use moment::{Arrival, Coming, Flowing, Moment, Standing};

use crate::{canonical::Digest, seam::Millis};

/// Where a queued job stands in the order, and what it needs.
#[derive(Debug, Clone)]
pub struct Turn {
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

/// A queued job.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its place in the order.
    pub turn: Turn,
    /// The community that it was asked for in.
    pub community: String,
    /// Who asked.
    pub member: String,
    /// Since when it can be given to a worker.
    pub due: Millis,
}

impl Turn {
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
    /// When it last left work that it had in memory for a model that it had to load.
    pub swapped_at: Millis,
}

/// How a worker runs a model.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// What it takes for what others take one second for.
    pub factor: f64,
    /// What loading takes, in milliseconds.
    pub load_ms: i64,
}

impl Pace {
    /// How long a job of that estimate runs, in milliseconds.
    fn runs_ms(self, estimate_ms: i64) -> i64 {
        (estimate_ms as f64 * self.factor) as i64
    }
}

impl Server {
    /// How long a job of that estimate runs here, in milliseconds.
    fn runs_ms(&self, model: &Digest, estimate_ms: i64) -> i64 {
        self.models.get(model).map_or(estimate_ms, |pace| pace.runs_ms(estimate_ms))
    }

    /// How it runs a version that it serves whatever others do.
    fn ordinary_pace(&self, model: &Digest) -> Option<Pace> {
        self.models.get(model).filter(|_| !self.overflow.contains_key(model)).copied()
    }

    /// The versions that it serves whatever others do.
    fn ordinary(&self) -> impl Iterator<Item = &Digest> {
        self.models.keys().filter(|model| !self.overflow.contains_key(*model))
    }
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

/// The queue as it was at one moment, played once over the fleet. Workers that serve a model as overflow count for the jobs
/// that the others would take too long for. Gives the place of each job, and a close one of a job that came since.
pub struct Line {
    /// In the serving order.
    jobs: Vec<Played>,
    virtual_time: i64,
    /// For how many jobs that came since a place was asked.
    came: AtomicUsize,
    by_id: HashMap<String, usize>,
    fleet: Vec<Server>,
}

/// A job in the line.
struct Played {
    key: Key,
    model: Digest,
    place: Place,
    /// When the workers that serve it as no overflow would be done with it, if others serve it as overflow.
    ordinary_ms: Option<i64>,
}

impl Line {
    /// Plays the queue, given in its serving order.
    pub fn play(queue: Vec<Waiting>, fleet: Vec<Server>, moment: &Moment) -> Self {
        let spare = spare::deal(&queue, &fleet);
        let eta_ms = play::play(&queue, &fleet, moment, |number| spare[number].taken_ms.is_some());
        let mut ahead: HashMap<Digest, u32> = HashMap::new();
        let mut line = Self {
            jobs: Vec::with_capacity(queue.len()),
            virtual_time: moment.standing.virtual_time,
            came: AtomicUsize::new(0),
            by_id: HashMap::new(),
            fleet,
        };
        for (number, Waiting { turn, .. }) in queue.into_iter().enumerate() {
            let rivals: u32 = ahead
                .iter()
                .filter(|(model, _)| compete(&line.fleet, model, &turn.model))
                .map(|(_, count)| count)
                .sum();
            *ahead.entry(turn.model).or_default() += 1;
            let place = Place { position: rivals + 1, eta_ms: spare[number].taken_ms.or(eta_ms[number]) };
            let ordinary_ms = spare[number].ordinary_ms;
            line.jobs.push(Played { key: turn.key(), model: turn.model, place, ordinary_ms });
            line.by_id.insert(turn.job, number);
        }
        line
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether so many came since that it says little of them. In proportion to those who wait, so that however many come, a
    /// queue is seldom played anew.
    pub fn is_outgrown(&self) -> bool {
        /// One in so many.
        const FEW: usize = 32;
        self.came.load(Ordering::Relaxed) > self.jobs.len() / FEW
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The first `most` jobs that a worker may take which serves these versions as overflow: those that the others would
    /// be done with only after the milliseconds given.
    pub fn overflowing(&self, offers: &HashMap<Digest, i64>, most: usize) -> Vec<String> {
        let may = |played: &&Played| {
            offers.get(&played.model).is_some_and(|after_ms| spare::is_beyond(played.ordinary_ms, *after_ms))
        };
        self.jobs.iter().filter(may).take(most).map(|played| played.key.2.clone()).collect()
    }

    /// The place of a job that waits. One that was enqueued after this line was played is put behind the last rival that
    /// is served before it, by as much as the order takes from there to it at the pace at which it gets there.
    pub fn place(&self, job: &Turn) -> Place {
        if let Some(at) = self.by_id.get(&job.job) {
            return self.jobs[*at].place;
        }
        self.came.fetch_add(1, Ordering::Relaxed);
        let key = job.key();
        let rank = self.jobs.partition_point(|played| played.key < key);
        let before = &self.jobs[..rank];
        let rival = before.iter().rev().find(|played| compete(&self.fleet, &played.model, &job.model));
        let is_loaded = before.iter().any(|played| played.model == job.model);
        let takes_ms = |server: &Server| {
            let pace = server.models.get(&job.model)?;
            let load_ms = if is_loaded || server.loaded.contains(&job.model) { 0 } else { pace.load_ms };
            Some((server.busy_ms, load_ms + pace.runs_ms(job.estimate_ms)))
        };
        let served = self.fleet.iter().filter_map(takes_ms);
        let eta_ms = match rival.and_then(|rival| Some((rival, rival.place.eta_ms?))) {
            None => served.map(|(busy_ms, takes_ms)| busy_ms + takes_ms).min(),
            Some((rival, eta_ms)) => {
                let (passed, left) = (rival.key.1 - self.virtual_time, job.start_tag - rival.key.1);
                let is_behind = rival.key.0 == job.lane && passed > 0;
                let until_ms =
                    if is_behind { (eta_ms as f64 * left as f64 / passed as f64) as i64 } else { 0 };
                served.map(|(_, takes_ms)| eta_ms + takes_ms.max(until_ms)).min()
            }
        };
        Place { position: rival.map_or(0, |played| played.place.position) + 1, eta_ms }
    }
}

/// Whether jobs of two models ever wait for each other.
fn compete(fleet: &[Server], one: &Digest, other: &Digest) -> bool {
    one == other
        || fleet.iter().any(|server| server.models.contains_key(one) && server.models.contains_key(other))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn model(name: &str) -> Digest {
        Digest::of_bytes(name.as_bytes())
    }

    fn waiting(job: &str, name: &str, estimate_ms: i64) -> Waiting {
        // Ids in the tests are in the serving order.
        let turn = Turn { job: job.to_owned(), model: model(name), estimate_ms, lane: 1, start_tag: 0 };
        Waiting { turn, community: "general".to_owned(), member: "alice".to_owned(), due: 0 }
    }

    /// A job of a second, with a start tag in seconds.
    fn tagged(job: &str, start_s: i64) -> Waiting {
        let waiting = waiting(job, "flux", 1_000);
        Waiting { turn: Turn { start_tag: start_s * 1_000_000, ..waiting.turn }, ..waiting }
    }

    fn server(names: &[&str], busy_ms: i64) -> Server {
        let pace = Pace { factor: 1.0, load_ms: 0 };
        let models = names.iter().map(|name| (model(name), pace)).collect();
        let (overflow, loaded) = (HashMap::new(), HashSet::new());
        Server { models, overflow, loaded, busy_ms, swapped_at: 0 }
    }

    fn played(queue: &[Waiting], fleet: Vec<Server>) -> Line {
        Line::play(queue.to_vec(), fleet, &Moment { swap_share: 0.05, ..Moment::default() })
    }

    /// A server that serves a model once others would take longer than that.
    fn spare(name: &str, after_ms: i64) -> Server {
        Server { overflow: [(model(name), after_ms)].into(), ..server(&[name], 0) }
    }

    #[test]
    fn overflow_is_for_jobs_that_the_others_would_take_too_long_for() {
        let queue = ["a", "b", "c", "d", "e"].map(|job| waiting(job, "flux", 1_000));
        let line = played(&queue, vec![server(&["flux"], 0), spare("flux", 2_000)]);
        let eta = queue.each_ref().map(|job| line.place(&job.turn).eta_ms.unwrap());
        assert_eq!(eta, [1_000, 2_000, 1_000, 2_000, 3_000], "it takes over what is beyond, and no more");
        assert_eq!(line.overflowing(&[(model("flux"), 2_000)].into(), 9), ["c", "d", "e"]);
        assert_eq!(line.overflowing(&[(model("flux"), 2_000)].into(), 2), ["c", "d"]);
        assert_eq!(line.overflowing(&[(model("flux"), 3_000)].into(), 9), [""; 0]);
        assert_eq!(line.overflowing(&[(model("sd"), 0)].into(), 9), [""; 0]);
    }

    #[test]
    fn overflow_takes_what_nobody_else_serves() {
        let queue = [waiting("a", "flux", 1_000)];
        let line = played(&queue, vec![spare("flux", 60_000), server(&["sd"], 0)]);
        assert_eq!(line.place(&queue[0].turn).eta_ms, Some(1_000));
        assert_eq!(line.overflowing(&[(model("flux"), 60_000)].into(), 9), ["a"]);
    }

    #[test]
    fn jobs_that_no_worker_serves_delay_nobody() {
        let queue = [waiting("a", "absent", 60_000), waiting("b", "flux", 2_000)];
        let line = played(&queue, vec![server(&["flux"], 500)]);
        assert_eq!(line.place(&queue[1].turn), Place { position: 1, eta_ms: Some(2_500) });
        assert_eq!(line.place(&queue[0].turn).eta_ms, None);
    }

    #[test]
    fn the_first_free_able_worker_takes_the_next_job() {
        let queue = [waiting("a", "flux", 4_000), waiting("b", "sd", 1_000), waiting("c", "flux", 1_000)];
        let line = played(&queue, vec![server(&["flux"], 0), server(&["flux", "sd"], 1_000)]);
        let eta = |at: usize| line.place(&queue[at].turn).eta_ms.unwrap();
        assert_eq!((eta(0), eta(1), eta(2)), (4_000, 2_000, 3_000));
        assert_eq!(line.place(&queue[2].turn).position, 3);
    }

    #[test]
    fn a_worker_takes_what_it_was_measured_to_take() {
        let mut slow = server(&["flux"], 0);
        slow.models.insert(model("flux"), Pace { factor: 3.0, load_ms: 10_000 });
        let queue = [waiting("a", "flux", 1_000), waiting("b", "flux", 1_000)];
        let line = played(&queue, vec![slow]);
        let eta = |job: &Waiting| line.place(&job.turn).eta_ms.unwrap();
        assert_eq!((eta(&queue[0]), eta(&queue[1])), (13_000, 16_000), "it is loaded once");
        assert_eq!(eta(&waiting("c", "flux", 1_000)), 19_000);
    }

    #[test]
    fn who_came_since_stands_behind_the_last_rival_before_them() {
        let queue = [waiting("a", "flux", 4_000), waiting("c", "flux", 1_000)];
        let line = played(&queue, vec![server(&["flux"], 0)]);
        assert_eq!(line.place(&waiting("b", "flux", 500).turn), Place { position: 2, eta_ms: Some(4_500) });
        assert_eq!(line.place(&waiting("d", "flux", 500).turn), Place { position: 3, eta_ms: Some(5_500) });
        assert_eq!(line.place(&waiting("d", "absent", 500).turn), Place { position: 1, eta_ms: None });
    }

    /// A server that has a model in memory and takes 20 s to load another.
    fn holding(held: &str, other: &str) -> Server {
        let pace = Pace { factor: 1.0, load_ms: 20_000 };
        let models = [held, other].map(|name| (model(name), pace)).into();
        Server { models, loaded: [model(held)].into(), ..server(&[], 0) }
    }

    #[test]
    fn a_busy_worker_changes_its_model_as_seldom_in_the_expectation_as_in_truth() {
        let mut queue = vec![waiting("a", "sd", 1_000)];
        queue.extend((0..500).map(|i| waiting(&format!("b{i:03}"), "flux", 1_000)));
        let line = played(&queue, vec![holding("flux", "sd")]);
        assert_eq!(line.place(&queue[0].turn).eta_ms, Some(421_000), "20 s are a twentieth of 400 s");
        assert_eq!(line.place(&queue[400].turn).eta_ms, Some(400_000));
        assert_eq!(line.place(&queue[401].turn).eta_ms, Some(422_000), "it waits for that");
    }

    #[test]
    fn what_another_worker_has_is_left_to_it_in_the_expectation_for_as_long_as_it_loads() {
        let queue = ["a", "b"].map(|job| waiting(job, "flux", 15_000));
        let line = played(&queue, vec![holding("flux", "sd"), holding("sd", "flux")]);
        assert_eq!(line.place(&queue[1].turn).eta_ms, Some(30_000), "in its turn at the worker that has it");
        let queue = ["a", "b"].map(|job| waiting(job, "flux", 60_000));
        let line = played(&queue, vec![holding("flux", "sd"), holding("sd", "flux")]);
        assert_eq!(line.place(&queue[1].turn).eta_ms, Some(100_000), "20 s of patience, 20 s to load it");
    }

    #[test]
    fn those_are_counted_who_will_come_and_go_before() {
        let tagged = |i: i64| tagged(&format!("a{i:02}"), i);
        let queue: Vec<Waiting> = (0..20).map(tagged).collect();
        let alice = Flowing {
            community: "general".to_owned(),
            member: "alice".to_owned(),
            weight: 1.0,
            crowd: 1.0,
            last_start: 19_000_000,
            last_finish: 20_000_000,
        };
        let comes = |member: &str| Arrival {
            at: 5_000,
            community: "general".to_owned(),
            member: member.to_owned(),
            weight: 1.0,
            model: model("flux"),
            estimate_ms: 1_000,
            lane: 1,
        };
        let last = |member: &str, count: usize| {
            let coming = Coming { within_ms: 1_000_000, jobs: vec![comes(member); count] };
            let standing = Standing { flows: vec![alice.clone()], ..Standing::default() };
            let moment = Moment { swap_share: 0.05, standing, coming: Arc::new(coming), ..Moment::default() };
            Line::play(queue.clone(), vec![server(&["flux"], 0)], &moment).place(&queue[19].turn).eta_ms
        };
        assert_eq!(last("bob", 0), Some(20_000));
        assert_eq!(last("bob", 1), Some(21_000), "who has nothing waiting goes before");
        assert_eq!(last("alice", 3), Some(20_000), "her own later ones do not");
    }

    #[test]
    fn who_came_since_far_behind_the_others_waits_for_longer() {
        let tagged = |tag: i64| tagged(&format!("a{tag:02}"), tag);
        let queue: Vec<Waiting> = (0..11).map(tagged).collect();
        let line = played(&queue, vec![server(&["flux"], 0)]);
        assert_eq!(line.place(&tagged(20).turn).eta_ms, Some(22_000), "10 s of virtual time took 11 s");
    }
}
