//! The workers' endpoint: the protocol of `docs/worker-protocol.md` over HTTP. A worker is whom its token says it is.

use std::time::Duration;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use riff_hub::{admission::Refusal, canonical::Digest, media, store::TokenKind, wire};
use serde::Deserialize;

use crate::{api::bearer, problem::Problem, state::AppState, web::files};

/// Largest JSON body: a hello with many models.
const MAX_JSON: usize = 4 * 1_024 * 1_024;

/// The routes under `/worker/v1`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/hello", post(hello))
        .route("/lease", post(lease))
        .route("/jobs/{job}/report", post(report))
        .route("/jobs/{job}/signal", get(signal))
        .route("/me", get(me))
        .route("/bye", post(bye))
        .route("/jobs/{job}/release", post(release))
        .route("/jobs/{job}/complete", post(complete))
        .route("/jobs/{job}/fail", post(fail))
        .route("/blobs/{digest}", get(blob))
        .layer(DefaultBodyLimit::max(MAX_JSON))
        .route("/jobs/{job}/outputs/{index}", put(output).layer(DefaultBodyLimit::max(media::MAX_BYTES)))
}

/// The name of the worker that a request's token speaks for.
struct Worker(String);

impl FromRequestParts<AppState> for Worker {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let secret = bearer(&parts.headers)?;
        let name = state.hub.store.token_subject(secret, TokenKind::Worker).await?;
        name.map(Self).ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "bad-token",
                "This token is unknown or revoked: make one with `riff token create --worker NAME`.",
            )
        })
    }
}

async fn hello(
    State(state): State<AppState>,
    Worker(name): Worker,
    Json(hello): Json<wire::Hello>,
) -> Result<Json<wire::Welcome>, Problem> {
    Ok(Json(state.hub.hello(&name, &hello).await?))
}

async fn lease(
    State(state): State<AppState>,
    Worker(name): Worker,
    Json(request): Json<wire::LeaseRequest>,
) -> Result<Response, Problem> {
    let leased = tokio::select! {
        leased = state.hub.lease(&name, &request) => leased?,
        () = state.draining.cancelled() => None,
    };
    Ok(match leased {
        Some(lease) => Json(lease).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn me(State(state): State<AppState>, Worker(name): Worker) -> Result<Json<wire::Standing>, Problem> {
    Ok(Json(state.hub.standing(&name).await?))
}

async fn bye(State(state): State<AppState>, Worker(name): Worker) -> Result<StatusCode, Problem> {
    state.hub.bye(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn release(
    State(state): State<AppState>,
    Worker(name): Worker,
    Path(job): Path<String>,
    Json(release): Json<wire::Release>,
) -> Result<StatusCode, Problem> {
    state.hub.release(&name, &job, release).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn report(
    State(state): State<AppState>,
    Worker(name): Worker,
    Path(job): Path<String>,
    Json(report): Json<wire::Report>,
) -> Result<Json<wire::Signalled>, Problem> {
    let signal = state.hub.report(&name, &job, report).await?;
    Ok(Json(wire::Signalled { signal }))
}

#[derive(Deserialize)]
struct Holding {
    attempt: u32,
    #[serde(default)]
    wait_ms: u64,
}

async fn signal(
    State(state): State<AppState>,
    Worker(name): Worker,
    Path(job): Path<String>,
    Query(holding): Query<Holding>,
) -> Result<Json<wire::Signalled>, Problem> {
    let hold = Duration::from_millis(holding.wait_ms);
    let signal = tokio::select! {
        signal = state.hub.signal(&name, &job, holding.attempt, hold) => signal?,
        () = state.draining.cancelled() => wire::Signal::Continue,
    };
    Ok(Json(wire::Signalled { signal }))
}

async fn output(
    State(state): State<AppState>,
    Worker(name): Worker,
    Path((job, index)): Path<(String, u32)>,
    Query(holding): Query<Holding>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<wire::Stored>, Problem> {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let held = (name.as_str(), job.as_str(), holding.attempt);
    Ok(Json(state.hub.store_output(held, index, media_type, bytes).await?))
}

async fn complete(
    State(state): State<AppState>,
    Worker(name): Worker,
    Path(job): Path<String>,
    Json(done): Json<wire::Complete>,
) -> Result<StatusCode, Problem> {
    state.hub.complete(&name, &job, &done).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn fail(
    State(state): State<AppState>,
    Worker(name): Worker,
    Path(job): Path<String>,
    Json(fail): Json<wire::Fail>,
) -> Result<StatusCode, Problem> {
    state.hub.fail(&name, &job, &fail).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A picture that a recipe's inputs name.
async fn blob(
    State(state): State<AppState>,
    Worker(_): Worker,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let digest: Digest = name.parse().map_err(|_| Refusal::Missing(format!("file “{name}”")))?;
    files::whole(state.hub.blobs.flow(digest).await?).await
}
