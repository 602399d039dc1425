//! Members and tokens, as surfaces and the command line need them.

use super::Hub;
use crate::{
    admission::Refusal,
    community::{Allowance, Preferences},
    prompt::Defaults,
    step,
    store::{Member, StoreError, TokenKind},
};

/// The longest display name, in characters: what fits on a card.
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

    /// What is left and the whole allowance of today for a member with these roles.
    pub async fn allowance(
        &self,
        who: &Member,
        community: &str,
        roles: &[String],
    ) -> Result<Allowance, Refusal> {
        let period = Self::period(self.seam.now());
        let of_ms = self.allowance_ms(community, roles).await?;
        let left_ms = self.store.quota_left(&who.id, period, of_ms).await?.max(0);
        Ok(Allowance { left_ms, of_ms: of_ms + self.store.granted(&who.id, period).await? })
    }

    /// A day's allowance: the largest of everybody's and the roles'.
    pub(super) async fn allowance_ms(&self, community: &str, roles: &[String]) -> Result<i64, StoreError> {
        let of_roles = self.store.role_allowance(community, roles).await?;
        Ok(self.settings.allowance_ms.max(of_roles.unwrap_or(0)))
    }

    /// What a member prefers; the default for who never said.
    pub async fn preferences(&self, who: &Member) -> Result<Preferences, Refusal> {
        Ok(self.store.preferences(&who.id).await?)
    }

    /// Keeps what a member prefers.
    ///
    /// # Errors
    /// A [`Refusal`] that names the flag that no model here takes, or the model that is not here.
    pub async fn prefer(&self, who: &Member, preferences: &Preferences) -> Result<(), Refusal> {
        let defaults: Defaults = preferences.defaults.parse()?;
        let catalogue = self.catalogue().await?;
        catalogue.check_defaults(&defaults)?;
        self.store.put_preferences(who, preferences, self.seam.now()).await?;
        step::done("preferred");
        Ok(())
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

/// A surface's name for a member, made to fit: what has no place in a name is left out, and the rest is cut.
pub(super) fn fitting_name(who: &Member) -> String {
    let printable: String = who.name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    let name: String = words.chars().take(MAX_NAME_CHARS).collect();
    if name.is_empty() { who.id.chars().take(MAX_NAME_CHARS).collect() } else { name }
}
