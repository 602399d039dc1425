//! The server's side of the HTTP API, a method a call. The server documents it at its own `/docs`; see also
//! <https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/API>. Every answer is read within limits.

use std::time::Duration;

use reqwest12::{Client, RequestBuilder, Response, StatusCode, Url, header::AUTHORIZATION};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::settings::Login;
use crate::{
    engine::EngineError,
    engines::{is_out_of_memory, section::Endpoint},
    http,
};

/// Longest wait for an answer that takes no work.
const PATIENCE: Duration = Duration::from_secs(15);
/// Largest answer that holds no picture, in bytes: lists of LoRAs hold what they were trained on.
const MAX_ANSWER: usize = 64 << 20;
/// Largest answer for one picture, in bytes: the largest that the hub takes, in base64.
const MAX_PICTURE: usize = riff_hub::media::MAX_BYTES / 3 * 4 + (1 << 20);

/// A server.
pub struct Server {
    http: Client,
    url: Url,
    login: Login,
}

/// A file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Checkpoint {
    /// What requests call it: the file's name, and its hash once that is known.
    pub title: String,
    /// The file's name alone.
    pub model_name: String,
    /// The beginning of its hash, once that is known.
    #[serde(default)]
    pub hash: Option<String>,
}

/// Anything with a name.
#[derive(Debug, Clone, Deserialize)]
struct Named {
    name: String,
    /// Of schedulers: what people read, which requests take, too.
    #[serde(default)]
    label: Option<String>,
}

/// What there is on a server.
#[derive(Debug, Clone, Default)]
pub struct Stock {
    /// Files of weights.
    pub checkpoints: Vec<Checkpoint>,
    /// The title of that which is used where a request says nothing.
    pub current: String,
    /// Samplers.
    pub samplers: Vec<String>,
    /// Schedulers; none on servers before version 1.9.
    pub schedulers: Vec<String>,
    /// LoRAs.
    pub loras: Vec<String>,
    /// Upscalers.
    pub upscalers: Vec<String>,
}

/// How a task is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Whether the server works on it now; `None` if it does not say whose its work is.
    pub active: Option<bool>,
    /// Whether it waits.
    pub queued: bool,
    /// Whether the server remembers that it has ended; it does of the last 16.
    pub ended: bool,
    /// Part done, 0 to 1.
    pub done: f32,
    /// A picture on its way, in base64.
    pub preview: Option<String>,
    /// Which of them that is.
    pub preview_id: i64,
}

impl Server {
    /// The server of a section.
    pub fn new(endpoint: &Endpoint, login: Login) -> Self {
        Self { http: endpoint.http.clone(), url: endpoint.url.clone(), login }
    }

    /// What there is on it.
    pub async fn stock(&self) -> Result<Stock, EngineError> {
        let (checkpoints, samplers, options, upscalers, schedulers, loras) = tokio::try_join!(
            self.get::<Vec<Checkpoint>>("sdapi/v1/sd-models"),
            self.get::<Vec<Named>>("sdapi/v1/samplers"),
            self.get::<Value>("sdapi/v1/options"),
            self.get::<Vec<Named>>("sdapi/v1/upscalers"),
            self.get_if_there::<Vec<Named>>("sdapi/v1/schedulers"),
            self.get_if_there::<Vec<Named>>("sdapi/v1/loras"),
        )?;
        let names = |list: Vec<Named>| list.into_iter().map(|one| one.name).collect();
        let labels = |list: Vec<Named>| list.into_iter().map(|one| one.label.unwrap_or(one.name)).collect();
        Ok(Stock {
            checkpoints,
            current: options["sd_model_checkpoint"].as_str().unwrap_or_default().to_owned(),
            samplers: names(samplers),
            schedulers: labels(schedulers.unwrap_or_default()),
            loras: names(loras.unwrap_or_default()),
            upscalers: names(upscalers),
        })
    }

    /// Makes pictures, and holds the line until they are there. The server goes on when the line is dropped.
    pub async fn make(&self, path: &str, request: &Value, pictures: u32) -> Result<Value, EngineError> {
        let response = http::send(self.ask(self.http.post(self.at(path))).json(request)).await?;
        match response.status() {
            StatusCode::OK => http::python_json(response, MAX_PICTURE * pictures.max(1) as usize).await,
            _ => Err(unexpected(response).await),
        }
    }

