//! A request's way: its route, the fault that a test planned for it, its token, its rate, its body, its answer, and the
//! line in the journal.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    edit, faults,
    faults::Fault,
    journal::{self, ViolationKind},
    limits::{Scope, Standing},
    multipart::{self, Payload},
    openapi,
    refused::Refused,
    routes::{self, Access, Call, Reply, Route, Writes},
    shared::Shared,
    validate,
};

/// Where the API lies.
const PREFIX: &str = "/api/v10";

/// Answers every request of the API.
pub(crate) async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let at = shared.now_ms();
    let method = request.method().as_str().to_owned();
    let path = request.uri().path().to_owned();
    let known = path.strip_prefix(PREFIX).and_then(|path| routes::find(&method, path));
    let template = known.as_ref().map_or(path.clone(), |(route, _)| route.template.to_owned());
    let mut noted = journal::Request { method, template, path, status: 0, at, took: 0, body: Value::Null };
    let answered = tokio::select! {
        answered = answer(&shared, request, known, &mut noted) => answered,
        () = shared.closed() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    noted.status = answered.status().as_u16();
    noted.took = shared.now_ms().saturating_sub(at);
    shared.journal.lock().note(noted);
    shared.touch();
    answered
}

type Known = (&'static Route, HashMap<&'static str, String>);

async fn answer(
    shared: &Shared,
    request: Request,
    known: Option<Known>,
    noted: &mut journal::Request,
) -> Response {
    let fault = faults::take(&mut shared.faults.lock(), &noted.method, &noted.path);
    if fault.is_some() {
        shared.touch();
    }
    match &fault {
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return (status, axum::Json(json!({"message": "a planned fault", "code": 0}))).into_response();
        }
        Some(Fault::Limited { retry_after, global }) => return limited(*retry_after, Some(*global)),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Delayed(held)) => held.pass().await,
        _ => {}
    }
    let Some((route, params)) = known else {
        let message = "there is no such route".to_owned();
        shared.violation(ViolationKind::Route, &noted.method, &noted.path, message, &Value::Null);
        return refusal(&Refused::unknown_route());
    };
    let response = perform(shared, request, route, params, noted).await;
    match fault {
        Some(Fault::Held(held)) => {
            held.pass().await;
            response
        }
        Some(Fault::Lost) => StatusCode::BAD_GATEWAY.into_response(),
        _ => response,
    }
}

async fn perform(
    shared: &Shared,
    request: Request,
    route: &'static Route,
    params: HashMap<&'static str, String>,
    noted: &mut journal::Request,
) -> Response {
    if route.access == Access::Bot && !authorized(shared, request.headers()) {
        return refusal(&Refused::unauthorized());
    }
    let major = ["channel_id", "guild_id", "webhook_token"].iter().find_map(|&name| params.get(name));
    let major = major.cloned().unwrap_or_default();
    let limits = shared.limits.lock().clone();
    let bucket = format!("{} {}", route.method, route.template);
    let standing = shared.meter.lock().count(&limits, route.rate, &bucket, &major, shared.now_ms());
    let query = request.uri().query().map(parse_query).unwrap_or_default();
    if let Some(scope) = standing.as_ref().and_then(|standing| standing.exceeded) {
        shared.journal.lock().exceeded += 1;
        // The body is read all the same: the client is still sending it.
        let _ignored = axum::body::to_bytes(request.into_body(), usize::MAX).await.is_ok();
        return exceeded(scope, standing.as_ref());
    }
    let given = match multipart::read(request, limits.file_bytes).await {
        Ok(payload) => {
            noted.body = payload.json.clone();
            checked(shared, route, noted, &payload)
                .and_then(|()| (route.answer)(shared, &Call { params, query, payload }))
        }
        Err(refused) => Err(refused),
    };
    let mut response = given.map_or_else(|refused| refusal(&refused), reply);
    if let Some(standing) = &standing {
        stand(response.headers_mut(), standing);
    }
    response
}

fn authorized(shared: &Shared, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.and_then(|given| given.strip_prefix("Bot ")).is_some_and(|token| token == shared.world.lock().token)
}

