//! Jobs over the API.

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{HeaderName, StatusCode, header},
    response::IntoResponse,
};
use riff_hub::hub::JobView;
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

/// `POST /api/v1/jobs`: 201 with the job; a line with permutations gives the others in `also`.
pub(super) async fn create(
    State(state): State<AppState>,
    Caller(member): Caller,
    body: Result<Json<NewJob>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(new) = body.map_err(|error| {
        let detail = format!(
            "{}. Send {{\"channel\": \"general\", \"prompt\": \"a lighthouse\"}}.",
            error.body_text()
        );
        Problem::new(error.status(), "bad-request", detail)
    })?;
    let jobs = state.hub.submit(&member, &new.channel, &new.prompt).await?;
    let [first, others @ ..] = jobs.as_slice() else {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-prompt", "The prompt made no job."));
    };
    let mut body = answer(&state, &state.hub.view(&first.id).await?);
    body["also"] = others.iter().map(|job| Value::from(job.id.as_str())).collect();
    let location: [(HeaderName, String); 1] = [(header::LOCATION, format!("/api/v1/jobs/{}", first.id))];
    Ok((StatusCode::CREATED, location, Json(body)))
}

/// `GET /api/v1/jobs/{id}`.
pub(super) async fn show(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(answer(&state, &state.hub.view(&id).await?)))
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
