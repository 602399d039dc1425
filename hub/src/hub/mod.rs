//! The hub: the one loop, from a member's words to a public post. Surfaces and the worker API call it; it calls none
//! of them, and tells them through [`Event`]s what changed.

mod ask;
mod backup;
mod choose;
mod give;
mod idle;
mod lead;
mod moderate;
mod named;
mod observe;
mod overflow;
mod overload;
mod own;
mod peers;
mod people;
mod picture;
mod show;
mod submit;
mod unused;
mod view;
mod withhold;
mod work;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use dashmap::DashMap;
use tokio::{
    sync::{Mutex, Semaphore, broadcast, watch},
    time::Instant,
};

use crate::{
    admission::{Rate, Rates},
    blobs::{BlobError, Blobs, Place},
    canonical::Digest,
    job::State,
    measure::{Metrics, Waste},
    queue::{Coming, Line},
    safety::Watch,
    seam::{Millis, Seam},
    sound,
    span::Span,
    store::{Retry, Shares, Store, StoreError, StoreOptions},
};

use self::{idle::Idle, overload::Load, peers::Peers};

pub use ask::{Ask, Privacy};
pub use backup::{BackedUp, BackupError};
pub use lead::CLAIM;
pub use overload::Limits;
pub use picture::Opened;
pub use show::Look;
pub use submit::{RiffRequest, Twist};
pub use unused::Swept;
pub use view::{JobView, OutputView};
pub use work::WorkError;

pub use crate::community::{Act, Allowance, AuditRow, Preferences, Remix, Restriction, Room, Rules};

/// Everything an operator can set about the loop.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the database is opened.
    pub store: StoreOptions,
    /// Where the blobs are.
    pub blobs: Place,
    /// Prompts a member may send.
    pub member_rate: Rate,
    /// Prompts a channel takes.
    pub channel_rate: Rate,
    /// Allowance of a member per day, in milliseconds of the device.
    pub allowance_ms: i64,
    /// Unfinished jobs a member may have.
    pub max_waiting: i64,
    /// Unfinished jobs that there may be.
    pub limits: Limits,
    /// A lease without a report for this long is lost.
    pub lease: Duration,
    /// How often workers report.
    pub heartbeat: Duration,
    /// Attempts at a job in all.
    pub max_attempts: i64,
    /// Wait before the second attempt; doubles each time.
    pub backoff: Duration,
    /// A job that no worker took by then is given up.
    pub expire_after: Duration,
    /// Shares of the fleet.
    pub fairness: Fairness,
    /// Most part of its time that a worker loads models for while it has work for which it would have to load nothing:
    /// above 0, at most 1.
    pub swap_share: f64,
    /// Names of the models that `/imagine`, `/sound` and `/ask` use where none is named: the first that a present worker serves;
    /// else the first by name.
    pub default_models: Vec<String>,
    /// Words that prompts must not have.
    pub blocked_words: Vec<String>,
    /// How much sound is taken, of members and workers.
    pub sounds: sound::Limits,
}

/// Shares of the fleet, relative to each other: who is not named has 1.
#[derive(Debug, Clone, Default)]
pub struct Fairness {
    /// Of communities, by id.
    pub communities: HashMap<String, f64>,
    /// Of members within their community, by id of a role; the largest of a member's roles counts.
    pub roles: HashMap<String, f64>,
}

impl Fairness {
    /// The shares of a member with these roles.
    pub fn shares(&self, community: &str, roles: &[String]) -> Shares {
        let of_roles = roles.iter().filter_map(|role| self.roles.get(role)).copied();
        Shares {
            community: self.communities.get(community).copied().unwrap_or(1.0),
            member: of_roles.reduce(f64::max).unwrap_or(1.0),
        }
    }
}

/// Something that a surface shows has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The channel it happened in.
    pub channel: Arc<str>,
    /// The job that it happened to.
    pub job: Arc<str>,
    /// What.
    pub change: Change,
}

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Its state changed, or its place in the queue.
    State,
    /// It progressed.
    Progress,
    /// Its post is there.
    Posted,
    /// Its post or card is gone.
    Gone,
}

/// What is known of a running job and not worth storing.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Part done, 0 to 1.
    pub progress: f32,
    /// A small picture, JPEG or PNG, and how many there were before it.
    pub preview: Option<(Bytes, u32)>,
    /// All text so far.
    pub text: Option<String>,
}

/// Why a hub cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder.
    #[error("the data folder {folder} cannot be used")]
    Folder {
        /// Its path.
        folder: String,
        /// Why.
        source: std::io::Error,
    },
    /// The database.
    #[error("the database in {folder} cannot be opened: {source}")]
    Store {
        /// The folder's path.
        folder: String,
        /// Why.
        source: StoreError,
    },
    /// The blobs.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// What is known of a worker and not worth storing.
#[derive(Debug, Clone, Default)]
struct Presence {
    /// When it was last heard of.
    at: Millis,
    /// Whether this hub heard of it last, and not another on the same database.
    here: bool,
    /// The versions that it had in memory when it last asked for work.
    loaded: HashSet<Digest>,
    /// Those that it has to load for what it was given since.
    loading: HashSet<Digest>,
    /// What all hubs know: when it was heard of, and what it had in memory then.
    shared: Option<(Millis, HashSet<Digest>)>,
}

