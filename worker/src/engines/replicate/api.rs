//! The HTTP API, a method a call: <https://replicate.com/docs/reference/http>. Every answer is read within limits, and the
//! token goes to the API alone.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eventsource_stream::Event;
use futures::Stream;
use reqwest12::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderValue},
    multipart::{Form, Part},
    redirect::Policy,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    super::predictor::{
        Prediction,
        output::{Fetch, MAX_FILE},
    },
    fault::{Complaint, Fault},
    settings::{Id, Settings},
};
use crate::{engine::EngineError, http};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest answer that holds no file, in bytes: a model's schema, or the text and the log of a prediction.
const MAX_ANSWER: usize = 16 << 20;
/// How often a result is asked for that does not arrive. It is paid for.
const TRIES: u32 = 4;
/// Wait before the second try; doubles each time.
const AGAIN: Duration = Duration::from_millis(500);

/// An account at the API.
pub struct Api {
    calls: Client,
    files: Client,
    base: Url,
    token: HeaderValue,
}

/// What the API says of a model.
#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(default)]
    description: Option<String>,
    /// Whether Replicate itself keeps it running, under its name alone.
    #[serde(default)]
    is_official: bool,
    latest_version: Option<Version>,
}

/// A version of a model.
#[derive(Debug, Deserialize)]
struct Version {
    id: String,
    openapi_schema: Value,
}

/// A model as it is to be served.
#[derive(Debug)]
pub struct Described {
    /// What it is, in words.
    pub description: String,
    /// The version's id.
    pub version: String,
    /// Its OpenAPI document.
    pub document: Value,
    /// Where its predictions are created.
    pub place: Place,
}

/// Where predictions of a model are created.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// `/predictions`, by the version's id.
    Version(String),
    /// `/models/{owner}/{name}/predictions`: Replicate's own models.
    Official(String),
}

