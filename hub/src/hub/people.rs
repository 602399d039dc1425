//! Members and tokens, as surfaces and the command line need them.

use super::Hub;
use crate::{
    admission::Refusal,
    store::{Member, StoreError, TokenKind},
};

/// The longest display name, in characters (Discord's limit for nicknames is the same).
pub const MAX_NAME_CHARS: usize = 32;

impl Hub {
    /// Makes a member of a visitor who picked a name.
    pub async fn join(&self, name: &str) -> Result<Member, Refusal> {
        let member = Member { id: self.seam.id(), name: display_name(name)? };
        self.store.put_member(&member, self.seam.now()).await?;
        Ok(member)
    }

    /// Gives a member another display name.
    pub async fn rename(&self, member: &Member, name: &str) -> Result<Member, Refusal> {
        let member = Member { id: member.id.clone(), name: display_name(name)? };
        self.store.put_member(&member, self.seam.now()).await?;
        Ok(member)
    }

    /// What is left of a member's allowance today, in milliseconds of the device.
    pub async fn allowance_left(&self, member: &Member) -> Result<i64, Refusal> {
        let period = Self::period(self.seam.now());
        Ok(self.store.quota_left(&member.id, period, self.settings.allowance_ms).await?)
    }

    /// A new token for the member of that name, who is made if there is none with a token.
    pub async fn member_token(&self, name: &str) -> Result<String, Refusal> {
        let member = match self.store.token_member(&display_name(name)?).await? {
            Some(member) => member,
            None => self.join(name).await?,
        };
        Ok(self.token("riff_m_", TokenKind::Member, &member.id).await?)
    }

    /// A new token for a worker.
    pub async fn worker_token(&self, name: &str) -> Result<String, StoreError> {
        self.token("riff_w_", TokenKind::Worker, name).await
    }

    /// Revokes every token of a worker; returns how many.
    pub async fn revoke_worker(&self, name: &str) -> Result<u64, StoreError> {
        self.store.revoke_tokens(TokenKind::Worker, name, self.seam.now()).await
    }

    async fn token(&self, prefix: &str, kind: TokenKind, subject: &str) -> Result<String, StoreError> {
        let secret = format!("{prefix}{}", self.seam.secret());
        self.store.put_token(&secret, kind, subject, self.seam.now()).await?;
        Ok(secret)
    }
}

fn display_name(name: &str) -> Result<String, Refusal> {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
    if !fits || name.chars().any(char::is_control) {
        return Err(Refusal::BadName);
    }
    Ok(name)
}
