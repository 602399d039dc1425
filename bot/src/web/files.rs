//! Bytes: results, previews, and the pages' own assets.

use std::ops::Range;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use bytes::Bytes;
use futures::{
    TryStreamExt, future,
    stream::{self, StreamExt},
};
use riff_hub::{admission::Refusal, blobs::Flow, canonical::Digest, media};

use crate::{problem::Problem, state::AppState};

/// What is named by its content never changes.
pub const FOREVER: &str = "public, max-age=31536000, immutable";

/// `GET /blobs/{digest}`, or a part of it: browsers ask for parts of sound, to begin in the middle.
pub async fn blob(
    State(state): State<AppState>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let digest: Digest = name.parse().map_err(|_| Refusal::Missing(format!("file “{name}”")))?;
    if state.redirect_from > 0
        && let Some(address) = state.hub.blobs.signed(digest, state.redirect_from).await?
    {
        return Ok(([(header::CACHE_CONTROL, "no-store")], Redirect::temporary(&address)).into_response());
    }
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    if let Some(asked) = asked {
        return Ok(ranged(state.hub.blobs.get(digest).await?, asked));
    }
    let mut response = whole(state.hub.blobs.flow(digest).await?).await?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(FOREVER));
    Ok(response)
}

/// The part of a blob that a player asks for, or the whole where it asks for something else.
fn ranged(bytes: Bytes, asked: &str) -> Response {
    let known = [
        (header::CONTENT_TYPE, kind(&bytes)),
        (header::CACHE_CONTROL, FOREVER),
        (header::ACCEPT_RANGES, "bytes"),
    ];
    let whole = bytes.len();
    match part(asked, whole) {
        None => (known, bytes).into_response(),
        Some(Err(Beyond)) => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{whole}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response()
        }
        Some(Ok(part)) => {
            let range = format!("bytes {}-{}/{whole}", part.start, part.end - 1);
            let range = [(header::CONTENT_RANGE, range)];
            (StatusCode::PARTIAL_CONTENT, known, range, bytes.slice(part)).into_response()
        }
    }
}

/// A blob as an answer, passed on as it comes.
pub async fn whole(mut flow: Flow) -> Result<Response, Problem> {
    let first = flow.bytes.try_next().await?.unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind(&first))),
        (header::CONTENT_LENGTH, HeaderValue::from(flow.size)),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    ];
    let bytes = stream::once(future::ok(first)).chain(flow.bytes);
    Ok((headers, Body::from_stream(bytes)).into_response())
}

/// There is nothing where somebody asks for a part.
#[derive(Debug, PartialEq)]
struct Beyond;

/// The part of a file that a field `Range` asks for (RFC 9110, section 14.2). Nothing if it asks for what is answered with
/// all of the file: several parts, or what cannot be read.
fn part(range: &str, whole: usize) -> Option<Result<Range<usize>, Beyond>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.trim().parse::<usize>();
    let part = match (first.trim(), last.trim()) {
        ("", last) => whole.saturating_sub(number(last).ok()?)..whole,
        (first, "") => number(first).ok()?..whole,
        (first, last) => number(first).ok()?..number(last).ok()?.saturating_add(1).min(whole),
    };
    Some(if part.is_empty() { Err(Beyond) } else { Ok(part) })
}

/// The blobs are the hub's own encodings, so their first bytes tell their kinds apart.
fn kind(bytes: &[u8]) -> &'static str {
    media::type_of(bytes).unwrap_or("text/plain; charset=utf-8")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_is_there_of_it() {
        for (asked, expected) in [
            ("bytes=0-", 0..10),
            ("bytes=2-4", 2..5),
            ("bytes=7-99", 7..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
        ] {
            assert_eq!(part(asked, 10), Some(Ok(expected)), "{asked}");
        }
        for asked in ["bytes=10-", "bytes=4-2", "bytes=-0"] {
            assert_eq!(part(asked, 10), Some(Err(Beyond)), "{asked}");
        }
        for asked in ["bytes=0-1,4-5", "lines=1-2", "bytes=", "bytes=a-b", "bytes=-"] {
            assert_eq!(part(asked, 10), None, "{asked}");
        }
    }
}
