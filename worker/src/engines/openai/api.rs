//! Calls to a server: what is sent, how long it is waited for, and how much is read. It never logs the key.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures::Stream;
use reqwest12::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION},
    multipart::Form,
    redirect::Policy,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    fault::Fault,
    wire::{Complaint, Listed, Listing},
};
use crate::http::quoted;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for the list of models.
const LISTING: Duration = Duration::from_secs(15);
/// Largest list of models, in bytes.
const MAX_LISTING: usize = 4 * 1_024 * 1_024;
/// Largest complaint that is read, in bytes.
const MAX_COMPLAINT: usize = 64 * 1_024;

/// A server.
#[derive(Clone)]
pub struct Api {
    http: Client,
    base: Url,
    key: Option<HeaderValue>,
    patience: Duration,
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Api({self})")
    }
}

impl Api {
    /// A server whose paths start at `base`, which ends in a slash. `patience` is its longest silence.
    ///
    /// # Errors
    /// If this machine can make no HTTP client.
    pub fn new(base: Url, key: Option<HeaderValue>, patience: Duration) -> Result<Self, String> {
        let agent = concat!("riff-worker/", env!("CARGO_PKG_VERSION"));
        // A redirected POST would become a GET: the operator is told where to point instead.
        let http = Client::builder().user_agent(agent).connect_timeout(CONNECT).redirect(Policy::none());
        let http = http.build().map_err(|error| format!("no HTTP client can be made here: {error}"))?;
        Ok(Self { http, base, key, patience })
    }

    /// The models that the server lists; `None` if it has no list.
    pub async fn models(&self) -> Result<Option<Vec<Listed>>, Fault> {
        let request = self.authorized(self.http.get(self.url("models")?));
        let response = self.wait(LISTING.min(self.patience), request.send()).await?;
        let response = match response.status() {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                return Ok(None);
            }
            _ => self.success(response).await?,
        };
        let kind = kind(&response);
        let bytes = self.read(response, MAX_LISTING).await?;
        match serde_json::from_slice::<Listing>(&bytes) {
            Ok(listing) => Ok(Some(listing.data.unwrap_or_default())),
            Err(error) => Err(Fault::Down(format!(
                "{self}/models answers with {kind} that is no list of models ({error}): is `url` the address of the API? \
                 It mostly ends in /v1"
            ))),
        }
    }

    /// Posts JSON and gives the answer once its head is there.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Response, Fault> {
        let request = self.authorized(self.http.post(self.url(path)?)).json(body);
        self.success(self.wait(self.patience, request.send()).await?).await
    }

    /// Posts a form and gives the answer once its head is there.
    pub async fn post_form(&self, path: &str, form: Form) -> Result<Response, Fault> {
        let request = self.authorized(self.http.post(self.url(path)?)).multipart(form);
        self.success(self.wait(self.patience, request.send()).await?).await
    }

    /// Fetches what the server said is at `address`, at most `limit` bytes. The key goes to the server alone.
    pub async fn download(&self, address: &str, limit: usize) -> Result<Bytes, Fault> {
        let wrong = || {
            Fault::Broken(format!("the model server names a picture at {:?}: no address", quoted(address)))
        };
        let url = self.base.join(address).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong());
        }
        let ours = url.origin() == self.base.origin();
        let request = self.http.get(url);
        let request = if ours { self.authorized(request) } else { request };
        let response = self.success(self.wait(self.patience, request.send()).await?).await?;
        self.read(response, limit).await
    }

    /// All of an answer that is JSON.
    pub async fn json<T: DeserializeOwned>(&self, response: Response, limit: usize) -> Result<T, Fault> {
        let kind = kind(&response);
        let bytes = self.read(response, limit).await?;
        if let Some(said) =
            serde_json::from_slice::<Value>(&bytes).ok().and_then(|body| Complaint::read(&body))
        {
            return Err(Fault::in_stream(&said));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Fault::Broken(format!("the model server answers with {kind} that cannot be read: {error}"))
        })
    }

    /// The bytes of an answer as they come; a silence longer than the patience is a fault.
    pub fn bytes(&self, response: Response) -> impl Stream<Item = Result<Bytes, Fault>> + Send + use<> {
        let patience = self.patience;
        futures::stream::try_unfold(response, move |mut response| async move {
            let chunk = timeout(patience, response.chunk()).await.map_err(|_| silent(patience))?;
            let chunk =
                chunk.map_err(|error| Fault::Broken(format!("the answer broke off: {}", causes(&error))))?;
            Ok(chunk.map(|bytes| (bytes, response)))
        })
    }

    async fn read(&self, mut response: Response, limit: usize) -> Result<Bytes, Fault> {
        let mut all = Vec::new();
        loop {
            let chunk = timeout(self.patience, response.chunk()).await.map_err(|_| silent(self.patience))?;
            let chunk =
                chunk.map_err(|error| Fault::Broken(format!("the answer broke off: {}", causes(&error))))?;
            let Some(chunk) = chunk else {
                return Ok(all.into());
            };
            all.extend_from_slice(&chunk);
            if all.len() > limit {
                return Err(Fault::Broken(format!(
                    "the answer has more than {limit} bytes, where it should have fewer"
                )));
            }
        }
    }

    async fn success(&self, response: Response) -> Result<Response, Fault> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
            return Err(Fault::Down(format!(
                "{self} redirects to {}: set `url` to where the API is",
                quoted(to)
            )));
        }
        let body = self.read(response, MAX_COMPLAINT).await.unwrap_or_default();
        let said = serde_json::from_slice(&body).ok().and_then(|body| Complaint::read(&body));
        Err(Fault::of_status(status, said))
    }

    async fn wait<T>(
        &self,
        patience: Duration,
        call: impl Future<Output = Result<T, reqwest12::Error>>,
    ) -> Result<T, Fault> {
        let answer = timeout(patience, call).await.map_err(|_| silent(patience))?;
        answer.map_err(|error| Fault::Down(format!("the model server cannot be reached: {}", causes(&error))))
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        self.base.join(path).map_err(|error| Fault::Broken(format!("{self}/{path} is no address: {error}")))
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.header(AUTHORIZATION, key),
            None => request,
        }
    }
}

/// What an answer says it is.
pub fn kind(response: &Response) -> String {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.map_or_else(|| "something without a content type".to_owned(), |kind| quoted(kind).to_lowercase())
}

fn silent(patience: Duration) -> Fault {
    Fault::Down(format!(
        "the model server has said nothing for {patience:?}; patience_seconds says how long it may"
    ))
}

/// An error with what lies behind it, the address left out: it is the operator's.
fn causes(error: &reqwest12::Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut deepest = None;
    while let Some(error) = source {
        deepest = Some(error.to_string());
        source = error.source();
    }
    deepest.unwrap_or_else(|| error.to_string())
}
