//! A prediction's output as results: pictures and sound from data URLs and addresses, or text.

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use reqwest12::Url;
use riff_hub::{media, model::Media};
use serde_json::Value;

use crate::{
    engine::{Artifact, EngineError},
    http,
};

/// Most files that an output is searched for; what is beyond is nobody's wish.
const MAX_FILES: usize = 64;
/// How deep an output is searched.
const MAX_DEPTH: usize = 8;
/// Longest text, in bytes: the hub's limit.
const MAX_TEXT: usize = 1 << 20;
/// Largest file, in bytes: the hub's limit for a result.
pub const MAX_FILE: usize = 32 << 20;

/// How files that an output names are got.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The bytes at an address, at most [`MAX_FILE`] of them.
    ///
    /// # Errors
    /// Saying why they did not arrive.
    async fn fetch(&self, url: Url) -> Result<Bytes, EngineError>;
}

/// How the pieces of a text belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// They are parts of one text.
    Seamless,
    /// They are lines.
    Lines,
}

/// The first `wanted` pictures, or sounds, of an output.
///
/// # Errors
/// [`EngineError::Failed`] if there are fewer, [`EngineError::Input`] if they are none or far too many.
pub async fn files(
    output: &Value,
    (media, wanted): (Media, u32),
    from: &dyn Fetch,
) -> Result<Vec<Artifact>, EngineError> {
    let mut files = Vec::new();
    collect(output, MAX_DEPTH, &mut files);
    let wanted = wanted as usize;
    if files.len() > MAX_FILES {
        return Err(EngineError::Input(format!(
            "the model gave more than {MAX_FILES} files where {wanted} were asked for"
        )));
    }
    if files.len() < wanted {
        let given = files.len();
        return Err(EngineError::Failed(format!(
            "the model gave {given} {}s where {wanted} were asked for",
            media.as_str()
        )));
    }
    if files.len() > wanted {
        tracing::warn!(given = files.len(), wanted, "surplus files are dropped; set `outputs` to keep them");
    }
    let mut artifacts = Vec::with_capacity(wanted);
    for (index, file) in files.into_iter().take(wanted).enumerate() {
        artifacts.push(artifact(media, index + 1, fetch(file, from).await?)?);
    }
    Ok(artifacts)
}

/// Every data URL and address in an output, in order.
fn collect<'a>(output: &'a Value, depth: usize, files: &mut Vec<&'a str>) {
    if depth == 0 || files.len() > MAX_FILES {
        return;
    }
    match output {
        Value::String(text)
            if ["data:", "http://", "https://"].iter().any(|start| text.starts_with(start)) =>
        {
            files.push(text);
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, depth - 1, files)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, depth - 1, files)),
        _ => {}
    }
}

async fn fetch(file: &str, from: &dyn Fetch) -> Result<Bytes, EngineError> {
    let Some(data) = file.strip_prefix("data:") else {
        let url: Url =
            file.parse().map_err(|_| EngineError::Failed(format!("the result {file:?} is no address")))?;
        return from.fetch(url).await;
    };
    let damaged = |what: String| EngineError::Failed(format!("a result's data URL {what}"));
    let (head, body) = data.split_once(',').ok_or_else(|| damaged("has no data".to_owned()))?;
    if !head.ends_with(";base64") {
        return Err(damaged(format!("is {:?}, where base64 was expected", http::quoted(head))));
    }
    if body.len() / 4 * 3 > MAX_FILE {
        return Err(damaged(format!("has more than {MAX_FILE} bytes")));
    }
    let bytes = BASE64_STANDARD.decode(body).map_err(|error| damaged(format!("is damaged: {error}")))?;
    Ok(bytes.into())
}

fn artifact(media: Media, number: usize, bytes: Bytes) -> Result<Artifact, EngineError> {
    let (kind, expected) = match media {
        Media::Audio => ("audio/", "a WAV, MP3, Ogg or FLAC sound"),
        _ => ("image/", "a PNG, JPEG or WebP picture"),
    };
    let found = media::type_of(&bytes);
    match found.filter(|found| found.starts_with(kind)) {
        Some(found) => Ok(Artifact { media_type: found.into(), bytes }),
        None => Err(EngineError::Input(format!(
            "result {number} of the model is {} of {} bytes, where {expected} was expected",
            found.unwrap_or("a file of another kind"),
            bytes.len()
        ))),
    }
}

/// The text of an output.
///
/// # Errors
/// [`EngineError::Failed`] if there is none, or too much.
pub fn text(output: &Value, join: Join) -> Result<Artifact, EngineError> {
    let text = match (output, join) {
        (Value::Array(pieces), Join::Seamless) => pieces.iter().map(words).collect(),
        (Value::Array(pieces), Join::Lines) => pieces.iter().map(words).collect::<Vec<_>>().join("\n"),
        (output, _) => words(output),
    };
    if text.trim().is_empty() {
        return Err(EngineError::Failed("the model gave no text".to_owned()));
    }
    if text.len() > MAX_TEXT {
        return Err(EngineError::Failed(format!(
            "the model gave {} bytes of text; at most {MAX_TEXT} are kept",
            text.len()
        )));
    }
    Ok(Artifact { media_type: "text/plain; charset=utf-8".into(), bytes: text.into() })
}

/// A value as a person reads it.
pub fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(_) | Value::Object(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
        value => value.to_string(),
    }
}
