//! Bodies of answers as no server should send them.

use std::convert::Infallible;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};

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
