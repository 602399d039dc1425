//! What engines in front of a server share: answers that are read within limits, and told apart when they are none.

use bytes::{Bytes, BytesMut};
use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures::{Stream, StreamExt, TryStreamExt};
use reqwest12::{
    RequestBuilder, Response,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::de::DeserializeOwned;

use crate::engine::EngineError;

/// How much of a foreign answer a message repeats, in characters.
const QUOTED: usize = 300;

/// Sends a request. A server that is not there, or goes away before it answers, is [`EngineError::Unavailable`].
pub async fn send(request: RequestBuilder) -> Result<Response, EngineError> {
    request.send().await.map_err(|error| unreachable(&error))
}

fn unreachable(error: &reqwest12::Error) -> EngineError {
    let place = error.url().map_or_else(|| "the server".to_owned(), ToString::to_string);
    EngineError::Unavailable(match error.is_timeout() {
        true => format!("{place} did not answer in time"),
        false => format!("{place} cannot be reached: {}", innermost(error)),
    })
}

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// [`EngineError::Failed`] if it is longer or breaks off, [`EngineError::Unavailable`] if it takes too long.
pub async fn read(mut response: Response, limit: usize) -> Result<Bytes, EngineError> {
    let too_long =
        || EngineError::Failed(format!("the server's answer has more than {limit} bytes; it was dropped"));
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_long());
    }
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Err(too_long()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(error) if error.is_timeout() => return Err(unreachable(&error)),
            Err(error) => {
                let reason = innermost(&error);
                return Err(EngineError::Failed(format!("the server's answer broke off: {reason}")));
            }
        }
    }
}

/// Reads a body of JSON of at most `limit` bytes.
///
/// # Errors
/// As [`read`], and [`EngineError::Failed`] with the beginning of what came instead.
pub async fn json<T: DeserializeOwned>(response: Response, limit: usize) -> Result<T, EngineError> {
    json_of(response, limit, |body| body).await
}

async fn json_of<T: DeserializeOwned>(
    response: Response,
    limit: usize,
    prepare: fn(Bytes) -> Bytes,
) -> Result<T, EngineError> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("no media type").to_owned();
    let status = response.status();
    let body = prepare(read(response, limit).await?);
    serde_json::from_slice(&body).map_err(|error| {
        let begin = quoted(&String::from_utf8_lossy(&body[..body.len().min(4 * QUOTED)]));
        EngineError::Failed(format!(
            "JSON was expected, and the server answered {status} with {kind} ({error}): {begin:?}"
        ))
    })
}

/// The same of a server in Python, which writes numbers that JSON does not have (`NaN`, `Infinity`) as words: they are read
/// as `null`.
///
/// # Errors
/// As [`json`].
pub async fn python_json<T: DeserializeOwned>(response: Response, limit: usize) -> Result<T, EngineError> {
    json_of(response, limit, finite).await
}

/// Puts `null` in the place of numbers that are none.
fn finite(body: Bytes) -> Bytes {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut made = Vec::new();
    let (mut kept, mut at, mut quoted) = (0, 0, false);
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => at += 1,
            b'-' | b'I' | b'N' if !quoted => {
                if let Some(word) = WORDS.iter().find(|word| body[at..].starts_with(word)) {
                    made.extend_from_slice(&body[kept..at]);
                    made.extend_from_slice(b"null");
                    at += word.len();
                    kept = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if kept == 0 {
        return body;
    }
    made.extend_from_slice(&body[kept..]);
    made.into()
}

/// The events of an answer of at most `limit` bytes, as they come:
/// <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
///
/// # Errors
/// [`EngineError::Failed`] if it is longer, breaks off, or is no stream of events.
pub fn events(response: Response, limit: usize) -> impl Stream<Item = Result<Event, EngineError>> {
    let mut left = limit;
    let bytes = response.bytes_stream().map_err(|error| format!("the server's stream broke off: {error}"));
    let bytes = bytes.map(move |chunk| {
        let chunk = chunk?;
        left =
            left.checked_sub(chunk.len()).ok_or_else(|| format!("more than {limit} bytes were streamed"))?;
        Ok::<_, String>(chunk)
    });
    bytes.eventsource().map_err(|error| {
        EngineError::Failed(match error {
            EventStreamError::Transport(reason) => reason,
            other => format!("the server's stream cannot be read: {other}"),
        })
    })
}

/// A key as the header `Authorization` has it. It is never shown.
///
/// # Errors
/// If no header can hold it.
pub fn bearer(key: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
        .map_err(|_| "the API key has a line break or another sign that no header can hold".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The beginning of foreign text, on one line.
pub fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The cause at the bottom: what reqwest wraps says less.
pub fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_are_read_as_null() {
        let read = |text: &'static str| {
            String::from_utf8(finite(Bytes::from_static(text.as_bytes())).to_vec()).unwrap()
        };
        assert_eq!(
            read(r#"{"max": Infinity, "min": -Infinity, "n": [NaN, -1]}"#),
            r#"{"max": null, "min": null, "n": [null, -1]}"#
        );
        let words = r#"{"Infinity": "\"NaN", "a": "\\", "b": "-Infinity"}"#;
        assert_eq!(read(words), words);
    }
}
