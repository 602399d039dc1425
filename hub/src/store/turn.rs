//! Steps that must not mingle. On SQLite a transaction has the database to itself. On PostgreSQL many hubs write at once, so a
//! step about members' jobs first waits for those members' turns, and then for the jobs': always in this order, and within each
//! by their ids, so that no two steps wait for each other. What a step reads, it reads after its turn has come.

use super::{
    StoreError,
    db::{At, Tx},
    list,
};

/// Waits for the turns of members.
pub(super) async fn of_members(tx: &mut Tx, members: &[&str]) -> Result<(), StoreError> {
    if let At::Postgres(on) = tx.at() {
        sqlx::query(
            "WITH asked AS MATERIALIZED (SELECT DISTINCT value AS id FROM json_each($1))
             SELECT FROM asked JOIN member USING (id) ORDER BY member.id FOR NO KEY UPDATE OF member",
        )
        .bind(list(members))
        .execute(on)
        .await?;
    }
    Ok(())
}

/// Waits for the turns of the members of jobs, and of the jobs.
pub(super) async fn of_jobs(tx: &mut Tx, jobs: &[&str]) -> Result<(), StoreError> {
    if let At::Postgres(on) = tx.at() {
        sqlx::query(
            "WITH asked AS MATERIALIZED (SELECT job.id, job.member FROM json_each($1) JOIN job ON job.id = value),
             member AS MATERIALIZED (
                 SELECT member.id FROM (SELECT DISTINCT asked.member AS id FROM asked) AS their JOIN member USING (id)
                 ORDER BY member.id FOR NO KEY UPDATE OF member)
             SELECT FROM asked JOIN member ON member.id = asked.member JOIN job ON job.id = asked.id
             ORDER BY job.id FOR NO KEY UPDATE OF job",
        )
        .bind(list(jobs))
        .execute(on)
        .await?;
    }
    Ok(())
}