    /// How a task is, by the web UI's own way of asking, which knows whose the server's work is; where that is not there
    /// (`--nowebui`), by the API's, which mostly does not.
    pub async fn state(&self, task: &str, seen: i64) -> Result<State, EngineError> {
        let request = self.http.post(self.at("internal/progress")).timeout(PATIENCE);
        let response =
            http::send(self.ask(request).json(&json!({"id_task": task, "id_live_preview": seen}))).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => return self.state_of_api(task).await,
            _ => return Err(unexpected(response).await),
        }
        let told: Value = http::python_json(response, MAX_PICTURE).await?;
        let Some(active) = told["active"].as_bool() else {
            return Err(EngineError::Failed(format!(
                "the server says of its progress {}, where \"active\" was expected",
                http::quoted(&told.to_string())
            )));
        };
        let preview = told["live_preview"]
            .as_str()
            .and_then(|url| url.split_once(','))
            .map(|(_, data)| data.to_owned());
        Ok(State {
            active: Some(active),
            queued: told["queued"] == true,
            ended: told["completed"] == true,
            done: part(&told),
            preview,
            preview_id: told["id_live_preview"].as_i64().unwrap_or(seen),
        })
    }

    /// The same by the API's own way of asking.
    pub async fn state_of_api(&self, task: &str) -> Result<State, EngineError> {
        let told: Value = self.get("sdapi/v1/progress").await?;
        Ok(State {
            active: told["current_task"].as_str().map(|current| current == task),
            queued: false,
            ended: false,
            done: part(&told),
            preview: told["current_image"].as_str().map(str::to_owned),
            preview_id: -1,
        })
    }

    /// Stops what the server works on, whosever it is.
    pub async fn interrupt(&self) -> Result<(), EngineError> {
        let request = self.ask(self.http.post(self.at("sdapi/v1/interrupt"))).timeout(PATIENCE);
        let response = http::send(request).await?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(unexpected(response).await),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let response = http::send(self.ask(self.http.get(self.at(path))).timeout(PATIENCE)).await?;
        match response.status() {
            StatusCode::OK => http::python_json(response, MAX_ANSWER).await,
            _ => Err(unexpected(response).await),
        }
    }

    /// The same; `None` if the server has no such list.
    async fn get_if_there<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, EngineError> {
        let response = http::send(self.ask(self.http.get(self.at(path))).timeout(PATIENCE)).await?;
        match response.status() {
            StatusCode::OK => http::python_json(response, MAX_ANSWER).await.map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(unexpected(response).await),
        }
    }

    fn ask(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.login.0 {
            Some(login) => request.header(AUTHORIZATION, login),
            None => request,
        }
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", url.path()));
        url
    }
}

fn part(told: &Value) -> f32 {
    told["progress"].as_f64().unwrap_or(0.0).clamp(0.0, 1.0) as f32
}

/// What a status that the call does not have means. The server says what is wrong in `detail` (a sentence, or a list of
/// inputs with a message each) or, where it broke down, in `errors`.
async fn unexpected(response: Response) -> EngineError {
    let (status, path) = (response.status(), response.url().path().to_owned());
    let body = http::read(response, MAX_ANSWER).await.unwrap_or_default();
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    let problem = |problem: &Value| {
        let place = problem["loc"].as_array().and_then(|loc| loc.last()?.as_str()).unwrap_or("input");
        format!("{place}: {}", problem["msg"].as_str().unwrap_or_default())
    };
    let said = match (&told["detail"], told["errors"].as_str().unwrap_or_default()) {
        (Value::Array(problems), _) => problems.iter().map(problem).collect::<Vec<_>>().join("; "),
        (Value::String(detail), _) if !detail.is_empty() => detail.clone(),
        (_, "") => String::from_utf8_lossy(&body).into_owned(),
        (_, errors) => format!("{}: {errors}", told["error"].as_str().unwrap_or("error")),
    };
    let out_of_memory = is_out_of_memory(&said);
    let said = http::quoted(&said);
    let words = format!("the server answers {status} to {path}: {said}");
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => EngineError::Unavailable(format!(
            "the server answers {status}: it wants a name and a password; set auth_env"
        )),
        StatusCode::NOT_FOUND if said == "Not Found" || told.is_null() => EngineError::Unavailable(format!(
            "the server has no {path}: start it with --api, and check `url`"
        )),
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            EngineError::Input(format!("the server refuses its inputs: {said}"))
        }
        StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => EngineError::Unavailable(words),
        _ if out_of_memory => EngineError::OutOfMemory(said),
        _ => EngineError::Failed(words),
    }
}
