//! The two databases behind the store, and how a statement is run on whichever it is.
//!
//! A statement is one text for both, or a [`Texts`] where they differ. PostgreSQL is taught the few functions of SQLite that
//! the shared texts use (`migrations/postgres/0001_dialect.sql`). Parameters are `$N`. What a row is read into is read from
//! either.

use std::{path::Path, str::FromStr};

use sqlx::{
    Connection, PgConnection, PgPool, PgTransaction, SqliteConnection, SqlitePool, SqliteTransaction,
    postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteError, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Postgres, StoreError, StoreOptions};

static SQLITE: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/sqlite");
static POSTGRES: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/postgres");

/// How many readers SQLite has.
const READERS: u32 = 4;

/// Connections to one database.
#[derive(Clone)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A step's transaction. What it did is undone unless it is committed.
pub(super) enum Tx {
    Sqlite(SqliteTransaction<'static>),
    Postgres(PgTransaction<'static>),
}

/// Where a statement runs.
pub(super) enum At<S, P> {
    Sqlite(S),
    Postgres(P),
}

/// A statement that the two databases are told differently.
#[derive(Clone, Copy)]
pub(super) struct Texts {
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

/// What a statement is told.
pub(super) trait Statement {
    fn sqlite(&self) -> &'static str;
    fn postgres(&self) -> &'static str;
}

impl Statement for &'static str {
    fn sqlite(&self) -> &'static str {
        self
    }

    fn postgres(&self) -> &'static str {
        self
    }
}

impl Statement for Texts {
    fn sqlite(&self) -> &'static str {
        self.sqlite
    }

    fn postgres(&self) -> &'static str {
        self.postgres
    }
}

macro_rules! on {
    ($query:ident, $fetch:ident, $on:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        use $crate::store::db::{At, Statement};
        match $on.at() {
            At::Sqlite(on) => sqlx::$query(Statement::sqlite(&$sql))$(.bind($value))*.$fetch(on).await,
            At::Postgres(on) => sqlx::$query(Statement::postgres(&$sql))$(.bind($value))*.$fetch(on).await,
        }
    }};
}

/// The one row that a query gives.
macro_rules! one { ($($told:tt)*) => { on!(query_as, fetch_one, $($told)*) }; }
/// The row that a query gives, if it does.
macro_rules! optional { ($($told:tt)*) => { on!(query_as, fetch_optional, $($told)*) }; }
/// The rows that a query gives.
macro_rules! all { ($($told:tt)*) => { on!(query_as, fetch_all, $($told)*) }; }
/// The one value that a query gives.
macro_rules! scalar { ($($told:tt)*) => { on!(query_scalar, fetch_one, $($told)*) }; }
/// The value that a query gives, if it does.
macro_rules! scalar_optional { ($($told:tt)*) => { on!(query_scalar, fetch_optional, $($told)*) }; }
/// The values that a query gives.
macro_rules! scalars { ($($told:tt)*) => { on!(query_scalar, fetch_all, $($told)*) }; }

/// How many rows a statement changes.
macro_rules! execute {
    ($on:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        use $crate::store::db::{At, Statement};
        match $on.at() {
            At::Sqlite(on) => {
                sqlx::query(Statement::sqlite(&$sql))$(.bind($value))*.execute(on).await.map(|done| done.rows_affected())
            }
            At::Postgres(on) => {
                sqlx::query(Statement::postgres(&$sql))$(.bind($value))*.execute(on).await.map(|done| done.rows_affected())
            }
        }
    }};
}

pub(super) use {all, execute, on, one, optional, scalar, scalar_optional, scalars};

/// Opens or creates a database file: its writer and its readers.
pub(super) async fn sqlite(file: &Path, options: &StoreOptions) -> Result<(Pool, Pool), StoreError> {
    let connect = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(if options.full_sync { SqliteSynchronous::Full } else { SqliteSynchronous::Normal })
        .foreign_keys(true)
        .busy_timeout(options.busy_timeout);
    let write = SqlitePoolOptions::new().max_connections(1).connect_with(connect.clone()).await?;
    SQLITE.run(&write).await?;
    let read = SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(connect.read_only(true));
    Ok((Pool::Sqlite(write), Pool::Sqlite(read)))
}

