//! Bodies: JSON, or multipart with a `payload_json` part and `files[n]`.

use axum::{
    body::Body,
    extract::{FromRequest, Multipart, Request},
    http::header::CONTENT_TYPE,
};
use bytes::Bytes;
use serde_json::Value;

use crate::refused::Refused;

/// A file that came with a request.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    /// The number in `files[n]`.
    pub number: u64,
    pub filename: String,
    pub content_type: String,
    pub bytes: Bytes,
}

/// A request's body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payload {
    pub json: Value,
    pub files: Vec<Upload>,
}

/// Longest body that is read at all, in bytes.
const BODY_BYTES: usize = 300 * 1024 * 1024;

/// Reads a body, and refuses files that are too large.
pub(crate) async fn read(request: Request, file_bytes: usize) -> Result<Payload, Refused> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("multipart/form-data") {
        return read_multipart(request, file_bytes).await;
    }
    let is_json = kind.starts_with("application/json");
    let bytes = read_all(request.into_body()).await?;
    if bytes.is_empty() {
        return Ok(Payload::default());
    }
    if !is_json {
        return Err(Refused::invalid("Expected \"Content-Type\" header to be one of {'application/json'}."));
    }
    let json = serde_json::from_slice(&bytes)
        .map_err(|_| Refused::new(400, 50_109, "The request body contains invalid JSON."))?;
    Ok(Payload { json, files: Vec::new() })
}

async fn read_all(body: Body) -> Result<Bytes, Refused> {
    axum::body::to_bytes(body, BODY_BYTES).await.map_err(|_| Refused::too_large())
}

async fn read_multipart(request: Request, file_bytes: usize) -> Result<Payload, Refused> {
    let broken = |_| Refused::invalid("the multipart body is broken");
    let mut multipart =
        Multipart::from_request(request, &()).await.map_err(|_| Refused::invalid("not a multipart body"))?;
    let (mut payload, mut too_large) = (Payload::default(), false);
    while let Some(field) = multipart.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        let filename = field.file_name().map(str::to_owned);
        let content_type = field.content_type().map(str::to_owned);
        let bytes = field.bytes().await.map_err(broken)?;
        if name == "payload_json" {
            payload.json = serde_json::from_slice(&bytes)
                .map_err(|_| Refused::new(400, 50_109, "The request body contains invalid JSON."))?;
            continue;
        }
        let number = name.strip_prefix("files[").and_then(|rest| rest.strip_suffix(']')?.parse().ok());
        let number = number.ok_or_else(|| Refused::invalid(&format!("a part named {name:?}")))?;
        // The rest is read all the same: the client is still sending it.
        too_large |= bytes.len() > file_bytes;
        let filename = filename.unwrap_or_else(|| "unknown".to_owned());
        let content_type = content_type.unwrap_or_else(|| guess(&filename).to_owned());
        payload.files.push(Upload { number, filename, content_type, bytes });
    }
    if too_large { Err(Refused::too_large()) } else { Ok(payload) }
}

/// The media type that a name's ending stands for.
pub(crate) fn guess(filename: &str) -> &'static str {
    match filename.rsplit('.').next().unwrap_or_default() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "txt" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "mp4" => "video/mp4",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "ogg" => "audio/ogg",
        _ => "application/octet-stream",
    }
}
