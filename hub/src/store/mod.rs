//! The store: the only place with SQL. One transaction per step of the loop, named after the step.
//!
//! It is SQLite on one machine, and PostgreSQL where several hubs share the work. On SQLite there is one writer connection, so
//! steps take turns in this process and never see `database is locked` from each other; readers use connections of their own
//! (WAL). A connection is a thread, and the way there and back takes longer than most statements: those of a step that do not
//! wait for each other's answers go in one text. Their parameters are named `$N`, because sqlx counts through all statements
//! of a text, also the numbers of `?N` that one skips. On PostgreSQL, such a text is one statement with `WITH`; what keeps
//! steps apart there is in [`turn`]. Steps that are asked for at the same moment share a transaction ([`together`]): what they
//! are about goes as a JSON array, of which each database makes rows.

mod admit;
mod catalogue;
mod claims;
mod community;
mod complete;
mod copy;
mod db;
mod fair;
mod finish;
mod intake;
mod learn;
mod lease;
mod lineage;
mod moderate;
mod named;
mod observe;
mod outbox;
mod outputs;
mod peers;
mod people;
mod pick;
mod report;
mod together;
mod transfer;
mod turn;
mod view;

use std::{path::Path, sync::Arc, time::Duration};

use serde::Serialize;

use self::{
    db::{Pool, Tx, execute},
    intake::Request,
    lease::Looking,
    outbox::Delivery,
    outputs::Stored,
    report::Report,
    together::Together,
};
pub use admit::{Admitted, NewJob};
pub use catalogue::{KnownModel, Present, Served};
pub use community::Ground;
pub use complete::Completion;
pub use finish::{Ending, Retry};
pub use lease::Leased;
pub use lineage::Relative;
pub use moderate::Desk;
pub use observe::{Backlog, Connections, Depth};
pub use outbox::{Due, WEB};
pub use people::{Member, TokenKind};
pub use pick::Search;
pub use transfer::{MoveError, Moved};
pub use view::{Channel, PostRow, Whole};

pub use crate::fair::Shares;

use crate::job::State;

/// Connections to one database.
#[derive(Clone)]
pub struct Store {
    write: Pool,
    read: Pool,
    steps: Arc<Steps>,
}

/// Steps that wait to be done together.
#[derive(Default)]
struct Steps {
    requests: Together<Request>,
    leases: Together<Looking>,
    outputs: Together<Stored>,
    reports: Together<Report>,
    completions: Together<Completion>,
    deliveries: Together<Delivery>,
}

/// Which database, and how it is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// For SQLite: `true` waits for the disk at every step (survives a power cut); `false` survives only a crash of the
    /// process.
    pub full_sync: bool,
    /// For SQLite: how long to wait for another process that holds the database.
    pub busy_timeout: Duration,
    /// PostgreSQL instead of SQLite.
    pub postgres: Option<Postgres>,
}

/// A PostgreSQL database.
#[derive(Clone)]
pub struct Postgres {
    /// Where it is, `postgres://user:password@host/database?…`
    /// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>).
    pub url: String,
    /// Most connections of this hub, half of them for steps and half for readers.
    pub connections: u32,
    /// After which the database gives a statement up.
    pub statement_timeout: Duration,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address has a password in it.
        to.debug_struct("Postgres").field("connections", &self.connections).finish_non_exhaustive()
    }
}

/// What can go wrong below a step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the database.
    #[error("the database is locked by another process; stop that process, or wait and try again")]
    Locked,
    /// PostgreSQL is not there, or lets nobody in.
    #[error(
        "PostgreSQL at {host}:{port} cannot be used: {source}; check store.postgres, and that it takes connections"
    )]
    Unreachable {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// Why.
        source: sqlx::Error,
    },
    /// No room, or a file size limit.
    #[error("the disk is full or the data folder's file size limit is reached; free some room and try again")]
    DiskFull,
    /// A change of state that the state machine does not know.
    #[error("job {job} is {found}, so it cannot become {wanted}")]
    IllegalTransition {
        /// The job.
        job: String,
        /// Its state.
        found: &'static str,
        /// The state asked for.
        wanted: &'static str,
    },
    /// The member's allowance of the period does not cover the estimate.
    #[error("needs {needed_ms} ms of quota, {left_ms} ms are left")]
    QuotaExceeded {
        /// What the jobs are estimated to cost.
        needed_ms: i64,
        /// What is left.
        left_ms: i64,
    },
    /// Too many unfinished jobs.
    #[error("the member already has {waiting} unfinished jobs")]
    TooManyWaiting {
        /// How many there are.
        waiting: i64,
    },
    /// That request was taken before.
    #[error("the request was taken before, as job {job}")]
    Repeated {
        /// Its first job.
        job: String,
    },
    /// The lease is over: expired, cancelled, finished, or a newer attempt holds the job.
    #[error("attempt {attempt} no longer holds job {job}; drop what it made")]
    LeaseLost {
        /// The job.
        job: String,
        /// The attempt that came too late.
        attempt: u32,
    },
    /// What was looked for is not there.
    #[error("there is no {0}")]
    Missing(String),
    /// A stored value that this version cannot read.
    #[error("a stored {what} cannot be read: {source}")]
    Unreadable {
        /// What it should have been.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// Migrations failed.
    #[error("the database cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Anything else.
    #[error("the database failed: {0}")]
    Other(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match db::fault(&error) {
            Some(db::Fault::Locked) => Self::Locked,
            Some(db::Fault::Full) => Self::DiskFull,
            None => Self::Other(error),
        }
    }
}

impl Store {
    /// Opens or creates the database and brings it up to date: the one of the options, or `riff.sqlite` in `folder`.
    ///
    /// # Errors
    /// If it cannot be reached or opened, is locked, or was made by a newer version.
    pub async fn open(folder: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let (write, read) = match &options.postgres {
            Some(postgres) => db::postgres(postgres).await?,
            None => db::sqlite(&folder.join("riff.sqlite"), options).await?,
        };
        Ok(Self { write, read, steps: Arc::default() })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        execute!(self.read, "SELECT 1")?;
        Ok(())
    }

    /// Closes every connection; SQLite folds its write-ahead log into the database.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    /// Whether no other hub can be at work on this database.
    pub fn is_alone(&self) -> bool {
        matches!(self.write, Pool::Sqlite(_))
    }

    async fn begin(&self) -> Result<Tx, StoreError> {
        self.write.begin().await
    }
}

fn no_job(job: &str) -> StoreError {
    StoreError::Missing(format!("job {job}"))
}

fn illegal(job: &str, found: State, wanted: State) -> StoreError {
    StoreError::IllegalTransition { job: job.to_owned(), found: found.as_str(), wanted: wanted.as_str() }
}

/// A JSON array for a statement.
fn list<T: Serialize>(rows: impl IntoIterator<Item = T>) -> String {
    let rows: Vec<T> = rows.into_iter().collect();
    serde_json::to_string(&rows).unwrap_or_else(|_| "[]".to_owned())
}

fn read_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Unreadable { what, source })
}
