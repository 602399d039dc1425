//! Members and tokens. Tokens are stored hashed.

use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError};
use crate::{
    canonical::Digest,
    community::{Preferences, Remix},
    seam::Millis,
};

/// Somebody who asks for generations.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Member {
    /// ULID.
    pub id: String,
    /// Display name.
    pub name: String,
}

/// Whom a token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A member; the subject is the member's id.
    Member,
    /// A worker; the subject is its name.
    Worker,
}

impl TokenKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Worker => "worker",
        }
    }
}

impl Store {
    /// Adds a member, or renames one that is there.
    pub async fn put_member(&self, member: &Member, now: Millis) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        put(&mut tx, member, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// What a member prefers; the default for who never said.
    pub async fn preferences(&self, member: &str) -> Result<Preferences, StoreError> {
        let row: Option<(String, bool)> =
            sqlx::query_as("SELECT defaults, remix FROM preference WHERE member = ?")
                .bind(member)
                .fetch_optional(&self.read)
                .await?;
        Ok(row.map_or_else(Preferences::default, |(defaults, remix)| Preferences {
            defaults,
            remix: if remix { Remix::On } else { Remix::Off },
        }))
    }

    /// Keeps what a member prefers.
    pub async fn put_preferences(
        &self,
        who: &Member,
        preferences: &Preferences,
        now: Millis,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        put_unknown(&mut tx, who, now).await?;
        sqlx::query("INSERT OR REPLACE INTO preference (member, defaults, remix) VALUES (?, ?, ?)")
            .bind(&who.id)
            .bind(&preferences.defaults)
            .bind(preferences.remix == Remix::On)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A member by id.
    pub async fn member(&self, id: &str) -> Result<Option<Member>, StoreError> {
        let found = sqlx::query_as("SELECT id, name FROM member WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.read)
            .await?;
        Ok(found)
    }

    /// The first member with that name who already has a token: whom `riff token create` means.
    pub async fn token_member(&self, name: &str) -> Result<Option<Member>, StoreError> {
        let found = sqlx::query_as(
            "SELECT member.id, member.name FROM member JOIN token ON token.subject = member.id AND kind = 'member'
             WHERE member.name = ? ORDER BY member.created_at LIMIT 1",
        )
        .bind(name)
        .fetch_optional(&self.read)
        .await?;
        Ok(found)
    }

    /// Stores a token's hash; the token itself is never kept.
    pub async fn put_token(
        &self,
        secret: &str,
        kind: TokenKind,
        subject: &str,
        now: Millis,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO token (hash, kind, subject, created_at) VALUES (?, ?, ?, ?)")
            .bind(Digest::of_bytes(secret.as_bytes()).to_string())
            .bind(kind.as_str())
            .bind(subject)
            .bind(now)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Whom a token speaks for, if it is known and not revoked.
    pub async fn token_subject(&self, secret: &str, kind: TokenKind) -> Result<Option<String>, StoreError> {
        let subject = sqlx::query_scalar(
            "SELECT subject FROM token WHERE hash = ? AND kind = ? AND revoked_at IS NULL",
        )
        .bind(Digest::of_bytes(secret.as_bytes()).to_string())
        .bind(kind.as_str())
        .fetch_optional(&self.read)
        .await?;
        Ok(subject)
    }

    /// Revokes every token of a subject; returns how many.
    pub async fn revoke_tokens(
        &self,
        kind: TokenKind,
        subject: &str,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE token SET revoked_at = ? WHERE kind = ? AND subject = ? AND revoked_at IS NULL",
        )
        .bind(now)
        .bind(kind.as_str())
        .bind(subject)
        .execute(&self.write)
        .await?;
        Ok(done.rows_affected())
    }
}

/// Adds a member, or renames one that is there.
pub(super) async fn put(
    tx: &mut Transaction<'_, Sqlite>,
    member: &Member,
    now: Millis,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO member (id, name, created_at) VALUES (?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    )
    .bind(&member.id)
    .bind(&member.name)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Adds a member who is not there yet.
pub(super) async fn put_unknown(
    tx: &mut Transaction<'_, Sqlite>,
    member: &Member,
    now: Millis,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO member (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
        .bind(&member.id)
        .bind(&member.name)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
