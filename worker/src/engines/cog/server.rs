//! The server's side of the HTTP API, a method a call: <https://cog.run/http/>. Every answer is read within limits.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest12::{Client, RequestBuilder, Response, StatusCode, Url, header::ACCEPT};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{
    predictor::{
        Prediction,
        output::{Fetch, MAX_FILE},
    },
    section::Endpoint,
};
use crate::{engine::EngineError, http};

/// Longest wait for an answer that takes no work.
const PATIENCE: Duration = Duration::from_secs(15);
/// Largest schema, in bytes.
const MAX_SCHEMA: usize = 2 << 20;
/// Largest answer to a prediction, in bytes: four pictures of the hub's limit (32 MiB) in base64.
pub const MAX_ANSWER: usize = 176 << 20;

/// A Cog server.
pub struct Server {
    http: Client,
    url: Url,
}

/// What the server says of itself.
#[derive(Debug, Deserialize)]
pub struct Health {
    /// `STARTING`, `READY`, `BUSY`, `SETUP_FAILED`, `DEFUNCT` or `UNHEALTHY`.
    pub status: String,
    #[serde(default)]
    setup: Option<Setup>,
    /// Versions of its parts, in newer servers.
    #[serde(default)]
    pub version: Value,
    #[serde(default)]
    user_healthcheck_error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Setup {
    #[serde(default)]
    logs: String,
}

impl Health {
    /// Whether it takes predictions, now or when it is done with another.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] saying what it is busy with, or what went wrong.
    pub fn check(&self) -> Result<(), EngineError> {
        let last =
            self.setup.as_ref().and_then(|setup| setup.logs.lines().last()).unwrap_or("it left no log");
        let reason = match self.status.as_str() {
            "READY" | "BUSY" => return Ok(()),
            "STARTING" => "the model is still being set up".to_owned(),
            "SETUP_FAILED" => format!("the model's setup failed: {}", http::quoted(last)),
            "DEFUNCT" => "the model has broken down; start its server anew".to_owned(),
            "UNHEALTHY" => {
                let why = self.user_healthcheck_error.as_deref().unwrap_or("it does not say why");
                format!("the model is not well: {}", http::quoted(why))
            }
            other => format!("its health is {other:?}, where READY was expected"),
        };
        Err(EngineError::Unavailable(reason))
    }
}

/// What the server made of a request for a prediction.
pub enum Answer {
    /// The prediction's end.
    Ended(Prediction),
    /// It has no room now.
    Full,
    /// It has a prediction of that id in hand: one of an earlier attempt, which nobody waits for.
    InHand,
}

/// What a model that streams sends.
pub enum Event {
    /// A piece of output.
    Output(Value),
    /// Something printed.
    Log(String),
    /// The end.
    Ended(Prediction),
}

impl Server {
    /// The server of a section.
    pub fn new(endpoint: &Endpoint) -> Self {
        Self { http: endpoint.http.clone(), url: endpoint.url.clone() }
    }

    /// How it is.
    pub async fn health(&self) -> Result<Health, EngineError> {
        let response = http::send(self.http.get(self.at("health-check")).timeout(PATIENCE)).await?;
        http::json(response, MAX_SCHEMA).await
    }

    /// Its OpenAPI document.
    pub async fn schema(&self) -> Result<Value, EngineError> {
        let response = http::send(self.http.get(self.at("openapi.json")).timeout(PATIENCE)).await?;
        match response.status() {
            StatusCode::OK => http::json(response, MAX_SCHEMA).await,
            status => Err(EngineError::Unavailable(format!(
                "{} answers {status}: a Cog server gives its schema there; build the model with `cog build`, or add \
                 .cog/openapi_schema.json",
                self.at("openapi.json")
            ))),
        }
    }

    /// Runs a prediction and holds the line until it ended. Whoever drops the future cancels the prediction.
    pub async fn predict(&self, id: &str, request: &Value) -> Result<Answer, EngineError> {
        let response = http::send(self.put(id, request)).await?;
        let status = response.status();
        match status {
            StatusCode::OK => Ok(Answer::Ended(http::json(response, MAX_ANSWER).await?)),
            StatusCode::ACCEPTED => Ok(Answer::InHand),
            StatusCode::CONFLICT => Ok(Answer::Full),
            _ => Err(refusal(response).await),
        }
    }

    /// Begins a prediction, or looks at one of that id: `None` if there is no room for it now.
    pub async fn begin(&self, id: &str, request: &Value) -> Result<Option<Prediction>, EngineError> {
        let request = self.put(id, request).header("Prefer", "respond-async").timeout(PATIENCE);
        let response = http::send(request).await?;
        match response.status() {
            StatusCode::OK | StatusCode::ACCEPTED => Ok(Some(http::json(response, MAX_ANSWER).await?)),
            StatusCode::CONFLICT => Ok(None),
            _ => Err(refusal(response).await),
        }
    }

