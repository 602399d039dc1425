//! Servers that are not what they should be.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use futures::{StreamExt, stream};
use riff_worker::engine::{Engine, EngineError, RunContext};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{mpsc, watch},
};

use crate::support::{STOP, ask, chats, engine, events, first, part, recipe, serve, stream as body};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an answer of a server ends a run.
async fn failure(answer: impl Fn(&Value) -> Response + Send + Sync + 'static, more: &str) -> EngineError {
    let (url, _) = chats(answer).await;
    let engine = engine(&url, more);
    tokio::time::timeout(PATIENCE, ask(&engine, "Hello?", json!({}))).await.expect("it ends").unwrap_err()
}

fn says(status: u16, message: &str) -> impl Fn(&Value) -> Response + Send + Sync + 'static {
    let said = json!({"error": {"message": message, "type": "server_error", "code": status}});
    move |_| (StatusCode::from_u16(status).unwrap(), Json(said.clone())).into_response()
}

fn is_unavailable(error: &EngineError, part: &str) {
    assert!(matches!(error, EngineError::Unavailable(_)) && error.to_string().contains(part), "{error:?}");
}

fn is_failed(error: &EngineError, part: &str) {
    assert!(matches!(error, EngineError::Failed(_)) && error.to_string().contains(part), "{error:?}");
}

fn is_input(error: &EngineError, part: &str) {
    assert!(matches!(error, EngineError::Input(_)) && error.to_string().contains(part), "{error:?}");
}

#[tokio::test]
async fn a_status_says_whether_another_attempt_is_worth_it() {
    is_unavailable(&failure(says(503, "Loading model"), "").await, "Loading model");
    is_unavailable(&failure(says(429, "slow down"), "").await, "slow down");
    is_unavailable(&failure(says(404, "model \"fox\" not found"), "").await, "not found");
    is_unavailable(&failure(says(403, "no"), "").await, "another key");
    is_input(
        &failure(says(400, "temperature must be\n\n 1"), "").await,
        "400 Bad Request: temperature must be 1",
    );
    is_failed(&failure(says(500, "it broke"), "").await, "it broke");
    let memory = failure(says(500, "CUDA out of memory. Tried to allocate 2 GiB"), "").await;
    assert!(matches!(memory, EngineError::OutOfMemory(_)), "{memory:?}");
    let detail = |_: &Value| {
        (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"detail": "no such field"}))).into_response()
    };
    is_input(&failure(detail, "").await, "no such field");
}

#[tokio::test]
async fn pages_where_an_answer_should_be_are_told_from_answers() {
    is_unavailable(&failure(|_| Html("<h1>It works!</h1>").into_response(), "").await, "text/html");
    let error = |_: &Value| (StatusCode::INTERNAL_SERVER_ERROR, Html("<h1>Oops</h1>")).into_response();
    is_failed(&failure(error, "").await, "500");
    let moved = |_: &Value| Redirect::permanent("https://elsewhere.example/v1").into_response();
    is_unavailable(&failure(moved, "").await, "https://elsewhere.example/v1");
    is_failed(
        &failure(|_| ([(header::CONTENT_TYPE, "application/json")], "{\"choices\": [").into_response(), "")
            .await,
        "cannot be read",
    );
    is_failed(&failure(|_| body(Body::from(&b"data: \xff\xfe\n\n"[..])), "").await, "UTF-8");
    is_failed(&failure(|_| events(&["{\"choices\": ["]), "").await, "cannot be read");
}

