//! Replicate's API as <https://replicate.com/docs/reference/http> documents it, in front of small models of its own. It
//! refuses every request that the reference does not allow, and remembers it as wrong.

#![allow(dead_code, reason = "each test program that starts it uses its part")]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Multipart, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

use crate::replicate_models::{self as models, MODELS, Model};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service with an account.
#[derive(Clone)]
pub struct Replicate {
    /// The address, with `/v1`.
    pub url: String,
    state: Arc<Kept>,
}

/// What a planned answer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Create,
    Get,
    Model,
    File,
    Stream,
}

struct Kept {
    url: String,
    token: String,
    predictions: watch::Sender<BTreeMap<String, Value>>,
    /// Bodies and headers of requests for predictions.
    asked: Mutex<Vec<(Value, HeaderMap)>>,
    wrong: Mutex<Vec<String>>,
    planned: Mutex<HashMap<Call, VecDeque<Response>>>,
    uploads: Mutex<BTreeMap<String, Bytes>>,
}

type Shared = State<Arc<Kept>>;

impl Replicate {
    /// Starts it; it ends with the test's runtime.
    pub async fn start(token: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Kept {
            url: url.clone(),
            token: token.to_owned(),
            predictions: watch::channel(BTreeMap::new()).0,
            asked: Mutex::default(),
            wrong: Mutex::default(),
            planned: Mutex::default(),
            uploads: Mutex::default(),
        });
        let api = Router::new()
            .route("/models/{owner}/{name}", get(model))
            .route("/models/{owner}/{name}/versions/{id}", get(version))
            .route("/models/{owner}/{name}/predictions", post(create_official))
            .route("/predictions", post(create))
            .route("/predictions/{id}", get(show))
            .route("/predictions/{id}/cancel", post(cancel))
            .route("/files", post(upload))
            .route("/files/{id}", get(uploaded))
            .layer(middleware::from_fn_with_state(state.clone(), authorize));
        let routes = Router::new()
            .nest("/v1", api)
            .route("/stream/{id}", get(words))
            .route("/delivery/{file}", get(delivery))
            .with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url: format!("{url}/v1"), state }
    }

    /// Answers the next call of a kind so.
    pub fn plan(&self, call: Call, answer: impl IntoResponse) {
        self.state.planned.lock().unwrap().entry(call).or_default().push_back(answer.into_response());
    }

    /// The bodies of all requests for predictions.
    pub fn asked(&self) -> Vec<Value> {
        self.state.asked.lock().unwrap().iter().map(|(body, _)| body.clone()).collect()
    }

    /// A header of the last request for a prediction.
    pub fn header(&self, name: &str) -> Option<String> {
        let asked = self.state.asked.lock().unwrap();
        asked.last()?.1.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// The statuses of all predictions that were begun, in their order.
    pub fn statuses(&self) -> Vec<String> {
        let predictions = self.state.predictions.borrow();
        predictions.values().map(|known| known["status"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the statuses are these.
    pub async fn reaches(&self, statuses: &[&str]) {
        let mut seen = self.state.predictions.subscribe();
        let reached = seen.wait_for(|known| {
            known.values().map(|one| one["status"].as_str().unwrap()).eq(statuses.iter().copied())
        });
        assert!(timeout(PATIENCE, reached).await.is_ok(), "{:?} are no {statuses:?}", self.statuses());
    }

    /// The files that were uploaded.
    pub fn uploads(&self) -> Vec<Bytes> {
        self.state.uploads.lock().unwrap().values().cloned().collect()
    }

    /// Requests that the reference does not allow.
    pub fn wrong(&self) -> Vec<String> {
        self.state.wrong.lock().unwrap().clone()
    }
}

impl Kept {
    fn planned(&self, call: Call) -> Option<Response> {
        self.planned.lock().unwrap().get_mut(&call)?.pop_front()
    }

    fn refuse(&self, status: StatusCode, why: String) -> Response {
        self.wrong.lock().unwrap().push(why.clone());
        (status, Json(json!({"title": "Bad request", "detail": why, "status": status.as_u16()})))
            .into_response()
    }

    fn change(&self, id: &str, change: impl FnMut(&mut Value)) {
        self.predictions.send_modify(|known| known.get_mut(id).into_iter().for_each(change));
    }

    fn status(&self, id: &str) -> String {
        self.predictions.borrow()[id]["status"].as_str().unwrap().to_owned()
    }
}

fn not_found() -> Response {
    (
        StatusCode::NOT_FOUND,
        Json(json!({"detail": "The requested resource could not be found.", "status": 404})),
    )
        .into_response()
}

async fn authorize(State(kept): Shared, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given != Some(format!("Bearer {}", kept.token).as_str()) {
        return kept
            .refuse(StatusCode::UNAUTHORIZED, "You did not pass a valid authentication token".to_owned());
    }
    next.run(request).await
}

async fn model(State(kept): Shared, Path((owner, name)): Path<(String, String)>) -> Response {
    if let Some(planned) = kept.planned(Call::Model) {
        return planned;
    }
    match models::find(&owner, &name) {
        Some(model) => Json(json!({
            "url": format!("https://replicate.com/{owner}/{name}"), "owner": owner, "name": name,
            "description": format!("The {name} of the tests."), "visibility": "public", "run_count": 1,
            "is_official": model.official, "latest_version": model.version(),
        }))
        .into_response(),
        None => not_found(),
    }
}

async fn version(State(_): Shared, Path((owner, name, id)): Path<(String, String, String)>) -> Response {
    match models::find(&owner, &name).filter(|model| model.id() == id) {
        Some(model) => Json(model.version()).into_response(),
        None => not_found(),
    }
}

async fn create(State(kept): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let version = body["version"].as_str().unwrap_or_default().to_owned();
    match MODELS.iter().find(|model| model.id() == version) {
        Some(model) => begin(kept, model, &["version", "input"], headers, body).await,
        None => {
            let detail =
                "The specified version does not exist (or perhaps you don't have permission to use it?)";
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                Json(json!({"title": "Invalid version or not permitted", "detail": detail, "status": 422})),
            )
                .into_response()
        }
    }
}

async fn create_official(
    State(kept): Shared,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    match models::find(&owner, &name).filter(|model| model.official) {
        Some(model) => begin(kept, model, &["input"], headers, body).await,
        None => not_found(),
    }
}

/// What of a request the reference does not allow.
fn fault(fields: &[&str], headers: &HeaderMap, body: &Value) -> Option<String> {
    let Some(known) = body.as_object() else { return Some("the body is no object".to_owned()) };
    if let Some(other) = known.keys().find(|key| !fields.contains(&key.as_str())) {
        return Some(format!("{other} is not allowed there"));
    }
    if !body["input"].is_object() {
        return Some("input is no object".to_owned());
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let seconds = |text: &str| text.parse::<u32>().is_ok_and(|seconds| (1..=60).contains(&seconds));
    if let Some(prefer) = text("prefer").filter(|prefer| !prefer.strip_prefix("wait=").is_some_and(seconds)) {
        return Some(format!("Prefer: {prefer} is not wait=1 to wait=60"));
    }
    let deadline = text("cancel-after").unwrap_or_default();
    let whole = deadline.strip_suffix('s').and_then(|seconds| seconds.parse::<u64>().ok());
    whole
        .is_none_or(|seconds| seconds < 5)
        .then(|| format!("Cancel-After: {deadline} is no duration of 5s or more"))
}

async fn begin(
    kept: Arc<Kept>,
    model: &'static Model,
    fields: &[&str],
    headers: HeaderMap,
    body: Value,
) -> Response {
    kept.asked.lock().unwrap().push((body.clone(), headers.clone()));
    if let Some(planned) = kept.planned(Call::Create) {
        return planned;
    }
    if let Some(why) = fault(fields, &headers, &body) {
        return kept.refuse(StatusCode::BAD_REQUEST, why);
    }
    if let Some(refusal) = model.refusal(&body["input"]) {
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(refusal)).into_response();
    }
    let id = format!("pr{:04}", kept.predictions.borrow().len());
    let place = format!("{}/v1/predictions/{id}", kept.url);
    let mut urls = json!({"get": place, "cancel": format!("{place}/cancel")});
    if model.streams() {
        urls["stream"] = format!("{}/stream/{id}", kept.url).into();
    }
    let prediction = json!({"id": id, "model": model.path(), "version": model.id(), "input": body["input"], "output": null,
        "error": null, "logs": "", "status": "starting", "urls": urls, "metrics": {}, "created_at": "2026-11-25T00:00:00Z"});
    kept.predictions.send_modify(|known| drop(known.insert(id.clone(), prediction)));
    tokio::spawn(work(kept.clone(), id.clone(), model, body["input"].clone()));
    let hold =
        headers.get("prefer").and_then(|prefer| prefer.to_str().ok()?.strip_prefix("wait=")?.parse().ok());
    if let Some(seconds) = hold {
        let mut seen = kept.predictions.subscribe();
        let ended = seen.wait_for(|known| models::has_ended(&known[&id]));
        let _ = timeout(Duration::from_secs(seconds), ended).await;
    }
    (StatusCode::CREATED, Json(kept.predictions.borrow()[&id].clone())).into_response()
}

/// Runs a model until it ended or was cancelled.
async fn work(kept: Arc<Kept>, id: String, model: &'static Model, input: Value) {
    let mut steps = models::steps(model, &input, &format!("{}/delivery", kept.url)).into_iter();
    loop {
        if kept.status(&id) == "canceled" {
            return;
        }
        let Some(step) = steps.next() else { return };
        kept.change(&id, |known| step.apply(known));
        tokio::time::sleep(step.pause).await;
    }
}

async fn show(State(kept): Shared, Path(id): Path<String>) -> Response {
    if let Some(planned) = kept.planned(Call::Get) {
        return planned;
    }
    let known = kept.predictions.borrow().get(&id).cloned();
    known.map_or_else(not_found, |known| Json(known).into_response())
}

async fn cancel(State(kept): Shared, Path(id): Path<String>) -> Response {
    if !kept.predictions.borrow().contains_key(&id) {
        return not_found();
    }
    kept.change(&id, |known| {
        if !models::has_ended(known) {
            known["status"] = "canceled".into();
            if known["started_at"].is_string() {
                known["metrics"]["predict_time"] = models::CANCELLED_AFTER.into();
            }
        }
    });
    Json(kept.predictions.borrow()[&id].clone()).into_response()
}

async fn upload(State(kept): Shared, mut form: Multipart) -> Response {
    let Some(field) = form.next_field().await.unwrap() else {
        return kept.refuse(StatusCode::BAD_REQUEST, "there is no content".to_owned());
    };
    let is_content = field.name() == Some("content");
    if !(is_content && field.file_name().is_some() && field.content_type().is_some()) {
        let why = format!("{:?} is no content with a filename and a type", field.name());
        return kept.refuse(StatusCode::BAD_REQUEST, why);
    }
    let bytes = field.bytes().await.unwrap();
    let mut uploads = kept.uploads.lock().unwrap();
    let id = format!("file{}", uploads.len());
    uploads.insert(id.clone(), bytes);
    let place = format!("{}/v1/files/{id}", kept.url);
    (StatusCode::CREATED, Json(json!({"id": id, "urls": {"get": place}}))).into_response()
}

async fn uploaded(State(kept): Shared, Path(id): Path<String>) -> Response {
    kept.uploads.lock().unwrap().get(&id).cloned().map_or_else(not_found, IntoResponse::into_response)
}

/// The words of a prediction as events, as they come.
async fn words(State(kept): Shared, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if let Some(planned) = kept.planned(Call::Stream) {
        return planned;
    }
    assert_eq!(headers[header::ACCEPT], "text/event-stream");
    let begin = (kept.predictions.subscribe(), 0, false);
    let events = stream::unfold(begin, move |(mut seen, told, over)| {
        let id = id.clone();
        async move {
            if over {
                return None;
            }
            let known = seen
                .wait_for(|known| models::count(&known[&id]) > told || models::has_ended(&known[&id]))
                .await;
            let known = known.unwrap()[&id].clone();
            let (event, told, over) = match known["output"].get(told) {
                Some(piece) => (models::event("output", piece.as_str().unwrap()), told + 1, false),
                None => (models::event("done", "{}"), told, true),
            };
            Some((Ok::<_, std::convert::Infallible>(event), (seen, told, over)))
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

async fn delivery(State(kept): Shared, Path(file): Path<String>, headers: HeaderMap) -> Response {
    if let Some(planned) = kept.planned(Call::File) {
        return planned;
    }
    let _ = headers;
    models::delivered(&file).map_or_else(not_found, |bytes| bytes.into_response())
}
