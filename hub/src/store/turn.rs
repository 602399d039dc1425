//! Steps that must not mingle. On SQLite a transaction has the database to itself. On PostgreSQL many hubs write at once, so a
//! step about a member's jobs first waits for that member's turn, and then for the job's: always in this order, and never for
//! two members, so that no two steps wait for each other. What a step reads, it reads after its turn has come.

use super::{
    StoreError,
    db::{At, Tx},
};

/// Waits for the turn of a member.
pub(super) async fn of_member(tx: &mut Tx, member: &str) -> Result<(), StoreError> {
    if let At::Postgres(on) = tx.at() {
        sqlx::query("SELECT FROM member WHERE id = $1 FOR NO KEY UPDATE").bind(member).execute(on).await?;
    }
    Ok(())
}

/// Waits for the turn of a job's member, and of the job.
pub(super) async fn of_job(tx: &mut Tx, job: &str) -> Result<(), StoreError> {
    if let At::Postgres(on) = tx.at() {
        sqlx::query(
            "WITH member AS MATERIALIZED
                 (SELECT id FROM member WHERE id = (SELECT member FROM job WHERE id = $1) FOR NO KEY UPDATE)
             SELECT FROM job JOIN member ON member.id = job.member WHERE job.id = $1 FOR NO KEY UPDATE OF job",
        )
        .bind(job)
        .execute(on)
        .await?;
    }
    Ok(())
}
