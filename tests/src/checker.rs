//! Looks into the database and the blobs behind the hub's back, and says whether what must always hold does.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

/// A reader of the data folder.
pub struct Checker {
    pool: SqlitePool,
    data: PathBuf,
}

impl Checker {
    pub async fn open(data: &Path) -> anyhow::Result<Self> {
        let connect = SqliteConnectOptions::new().filename(data.join("riff.sqlite"));
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(connect).await?;
        Ok(Self { pool, data: data.to_owned() })
    }

    /// One number.
    pub async fn count(&self, sql: &'static str) -> anyhow::Result<i64> {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.with_context(|| sql.to_owned())
    }

    /// Holds the database as another process would, until what it gives is dropped.
    pub async fn lock(&self) -> anyhow::Result<sqlx::Transaction<'static, sqlx::Sqlite>> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Checks that nothing is lost, doubled or unbalanced. Every job must have ended.
    ///
    /// # Errors
    /// Naming what does not hold.
    pub async fn check(&self) -> anyhow::Result<()> {
        const NEVER: [(&str, &str); 10] = [
            ("a job that has not ended", "SELECT COUNT(*) FROM job WHERE state IN ('queued', 'leased', 'running')"),
            (
                "a job whose quota was not reserved exactly once",
                "SELECT COUNT(*) FROM job WHERE (SELECT COUNT(*) FROM ledger WHERE job = job.id AND kind = 'reserve') <> 1",
            ),
            (
                "a job that was not settled or refunded exactly once",
                "SELECT COUNT(*) FROM job
                 WHERE (SELECT COUNT(*) FROM ledger WHERE job = job.id AND kind IN ('settle', 'refund')) <> 1",
            ),
            (
                "a job without success that cost something",
                "SELECT COUNT(*) FROM job WHERE state <> 'succeeded'
                 AND (SELECT SUM(gpu_ms) FROM ledger WHERE job = job.id) <> 0",
            ),
            (
                "a success that was charged other than its measured cost",
                "SELECT COUNT(*) FROM job WHERE state = 'succeeded'
                 AND (SELECT -SUM(gpu_ms) FROM ledger WHERE job = job.id) NOT BETWEEN 0 AND cost_ms",
            ),
            (
                "a success without its full set of outputs",
                "SELECT COUNT(*) FROM job JOIN recipe ON recipe.id = recipe WHERE state = 'succeeded'
                 AND (SELECT COUNT(*) FROM output WHERE job = job.id AND attempt = job.attempt)
                     <> COALESCE(body ->> '$.params.count', 1)",
            ),
            (
                "an ended job that is not posted exactly once",
                "SELECT COUNT(*) FROM job WHERE state <> 'cancelled' AND NOT private
                 AND (SELECT COUNT(*) FROM post WHERE job = job.id) <> 1",
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
        for (what, sql) in NEVER {
            let found = self.count(sql).await?;
            ensure!(found == 0, "{what}: {found}");
        }
        self.check_blobs().await
    }

    async fn check_blobs(&self) -> anyhow::Result<()> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT blob FROM output JOIN job ON job.id = job AND job.attempt = output.attempt WHERE state = 'succeeded'",
        )
        .fetch_all(&self.pool)
        .await?;
        for name in names {
            let path = self.data.join("blobs").join(&name[..2]).join(&name[2..4]).join(&name);
            let bytes = std::fs::read(&path).with_context(|| format!("blob {name}"))?;
            ensure!(
                riff_hub::canonical::Digest::of_bytes(&bytes).to_string() == name,
                "blob {name} is damaged"
            );
        }
        Ok(())
    }
}
