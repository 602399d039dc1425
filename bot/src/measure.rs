//! What is counted and timed of the front doors, beside the loop's own ([`riff_hub::measure`]): HTTP and Discord. It owns their
//! names and labels, and the registry that writes out all of them. A label is never a member, a channel, or a path as typed.

use std::{fmt, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use riff_hub::hub::Hub;

type One = [(&'static str, String); 1];
type Three = [(&'static str, String); 3];

/// Bounds of answers, in seconds.
const TIMES: [f64; 11] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: Family<Three, Counter>,
    seconds: Family<One, Histogram, fn() -> Histogram>,
    /// Those of Discord's API.
    pub discord: Discord,
}

/// What Discord's API is asked, and what it limits.
#[derive(Clone)]
pub struct Discord {
    answers: Family<One, Counter>,
    limited: Family<One, Counter>,
    invalid: Counter,
    held_back: Family<One, Counter>,
}

/// Why a request was not sent to Discord.
#[derive(Debug, Clone, Copy)]
pub enum HeldBack {
    /// The breaker is open.
    Breaker,
    /// It was unimportant and there was no room within the rate limit.
    Busy,
}

impl Metrics {
    /// Those of a hub and its front doors.
    pub fn new(hub: &Hub) -> Self {
        let mut registry = Registry::default();
        hub.metrics.register(&mut registry);
        let version: Family<One, Gauge> = Family::default();
        version.get_or_create(&[("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        registry.register("riff_build_info", "Which version this is", version);
        let requests = Family::default();
        registry.register("riff_http_requests", "Requests that were answered", requests.clone());
        let seconds: Family<One, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(TIMES));
        registry.register("riff_http_seconds", "Up to the head of the answer", seconds.clone());
        let discord = Discord::default();
        discord.register(&mut registry);
        Self { registry, requests, seconds, discord }
    }

    /// All of them as OpenMetrics text
    /// (<https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>).
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Discord {
    fn default() -> Self {
        let discord = Self {
            answers: Family::default(),
            limited: Family::default(),
            invalid: Counter::default(),
            held_back: Family::default(),
        };
        // A series that begins at its first event hides that event from `rate`.
        drop(discord.answers.get_or_create(&[("status", "200".to_owned())]));
        for scope in ["user", "global", "shared"] {
            drop(discord.limited.get_or_create(&[("scope", scope.to_owned())]));
        }
        for why in [HeldBack::Breaker, HeldBack::Busy] {
            drop(discord.held_back.get_or_create(&[("why", why.as_str().to_owned())]));
        }
        discord
    }
}

impl HeldBack {
    fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Busy => "busy",
        }
    }
}

impl Discord {
    fn register(&self, registry: &mut Registry) {
        registry.register("riff_discord_answers", "Answers of Discord's API", self.answers.clone());
        registry.register("riff_discord_rate_limited", "Answers that it came too fast", self.limited.clone());
        registry.register("riff_discord_invalid", "Answers that count towards a ban", self.invalid.clone());
        registry.register("riff_discord_held_back", "Requests that were not sent", self.held_back.clone());
    }

    /// An answer.
    pub fn answered(&self, status: u16) {
        self.answers.get_or_create(&[("status", status.to_string())]).inc();
    }

    /// An answer that it came too fast: for this bot, for all that the bot does, or for a resource that others share.
    pub fn limited(&self, scope: &str) {
        self.limited.get_or_create(&[("scope", scope.to_owned())]).inc();
    }

    /// An answer that counts towards a ban.
    pub fn invalid(&self) {
        self.invalid.inc();
    }

    /// A request that was not sent.
    pub fn held_back(&self, why: HeldBack) {
        self.held_back.get_or_create(&[("why", why.as_str().to_owned())]).inc();
    }
}

/// Counts and times every request by its route.
pub async fn layer(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let route = route(&request);
    let method = method(request.method()).to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    let labels = [("route", route.clone()), ("method", method), ("status", status)];
    metrics.requests.get_or_create(&labels).inc();
    metrics.seconds.get_or_create(&[("route", route)]).observe(begun.elapsed().as_secs_f64());
    response
}

/// A route as it is written in the code, or that there is none.
fn route(request: &Request) -> String {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    // What a nest has no route for, axum matches by a name of its own.
    path.filter(|path| !path.contains("__private")).unwrap_or("none").to_owned()
}

/// A method that somebody made up is no label.
fn method(method: &Method) -> &str {
    let known = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS];
    if known.contains(method) { method.as_str() } else { "other" }
}
