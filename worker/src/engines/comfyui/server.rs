//! The server's side of the HTTP API, a method a call:
//! <https://docs.comfy.org/development/comfyui-server/comms_routes>. Every answer is read within limits.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest12::{
    Client, Response, StatusCode, Url,
    multipart::{Form, Part},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use tokio_rustls::rustls::ClientConfig;

use super::socket::Source;
use crate::{
    engine::EngineError,
    engines::{is_out_of_memory, section::Endpoint},
    http,
};

/// Longest wait for an answer that takes no work.
const PATIENCE: Duration = Duration::from_secs(15);
/// Largest answer that is no picture, in bytes. A server's queue holds the whole workflow of every prompt.
const MAX_ANSWER: usize = 32 << 20;
/// Largest result, in bytes: the hub's limit.
const MAX_FILE: usize = riff_hub::media::MAX_BYTES;
/// Folder of the server's inputs where pictures of recipes go.
const FOLDER: &str = "riff";

/// A ComfyUI server.
#[derive(Clone)]
pub struct Server {
    http: Client,
    url: Url,
    tls: Arc<ClientConfig>,
}

/// What the server made of a prompt.
pub enum Queued {
    /// It waits or runs, under this name.
    As(String),
    /// It does not pass the server's checks: the answer's `error` and `node_errors`.
    Refused(Value),
}

/// A file among the server's outputs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct File {
    /// Its name.
    pub filename: String,
    /// The folder within the outputs.
    #[serde(default)]
    pub subfolder: String,
    /// `output`, or `temp` for previews.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// A prompt in the server's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub prompt: String,
    /// Whose it is.
    pub client: String,
    /// Whether it runs; else it waits.
    pub running: bool,
}

impl Server {
    /// The server of a section.
    pub fn new(endpoint: &Endpoint) -> Self {
        let Endpoint { url, http, tls, .. } = endpoint.clone();
        Self { http, url, tls }
    }

    /// Its version.
    pub async fn version(&self) -> Result<String, EngineError> {
        let stats: Value = self.get("system_stats", &[]).await?;
        match stats["system"].is_object() {
            true => Ok(stats["system"]["comfyui_version"].as_str().unwrap_or("unknown").to_owned()),
            false => Err(EngineError::Unavailable(format!(
                "{} is no ComfyUI: its system_stats is {}",
                self.url,
                http::quoted(&stats.to_string())
            ))),
        }
    }

    /// What it says of a kind of node; `None` if it has no such kind.
    pub async fn class(&self, name: &str) -> Result<Option<Value>, EngineError> {
        let mut info: Value = self.get("object_info", &[name]).await?;
        Ok(info.get_mut(name).map(Value::take).filter(Value::is_object))
    }

    /// Queues a prompt for a client.
    pub async fn prompt(&self, prompt: &Value, client: &str) -> Result<Queued, EngineError> {
        // Servers since December 2025 make previews as a prompt wishes; older ones go by their own `--preview-method`.
        let body = json!({"prompt": prompt, "client_id": client, "extra_data": {"preview_method": "auto"}});
        let request = self.http.post(self.at("prompt", &[])).timeout(PATIENCE).json(&body);
        let response = http::send(request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST => return read(response).await.map(Queued::Refused),
            _ => return Err(unexpected(response).await),
        }
        let answer: Value = read(response).await?;
        if answer["node_errors"].as_object().is_some_and(|errors| !errors.is_empty()) {
            let errors = http::quoted(&answer["node_errors"].to_string());
            tracing::warn!(server = %self.url, errors, "the server leaves a part of the workflow out");
        }
        match answer["prompt_id"].as_str() {
            Some(id) => Ok(Queued::As(id.to_owned())),
            None => Err(EngineError::Failed(format!(
                "the server answers a prompt without a prompt_id: {}",
                http::quoted(&answer.to_string())
            ))),
        }
    }

    /// What became of a prompt; `None` while it waits or runs, or if the server does not know it.
    pub async fn history(&self, prompt: &str) -> Result<Option<Value>, EngineError> {
        let mut history: Value = self.get("history", &[prompt]).await?;
        Ok(history.get_mut(prompt).map(Value::take))
    }

