//! The JSON API: one more front door to the same loop. Whoever calls it is the member that the token speaks for.

mod jobs;

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, State},
    http::{HeaderMap, StatusCode, Uri, header, request::Parts},
    routing::{get, post},
};
use riff_hub::{
    canonical::Digest,
    recipe::Recipe,
    store::{Member, TokenKind},
};

use crate::{problem::Problem, state::AppState};

/// The routes under `/api/v1`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/jobs", post(jobs::create))
        .route("/jobs/{id}", get(jobs::show))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/recipes/{id}", get(recipe))
        .fallback(nothing_there)
}

async fn nothing_there(uri: Uri) -> Problem {
    let detail = format!("There is no “{}” here: docs/api.md lists what there is.", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not-found", detail)
}

/// Recipes are public, as everything made from them is.
async fn recipe(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Recipe>, Problem> {
    let missing =
        || Problem::new(StatusCode::NOT_FOUND, "not-found", format!("There is no recipe “{id}” here."));
    let digest: Digest = id.parse().map_err(|_| missing())?;
    state.hub.store.recipe(digest).await?.map(Json).ok_or_else(missing)
}

/// The member that a request's token speaks for.
pub(super) struct Caller(pub Member);

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let secret = bearer(&parts.headers)?;
        let store = &state.hub.store;
        let member = match store.token_subject(secret, TokenKind::Member).await? {
            Some(id) => store.member(&id).await?,
            None => None,
        };
        member.map(Self).ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "bad-token",
                "This token is unknown or revoked: make one with `riff token create --member NAME`.",
            )
        })
    }
}

/// The secret of an `Authorization: Bearer …` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim).ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "no-token",
            "This needs a token: send the header “Authorization: Bearer TOKEN”.",
        )
    })
}
