//! Looks into the database and the blobs behind the hub's back, and says whether what must always hold does.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sqlx::{
    PgPool, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

/// A reader of the database and of the data folder.
pub struct Checker {
    pool: Pool,
    data: PathBuf,
}

enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Checker {
    pub async fn open(data: &Path) -> anyhow::Result<Self> {
        let connect = SqliteConnectOptions::new().filename(data.join("riff.sqlite"));
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(connect).await?;
        Ok(Self { pool: Pool::Sqlite(pool), data: data.to_owned() })
    }

    /// Of hubs that keep their rows elsewhere.
    pub async fn open_postgres(url: &str, data: &Path) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
        Ok(Self { pool: Pool::Postgres(pool), data: data.to_owned() })
    }

    /// One number.
    pub async fn count(&self, sql: &'static str) -> anyhow::Result<i64> {
        let counted = match &self.pool {
            Pool::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await,
            Pool::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await,
        };
        counted.with_context(|| sql.to_owned())
    }

    /// Holds the database as another process would, until what it gives is dropped.
    pub async fn lock(&self) -> anyhow::Result<sqlx::Transaction<'static, sqlx::Sqlite>> {
        match &self.pool {
            Pool::Sqlite(pool) => Ok(pool.begin_with("BEGIN IMMEDIATE").await?),
            Pool::Postgres(_) => anyhow::bail!("nobody holds the whole of PostgreSQL"),
        }
    }

    /// Checks that nothing is lost, doubled or unbalanced. Every job must have ended.
    ///
    /// # Errors
    /// Naming what does not hold.
    pub async fn check(&self) -> anyhow::Result<()> {
        let broken = self.broken().await?;
        ensure!(broken.is_empty(), "{}", broken.join("; "));
        Ok(())
    }

    /// All that does not hold, although it always must. Every job must have ended.
    ///
    /// # Errors
    /// If that cannot be looked at.
    pub async fn broken(&self) -> anyhow::Result<Vec<String>> {
        const NEVER: [(&str, &str); 10] = [
            ("a job that has not ended", "SELECT COUNT(*) FROM job WHERE state IN ('queued', 'leased', 'running')"),
            (
                "a job whose quota was not reserved exactly once",
                "SELECT COUNT(*) FROM job WHERE (SELECT COUNT(*) FROM ledger WHERE ledger.job = job.id AND kind = 'reserve') <> 1",
            ),
            (
                "a job that was not settled or refunded exactly once",
                "SELECT COUNT(*) FROM job
                 WHERE (SELECT COUNT(*) FROM ledger WHERE ledger.job = job.id AND kind IN ('settle', 'refund')) <> 1",
            ),
            (
                "a job without success that cost something",
                "SELECT COUNT(*) FROM job WHERE state <> 'succeeded'
                 AND (SELECT SUM(gpu_ms) FROM ledger WHERE ledger.job = job.id) <> 0",
            ),
            (
                "a success that was charged other than its measured cost",
                "SELECT COUNT(*) FROM job WHERE state = 'succeeded'
                 AND (SELECT -SUM(gpu_ms) FROM ledger WHERE ledger.job = job.id) NOT BETWEEN 0 AND cost_ms",
            ),
            (
                "a success without its full set of outputs",
                "SELECT COUNT(*) FROM job JOIN recipe ON recipe.id = job.recipe WHERE state = 'succeeded'
                 AND (SELECT COUNT(*) FROM output WHERE output.job = job.id AND output.attempt = job.attempt)
                     <> CAST(COALESCE(body -> 'params' ->> 'count', '1') AS BIGINT)",
            ),
            (
                "an ended job that is not posted exactly once",
                "SELECT COUNT(*) FROM job WHERE state <> 'cancelled' AND NOT private
                 AND (SELECT COUNT(*) FROM post WHERE post.job = job.id) <> 1",
            ),
            (
                "a cancelled job that is posted",
                "SELECT COUNT(*) FROM job JOIN post ON post.job = job.id WHERE state = 'cancelled'",
            ),
            (
                "a private job that is posted",
                "SELECT COUNT(*) FROM job JOIN post ON post.job = job.id WHERE private AND deleted_at IS NULL",
            ),
            ("a post that was never delivered", "SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL"),
        ];
        let mut broken = Vec::new();
        for (what, sql) in NEVER {
            let found = self.count(sql).await?;
            if found != 0 {
                broken.push(format!("{what}: {found}"));
            }
        }
        broken.extend(self.broken_blobs().await?);
        Ok(broken)
    }

    async fn broken_blobs(&self) -> anyhow::Result<Vec<String>> {
        let sql = "SELECT DISTINCT blob FROM output";
        let names: Vec<String> = match &self.pool {
            Pool::Sqlite(pool) => sqlx::query_scalar(sql).fetch_all(pool).await?,
            Pool::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await?,
        };
        let mut broken = Vec::new();
        for name in names {
            let path = self.data.join("blobs").join(&name[..2]).join(&name[2..4]).join(&name);
            match std::fs::read(&path) {
                Ok(bytes) if blake3::hash(&bytes).to_hex().as_str() == name => {}
                Ok(_) => broken.push(format!("blob {name} is damaged")),
                Err(error) => broken.push(format!("blob {name}: {error}")),
            }
        }
        Ok(broken)
    }
}
