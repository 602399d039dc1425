//! What every handler is given.

use std::sync::Arc;

use axum::extract::FromRef;
use axum_extra::extract::cookie::Key;
use riff_hub::{admission::Refusal, hub::Hub};
use tokio_util::sync::CancellationToken;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The hub.
    pub hub: Arc<Hub>,
    /// Signs visitors' cookies.
    pub cookie_key: Key,
    /// Where people find this hub, without a slash at the end.
    pub public_url: Arc<str>,
    /// Cancelled when the process drains: open streams end then.
    pub draining: CancellationToken,
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
