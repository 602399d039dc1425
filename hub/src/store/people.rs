//! Members and tokens. Tokens are stored hashed.

use super::{
    Store, StoreError,
    db::{Tx, execute, on, optional, scalar_optional},
};
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
            optional!(self.read, "SELECT defaults, remix FROM preference WHERE member = $1", member)?;
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
        execute!(
            tx,
            "INSERT INTO preference (member, defaults, remix) VALUES ($1, $2, $3)
             ON CONFLICT (member) DO UPDATE SET defaults = $2, remix = $3",
            &who.id,
            &preferences.defaults,
            preferences.remix == Remix::On
        )?;
        tx.commit().await?;
        Ok(())
    }

    /// A member by id.
    pub async fn member(&self, id: &str) -> Result<Option<Member>, StoreError> {
        let found = optional!(self.read, "SELECT id, name FROM member WHERE id = $1", id)?;
        Ok(found)
    }

    /// The first member with that name who already has a token: whom `riff token create` means.
    pub async fn token_member(&self, name: &str) -> Result<Option<Member>, StoreError> {
        let found = optional!(
            self.read,
            "SELECT member.id, member.name FROM member JOIN token ON token.subject = member.id AND kind = 'member'
             WHERE member.name = $1 ORDER BY member.created_at LIMIT 1",
            name
        )?;
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
        execute!(
            self.write,
            "INSERT INTO token (hash, kind, subject, created_at) VALUES ($1, $2, $3, $4)",
            Digest::of_bytes(secret.as_bytes()).to_string(),
            kind.as_str(),
            subject,
            now
        )?;
        Ok(())
    }

    /// Whom a token speaks for, if it is known and not revoked.
    pub async fn token_subject(&self, secret: &str, kind: TokenKind) -> Result<Option<String>, StoreError> {
        let subject = scalar_optional!(
            self.read,
            "SELECT subject FROM token WHERE hash = $1 AND kind = $2 AND revoked_at IS NULL",
            Digest::of_bytes(secret.as_bytes()).to_string(),
            kind.as_str()
        )?;
        Ok(subject)
    }

    /// Revokes every token of a subject; returns how many.
    pub async fn revoke_tokens(
        &self,
        kind: TokenKind,
        subject: &str,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let revoked = execute!(
            self.write,
            "UPDATE token SET revoked_at = $1 WHERE kind = $2 AND subject = $3 AND revoked_at IS NULL",
            now,
            kind.as_str(),
            subject
        )?;
        Ok(revoked)
    }
}

/// Adds a member, or renames one that is there.
pub(super) async fn put(tx: &mut Tx, member: &Member, now: Millis) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO member (id, name, created_at) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        &member.id,
        &member.name,
        now
    )?;
    Ok(())
}

/// Adds a member who is not there yet.
pub(super) async fn put_unknown(tx: &mut Tx, member: &Member, now: Millis) -> Result<(), StoreError> {
    execute!(
        tx,
        "INSERT INTO member (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        &member.id,
        &member.name,
        now
    )?;
    Ok(())
}
