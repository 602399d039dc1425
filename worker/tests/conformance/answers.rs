//! Answers that servers should not give, and how a test gives them.

use std::sync::Arc;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
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

/// A page where an answer should be.
pub fn html(status: StatusCode) -> (StatusCode, [(&'static str, &'static str); 1], &'static str) {
    (status, [("content-type", "text/html")], "<html><h1>Welcome to nginx</h1></html>")
}
