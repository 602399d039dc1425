//! The store: the only place with SQL. One transaction per step of the loop, named after the step.
//!
//! On SQLite there is one writer connection, so steps take turns in this process and never see `database is
//! locked` from each other; readers use connections of their own (WAL). A connection is a thread, and the way there and back
//! takes longer than most statements: those of a step that do not wait for each other's answers go in one text. Their
//! parameters are named `$N`, because sqlx counts through all statements of a text, also the numbers of `?N` that one skips.

mod admit;
mod catalogue;
mod community;
mod fair;
mod finish;
mod learn;
mod lease;
mod lineage;
mod moderate;
mod outbox;
mod people;
mod pick;
mod view;

use std::{path::Path, time::Duration};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use admit::{Admitted, NewJob};
pub use catalogue::{KnownModel, Present, Served};
pub use community::Ground;
pub use fair::Shares;
pub use finish::{Completion, Ending, Retry};
pub use lease::Leased;
pub use lineage::Relative;
pub use moderate::Desk;
pub use outbox::{Due, WEB};
pub use people::{Member, TokenKind};
pub use pick::Search;
pub use view::{Channel, PostRow, Whole};

use crate::job::State;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/sqlite");

/// Connections to one database.
#[derive(Clone)]
pub struct Store {
    write: SqlitePool,
    read: SqlitePool,
}

/// How SQLite is opened.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// `true` waits for the disk at every step (survives a power cut); `false` survives only a crash of the process.
    pub full_sync: bool,
    /// How long to wait for another process that holds the database.
    pub busy_timeout: Duration,
}

/// What can go wrong below a step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the database.
    #[error("the database is locked by another process; stop that process, or wait and try again")]
    Locked,
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
        // Primary result codes: https://www.sqlite.org/rescode.html
        const BUSY: u32 = 5;
        const LOCKED: u32 = 6;
        const IO_ERROR: u32 = 10;
        const FULL: u32 = 13;
        let primary = error
            .as_database_error()
            .and_then(|database| database.code())
            .and_then(|code| code.parse::<u32>().ok())
            .map(|code| code & 0xff);
        match primary {
            Some(BUSY | LOCKED) => Self::Locked,
            Some(FULL | IO_ERROR) => Self::DiskFull,
            _ => Self::Other(error),
        }
    }
}

impl Store {
    /// Opens or creates the database `riff.sqlite` in `folder` and brings it up to date.
    ///
    /// # Errors
    /// If the file cannot be opened, is locked, or was made by a newer version.
    pub async fn open(folder: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let connect = SqliteConnectOptions::new()
            .filename(folder.join("riff.sqlite"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(if options.full_sync { SqliteSynchronous::Full } else { SqliteSynchronous::Normal })
            .foreign_keys(true)
            .busy_timeout(options.busy_timeout);
        let write = SqlitePoolOptions::new().max_connections(1).connect_with(connect.clone()).await?;
        MIGRATIONS.run(&write).await?;
        let read = SqlitePoolOptions::new().max_connections(4).connect_lazy_with(connect.read_only(true));
        Ok(Self { write, read })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.read).await?;
        Ok(())
    }

    /// Closes every connection, folding the write-ahead log into the database.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }
}

fn illegal(job: &str, found: State, wanted: State) -> StoreError {
    StoreError::IllegalTransition { job: job.to_owned(), found: found.as_str(), wanted: wanted.as_str() }
}

fn read_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Unreadable { what, source })
}
