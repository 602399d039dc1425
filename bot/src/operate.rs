//! What operators and their programs ask a hub: whether it lives, whether it can take requests, and its metrics. Metrics are
//! served on an address of their own (`operate.listen`), because they are not for everybody who can reach the web channel.

use std::time::Duration;

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{problem::Problem, settings::Operate, state::AppState};

/// How long database and blobs have to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How old an answer to `/readyz` may be: anybody may ask, and nobody shall make the database work by it.
const FRESH: Duration = Duration::from_secs(1);
/// <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What was found when database and blobs were last asked; held while they are.
#[derive(Default)]
pub struct Readiness(Mutex<Option<(Instant, Result<(), String>)>>);

/// The routes that are on every address: for balancers and supervisors.
pub fn health() -> Router<AppState> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

/// Serves health and metrics on the address of the settings, where there is one.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve(
    settings: &Operate,
    state: AppState,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(address) = settings.listen.0 else {
        return Ok(());
    };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another address with RIFF_OPERATE__LISTEN")
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    tracing::info!(url, "metrics");
    let app = health().route("/metrics", get(metrics)).with_state(state);
    let server = axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "metrics are served no more");
        }
    });
    Ok(())
}

/// `GET /healthz`: the process answers. Whoever gets no answer starts it anew.
async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// `GET /readyz`: whether requests may be sent here.
async fn readyz(State(state): State<AppState>) -> Result<Json<Value>, Problem> {
    let unready = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why);
    if state.draining.is_cancelled() {
        return Err(unready("This hub is about to stop.".to_owned()));
    }
    state.readiness.look(&state).await.map_err(unready)?;
    Ok(Json(json!({"status": "ready"})))
}

impl Readiness {
    async fn look(&self, state: &AppState) -> Result<(), String> {
        let mut found = self.0.lock().await;
        if let Some((at, answer)) = &*found
            && at.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = match timeout(PATIENCE, state.hub.ready()).await {
            Ok(ready) => ready.map_err(|refusal| refusal.to_string()),
            Err(_) => Err(format!("Database or blobs do not answer within {} s.", PATIENCE.as_secs())),
        };
        *found = Some((Instant::now(), answer.clone()));
        answer
    }
}

/// `GET /metrics`.
async fn metrics(State(state): State<AppState>) -> Result<Response, Problem> {
    state.hub.observe().await?;
    let text = state.metrics.text().map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "metrics",
            format!("They cannot be written: {error}."),
        )
    })?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
