//! Bytes: results, previews, and the pages' own assets.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use bytes::Bytes;
use futures::{
    TryStreamExt, future,
    stream::{self, StreamExt},
};
use riff_hub::{admission::Refusal, blobs::Flow, canonical::Digest};

use crate::{problem::Problem, state::AppState};

/// What is named by its content never changes.
pub const FOREVER: &str = "public, max-age=31536000, immutable";

/// `GET /blobs/{digest}`.
pub async fn blob(State(state): State<AppState>, Path(name): Path<String>) -> Result<Response, Problem> {
    let digest: Digest = name.parse().map_err(|_| Refusal::Missing(format!("file “{name}”")))?;
    if state.redirect_from > 0
        && let Some(address) = state.hub.blobs.signed(digest, state.redirect_from).await?
    {
        return Ok(([(header::CACHE_CONTROL, "no-store")], Redirect::temporary(&address)).into_response());
    }
    let mut response = whole(state.hub.blobs.flow(digest).await?).await?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(FOREVER));
    Ok(response)
}

/// A blob as an answer, passed on as it comes.
pub async fn whole(mut flow: Flow) -> Result<Response, Problem> {
    let first = flow.bytes.try_next().await?.unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind(&first))),
        (header::CONTENT_LENGTH, HeaderValue::from(flow.size)),
    ];
    let bytes = stream::once(future::ok(first)).chain(flow.bytes);
    Ok((headers, Body::from_stream(bytes)).into_response())
}

/// The blobs are the hub's own encodings, so their first bytes tell the three kinds apart.
fn kind(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, ..] => "image/jpeg",
        _ => "text/plain; charset=utf-8",
    }
}

/// `GET /jobs/{job}/preview`.
pub async fn preview(State(state): State<AppState>, Path(job): Path<String>) -> Response {
    let live = match state.hub.store.job(&job).await {
        Ok(Some(job)) if !job.private => state.hub.live_of(&job).await,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    match live.ok().and_then(|live| live.preview) {
        Some((bytes, _)) => {
            ([(header::CONTENT_TYPE, kind(&bytes)), (header::CACHE_CONTROL, "no-store")], bytes)
                .into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `GET /assets/{name}`.
pub async fn asset(Path(name): Path<String>) -> Response {
    let (kind, text): (&str, &'static [u8]) = match name.as_str() {
        "riff.css" => ("text/css; charset=utf-8", include_bytes!("../../assets/riff.css")),
        "riff.js" => ("text/javascript; charset=utf-8", include_bytes!("../../assets/riff.js")),
        "icon.svg" => ("image/svg+xml", include_bytes!("../../assets/icon.svg")),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], Bytes::from_static(text))
        .into_response()
}
