//! Answers that servers should not give, and how a test gives them.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json,
    body::Body,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::Value;

/// What a server answers to a call, each time.
pub type Answers = Arc<dyn Fn() -> Response + Send + Sync>;

/// The same JSON each time.
pub fn says(value: Value) -> Answers {
    Arc::new(move || Json(value.clone()).into_response())
}

/// Any answer, made anew each time.
pub fn answers<T: IntoResponse>(answer: impl Fn() -> T + Send + Sync + 'static) -> Answers {
    Arc::new(move || answer().into_response())
}

/// Bytes without end.
pub fn endless() -> Response {
    let chunk = Bytes::from(vec![b' '; 1 << 20]);
    Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone()))).into_response()
}

/// The beginning of a body, and then the connection is cut.
pub fn truncated() -> Response {
    let cut = stream::once(async {
        // What came before is sent when the server has nothing more to send for a moment.
        tokio::task::yield_now().await;
        Err("cut")
    });
    let begin = stream::iter([Ok(Bytes::from_static(b"{\"status\": \"succ"))]);
    Body::from_stream(begin.chain(cut)).into_response()
}

/// Headers, and then nothing.
pub fn hanging() -> Response {
    Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()).into_response()
}

/// A page where an answer should be.
pub fn html(status: StatusCode) -> (StatusCode, [(&'static str, &'static str); 1], &'static str) {
    (status, [("content-type", "text/html")], "<html><h1>Welcome to nginx</h1></html>")
}
