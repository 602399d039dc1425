//! Pictures to look at: results made small, in the best format that the browser takes. The results themselves, with
//! their recipes, are at `/blobs/{digest}`.

use axum::{
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use riff_hub::{
    admission::Refusal,
    canonical::Digest,
    hub::Look,
    pictures::{Format, Quality},
};
use serde::Deserialize;

use super::files::FOREVER;
use crate::{problem::Problem, state::AppState};

/// Sizes that are made; what is asked for is rounded up to one. Few, so that each is made once and found again.
const SIDES: [u32; 4] = [256, 512, 1_024, 2_048];
/// Quality at which artefacts are not seen beside the original.
const QUALITY: Quality = 85;

/// How large.
#[derive(Debug, Deserialize)]
pub struct Size {
    /// Pixels of the longer side.
    #[serde(default = "usual")]
    side: u32,
}

fn usual() -> u32 {
    1_024
}

/// `GET /pictures/{digest}?side=N`.
pub async fn picture(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Query(size): Query<Size>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let digest: Digest = name.parse().map_err(|_| Refusal::Missing(format!("picture “{name}”")))?;
    let look = look(&size, &headers);
    Ok(answer(look, state.hub.look(digest, look).await?))
}

/// `GET /jobs/{job}/sheet?side=N`: all pictures of a post in one.
pub async fn sheet(
    State(state): State<AppState>,
    Path(job): Path<String>,
    Query(size): Query<Size>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = state.hub.view(&job).await?;
    if view.job.private {
        return Err(Refusal::Missing(format!("job “{job}”")).into());
    }
    let look = look(&size, &headers);
    Ok(answer(look, state.hub.sheet(&view, look).await?))
}

fn look(size: &Size, headers: &HeaderMap) -> Look {
    let side = SIDES.into_iter().find(|side| *side >= size.side).unwrap_or(SIDES[SIDES.len() - 1]);
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    Look { side, format: best(accept) }
}

fn answer(look: Look, bytes: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, look.format.media_type()),
        (header::CACHE_CONTROL, FOREVER),
        (header::VARY, "Accept"),
    ];
    (headers, bytes).into_response()
}

/// The smallest format that a reader names. Who takes anything (`*/*`, as programs that show links say) gets what everybody
/// can read.
fn best(accept: &str) -> Format {
    match takes(accept, "image/webp") || takes(accept, "image/*") {
        true => Format::WebP(QUALITY),
        false if takes(accept, "image/png") && !takes(accept, "image/jpeg") && !takes(accept, "*/*") => {
            Format::Png
        }
        false => Format::Jpeg(QUALITY),
    }
}

/// Whether a field `Accept` names a media type (RFC 9110, section 12.5.1), other than to refuse it (`;q=0`).
fn takes(accept: &str, wanted: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        named && weight.is_ok_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_smallest_that_the_reader_names() {
        let chrome = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
        let safari = "image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5";
        for accept in [chrome, safari, "IMAGE/WebP", "image/jpeg, image/webp;q=0.1"] {
            assert_eq!(best(accept), Format::WebP(QUALITY), "{accept}");
        }
        for accept in ["", "*/*", "image/jpeg", "image/png, image/jpeg", "image/webp;q=0, */*", "text/html"] {
            assert_eq!(best(accept), Format::Jpeg(QUALITY), "{accept}");
        }
        assert_eq!(best("image/png"), Format::Png);
    }

    #[test]
    fn sizes_are_few() {
        let side = |asked| look(&Size { side: asked }, &HeaderMap::new()).side;
        assert_eq!([1, 256, 257, 1_024, 9_999].map(side), [256, 256, 512, 1_024, 2_048]);
    }
}