/// Connects to a database and brings it up to date: connections for steps and for readers. Hubs that start together take turns
/// at that.
pub(super) async fn postgres(options: &Postgres) -> Result<(Pool, Pool), StoreError> {
    let timeout = options.statement_timeout.as_millis().to_string();
    let connect = PgConnectOptions::from_str(&options.url)?.application_name("riff").options([
        // A hub that falls silent within a step must not keep others from theirs.
        ("idle_in_transaction_session_timeout", timeout.as_str()),
        ("statement_timeout", timeout.as_str()),
        // The statements are few and plain: planning them anew each time takes longer than running them.
        ("plan_cache_mode", "force_generic_plan"),
        // A plan that sorts where it is told not to has a cost beyond which PostgreSQL compiles it: seconds for each lease.
        ("jit", "off"),
    ]);
    // A pool would only say that it waited in vain.
    let first = PgConnection::connect_with(&connect).await;
    let first = first.map_err(|source| {
        let (host, port) = (connect.get_host().to_owned(), connect.get_port());
        StoreError::Unreachable { host, port, source }
    })?;
    first.close().await?;
    let steps = options.connections.div_ceil(2);
    let readers = PgPoolOptions::new().max_connections((options.connections - steps).max(1));
    let write =
        PgPoolOptions::new().max_connections(steps).connect_with(connect.clone().options(WALK)).await?;
    POSTGRES.run(&write).await?;
    Ok((Pool::Postgres(write), Pool::Postgres(readers.connect_lazy_with(connect))))
}

/// A step is about a few rows, and PostgreSQL does not know how many there are of what it is about at this moment: it would read
/// whole tables if it took them for short. It is to walk along indexes instead.
const WALK: [(&str, &str); 3] =
    [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off")];

/// What an operator can do something about.
pub(super) enum Fault {
    Locked,
    Full,
}

/// What is behind an error of a database.
pub(super) fn fault(error: &sqlx::Error) -> Option<Fault> {
    let database = error.as_database_error()?;
    if database.try_downcast_ref::<SqliteError>().is_some() {
        // Primary result codes: https://www.sqlite.org/rescode.html
        const BUSY: u32 = 5;
        const LOCKED: u32 = 6;
        const IO_ERROR: u32 = 10;
        const FULL: u32 = 13;
        return match database.code()?.parse::<u32>().ok()? & 0xff {
            BUSY | LOCKED => Some(Fault::Locked),
            FULL | IO_ERROR => Some(Fault::Full),
            _ => None,
        };
    }
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    match database.try_downcast_ref::<PgDatabaseError>()?.code() {
        "55P03" => Some(Fault::Locked),
        "53100" => Some(Fault::Full),
        _ => None,
    }
}

impl Pool {
    pub fn at(&self) -> At<&SqlitePool, &PgPool> {
        match self {
            Self::Sqlite(pool) => At::Sqlite(pool),
            Self::Postgres(pool) => At::Postgres(pool),
        }
    }

    /// Begins a step. On SQLite it waits for its turn to write.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(match self {
            Self::Sqlite(pool) => Tx::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => Tx::Postgres(pool.begin().await?),
        })
    }

    /// Begins a step that looks for the first of the line, for which PostgreSQL would sort all of it if it took it for short.
    pub async fn begin_in_line(&self) -> Result<Tx, StoreError> {
        const WALK: &str = "BEGIN; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off";
        match self {
            Self::Sqlite(_) => self.begin().await,
            Self::Postgres(pool) => Ok(Tx::Postgres(pool.begin_with(WALK).await?)),
        }
    }

    pub async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    pub fn at(&mut self) -> At<&mut SqliteConnection, &mut PgConnection> {
        match self {
            Self::Sqlite(tx) => At::Sqlite(tx),
            Self::Postgres(tx) => At::Postgres(tx),
        }
    }

    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_sorts_in_line_is_not_compiled() {
        let server = temporary_postgres::shared().unwrap();
        let (connections, statement_timeout) = (1, Duration::from_secs(10));
        let options = Postgres { url: server.database().unwrap(), connections, statement_timeout };
        let (steps, _) = postgres(&options).await.unwrap();
        let mut tx = steps.begin_in_line().await.unwrap();
        // Without a condition there is nothing to compile, whatever it costs.
        let plan: Vec<String> =
            scalars!(tx, "EXPLAIN (ANALYZE) SELECT id FROM job WHERE created_at > 0 ORDER BY created_at")
                .unwrap();
        assert!(plan.iter().any(|line| line.contains("Sort")), "{plan:#?}");
        assert!(!plan.iter().any(|line| line.contains("JIT")), "{plan:#?}");
    }
}
