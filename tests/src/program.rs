//! A script that uses the JSON API with a bearer token.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use crate::PATIENCE;

/// How often a state is asked for that the API cannot wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A script.
pub struct Program {
    http: Client,
    url: String,
    token: String,
}

/// What the API answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub media_type: String,
    pub body: Value,
}

impl Answer {
    /// A text of the body.
    pub fn text(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_default()
    }
}

impl Program {
    pub fn new(url: &str, token: &str) -> Self {
        Self { http: Client::new(), url: url.to_owned(), token: token.to_owned() }
    }

    /// Queues a line in #general.
    pub async fn create(&self, line: &str) -> anyhow::Result<Answer> {
        self.call(Method::POST, "/api/v1/jobs", Some(json!({"channel": "general", "prompt": line}))).await
    }

    /// Queues a line that must be taken; gives the job's id.
    pub async fn job(&self, line: &str) -> anyhow::Result<String> {
        let answer = self.create(line).await?;
        anyhow::ensure!(answer.status == StatusCode::CREATED, "{answer:?}");
        Ok(answer.text("id").to_owned())
    }

    pub async fn show(&self, job: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, &format!("/api/v1/jobs/{job}"), None).await
    }

    /// The job once it has ended.
    pub async fn ended(&self, job: &str) -> anyhow::Result<Value> {
        let url = format!("{}/api/v1/jobs/{job}", self.url);
        let wait = format!("wait={}", PATIENCE.as_secs());
        let request =
            self.http.get(url).bearer_auth(&self.token).header("prefer", wait).timeout(PATIENCE * 2);
        let body: Value = request.send().await?.error_for_status()?.json().await?;
        let state = body["state"].as_str().context("a job has a state")?;
        anyhow::ensure!(
            !matches!(state, "queued" | "leased" | "running"),
            "still {state} after {PATIENCE:?}: {body}"
        );
        Ok(body)
    }

    /// Waits until the worker that has a job reported on it.
    pub async fn running(&self, job: &str) -> anyhow::Result<()> {
        let reported = async {
            let mut look = interval(LOOK_AGAIN);
            while self.show(job).await?.text("state") != "running" {
                look.tick().await;
            }
            Ok(())
        };
        timeout(PATIENCE, reported).await.context("no worker reported on it")?
    }

    pub async fn cancel(&self, job: &str) -> anyhow::Result<Answer> {
        self.call(Method::POST, &format!("/api/v1/jobs/{job}/cancel"), None).await
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Answer> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .timeout(PATIENCE);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let media_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().to_owned();
        let body = serde_json::from_str(&response.text().await?).unwrap_or(Value::Null);
        Ok(Answer { status, media_type, body })
    }
}