/// A server without a list of models that answers a chat with these bytes and hangs up.
async fn says_bytes(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            // All of the request is read, as closing with some of it unread would throw the answer away.
            let chat = loop {
                connection.read_buf(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request);
                match text.starts_with("GET ") {
                    true if text.ends_with("\r\n\r\n") => break false,
                    false if text.ends_with('}') => break true,
                    _ => {}
                }
            };
            let nothing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let bytes = if chat { answer.as_str() } else { nothing };
            connection.write_all(bytes.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_no_answer() {
    is_failed(&failure(|_| events(&[]), "").await, "cut off");
    is_failed(&failure(|_| events(&[&part("half")]), "").await, "cut off");
    is_failed(&failure(|_| events(&[&part("half"), "[DONE]"]), "").await, "cut off");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 1000\r\n\r\n";
    let url = says_bytes(format!("{head}data: {}\n\n", part("half"))).await;
    let engine = engine(&url, "models = [\"fox\"]");
    is_failed(&ask(&engine, "Hello?", json!({})).await.unwrap_err(), "broke off");
    let complaint = r#"{"error": {"message": "the GPU fell off", "code": 500}}"#;
    is_failed(&failure(move |_| events(&[&part("half"), complaint]), "").await, "the GPU fell off");
}

#[tokio::test]
async fn an_end_without_the_last_mark_is_an_end() {
    let (url, _) = chats(|_| events(&[&part("hello"), STOP])).await;
    assert_eq!(ask(&engine(&url, ""), "Hello?", json!({})).await.unwrap(), "hello");
}

/// Repeats a text for ever.
fn endless(text: String) -> impl Fn(&Value) -> Response + Send + Sync + 'static {
    move |_| body(Body::from_stream(stream::repeat(text.clone()).map(Ok::<_, Infallible>)))
}

#[tokio::test]
async fn answers_without_an_end_are_ended() {
    is_failed(
        &failure(endless(format!("data: {}\n\n", part(&"la ".repeat(20_000)))), "").await,
        "does not end",
    );
    is_failed(&failure(endless("la".repeat(30_000)), "").await, "in a line");
    is_failed(&failure(endless(format!(": {}\n\n", "la".repeat(30_000))), "").await, "in all");
}

#[tokio::test]
async fn silence_is_waited_out_and_signs_of_life_count_until_the_time_is_up() {
    let silent = |_: &Value| body(Body::from_stream(stream::pending::<Result<String, Infallible>>()));
    is_unavailable(&failure(silent, "patience_seconds = 0.2").await, "patience_seconds");
    let pauses = |_: &Value| {
        let first = stream::iter([Ok::<_, Infallible>(format!("data: {}\n\n", part("half")))]);
        body(Body::from_stream(first.chain(stream::pending())))
    };
    is_unavailable(&failure(pauses, "patience_seconds = 0.2").await, "patience_seconds");
    let pings = |_: &Value| {
        let pings = stream::unfold(tokio::time::interval(Duration::from_millis(20)), |mut clock| async {
            clock.tick().await;
            Some((Ok::<_, Infallible>(": ping\n\n"), clock))
        });
        body(Body::from_stream(pings))
    };
    let ended = failure(pings, "patience_seconds = 10.0\ntimeout_seconds = 0.5").await;
    is_failed(&ended, "timeout_seconds");
}

#[tokio::test]
async fn cancelling_closes_the_connection_at_every_stage() {
    let (closed, mut ends) = mpsc::unbounded_channel();
    let (begun, mut begins) = watch::channel(0);
    let answer = move |asked: &Value| {
        let guard = Guard(closed.clone());
        let begun = begun.clone();
        let parts =
            if asked["max_tokens"] == 1 { Vec::new() } else { vec![format!("data: {}\n\n", part("half"))] };
        let hold = stream::once(async move {
            begun.send_modify(|count| *count += 1);
            let _guard = guard;
            std::future::pending::<String>().await
        });
        body(Body::from_stream(stream::iter(parts).chain(hold).map(Ok::<_, Infallible>)))
    };
    let (url, _) = chats(answer).await;
    let engine = engine(&url, "");
    let spec = first(&engine).await;
    for (stage, max_tokens) in [1, 2].into_iter().enumerate() {
        let context = RunContext::default();
        let asked = recipe(&spec, "Hello?", json!({"max_tokens": max_tokens}));
        let cancel = async {
            begins.wait_for(|count| *count == stage + 1).await.unwrap();
            context.cancel.cancel();
        };
        let (outcome, ()) = tokio::join!(engine.run(&asked, &context), cancel);
        assert!(matches!(outcome, Err(EngineError::Cancelled)), "{outcome:?}");
        tokio::time::timeout(PATIENCE, ends.recv()).await.expect("the server hears of it");
    }
    let context = RunContext::default();
    context.cancel.cancel();
    let outcome = engine.run(&recipe(&spec, "Hello?", json!({})), &context).await;
    assert!(matches!(outcome, Err(EngineError::Cancelled)), "before it began: {outcome:?}");
}

/// Tells when an answer is not wanted any more.
struct Guard(mpsc::UnboundedSender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_server_that_lists_nothing_to_serve_says_what_to_do() {
    let lists = |models: Response| {
        let models = Arc::new(Mutex::new(Some(models)));
        let list = move || async move { models.lock().unwrap().take().unwrap() };
        Router::new().route("/v1/models", get(list))
    };
    let cases = [
        (Json(json!({"object": "list", "data": null})).into_response(), "", "has no model to serve"),
        (Json(json!({"data": [{"id": "fox"}]})).into_response(), "models = [\"owl\"]", "it lists [\"fox\"]"),
        (Html("<h1>It works!</h1>").into_response(), "", "text/html"),
        (StatusCode::NOT_FOUND.into_response(), "", "has no list of models"),
        (StatusCode::BAD_GATEWAY.into_response(), "", "502"),
    ];
    for (answer, more, expected) in cases {
        let engine = engine(&serve(lists(answer)).await, more);
        is_unavailable(&engine.discover().await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn a_server_without_a_list_serves_what_the_section_names() {
    let url = serve(Router::new()).await;
    let engine = engine(&url, "models = [\"owl\"]");
    assert_eq!(first(&engine).await.name, "owl");
}