    /// The prompts that run and wait.
    pub async fn queue(&self) -> Result<Vec<Item>, EngineError> {
        let queue: Value = self.get("queue", &[]).await?;
        let of = |key: &str, running| {
            let item = move |item: &Value| {
                Some(Item {
                    prompt: item[1].as_str()?.to_owned(),
                    client: item[3]["client_id"].as_str().unwrap_or_default().to_owned(),
                    running,
                })
            };
            queue[key].as_array().into_iter().flatten().filter_map(item).collect::<Vec<_>>()
        };
        Ok([of("queue_running", true), of("queue_pending", false)].concat())
    }

    /// Takes a prompt out of the queue, or stops it. Servers before September 2025 stop whatever runs, so this is only
    /// for prompts that [`Self::queue`] just had.
    pub async fn stop(&self, item: &Item) -> Result<(), EngineError> {
        let (path, body) = match item.running {
            true => ("interrupt", json!({"prompt_id": item.prompt})),
            false => ("queue", json!({"delete": [item.prompt]})),
        };
        let response = http::send(self.http.post(self.at(path, &[])).timeout(PATIENCE).json(&body)).await?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(unexpected(response).await),
        }
    }

    /// Puts a picture among the server's inputs; gives what workflows call it.
    pub async fn upload(&self, name: &str, png: Bytes) -> Result<String, EngineError> {
        let length = png.len() as u64;
        let part =
            Part::stream_with_length(png, length).file_name(format!("{name}.png")).mime_str("image/png");
        let part =
            part.map_err(|error| EngineError::Failed(format!("the picture cannot be sent: {error}")))?;
        let form = Form::new().part("image", part).text("type", "input").text("subfolder", FOLDER);
        let response =
            http::send(self.http.post(self.at("upload/image", &[])).timeout(4 * PATIENCE).multipart(form))
                .await?;
        if response.status() != StatusCode::OK {
            return Err(unexpected(response).await);
        }
        let answer: Value = read(response).await?;
        match (answer["subfolder"].as_str().unwrap_or_default(), answer["name"].as_str()) {
            ("", Some(name)) => Ok(name.to_owned()),
            (folder, Some(name)) => Ok(format!("{folder}/{name}")),
            (_, None) => Err(EngineError::Failed(format!(
                "the server answers an upload without a name: {}",
                http::quoted(&answer.to_string())
            ))),
        }
    }

    /// A file among the outputs.
    pub async fn view(&self, file: &File) -> Result<Bytes, EngineError> {
        let query = [("filename", &file.filename), ("subfolder", &file.subfolder), ("type", &file.kind)];
        let request = self.http.get(self.at("view", &[])).query(&query).timeout(4 * PATIENCE);
        let response = http::send(request).await?;
        match response.status() {
            StatusCode::OK => http::read(response, MAX_FILE).await,
            StatusCode::NOT_FOUND => Err(EngineError::Failed(format!(
                "the server made {:?} and does not have it any more",
                file.filename
            ))),
            _ => Err(unexpected(response).await),
        }
    }

    /// Where events of a client come from.
    pub fn events(&self, client: &str) -> Source {
        let mut url = self.at("ws", &[]);
        url.query_pairs_mut().append_pair("clientId", client);
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        // All four are special schemes, so this succeeds.
        let _ = url.set_scheme(scheme);
        Source { url, tls: self.tls.clone() }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, more: &[&str]) -> Result<T, EngineError> {
        let response = http::send(self.http.get(self.at(path, more)).timeout(PATIENCE)).await?;
        match response.status() {
            StatusCode::OK => read(response).await,
            _ => Err(unexpected(response).await),
        }
    }

    fn at(&self, path: &str, more: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path.split('/')).extend(more);
        }
        url
    }
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, EngineError> {
    http::python_json(response, MAX_ANSWER).await
}

/// What a status that the call does not have means.
async fn unexpected(response: Response) -> EngineError {
    let (status, url) = (response.status(), response.url().clone());
    let said = http::read(response, MAX_ANSWER).await.unwrap_or_default();
    let said = http::quoted(&String::from_utf8_lossy(&said));
    let words = format!("{url} answers {status}: {said:?}");
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => EngineError::Unavailable(format!(
            "{words}; ComfyUI itself asks for no password: point `url` at it, not at what guards it"
        )),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            EngineError::Unavailable(format!("{words}; is `url` the address of a ComfyUI server?"))
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => EngineError::Unavailable(words),
        _ if is_out_of_memory(&said) => EngineError::OutOfMemory(words),
        _ => EngineError::Failed(words),
    }
}
