//! What one hub of several does for all of them. It claims that for a few seconds at a time; when it falls silent, another
//! does it within ten. A hub that is alone does everything, and asks nobody.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;

use super::Hub;
use crate::store::StoreError;

/// How long a claim lasts. Another hub takes over that long after the last sign of life, and one look.
pub const CLAIM: Duration = Duration::from_secs(6);
/// How long an answer about who leads is good.
const LOOK: Duration = Duration::from_secs(2);
/// A hub dies at most so long after it was last heard of, and what it sent arrives at most so long after its death, in
/// milliseconds.
const LAST_MOMENT_MS: i64 = 2_000;

impl Hub {
    /// Whether this hub is the one that does `what` for all.
    pub async fn leads(&self, what: &str) -> bool {
        if let Some(known) = self.leading.get(what)
            && known.0.elapsed() < LOOK
        {
            return known.1;
        }
        let leads = match self.takes(what).await {
            Ok(leads) => leads,
            Err(error) => {
                tracing::warn!(what, %error, "who leads is not known");
                false
            }
        };
        self.leading.insert(what.to_owned(), (Instant::now(), leads));
        leads
    }

    /// Of these, the ones that are this hub's: those of `held` that it did not lose meanwhile.
    pub async fn keeps(&self, held: &HashSet<String>) -> Result<HashSet<String>, StoreError> {
        let Some(peers) = self.peers.as_ref().filter(|_| !held.is_empty()) else {
            return Ok(held.clone());
        };
        let held: Vec<String> = held.iter().cloned().collect();
        let until = self.seam.now() + CLAIM.as_millis() as i64;
        Ok(self.store.claim_on(&held, peers.name(), until).await?.into_iter().collect())
    }

    /// Makes something this hub's, if it is nobody's.
    pub async fn takes(&self, what: &str) -> Result<bool, StoreError> {
        let Some(peers) = &self.peers else {
            return Ok(true);
        };
        let now = self.seam.now();
        let lasts = CLAIM.as_millis() as i64;
        let taken = self.store.claim(what, peers.name(), now + lasts, now).await?;
        if let Some(Some(until)) = taken {
            // It may have edited a message that another was about to post a result into, and not have lived to put it right.
            let heard = until - lasts;
            self.store.deliver_all_again(heard - LAST_MOMENT_MS..heard + 2 * LAST_MOMENT_MS, now).await?;
            self.call_posters();
        }
        Ok(taken.is_some())
    }

    /// Takes a turn that no hub takes again, this one neither, before `lasts` has passed.
    pub async fn takes_turn(&self, what: &str, lasts: Duration) -> Result<bool, StoreError> {
        if self.peers.is_none() {
            let free = self.leading.get(what).is_none_or(|taken| taken.0.elapsed() >= lasts);
            if free {
                self.leading.insert(what.to_owned(), (Instant::now(), true));
            }
            return Ok(free);
        }
        let now = self.seam.now();
        // Nobody is called that twice.
        Ok(self.store.claim(what, &self.seam.id(), now + lasts.as_millis() as i64, now).await?.is_some())
    }

    /// Gives up what this hub does for all.
    pub async fn resign(&self) {
        if let Some(peers) = &self.peers
            && let Err(error) = self.store.unclaim(peers.name()).await
        {
            tracing::warn!(%error, "the other hubs take over only when this one's claims end");
        }
    }
}
