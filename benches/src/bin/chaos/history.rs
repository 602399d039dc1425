//! Every change of a job, written down by PostgreSQL itself as it happens: a trigger that this bench puts on the table `job`
//! notes what was and what is. Changes of one job are in the order in which they took effect, since each holds the job's row.

use anyhow::Context;
use sqlx::PgPool;
use temporary_postgres::Server;

const NOTE: &str = "
    CREATE SCHEMA chaos;
    CREATE TABLE chaos.change (
        n BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at BIGINT NOT NULL DEFAULT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT),
        job TEXT NOT NULL, was TEXT, state TEXT, attempt_was BIGINT, attempt BIGINT, worker_was TEXT, worker TEXT, until BIGINT);
    CREATE FUNCTION chaos.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO chaos.change (job, was, state, attempt_was, attempt, worker_was, worker, until)
            VALUES (COALESCE(NEW.id, OLD.id), OLD.state, NEW.state, OLD.attempt, NEW.attempt, OLD.worker, NEW.worker,
                    NEW.lease_until);
        RETURN NULL;
    END $$;
    CREATE TRIGGER made_or_deleted AFTER INSERT OR DELETE ON job FOR EACH ROW EXECUTE FUNCTION chaos.note();
    CREATE TRIGGER changed AFTER UPDATE ON job FOR EACH ROW
        WHEN ((OLD.state, OLD.attempt, OLD.worker, OLD.lease_until)
              IS DISTINCT FROM (NEW.state, NEW.attempt, NEW.worker, NEW.lease_until))
        EXECUTE FUNCTION chaos.note()";

/// One change of a job. Nothing was before it was made.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Change {
    pub at: i64,
    pub job: String,
    pub was: Option<String>,
    pub state: Option<String>,
    pub attempt_was: Option<i64>,
    pub attempt: Option<i64>,
    pub worker_was: Option<String>,
    pub worker: Option<String>,
    pub until: Option<i64>,
}

impl Change {
    pub fn is_lease(&self) -> bool {
        self.state.as_deref() == Some("leased")
    }

    pub fn is_end(&self) -> bool {
        self.state.as_deref().is_some_and(is_final)
    }

    /// Whether an attempt holds the job after it.
    pub fn is_held(&self) -> bool {
        matches!(self.state.as_deref(), Some("leased" | "running"))
    }
}

/// Whether a job in that state has ended.
pub fn is_final(state: &str) -> bool {
    matches!(state, "succeeded" | "failed" | "cancelled" | "expired")
}

/// Has the database note changes from now on.
pub fn begin(server: &Server, url: &str) -> anyhow::Result<()> {
    let database = url.rsplit('/').next().context("an address ends in a name")?;
    server.sql(database, NOTE)?;
    Ok(())
}

/// All changes of all jobs, each job's together and in their order.
pub async fn read(pool: &PgPool) -> anyhow::Result<Vec<Change>> {
    let sql = "SELECT at, job, was, state, attempt_was, attempt, worker_was, worker, until FROM chaos.change ORDER BY job, n";
    Ok(sqlx::query_as(sql).fetch_all(pool).await?)
}
