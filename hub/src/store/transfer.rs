//! Moving from SQLite to PostgreSQL: every row of every table, or none.

use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};

use super::{
    Store, StoreError, StoreOptions,
    db::{self, At, Pool},
};

/// Every table, each after those that its rows refer to.
const TABLES: [&str; 24] = [
    "community",
    "member",
    "token",
    "channel",
    "model",
    "worker",
    "worker_model",
    "pace",
    "shortage",
    "recipe",
    "recipe_parent",
    "job",
    "output",
    "ledger",
    "post",
    "outbox",
    "role_allowance",
    "restriction",
    "blocked_word",
    "paused_model",
    "open_channel",
    "audit",
    "preference",
    "flow",
];
/// Those of them that number their rows.
const NUMBERED: [&str; 4] = ["ledger", "post", "outbox", "audit"];
/// Rows that travel together.
const AT_ONCE: usize = 1_000;

/// What came over of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The table.
    pub table: &'static str,
    /// Its rows.
    pub rows: i64,
}

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// Nowhere to move to.
    #[error("store.postgres says no database to move to; set it, as RIFF_STORE__POSTGRES")]
    Nowhere,
    /// Somebody works there already.
    #[error("the PostgreSQL database already has {rows} rows in {table}; move into an empty one")]
    NotEmpty {
        /// The first table that has any.
        table: &'static str,
        /// How many it has.
        rows: i64,
    },
    /// Not everything arrived.
    #[error("{table} has {here} rows here and {there} there; nothing was moved")]
    Differs {
        /// The table.
        table: &'static str,
        /// Rows in SQLite.
        here: i64,
        /// Rows in PostgreSQL.
        there: i64,
    },
    /// One of the databases.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for MoveError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Copies `riff.sqlite` in `folder` into the empty PostgreSQL database of the options. Nobody writes to SQLite meanwhile;
    /// what is there stays there. Blobs are not in it.
    ///
    /// # Errors
    /// If the databases cannot be used, or the new one is not empty. It is left empty then.
    pub async fn transfer(folder: &Path, options: &StoreOptions) -> Result<Vec<Moved>, MoveError> {
        let postgres = options.postgres.as_ref().ok_or(MoveError::Nowhere)?;
        let (from, _) = db::sqlite(&folder.join("riff.sqlite"), options).await?;
        let (to, _) = db::postgres(postgres).await?;
        let moved = transfer(&from, &to).await;
        from.close().await;
        to.close().await;
        moved
    }
}

async fn transfer(from: &Pool, to: &Pool) -> Result<Vec<Moved>, MoveError> {
    let (mut here, mut there) = (from.begin().await?, to.begin().await?);
    let (At::Sqlite(from), At::Postgres(to)) = (here.at(), there.at()) else {
        return Err(MoveError::Nowhere);
    };
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *to).await?;
    sqlx::query("DELETE FROM community").execute(&mut *to).await?;
    for table in TABLES {
        match count_there(to, table).await? {
            0 => {}
            rows => return Err(MoveError::NotEmpty { table, rows }),
        }
    }
    let mut moved = Vec::new();
    for table in TABLES {
        copy(from, to, table).await?;
        let here: i64 =
            sqlx::query_scalar(sql(format!("SELECT COUNT(*) FROM {table}"))).fetch_one(&mut *from).await?;
        let arrived = count_there(to, table).await?;
        if here != arrived {
            return Err(MoveError::Differs { table, here, there: arrived });
        }
        moved.push(Moved { table, rows: here });
    }
    let virtual_time: i64 =
        sqlx::query_scalar("SELECT virtual_time FROM fairness").fetch_one(&mut *from).await?;
    sqlx::query("SELECT setval('fairness_clock', $1)").bind(virtual_time).execute(&mut *to).await?;
    there.commit().await?;
    Ok(moved)
}

async fn count_there(to: &mut PgConnection, table: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(sql(format!("SELECT COUNT(*) FROM {table}"))).fetch_one(to).await
}

/// Copies a table, its rows as JSON: names and types of the columns are what the two databases say.
async fn copy(from: &mut SqliteConnection, to: &mut PgConnection, table: &str) -> Result<(), sqlx::Error> {
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
        .bind(table)
        .fetch_all(&mut *from)
        .await?;
    let pairs: Vec<String> = columns.iter().map(|name| format!("'{name}', {name}")).collect();
    let select = format!("SELECT json_object({}) FROM {table}", pairs.join(", "));
    let columns = columns.join(", ");
    let insert = format!(
        "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
         SELECT {columns} FROM json_populate_recordset(NULL::{table}, $1::json)"
    );
    let mut batches = sqlx::query_scalar::<_, String>(sql(select)).fetch(from).try_chunks(AT_ONCE);
    while let Some(rows) = batches.next().await {
        let rows = rows.map_err(|error| error.1)?;
        sqlx::query(sql(insert.clone())).bind(format!("[{}]", rows.join(","))).execute(&mut *to).await?;
    }
    if NUMBERED.contains(&table) {
        let next = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', 'id'), MAX(id)) FROM {table} HAVING COUNT(*) > 0"
        );
        sqlx::query(sql(next)).execute(to).await?;
    }
    Ok(())
}

/// The names in it are those of this file and of the schema.
fn sql(text: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(text)
}
