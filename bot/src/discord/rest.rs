//! The one way to Discord's REST API: every request passes the breaker and the rate limits here. serenity says which routes
//! there are; the limits are kept by twilight's limiter, because serenity's own leaves the configured address as soon as it
//! is on, and tells nobody what Discord answered.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest12::{
    Client, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap},
    multipart::{Form, Part},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serenity::http::{LightMethod, Route};
use twilight_http_ratelimiting::{Bucket, Endpoint, Method, Permit, RateLimitHeaders, RateLimiter};

use super::{breaker::Breaker, message::File};
use crate::measure::{self, HeldBack};

/// Times that a request is tried when Discord says that it came too fast or failed on Discord's side.
const TRIES: u32 = 5;
/// Wait before a request that failed on Discord's side is sent again; doubles with each try.
const AGAIN: Duration = Duration::from_millis(250);
/// Where serenity's routes lead.
const DISCORD: &str = "https://discord.com";
/// What Discord wants to know of a client (<https://discord.com/developers/docs/reference#user-agent>).
const USER_AGENT: &str = concat!("DiscordBot (riff, ", env!("CARGO_PKG_VERSION"), ")");
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Longest `Retry-After` that is waited for; what is asked to wait longer is refused.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// Requests a second of a bot, over all routes
/// (<https://discord.com/developers/docs/topics/rate-limits#global-rate-limit>).
const GLOBAL: u16 = 50;

/// Why a request did not work.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// Discord refused it.
    #[error("Discord refused {method} {path}: {message} ({status}, code {code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Discord's own code (<https://discord.com/developers/docs/topics/opcodes-and-status-codes#json>).
        code: i64,
        /// Discord's words.
        message: String,
        /// HTTP method.
        method: &'static str,
        /// Path without tokens.
        path: String,
    },
    /// It got no answer.
    #[error("Discord did not answer: {0}")]
    Unreachable(String),
    /// Too many refusals lately: nothing is sent until then.
    #[error(
        "nothing is sent to Discord for {} s, because it refused too much of what was sent; see the log for what it refused",
        .0.as_secs()
    )]
    Open(Duration),
    /// An answer that cannot be read.
    #[error("Discord's answer cannot be read: {0}")]
    Unreadable(String),
    /// There was no room for an unimportant request.
    #[error("no room within the rate limit")]
    Busy,
}

impl RestError {
    /// Discord's code, if it answered with one.
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same request may work later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Unreachable(_) | Self::Open(_) | Self::Busy => true,
            Self::Unreadable(_) => false,
        }
    }
}

/// How much a request matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It waits for its turn.
    Wait,
    /// It is dropped when it would have to wait, or would take the last turn from something that matters.
    Skip,
}

/// A client for one bot.
pub struct Rest {
    client: Client,
    token: String,
    base: String,
    limits: RateLimiter,
    breaker: Breaker,
    metrics: measure::Discord,
    /// Until when nothing that counts against the global limit is sent.
    paused: Mutex<Option<Instant>>,
}

/// One request.
pub struct Call<'a> {
    route: Route<'a>,
    method: LightMethod,
    body: Option<Value>,
    files: Vec<File>,
    params: Vec<(&'static str, String)>,
    urgency: Urgency,
}

impl<'a> Call<'a> {
    /// A request without a body.
    pub fn new(method: LightMethod, route: Route<'a>) -> Self {
        Self { route, method, body: None, files: Vec::new(), params: Vec::new(), urgency: Urgency::Wait }
    }

    /// With a JSON body.
    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// With files beside the body, numbered as they come.
    pub fn files(mut self, files: Vec<File>) -> Self {
        self.files = files;
        self
    }

    /// With a query parameter.
    pub fn param(mut self, name: &'static str, value: impl ToString) -> Self {
        self.params.push((name, value.to_string()));
        self
    }

    /// How much it matters.
    pub fn urgency(mut self, urgency: Urgency) -> Self {
        self.urgency = urgency;
        self
    }

    /// The request itself. The body of one with files is its part `payload_json`
    /// (<https://discord.com/developers/docs/reference#uploading-files>).
    fn request(&self, client: &Client, base: &str) -> Result<RequestBuilder, reqwest12::Error> {
        let url = self.route.path().replacen(DISCORD, base, 1);
        let mut request = client.request(self.method.reqwest_method(), url).query(&self.params);
        if self.files.is_empty() {
            return Ok(match &self.body {
                Some(body) => request.json(body),
                None => request.header(CONTENT_LENGTH, 0),
            });
        }
        let mut form =
            Form::new().text("payload_json", self.body.as_ref().map(Value::to_string).unwrap_or_default());
        for (number, file) in self.files.iter().enumerate() {
            let part =
                Part::stream(file.bytes.clone()).file_name(file.name.clone()).mime_str(file.media_type())?;
            form = form.part(format!("files[{number}]"), part);
        }
        request = request.multipart(form);
        Ok(request)
    }
}