/// A prediction at the API.
#[derive(Debug, Clone, Deserialize)]
pub struct Remote {
    /// Its id.
    pub id: String,
    /// How it is.
    #[serde(flatten)]
    pub state: Prediction,
    #[serde(default)]
    started_at: Option<String>,
    #[serde(default)]
    metrics: Option<Metrics>,
    #[serde(default)]
    urls: Option<Urls>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Metrics {
    /// Seconds of the hardware, which are what is paid for.
    #[serde(default)]
    predict_time: Option<f64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Urls {
    #[serde(default)]
    stream: Option<String>,
}

impl Remote {
    /// Seconds of the hardware that it took, where that is known.
    pub fn took(&self) -> Option<Duration> {
        let seconds = self.metrics.as_ref()?.predict_time?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Whether the model ever began.
    pub fn has_begun(&self) -> bool {
        let began = self.started_at.is_some() || self.took().is_some() || self.state.status == "succeeded";
        began && self.state.status != "aborted"
    }

    /// Where its text comes word by word, if it does.
    pub fn stream(&self) -> Option<Url> {
        self.urls.as_ref()?.stream.as_ref()?.parse().ok()
    }
}

impl Api {
    /// The API that the settings name.
    pub fn new(settings: &Settings) -> Self {
        let builder = || {
            let agent = concat!("riff-worker/", env!("CARGO_PKG_VERSION"));
            Client::builder().user_agent(agent).connect_timeout(CONNECT)
        };
        // A redirected POST would become a GET.
        let calls = builder().redirect(Policy::none()).build().unwrap_or_default();
        let files = builder().build().unwrap_or_default();
        Self { calls, files, base: settings.url.clone(), token: settings.token.clone() }
    }

    /// What a model is now.
    pub async fn describe(&self, id: &Id) -> Result<Described, Fault> {
        let path = format!("models/{}/{}", id.owner, id.name);
        let listed: Listed = self.json(self.calls.get(self.at(&path)?)).await?;
        let (version, pinned) = match &id.version {
            Some(version) => {
                let path = format!("{path}/versions/{version}");
                (self.json::<Version>(self.calls.get(self.at(&path)?)).await?, true)
            }
            None => {
                let newest = listed.latest_version;
                (newest.ok_or_else(|| Fault::Missing(format!("{id} has no version to run")))?, false)
            }
        };
        let place = match listed.is_official && !pinned {
            true => Place::Official(format!("{path}/predictions")),
            false => Place::Version(version.id.clone()),
        };
        let description = listed.description.unwrap_or_default();
        Ok(Described { description, version: version.id, document: version.openapi_schema, place })
    }

    /// Creates a prediction, which the API stops after `deadline`. The answer is held for up to `hold`, if it ends by then.
    pub async fn create(
        &self,
        place: &Place,
        input: &Value,
        deadline: Duration,
        hold: Option<Duration>,
    ) -> Result<Remote, Fault> {
        let (path, body) = match place {
            Place::Version(version) => ("predictions", json!({"version": version, "input": input})),
            Place::Official(path) => (path.as_str(), json!({"input": input})),
        };
        let mut request = self.calls.post(self.at(path)?).json(&body);
        request = request.header("Cancel-After", format!("{}s", deadline.as_secs()));
        if let Some(hold) = hold {
            request = request.header("Prefer", format!("wait={}", hold.as_secs().clamp(1, 60)));
        }
        self.prediction(request).await
    }

    /// How a prediction is.
    pub async fn get(&self, id: &str) -> Result<Remote, Fault> {
        self.prediction(self.calls.get(self.at(&format!("predictions/{id}"))?)).await
    }

    /// Stops a prediction.
    pub async fn cancel(&self, id: &str) -> Result<Remote, Fault> {
        self.prediction(self.calls.post(self.at(&format!("predictions/{id}/cancel"))?)).await
    }

    /// Puts a picture where models find it; gives the address.
    pub async fn upload(&self, bytes: Bytes, media_type: &str) -> Result<String, Fault> {
        #[derive(Deserialize)]
        struct Kept {
            urls: Address,
        }
        #[derive(Deserialize)]
        struct Address {
            get: String,
        }
        let length = bytes.len() as u64;
        let name = format!("file.{}", media_type.rsplit('/').next().unwrap_or_default());
        let part = Part::stream_with_length(bytes, length).file_name(name).mime_str(media_type);
        let part = part.map_err(|error| Fault::Refused(format!("the file cannot be sent: {error}")))?;
        let form = Form::new().part("content", part);
        let kept: Kept = self.json(self.calls.post(self.at("files")?).multipart(form)).await?;
        Ok(kept.urls.get)
    }

    /// The events of a prediction that tells its text word by word.
    pub async fn events(
        &self,
        url: Url,
    ) -> Result<impl Stream<Item = Result<Event, EngineError>> + use<>, Fault> {
        let request = self.authorized(self.files.get(url.clone()), &url);
        let response = request.header(ACCEPT, "text/event-stream").send().await;
        let response = response.map_err(|error| Fault::of_call(&error))?;
        match response.status() {
            StatusCode::OK => Ok(http::events(response, MAX_ANSWER)),
            status => Err(Fault::Missing(format!("the stream of a prediction answers {status}"))),
        }
    }

    async fn prediction(&self, request: RequestBuilder) -> Result<Remote, Fault> {
        let remote: Remote = self.json(request).await?;
        // It becomes a part of addresses.
        match !remote.id.is_empty()
            && remote.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            true => Ok(remote),
            false => Err(Fault::Unclear(format!("{:?} is no id of a prediction", http::quoted(&remote.id)))),
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Fault> {
        let request = request.header(AUTHORIZATION, &self.token).timeout(PATIENCE);
        let response = request.send().await.map_err(|error| Fault::of_call(&error))?;
        let unclear = |error: EngineError| Fault::Unclear(error.to_string());
        match response.status().is_success() {
            true => http::json(response, MAX_ANSWER).await.map_err(unclear),
            false => Err(refusal(response).await),
        }
    }

    fn at(&self, path: &str) -> Result<Url, Fault> {
        self.base.join(path).map_err(|error| Fault::Missing(format!("{path:?} is no address: {error}")))
    }

    /// Adds the token where the address is the API's. Replicate streams from another of its own names.
    fn authorized(&self, request: RequestBuilder, url: &Url) -> RequestBuilder {
        let is_replicates = |url: &Url| {
            url.scheme() == "https" && url.host_str().is_some_and(|host| host.ends_with(".replicate.com"))
        };
        let ours = url.origin() == self.base.origin() || (is_replicates(url) && is_replicates(&self.base));
        if ours { request.header(AUTHORIZATION, &self.token) } else { request }
    }

    async fn download(&self, url: &Url) -> Result<Bytes, Missed> {
        let request = self.authorized(self.files.get(url.clone()).timeout(4 * PATIENCE), url);
        let response = request.send().await;
        let response = response.map_err(|error| Missed::ForNow(http::innermost(&error)))?;
        match response.status() {
            status if status.is_success() => {
                http::read(response, MAX_FILE).await.map_err(|error| Missed::ForNow(error.to_string()))
            }
            status @ (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE) => {
                Err(Missed::ForGood(format!("{status}; the API keeps results for an hour")))
            }
            status => Err(Missed::ForNow(status.to_string())),
        }
    }
}

/// Why a result did not arrive.
enum Missed {
    ForNow(String),
    ForGood(String),
}

/// Why a call was refused.
async fn refusal(response: Response) -> Fault {
    let (status, headers) = (response.status(), response.headers().clone());
    let said: Complaint = http::json(response, MAX_ANSWER).await.unwrap_or_default();
    Fault::of_status(status, &headers, &said)
}

#[async_trait]
impl Fetch for Api {
    async fn fetch(&self, url: Url) -> Result<Bytes, EngineError> {
        let mut wait = AGAIN;
        for _ in 1..TRIES {
            match self.download(&url).await {
                Ok(bytes) => return Ok(bytes),
                Err(Missed::ForGood(why)) => return Err(lost(&url, &why)),
                Err(Missed::ForNow(why)) => {
                    tracing::warn!(%url, why, "a result did not arrive, asking again")
                }
            }
            sleep(wait).await;
            wait *= 2;
        }
        self.download(&url).await.map_err(|missed| match missed {
            Missed::ForNow(why) | Missed::ForGood(why) => lost(&url, &why),
        })
    }
}

fn lost(url: &Url, why: &str) -> EngineError {
    EngineError::Failed(format!("the result at {url} did not arrive: {why}"))
}
