//! What every handler is given.

use std::sync::Arc;

use axum::extract::FromRef;
use axum_extra::extract::cookie::Key;
use riff_hub::{admission::Refusal, hub::Hub};
use tokio_util::sync::CancellationToken;

use crate::{measure::Metrics, operate::Readiness};

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The hub.
    pub hub: Arc<Hub>,
    /// Signs visitors' cookies.
    pub cookie_key: Key,
    /// Where people find this hub, without a slash at the end.
    pub public_url: Arc<str>,
    /// From how many bytes on the blob store itself is asked for a file; 0 for never.
    pub redirect_from: u64,
    /// Cancelled when the process drains: open streams end then.
    pub draining: CancellationToken,
    /// What is counted and timed.
    pub metrics: Arc<Metrics>,
    /// Whether database and blobs answered lately.
    pub readiness: Arc<Readiness>,
}

impl AppState {
    /// Refuses a channel that is not one of the web: what is asked for in another surface's channel could not be answered.
    ///
    /// # Errors
    /// [`Refusal::Missing`].
    pub async fn web_channel(&self, id: &str) -> Result<(), Refusal> {
        match self.hub.store.channels().await?.iter().any(|channel| channel.id == id) {
            true => Ok(()),
            false => Err(Refusal::Missing(format!("channel “{id}”"))),
        }
    }
}

impl FromRef<AppState> for Key {
    fn from_ref(state: &AppState) -> Self {
        state.cookie_key.clone()
    }
}
