//! The hub: the one loop, from a member's words to a public post. Surfaces and the worker API call it; it calls none
//! of them, and tells them through [`Event`]s what changed.

mod ask;
mod choose;
mod give;
mod idle;
mod moderate;
mod named;
mod overflow;
mod own;
mod people;
mod picture;
mod show;
mod submit;
mod view;
mod withhold;
mod work;

use std::{
    collections::HashSet,
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
    blobs::{BlobError, Blobs},
    canonical::Digest,
    queue::Line,
    safety::Watch,
    seam::{Millis, Seam},
    sound,
    store::{Retry, Store, StoreError, StoreOptions},
};

use idle::Idle;

pub use ask::{Ask, Privacy};
pub use picture::Opened;
pub use show::Look;
pub use submit::{RiffRequest, Twist};
pub use view::{JobView, OutputView};
pub use work::WorkError;

pub use crate::community::{Act, Allowance, AuditRow, Preferences, Remix, Restriction, Room, Rules};

/// Everything an operator can set about the loop.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the database is opened.
    pub store: StoreOptions,
    /// Prompts a member may send.
    pub member_rate: Rate,
    /// Prompts a channel takes.
    pub channel_rate: Rate,
    /// Allowance of a member per day, in milliseconds of the device.
    pub allowance_ms: i64,
    /// Unfinished jobs a member may have.
    pub max_waiting: i64,
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
    /// Names of the models that `/imagine`, `/sound` and `/ask` use where none is named: the first that a present worker serves;
    /// else the first by name.
    pub default_models: Vec<String>,
    /// Words that prompts must not have.
    pub blocked_words: Vec<String>,
    /// How much sound is taken, of members and workers.
    pub sounds: sound::Limits,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The versions that it had in memory when it last asked for work.
    loaded: HashSet<Digest>,
}

/// The state of one hub process. What must survive it is in the store and the blobs; the rest may be lost at any time.
pub struct Hub {
    /// The database.
    pub store: Store,
    /// The results' bytes.
    pub blobs: Blobs,
    /// Time and randomness.
    pub seam: Arc<dyn Seam>,
    settings: Settings,
    rates: Rates,
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
    posts: watch::Sender<u64>,
    /// The queue as it was last played, and when. Held while it is played: one does it for all who ask meanwhile.
    line: Mutex<Option<(Instant, Arc<Line>)>>,
    /// Looks at results, where there is a classifier.
    watch: OnceLock<Arc<Watch>>,
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
            Store::open(data, settings.store).await.map_err(|source| OpenError::Store { folder, source })?;
        Ok(Self {
            store,
            blobs: Blobs::open(&data.join("blobs"))?,
            seam,
            rates: Rates::new(settings.member_rate, settings.channel_rate),
            settings,
            live: DashMap::new(),
            presence: DashMap::new(),
            people: DashMap::new(),
            rooms: DashMap::new(),
            catalogue: Mutex::new(None),
            served: watch::channel(0).0,
            events: broadcast::channel(4_096).0,
            idle: Idle::default(),
            posts: watch::channel(0).0,
            line: Mutex::new(None),
            watch: OnceLock::new(),
            makings: Semaphore::new(show::MOST_AT_ONCE),
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

    /// The settings it runs with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes back lost leases and gives up what waited too long. Called about once a second.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let changed = self.store.sweep(self.seam.now(), self.retry()).await?;
        if !changed.is_empty() {
            crate::step::done("taken-back");
        }
        for job in changed {
            tracing::warn!(job = job.id, state = job.state.as_str(), reason = job.reason, "taken back");
            self.live.remove(&job.id);
            self.tell(&job.channel, &job.id, Change::State);
            if job.state.is_final() {
                self.posts.send_modify(|count| *count += 1);
            }
        }
        self.rates.forget_idle();
        self.idle.wake_all();
        self.look_at_models().await?;
        Ok(())
    }

    /// Tells every surface that a job changed.
    pub fn tell(&self, channel: &str, job: &str, change: Change) {
        let event = Event { channel: channel.into(), job: job.into(), change };
        // No surface is listening: nobody to tell.
        let _ = self.events.send(event);
    }

    /// Notes that a worker was heard of.
    fn heard_of(&self, worker: &str) {
        self.presence.entry(worker.to_owned()).or_default().at = self.seam.now();
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
