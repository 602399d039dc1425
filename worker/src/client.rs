//! The worker's side of the protocol: one method a call. `docs/worker-protocol.md` is the reference.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::{
    RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_TYPE, DATE},
};
use riff_hub::{
    canonical::Digest,
    wire::{
        Complete, Fail, Hello, Lease, LeaseRequest, Release, Report, Signal, Signalled, Standing, Stored,
        Welcome,
    },
};
use serde::{Deserialize, de::DeserializeOwned};

/// A hub, seen from a worker.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    hub: Url,
    token: String,
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The hub's address is no address.
    #[error("the hub's address {0:?} is not a URL: write it like http://127.0.0.1:7433")]
    Address(String),
    /// Nobody answered, or not in time.
    #[error("the hub cannot be reached: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// The attempt no longer holds its job.
    #[error("the lease is lost: {0}")]
    LeaseLost(String),
    /// The hub does not know this worker (yet, or any more).
    #[error("the hub asks for a hello: {0}")]
    Unknown(String),
    /// The token is wrong or revoked.
    #[error("the hub refuses the token: {0}")]
    Token(String),
    /// Anything else that the hub refuses.
    #[error("the hub answered {status}: {detail}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The hub's sentence.
        detail: String,
    },
}

impl CallError {
    /// Whether the same call may go better later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => status.is_server_error(),
            _ => false,
        }
    }
}

/// Longest wait for an answer that is not held open.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What a held request may take beyond its hold.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    r#type: String,
    detail: String,
}

impl Client {
    /// A client of the hub at `hub`, such as `http://127.0.0.1:7433`.
    ///
    /// # Errors
    /// [`CallError::Address`].
    pub fn new(hub: &str, token: &str) -> Result<Self, CallError> {
        let bad = || CallError::Address(hub.to_owned());
        let hub: Url = format!("{}/worker/v1/", hub.trim_end_matches('/')).parse().map_err(|_| bad())?;
        Ok(Self { http: reqwest::Client::builder().build()?, hub, token: token.to_owned() })
    }

    /// Announces the worker and its models.
    pub async fn hello(&self, hello: &Hello) -> Result<Welcome, CallError> {
        json(self.post("hello")?.json(hello)).await
    }

    /// Asks for a job; `None` if there was none within the wait.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<Option<Lease>, CallError> {
        let wait = Duration::from_millis(request.wait_ms) + GRACE;
        let response = send(self.post("lease")?.timeout(wait).json(request)).await?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(None),
            _ => Ok(Some(response.json().await?)),
        }
    }

    /// How the hub sees this worker, and the hub's clock, where it says (whole seconds).
    pub async fn me(&self) -> Result<(Standing, Option<SystemTime>), CallError> {
        let request = self.http.get(self.url("me")?).bearer_auth(&self.token).timeout(TIMEOUT);
        let response = send(request).await?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        Ok((response.json().await?, date))
    }

    /// Gives back a job that was not begun.
    pub async fn release(&self, lease: &Lease) -> Result<(), CallError> {
        let release = Release { attempt: lease.attempt };
        send(self.post(&format!("jobs/{}/release", lease.job))?.json(&release)).await.map(drop)
    }

    /// Takes leave: whatever this worker still holds goes back to the queue.
    pub async fn bye(&self) -> Result<(), CallError> {
        send(self.post("bye")?).await.map(drop)
    }

    /// Heartbeat and progress, answered within so much: behind a balancer the next one may reach a hub that is well.
    pub async fn report(&self, job: &str, report: &Report, within: Duration) -> Result<Signal, CallError> {
        let request = self.post(&format!("jobs/{job}/report"))?.timeout(within);
        let answer: Signalled = json(request.json(report)).await?;
        Ok(answer.signal)
    }

    /// Waits until the hub wants something of the holder of the job, or until `wait` is over.
    pub async fn signal(&self, job: &str, attempt: u32, wait: Duration) -> Result<Signal, CallError> {
        let url = self.url(&format!("jobs/{job}/signal"))?;
        let query = [("attempt", u64::from(attempt)), ("wait_ms", wait.as_millis() as u64)];
        let request = self.http.get(url).query(&query).bearer_auth(&self.token);
        let answer: Signalled = json(request.timeout(wait + GRACE)).await?;
        Ok(answer.signal)
    }

    /// Uploads one output.
    pub async fn put_output(
        &self,
        lease: &Lease,
        index: u32,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Stored, CallError> {
        let url = self.url(&format!("jobs/{}/outputs/{index}", lease.job))?;
        let request = self.http.put(url).query(&[("attempt", lease.attempt)]).bearer_auth(&self.token);
        json(request.timeout(TIMEOUT).header(CONTENT_TYPE, media_type).body(bytes)).await
    }

    /// A picture that a recipe's inputs name.
    pub async fn blob(&self, name: Digest) -> Result<Bytes, CallError> {
        let request = self.http.get(self.url(&format!("blobs/{name}"))?).bearer_auth(&self.token);
        Ok(send(request.timeout(TIMEOUT)).await?.bytes().await?)
    }

    /// Ends a job in success.
    pub async fn complete(&self, job: &str, complete: &Complete) -> Result<(), CallError> {
        send(self.post(&format!("jobs/{job}/complete"))?.json(complete)).await.map(drop)
    }

    /// Ends an attempt in failure.
    pub async fn fail(&self, job: &str, fail: &Fail) -> Result<(), CallError> {
        send(self.post(&format!("jobs/{job}/fail"))?.json(fail)).await.map(drop)
    }

    fn url(&self, path: &str) -> Result<Url, CallError> {
        self.hub.join(path).map_err(|_| CallError::Address(path.to_owned()))
    }

    fn post(&self, path: &str) -> Result<RequestBuilder, CallError> {
        Ok(self.http.post(self.url(path)?).bearer_auth(&self.token).timeout(TIMEOUT))
    }
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, CallError> {
    Ok(send(request).await?.json().await?)
}

async fn send(request: RequestBuilder) -> Result<Response, CallError> {
    let response = request.send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let problem: Problem = response.json().await.unwrap_or_default();
    let detail = problem.detail;
    Err(match status {
        StatusCode::UNAUTHORIZED => CallError::Token(detail),
        StatusCode::CONFLICT if problem.r#type.ends_with("unknown-worker") => CallError::Unknown(detail),
        StatusCode::CONFLICT => CallError::LeaseLost(detail),
        status => CallError::Refused { status, detail },
    })
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_report_does_not_wait_longer_than_a_lease_can_for_a_hub_that_hangs() {
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", hanging.local_addr().unwrap()), "token").unwrap();
        let report = Report::default();
        let reported = client.report("job", &report, Duration::from_millis(50));
        let error = timeout(TIMEOUT / 2, reported).await.expect("it gives up").unwrap_err();
        assert!(error.is_passing(), "{error}");
    }
}