/// Looks at a body before it does anything.
fn checked(
    shared: &Shared,
    route: &Route,
    noted: &journal::Request,
    payload: &Payload,
) -> Result<(), Refused> {
    let body = &payload.json;
    let message = match route.writes {
        Writes::Callback => &body["data"],
        _ => body,
    };
    let creates = match route.writes {
        Writes::Nothing => None,
        Writes::NewMessage => Some(true),
        Writes::Edit => Some(false),
        Writes::Callback => match body["type"].as_u64() {
            Some(4) => Some(true),
            Some(7) => Some(false),
            _ => None,
        },
    };
    if let Some(problem) = creates.and_then(|creates| edit::could_ping(message, creates)) {
        let problem = problem.to_owned();
        shared.violation(ViolationKind::Mentions, &noted.method, &noted.path, problem, body);
    }
    let reads = matches!(route.method, "POST" | "PUT" | "PATCH");
    let Some(problem) = reads.then(|| openapi::check(route.method, route.template, body)).flatten() else {
        return Ok(());
    };
    shared.violation(ViolationKind::Body, &noted.method, &noted.path, problem.clone(), body);
    // The limits say better where the problem is, if they see it too.
    let seen = match route.writes {
        Writes::Nothing => Ok(()),
        Writes::Callback if body["type"] == 9 => validate::modal(message),
        _ => validate::message(message),
    };
    Err(seen.err().unwrap_or_else(|| Refused::invalid(&problem)))
}

fn parse_query(query: &str) -> HashMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn reply(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match reply.body {
        Some(body) => (status, axum::Json(body)).into_response(),
        None => status.into_response(),
    }
}

fn refusal(refused: &Refused) -> Response {
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(refused.body())).into_response()
}

/// The answer to a request over its rate.
fn exceeded(scope: Scope, standing: Option<&Standing>) -> Response {
    let after = standing.map_or(1.0, |standing| standing.reset_after_ms.max(1) as f64 / 1000.0);
    let mut response = limited(after, Some(scope == Scope::Global));
    if let Some(standing) = standing {
        stand(response.headers_mut(), standing);
    }
    response
}

fn limited(retry_after: f64, global: Option<bool>) -> Response {
    let global = global.unwrap_or_default();
    let body =
        json!({"message": "You are being rate limited.", "retry_after": retry_after, "global": global});
    let mut response = (StatusCode::TOO_MANY_REQUESTS, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    // Whole seconds here, exact ones in the body: as Discord does it.
    put(headers, "retry-after", &format!("{}", retry_after.ceil()));
    put(headers, "x-ratelimit-scope", if global { "global" } else { "user" });
    if global {
        put(headers, "x-ratelimit-global", "true");
    }
    response
}

fn stand(headers: &mut HeaderMap, standing: &Standing) {
    put(headers, "x-ratelimit-limit", &standing.limit.to_string());
    put(headers, "x-ratelimit-remaining", &standing.remaining.to_string());
    put(headers, "x-ratelimit-reset", &format!("{:.3}", standing.reset_ms as f64 / 1000.0));
    put(headers, "x-ratelimit-reset-after", &format!("{:.3}", standing.reset_after_ms as f64 / 1000.0));
    // Discord names a bucket by a hash; its route, without the major parameter, does as well.
    let route = standing.bucket.rsplit_once(':').map_or("", |(route, _)| route);
    let name: String = hex::encode(route).chars().rev().take(32).collect();
    put(headers, "x-ratelimit-bucket", &name);
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Serves a file of a message, as Discord's CDN does.
pub(crate) async fn attachment(
    State(shared): State<Arc<Shared>>,
    method: Method,
    Path((_channel, id, filename)): Path<(u64, u64, String)>,
) -> Response {
    let world = shared.world.lock();
    let Some(file) = world.files.get(&id).filter(|file| file.filename == filename) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let body = if method == Method::HEAD { Body::empty() } else { Body::from(file.bytes.clone()) };
    ([(header::CONTENT_TYPE, file.content_type.clone())], body).into_response()
}