    /// Whether there is a prediction of that id, which is then stopped.
    pub async fn stops(&self, id: &str) -> Result<bool, EngineError> {
        let request = self.http.post(self.at(&format!("predictions/{id}/cancel"))).timeout(PATIENCE);
        Ok(http::send(request).await?.status() != StatusCode::NOT_FOUND)
    }

    /// Runs a prediction of a model that streams: `None` if there is no room for it now.
    pub async fn stream(
        &self,
        id: &str,
        request: &Value,
    ) -> Result<Option<impl Stream<Item = Result<Event, EngineError>> + use<>>, EngineError> {
        let response = http::send(self.put(id, request).header(ACCEPT, "text/event-stream")).await?;
        match response.status() {
            StatusCode::OK => Ok(Some(events(response))),
            StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => Ok(None),
            _ => Err(refusal(response).await),
        }
    }

    /// Asks for a prediction to be stopped. One that is not there is stopped already.
    pub fn cancel(&self, id: &str) -> impl Future<Output = ()> + use<> {
        let request = self.http.post(self.at(&format!("predictions/{id}/cancel"))).timeout(PATIENCE);
        let id = id.to_owned();
        async move {
            if let Err(error) = http::send(request).await {
                tracing::warn!(prediction = id, %error, "it could not be cancelled");
            }
        }
    }

    fn put(&self, id: &str, request: &Value) -> RequestBuilder {
        self.http.put(self.at(&format!("predictions/{id}"))).json(request)
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", url.path()));
        url
    }
}

#[async_trait]
impl Fetch for Server {
    async fn fetch(&self, url: Url) -> Result<Bytes, EngineError> {
        let response = http::send(self.http.get(url.clone()).timeout(4 * PATIENCE)).await?;
        match response.status().is_success() {
            true => http::read(response, MAX_FILE).await,
            false => Err(EngineError::Failed(format!("the result at {url} answers {}", response.status()))),
        }
    }
}

fn events(response: Response) -> impl Stream<Item = Result<Event, EngineError>> {
    let read = |event: Result<eventsource_stream::Event, EngineError>| async move {
        match event {
            Ok(event) => read_event(&event.event, &event.data).transpose(),
            Err(error) => Some(Err(error)),
        }
    };
    http::events(response, MAX_ANSWER).filter_map(read)
}

/// Events that say nothing of output, log or end are `None`.
fn read_event(name: &str, data: &str) -> Result<Option<Event>, EngineError> {
    let bad = |error| EngineError::Failed(format!("the server's event {name:?} cannot be read: {error}"));
    let value: Value = match name {
        "output" | "log" | "completed" | "error" => serde_json::from_str(data).map_err(bad)?,
        _ => return Ok(None),
    };
    match name {
        "output" => Ok(Some(Event::Output(value["chunk"].clone()))),
        "log" => Ok(value["data"].as_str().map(|data| Event::Log(data.to_owned()))),
        "completed" => serde_json::from_value(value).map(Event::Ended).map(Some).map_err(bad),
        _ => Err(EngineError::Failed(format!("the server dropped the stream: {}", http::quoted(data)))),
    }
}

/// Why a prediction was not even begun.
async fn refusal(response: Response) -> EngineError {
    let status = response.status();
    let body: Value = match http::json(response, MAX_SCHEMA).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    let problems = body["detail"].as_array().into_iter().flatten().map(|problem| {
        let place = problem["loc"].as_array().and_then(|loc| loc.last()).and_then(Value::as_str);
        format!("{}: {}", place.unwrap_or("input"), problem["msg"].as_str().unwrap_or_default())
    });
    let problems = problems.collect::<Vec<_>>().join("; ");
    let error = body.get("error").and_then(Value::as_str).unwrap_or_default();
    let said = http::quoted(match problems.is_empty() {
        false => &problems,
        true if !error.is_empty() => error,
        true => {
            return EngineError::Failed(format!(
                "the server answers {status}: {}",
                http::quoted(&body.to_string())
            ));
        }
    });
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => {
            EngineError::Input(format!("the model refuses its inputs: {said}"))
        }
        StatusCode::SERVICE_UNAVAILABLE => EngineError::Unavailable(said),
        _ => EngineError::Failed(format!("the server answers {status}: {said}")),
    }
}

/// The body of a request for a prediction.
pub fn request(id: &str, input: Value, webhook: Option<(String, &[&str])>) -> Value {
    let mut request = json!({"id": id, "input": input});
    if let Some((url, events)) = webhook {
        request["webhook"] = url.into();
        request["webhook_events_filter"] = json!(events);
    }
    request
}