impl Rest {
    /// A client for the bot with that token, at `base` (`https://discord.com`). Must be made within a tokio runtime.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(token: &str, base: &str, metrics: measure::Discord) -> Result<Self, reqwest12::Error> {
        Ok(Self {
            client: Client::builder().timeout(TIMEOUT).user_agent(USER_AGENT).build()?,
            token: format!("Bot {token}"),
            base: base.trim_end_matches('/').to_owned(),
            limits: RateLimiter::new(GLOBAL),
            breaker: Breaker::default(),
            metrics,
            paused: Mutex::new(None),
        })
    }

    /// Sends a request and reads the answer.
    pub async fn get<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, RestError> {
        let response = self.send(call).await?;
        response.json().await.map_err(|error| RestError::Unreadable(error.without_url().to_string()))
    }

    /// Sends a request whose answer does not matter.
    pub async fn tell(&self, call: Call<'_>) -> Result<(), RestError> {
        self.send(call).await.map(drop)
    }

    /// Fetches a file that Discord hosts, up to `limit` bytes.
    pub async fn download(&self, url: &str, limit: usize) -> Result<Vec<u8>, RestError> {
        let unreachable = |error: reqwest12::Error| RestError::Unreachable(error.without_url().to_string());
        let mut response = self.client.get(url).send().await.map_err(unreachable)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > limit {
                return Err(RestError::Unreadable(format!("the file has more than {limit} bytes")));
            }
        }
        Ok(bytes)
    }

    /// Whether a URL is of Discord's own file hosts; only those are fetched.
    pub fn hosts(&self, url: &str) -> bool {
        const CDN: [&str; 2] = ["https://cdn.discordapp.com/", "https://media.discordapp.net/"];
        CDN.iter().any(|host| url.starts_with(host)) || url.starts_with(&format!("{}/", self.base))
    }

    async fn send(&self, call: Call<'_>) -> Result<Response, RestError> {
        let endpoint = endpoint(&call);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.once(&call, &endpoint).await {
                Ok(response) => return Ok(response),
                Err((error, _)) if tries >= TRIES || call.urgency == Urgency::Skip => return Err(error),
                Err((error, Some(wait))) if wait <= MAX_WAIT => {
                    tracing::debug!(%error, wait_ms = wait.as_millis() as u64, "sent again later");
                    tokio::time::sleep(wait * (1 << (tries - 1).min(4))).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Sends it once; says after which time it may be tried again, where it may.
    async fn once(
        &self,
        call: &Call<'_>,
        endpoint: &Endpoint,
    ) -> Result<Response, (RestError, Option<Duration>)> {
        let fatal = |error: RestError| (error, None);
        self.wait_for_pause(endpoint).await;
        if let Some(open) = self.breaker.open_for(Instant::now()) {
            self.metrics.held_back(HeldBack::Breaker);
            return Err(fatal(RestError::Open(open)));
        }
        let permit = match of_interaction(endpoint) {
            true => None,
            false => {
                let permit = self.permit(call.urgency, endpoint).await;
                Some(permit.ok_or_else(|| {
                    self.metrics.held_back(HeldBack::Busy);
                    fatal(RestError::Busy)
                })?)
            }
        };
        let request = call.request(&self.client, &self.base);
        let request = request.map_err(|error| fatal(RestError::Unreadable(error.to_string())))?;
        let response = match request.header(AUTHORIZATION, &self.token).send().await {
            Ok(response) => response,
            Err(error) => {
                let error = RestError::Unreachable(error.without_url().to_string());
                return Err((error, Some(AGAIN)));
            }
        };
        self.metrics.answered(response.status().as_u16());
        let wait = retry_after(response.headers());
        let limit = limit_headers(response.headers(), wait);
        if let Some(permit) = permit {
            permit.complete(limit);
        } else if let Some(spent) =
            limit.filter(|limit| limit.remaining == 0 && response.status().is_success())
        {
            tokio::time::sleep_until(spent.reset_at.into()).await;
        }
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response, endpoint, wait).await)
    }

    async fn permit(&self, urgency: Urgency, endpoint: &Endpoint) -> Option<Permit> {
        match urgency {
            Urgency::Wait => Some(self.limits.acquire(endpoint.clone()).await),
            Urgency::Skip => {
                let room = |bucket: Option<Bucket>| {
                    bucket.is_none_or(|bucket| bucket.remaining > 1 || bucket.reset_at <= Instant::now())
                };
                self.limits.acquire_if(endpoint.clone(), room).await
            }
        }
    }

    async fn refused(
        &self,
        response: Response,
        endpoint: &Endpoint,
        wait: Option<Duration>,
    ) -> (RestError, Option<Duration>) {
        let status = response.status();
        let global = response.headers().contains_key("x-ratelimit-global");
        let shared = response.headers().get(RateLimitHeaders::SCOPE).is_some_and(|scope| scope == "shared");
        let body: Value = response.json().await.unwrap_or_default();
        let invalid = matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        );
        if invalid && !shared {
            self.breaker.invalid(Instant::now());
            self.metrics.invalid();
        }
        let wait = wait.or_else(|| body["retry_after"].as_f64().map(Duration::from_secs_f64));
        let error = RestError::Refused {
            status: status.as_u16(),
            code: body["code"].as_i64().unwrap_or_default(),
            message: body["message"].as_str().unwrap_or("no reason given").to_owned(),
            method: endpoint.method.name(),
            path: public_path(&endpoint.path),
        };
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = wait.unwrap_or(Duration::from_secs(1));
                self.metrics.limited(match (global, shared) {
                    (true, _) => "global",
                    (false, true) => "shared",
                    (false, false) => "user",
                });
                if global {
                    self.pause(Instant::now() + wait);
                }
                tracing::warn!(
                    path = public_path(&endpoint.path),
                    wait_ms = wait.as_millis() as u64,
                    global,
                    "too fast"
                );
                (error, Some(wait))
            }
            status if status.is_server_error() => (error, Some(AGAIN)),
            _ => (error, None),
        }
    }

    fn pause(&self, until: Instant) {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = (*paused).max(Some(until));
    }

    /// A global limit holds back everything but answers to interactions, which it does not count.
    async fn wait_for_pause(&self, endpoint: &Endpoint) {
        if of_interaction(endpoint) {
            return;
        }
        let until = *self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
    }
}