/// The state of one hub process. What must survive it is in the store and the blobs; the rest may be lost at any time.
pub struct Hub {
    /// The database.
    pub store: Store,
    /// The results' bytes.
    pub blobs: Blobs,
    /// What is counted and timed.
    pub metrics: Metrics,
    /// Time and randomness.
    pub seam: Arc<dyn Seam>,
    settings: Settings,
    rates: Rates,
    load: Load,
    live: DashMap<String, Live>,
    /// When each worker was last heard of, and what it has in memory.
    presence: DashMap<String, Presence>,
    /// The names under which members entered, by id.
    people: DashMap<String, String>,
    /// The rooms that were entered, by id.
    rooms: DashMap<String, Room>,
    /// The models as they were read last. Held while they are read: one does it for all who ask meanwhile.
    catalogue: Mutex<Option<Arc<choose::Catalogue>>>,
    /// A number for the set of versions that present workers serve.
    served: watch::Sender<u64>,
    events: broadcast::Sender<Event>,
    idle: Idle,
    /// The other hubs on the same database, where there can be any.
    peers: Option<Peers>,
    /// What this hub asked to lead, when, and whether it does.
    leading: DashMap<String, (Instant, bool)>,
    posts: watch::Sender<u64>,
    /// The queue as it was last played, and when. Held while it is played: one does it for all who ask meanwhile.
    line: Mutex<Option<(Millis, Arc<Line>)>>,
    /// The jobs that are expected to come, and when that was looked up.
    coming: Mutex<Option<(Millis, Arc<Coming>)>>,
    /// Looks at results, where there is a classifier.
    watch: OnceLock<Arc<Watch>>,
    /// Where spans go.
    spans: OnceLock<Box<dyn Fn(Span) + Send + Sync>>,
    /// Room for making pictures smaller.
    makings: Semaphore,
}

impl Hub {
    /// Opens the hub on a data folder, which is made if it is not there.
    ///
    /// # Errors
    /// If the folder, the database or the blobs cannot be used.
    pub async fn open(data: &Path, settings: Settings, seam: Arc<dyn Seam>) -> Result<Self, OpenError> {
        let folder = data.display().to_string();
        std::fs::create_dir_all(data)
            .map_err(|source| OpenError::Folder { folder: folder.clone(), source })?;
        let store =
            Store::open(data, &settings.store).await.map_err(|source| OpenError::Store { folder, source })?;
        Ok(Self {
            blobs: Blobs::open(&data.join("blobs"), &settings.blobs)?,
            metrics: Metrics::default(),
            rates: Rates::new(settings.member_rate, settings.channel_rate),
            load: Load::default(),
            settings,
            live: DashMap::new(),
            presence: DashMap::new(),
            people: DashMap::new(),
            rooms: DashMap::new(),
            catalogue: Mutex::new(None),
            served: watch::channel(0).0,
            events: broadcast::channel(4_096).0,
            idle: Idle::default(),
            leading: DashMap::new(),
            peers: (!store.is_alone()).then(|| Peers::new(seam.id())),
            posts: watch::channel(0).0,
            line: Mutex::new(None),
            coming: Mutex::new(None),
            watch: OnceLock::new(),
            spans: OnceLock::new(),
            makings: Semaphore::new(show::MOST_AT_ONCE),
            store,
            seam,
        })
    }

    /// What changes from now on. A receiver that lags is told so, and asks for the whole state.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Changes whenever a post may be due. Every surface's poster watches it.
    pub fn posts_due(&self) -> watch::Receiver<u64> {
        self.posts.subscribe()
    }

    fn call_posters(&self) {
        self.posts.send_modify(|count| *count += 1);
    }

    /// The settings it runs with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes back lost leases, gives up what waited too long, and looks whether workers wait beside jobs. Called about once a second.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let changed = self.store.sweep(self.seam.now(), self.retry()).await?;
        if !changed.is_empty() {
            crate::step::done("taken-back");
        }
        for job in changed {
            let trace = crate::trace::of(&job.id);
            tracing::warn!(
                job = job.id,
                trace,
                state = job.state.as_str(),
                reason = job.reason,
                "taken back"
            );
            self.live.remove(&job.id);
            if job.state != State::Expired {
                self.metrics.wasted(Waste::Lost, &job, self.seam.now());
                self.traced(|now| Span::attempt(&job, now, Some("the worker fell silent")));
            }
            self.count_end(&job).await;
            self.tell(&job.channel, &job.id, Change::State);
            if job.state.is_final() {
                self.call_posters();
            }
        }
        self.count_load().await?;
        self.rates.forget_idle();
        self.wake_for_what_is_left().await?;
        self.share_presence().await?;
        self.look_at_models().await?;
        Ok(())
    }

    /// Notes that a worker was heard of.
    fn heard_of(&self, worker: &str) {
        let mut presence = self.presence.entry(worker.to_owned()).or_default();
        presence.at = self.seam.now();
        presence.here = true;
    }

    fn retry(&self) -> Retry {
        Retry::UpTo {
            attempts: self.settings.max_attempts,
            backoff_ms: self.settings.backoff.as_millis() as i64,
        }
    }

    fn elsewhere(&self) -> Retry {
        Retry::Elsewhere {
            attempts: self.settings.max_attempts,
            backoff_ms: self.settings.backoff.as_millis() as i64,
        }
    }

    /// The quota period of a moment: whole days (UTC) since the epoch.
    fn period(now: Millis) -> i64 {
        now.div_euclid(DAY_MS)
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
