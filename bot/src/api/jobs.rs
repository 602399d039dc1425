//! Jobs over the API.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::{FromRequestParts, Path, State, rejection::JsonRejection},
    http::{HeaderName, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use riff_hub::{
    admission::Refusal,
    hub::{Ask, JobView},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Caller;
use crate::{problem::Problem, state::AppState};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewJob {
    channel: String,
    prompt: String,
}

/// Longest time that an answer is held for `Prefer: wait`.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// `Prefer: wait=SECONDS` (RFC 7240 §4.3): how long to hold the answer for the job to end.
pub(super) struct Wait(Duration);

impl<S: Sync> FromRequestParts<S> for Wait {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let preferences = parts.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let seconds = preferences
            .flat_map(|value| value.split([',', ';']))
            .find_map(|preference| preference.trim().strip_prefix("wait=")?.parse().ok());
        Ok(Self(seconds.map_or(Duration::ZERO, Duration::from_secs).min(MAX_WAIT)))
    }
}

/// `POST /api/v1/jobs`: 201 with the job; a line with permutations gives the others in `also`.
pub(super) async fn create(
    State(state): State<AppState>,
    Caller(member): Caller,
    Wait(wait): Wait,
    body: Result<Json<NewJob>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(new) = body.map_err(|error| {
        let detail = format!(
            "{}. Send {{\"channel\": \"general\", \"prompt\": \"a lighthouse\"}}.",
            error.body_text()
        );
        Problem::new(error.status(), "bad-request", detail)
    })?;
    state.web_channel(&new.channel).await?;
    let jobs = state.hub.submit(&Ask::public(&member, &new.channel), &new.prompt).await?;
    let [first, others @ ..] = jobs.as_slice() else {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-prompt", "The prompt made no job."));
    };
    state.hub.ended_within(&first.id, wait).await?;
    let mut body = answer(&state, &state.hub.view(&first.id).await?);
    body["also"] = others.iter().map(|job| Value::from(job.id.as_str())).collect();
    let location: [(HeaderName, String); 1] = [(header::LOCATION, format!("/api/v1/jobs/{}", first.id))];
    Ok((StatusCode::CREATED, location, Json(body)))
}

/// `GET /api/v1/jobs/{id}`. What its member alone may see is as good as not there.
pub(super) async fn show(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Wait(wait): Wait,
) -> Result<Json<Value>, Problem> {
    state.hub.ended_within(&id, wait).await?;
    let view = state.hub.view(&id).await?;
    if view.job.private {
        return Err(Refusal::Missing(format!("job “{id}”")).into());
    }
    Ok(Json(answer(&state, &view)))
}

/// `POST /api/v1/jobs/{id}/cancel`.
pub(super) async fn cancel(
    State(state): State<AppState>,
    Caller(member): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = state.hub.cancel(&member, &id).await?;
    Ok(Json(answer(&state, &state.hub.view(&job.id).await?)))
}

fn answer(state: &AppState, view: &JobView) -> Value {
    let outputs: Vec<Value> = view
        .outputs
        .iter()
        .map(|shown| {
            let output = &shown.output;
            json!({
                "url": format!("{}/blobs/{}", state.public_url, output.blob),
                "media_type": output.media_type,
                "bytes": output.bytes,
                "width": output.width,
                "height": output.height,
            })
        })
        .collect();
    json!({
        "id": view.job.id,
        "state": view.job.state,
        "channel": view.job.channel,
        "member": view.member,
        "model": view.model.name,
        "prompt": view.recipe.prompt,
        "recipe": view.job.recipe,
        "recipe_url": format!("{}/r/{}", state.public_url, view.job.recipe),
        "position": view.place.map(|place| place.position),
        "eta_seconds": view.place.and_then(|place| place.eta_ms).map(|ms| ms as f64 / 1_000.0),
        "progress": view.live.progress,
        "text": view.text(),
        "outputs": outputs,
        "reason": view.job.reason,
        "gpu_seconds": view.job.cost_ms.map(|ms| ms as f64 / 1_000.0),
        "created_at_ms": view.job.created_at,
        "finished_at_ms": view.job.finished_at,
    })
}
