//! What is counted and timed of the loop, as Prometheus reads it. It owns the names, units and labels of the hub's metrics.
//! Labels come from small sets: models are named as in the catalogue, and no member, channel or job is ever one.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    admission::Refusal,
    job::{Job, Lane, State},
    seam::Millis,
    store::{Backlog, Connections, Depth},
};

type One = [(&'static str, String); 1];
type Two = [(&'static str, String); 2];
/// Seconds are no whole numbers.
type Seconds = Counter<f64, AtomicU64>;
type Level = Gauge<f64, AtomicU64>;
type Times = Family<One, Histogram, fn() -> Histogram>;

/// Bounds of waits, in seconds: from at once to an hour.
const WAITS: [f64; 14] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];

/// The metrics of one hub.
pub struct Metrics {
    queued: Family<Two, Gauge>,
    queue_age: Family<Two, Level>,
    held: Family<Two, Gauge>,
    lease_wait: Times,
    jobs: Family<Two, Counter>,
    engine: Family<One, Seconds>,
    loads: Family<One, Counter>,
    load: Family<One, Seconds>,
    wasted_attempts: Family<One, Counter>,
    wasted: Family<One, Seconds>,
    refusals: Family<One, Counter>,
    unfinished: Gauge,
    outbox: Family<One, Gauge>,
    outbox_age: Family<One, Level>,
    posts: Family<Two, Counter>,
    workers: Gauge,
    connections: Family<Two, Gauge>,
    most_connections: Family<One, Gauge>,
}

/// Why an attempt came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waste {
    /// Its worker said so.
    Failed,
    /// Its worker fell silent.
    Lost,
    /// Its member did not want it any more.
    Cancelled,
}

impl Waste {
    const ALL: [Self; 3] = [Self::Failed, Self::Lost, Self::Cancelled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How a delivery went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The post is there, or its member has the answer.
    Delivered,
    /// It is tried again later.
    PutOff,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            queued: Family::default(),
            queue_age: Family::default(),
            held: Family::default(),
            lease_wait: Family::new_with_constructor(|| Histogram::new(WAITS)),
            jobs: Family::default(),
            engine: Family::default(),
            loads: Family::default(),
            load: Family::default(),
            wasted_attempts: Family::default(),
            wasted: Family::default(),
            refusals: Family::default(),
            unfinished: Gauge::default(),
            outbox: Family::default(),
            outbox_age: Family::default(),
            posts: Family::default(),
            workers: Gauge::default(),
            connections: Family::default(),
            most_connections: Family::default(),
        };
        // A series that begins at its first event hides that event from `rate`.
        for why in Waste::ALL {
            drop(metrics.wasted_attempts.get_or_create(&[("why", why.as_str().to_owned())]));
            drop(metrics.wasted.get_or_create(&[("why", why.as_str().to_owned())]));
        }
        drop(
            metrics.refusals.get_or_create(&[("kind", Refusal::Overloaded { waiting: 0 }.code().to_owned())]),
        );
        metrics
    }
}

impl Metrics {
    /// Names them all to whoever writes them out.
    pub fn register(&self, registry: &mut Registry) {
        let to = registry;
        to.register("riff_queue_jobs", "Queued jobs", self.queued.clone());
        to.register("riff_queue_age_seconds", "Wait of the oldest queued job so far", self.queue_age.clone());
        to.register("riff_held_jobs", "Jobs that workers hold", self.held.clone());
        to.register("riff_lease_wait_seconds", "From enqueueing to the first lease", self.lease_wait.clone());
        to.register("riff_jobs", "Jobs that ended", self.jobs.clone());
        to.register("riff_engine_seconds", "Device time of jobs that succeeded", self.engine.clone());
        to.register("riff_loads", "Times that weights were loaded for a job", self.loads.clone());
        to.register("riff_load_seconds", "Time that loading weights took", self.load.clone());
        to.register("riff_wasted_attempts", "Attempts that came to nothing", self.wasted_attempts.clone());
        to.register("riff_wasted_seconds", "How long workers held them", self.wasted.clone());
        to.register("riff_refusals", "Prompts and riffs that were refused", self.refusals.clone());
        to.register(
            "riff_unfinished_jobs",
            "Unfinished jobs, by which overload is judged",
            self.unfinished.clone(),
        );
        to.register("riff_outbox_posts", "Posts that wait to be made", self.outbox.clone());
        to.register("riff_outbox_age_seconds", "Wait of the oldest of them so far", self.outbox_age.clone());
        to.register("riff_posts", "Deliveries of posts", self.posts.clone());
        to.register("riff_workers", "Workers heard of within two leases", self.workers.clone());
        to.register(
            "riff_database_connections",
            "Open connections to the database",
            self.connections.clone(),
        );
        to.register("riff_database_connections_max", "Most of them", self.most_connections.clone());
    }

    /// A delivery of a surface's poster.
    pub fn delivered(&self, surface: &str, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Delivered => "delivered",
            Outcome::PutOff => "put-off",
        };
        self.posts.get_or_create(&[("surface", surface.to_owned()), ("outcome", outcome.to_owned())]).inc();
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.refusals.get_or_create(&[("kind", refusal.code().to_owned())]).inc();
    }

    /// The first lease of a job. How long later ones took is a matter of what went wrong before.
    pub(crate) fn leased(&self, model: &str, job: &Job) {
        if job.attempt == 1 {
            let wait = seconds(job.leased_at.unwrap_or(job.created_at) - job.created_at);
            self.lease_wait.get_or_create(&of_model(model)).observe(wait);
        }
    }

    /// A job in a final state.
    pub(crate) fn ended(&self, model: &str, job: &Job) {
        let [of_model] = of_model(model);
        self.jobs.get_or_create(&[of_model.clone(), ("state", job.state.as_str().to_owned())]).inc();
        if let Some(cost_ms) = job.cost_ms {
            self.engine.get_or_create(&[of_model]).inc_by(seconds(cost_ms));
        }
    }

    /// Weights that were loaded for a job.
    pub(crate) fn loaded(&self, model: &str, took_ms: Millis) {
        self.loads.get_or_create(&of_model(model)).inc();
        self.load.get_or_create(&of_model(model)).inc_by(seconds(took_ms));
    }

    /// An attempt that came to nothing, held up to now.
    pub(crate) fn wasted(&self, why: Waste, job: &Job, now: Millis) {
        let why = [("why", why.as_str().to_owned())];
        self.wasted_attempts.get_or_create(&why).inc();
        self.wasted.get_or_create(&why).inc_by(seconds(now - job.leased_at.unwrap_or(now)));
    }

    /// The queue as it is, also of models that nobody waits for.
    pub(crate) fn queue<'a>(&self, models: impl Iterator<Item = &'a str>, depths: &[Depth], now: Millis) {
        self.queued.clear();
        self.queue_age.clear();
        self.held.clear();
        for model in models {
            let labels = in_lane(model, Lane::Fast.as_str());
            drop(self.queued.get_or_create(&labels));
            drop(self.queue_age.get_or_create(&labels));
            drop(self.held.get_or_create(&labels));
        }
        for depth in depths {
            let labels = in_lane(&depth.model, lane(depth.lane));
            if depth.state != State::Queued {
                self.held.get_or_create(&labels).inc_by(depth.jobs);
                continue;
            }
            self.queued.get_or_create(&labels).inc_by(depth.jobs);
            // Several versions of a model have one name.
            let age = self.queue_age.get_or_create(&labels);
            age.set(age.get().max(seconds(now - depth.since)));
        }
    }

    /// The outbox of each surface that there is.
    pub(crate) fn outbox(&self, backlogs: &[Backlog], now: Millis) {
        for backlog in backlogs {
            let surface = [("surface", backlog.surface.clone())];
            self.outbox.get_or_create(&surface).set(backlog.posts);
            let oldest = backlog.since.unwrap_or(now);
            self.outbox_age.get_or_create(&surface).set(seconds(now - oldest));
        }
    }

    pub(crate) fn workers(&self, present: usize) {
        self.workers.set(present as i64);
    }

    pub(crate) fn unfinished(&self, jobs: i64) {
        self.unfinished.set(jobs);
    }

    pub(crate) fn connections(&self, pools: &[Connections]) {
        for Connections { pool, open, idle, most } in pools {
            let set = |state: &str, count: u32| {
                let labels = [("pool", (*pool).to_owned()), ("state", state.to_owned())];
                self.connections.get_or_create(&labels).set(i64::from(count));
            };
            set("busy", open.saturating_sub(*idle));
            set("idle", *idle);
            self.most_connections.get_or_create(&[("pool", (*pool).to_owned())]).set(i64::from(*most));
        }
    }
}

fn of_model(model: &str) -> One {
    [("model", model.to_owned())]
}

fn in_lane(model: &str, lane: &str) -> Two {
    [("model", model.to_owned()), ("lane", lane.to_owned())]
}

fn lane(number: i64) -> &'static str {
    [Lane::Turbo, Lane::Fast]
        .into_iter()
        .find(|lane| *lane as i64 == number)
        .unwrap_or(Lane::Relaxed)
        .as_str()
}

fn seconds(ms: Millis) -> f64 {
    ms.max(0) as f64 / 1_000.0
}
