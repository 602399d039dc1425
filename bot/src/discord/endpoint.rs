//! The interactions endpoint: Discord posts each interaction here, signed, instead of over the gateway. Many hubs behind a
//! balancer can serve it. The answer goes the same way as with the gateway, so that the handlers are the same.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::json;
use serenity::{interactions_endpoint::Verifier, model::application::Interaction};

use super::{Discord, handle};
use crate::problem::Problem;

/// Largest interaction, in bytes. Discord's own are far smaller.
const MAX_BYTES: usize = 1_024 * 1_024;
/// How far a request's time may be from ours: what is older may be a replay.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// The surface, once it is connected.
pub type Connected = Arc<OnceLock<(Arc<Discord>, Verifier)>>;

/// `POST /discord/interactions`.
pub fn routes(connected: Connected) -> Router {
    Router::new()
        .route("/discord/interactions", post(interaction))
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .with_state(connected)
}

async fn interaction(State(connected): State<Connected>, headers: HeaderMap, body: Bytes) -> Response {
    let Some((discord, verifier)) = connected.get() else {
        let detail = "Discord is not connected: set DISCORD_TOKEN, or wait until it is.";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-connected", detail).into_response();
    };
    if !is_genuine(verifier, &headers, &body, discord.hub.seam.now()) {
        return Problem::new(StatusCode::UNAUTHORIZED, "bad-signature", "invalid request signature")
            .into_response();
    }
    match serde_json::from_slice::<Interaction>(&body) {
        Ok(Interaction::Ping(_)) => Json(json!({"type": 1})).into_response(),
        Ok(interaction) => {
            handle::spawn(discord, interaction);
            // The callback follows by REST
            // (https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-response-object).
            StatusCode::ACCEPTED.into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "an interaction cannot be read");
            Problem::new(StatusCode::BAD_REQUEST, "bad-interaction", error.to_string()).into_response()
        }
    }
}

/// Whether Discord signed it, lately.
fn is_genuine(verifier: &Verifier, headers: &HeaderMap, body: &[u8], now_ms: i64) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(signature), Some(timestamp)) = (header("x-signature-ed25519"), header("x-signature-timestamp"))
    else {
        return false;
    };
    let fresh = timestamp
        .parse::<i64>()
        .is_ok_and(|seconds| (now_ms / 1_000).abs_diff(seconds) <= TOLERANCE.as_secs());
    fresh && signature.is_ascii() && verifier.verify(signature, timestamp, body).is_ok()
}