/// Whether a request answers an interaction by its token. Each token has a limit of its own, which is not worth a queue for
/// the minutes that it lives: whoever takes the last turn waits for the next one, and no other request is held up.
fn of_interaction(endpoint: &Endpoint) -> bool {
    endpoint.path.starts_with("interactions/") || endpoint.path.starts_with("webhooks/")
}

fn endpoint(call: &Call<'_>) -> Endpoint {
    let path = call.route.path();
    let path = bucket_path(path.rsplit_once("/api/v10/").map_or("", |(_, path)| path));
    let method = match call.method {
        LightMethod::Delete => Method::Delete,
        LightMethod::Get => Method::Get,
        LightMethod::Patch => Method::Patch,
        LightMethod::Post => Method::Post,
        LightMethod::Put => Method::Put,
    };
    Endpoint { method, path }
}

/// The path by which the limiter knows a route: all messages of a channel share a limit, so their ids are left out.
fn bucket_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["channels", channel, "messages", message, rest @ ..] if message.parse::<u64>().is_ok() => {
            ["channels", channel, "messages", "{message}"]
                .iter()
                .chain(rest)
                .copied()
                .collect::<Vec<_>>()
                .join("/")
        }
        _ => path.to_owned(),
    }
}

/// A path as it may be logged: interaction tokens answer for their owner, so they are left out.
fn public_path(path: &str) -> String {
    let secret = |part: &&str| part.len() > 40;
    path.split('/').map(|part| if secret(&part) { "…" } else { part }).collect::<Vec<_>>().join("/")
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
    (0.0..86_400.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

fn limit_headers(headers: &HeaderMap, retry_after: Option<Duration>) -> Option<RateLimitHeaders> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let bucket = text(RateLimitHeaders::BUCKET)?.as_bytes().to_vec();
    let reset_after: f64 = text(RateLimitHeaders::RESET_AFTER)?.parse().ok()?;
    let reset_after = Duration::try_from_secs_f64(reset_after).ok()?;
    let remaining = text(RateLimitHeaders::REMAINING)?.parse().ok()?;
    Some(RateLimitHeaders {
        bucket,
        limit: text(RateLimitHeaders::LIMIT)?.parse().ok()?,
        remaining: if retry_after.is_some() { 0 } else { remaining },
        reset_at: Instant::now() + retry_after.unwrap_or_default().max(reset_after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_channel_share_a_limit_and_channels_do_not() {
        assert_eq!(bucket_path("channels/1/messages/2"), bucket_path("channels/1/messages/3"));
        assert_ne!(bucket_path("channels/1/messages/2"), bucket_path("channels/2/messages/2"));
        assert_ne!(bucket_path("channels/1/messages/2"), bucket_path("channels/1/messages"));
        assert_eq!(bucket_path("webhooks/1/token/messages/@original"), "webhooks/1/token/messages/@original");
    }

    #[test]
    fn tokens_are_not_logged() {
        let path = format!("webhooks/1/{}/messages/@original", "t".repeat(60));
        assert_eq!(public_path(&path), "webhooks/1/…/messages/@original");
    }
}
