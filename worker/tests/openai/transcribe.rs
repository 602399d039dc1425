//! Speech to text, in front of a server that holds to OpenAI's published description of `POST /audio/transcriptions`: what it
//! takes, what it refuses and how it says so. What it hears is what a test decides.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::Multipart,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use riff_worker::engine::{Engine, EngineError};
use serde_json::{Value, json};

use crate::support::{ask, engine, first, recipe, run, serve, with_picture};

const WAV: &[u8] = include_bytes!("../../../hub/tests/sounds/tone.wav");
const OPUS: &[u8] = include_bytes!("../../../hub/tests/sounds/opus.ogg");
/// Endings of files that the API takes.
const ENDINGS: [&str; 9] = ["flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "ogg", "wav", "webm"];

/// What a server was sent: texts by name, and the file with its name and type.
#[derive(Default, Clone, PartialEq, Debug)]
struct Sent {
    texts: BTreeMap<String, String>,
    file: Option<(String, String, Bytes)>,
}

fn refuse(status: StatusCode, param: &str, message: &str) -> Response {
    let error = json!({"message": message, "type": "invalid_request_error", "param": param, "code": null});
    (status, Json(json!({"error": error}))).into_response()
}

async fn read(mut parts: Multipart) -> Sent {
    let mut sent = Sent::default();
    while let Some(part) = parts.next_field().await.unwrap() {
        let name = part.name().unwrap().to_owned();
        match part.file_name().map(str::to_owned) {
            Some(file) => {
                let kind = part.content_type().unwrap().to_owned();
                sent.file = Some((file, kind, part.bytes().await.unwrap()));
            }
            None => drop(sent.texts.insert(name, part.text().await.unwrap())),
        }
    }
    sent
}

fn refusal(sent: &Sent) -> Option<Response> {
    let text = |name: &str| sent.texts.get(name).map(String::as_str);
    let Some((file, ..)) = &sent.file else {
        return Some(refuse(StatusCode::BAD_REQUEST, "file", "you must provide a file"));
    };
    if !ENDINGS.iter().any(|ending| file.ends_with(&format!(".{ending}"))) {
        return Some(refuse(StatusCode::BAD_REQUEST, "file", "Invalid file format."));
    }
    if text("model") != Some("whisper-1") {
        return Some(refuse(StatusCode::NOT_FOUND, "model", "The model does not exist"));
    }
    if text("language").is_some_and(|language| language.len() != 2) {
        return Some(refuse(StatusCode::BAD_REQUEST, "language", "Language is not supported"));
    }
    None
}

/// A server that hears these words. Gives its address and what it was sent.
async fn hears(
    answer: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<Sent>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = seen.clone();
    let transcribe = move |parts: Multipart| async move {
        let sent = read(parts).await;
        let refusal = refusal(&sent);
        list.lock().unwrap().push(sent);
        refusal.unwrap_or_else(answer)
    };
    let listing =
        || async { Json(json!({"object": "list", "data": [{"id": "whisper-1", "object": "model"}]})) };
    let router =
        Router::new().route("/v1/models", get(listing)).route("/v1/audio/transcriptions", post(transcribe));
    (serve(router).await, seen)
}

fn says(text: &'static str) -> impl Fn() -> Response + Clone + Send + Sync + 'static {
    move || Json(json!({"text": text, "usage": {"type": "duration", "seconds": 1}})).into_response()
}

async fn transcribed(url: &str, sound: &'static [u8], mut changes: Value) -> Result<String, EngineError> {
    let engine = engine(url, "");
    let spec = first(&engine).await;
    let (context, name) = with_picture(Bytes::from_static(sound));
    changes["audio"] = name.into();
    let made = engine.run(&recipe(&spec, "Write down what is said.", changes), &context).await?;
    Ok(String::from_utf8(made[0].bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn a_sound_is_put_as_the_api_has_it() {
    let (url, seen) = hears(says(" Hello there.\n")).await;
    assert_eq!(transcribed(&url, WAV, json!({})).await.unwrap(), "Hello there.");
    let more = json!({"language": "en", "hint": "Riff, ComfyUI", "temperature": 0.5});
    assert_eq!(transcribed(&url, OPUS, more).await.unwrap(), "Hello there.");
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].file, Some(("sound.wav".into(), "audio/wav".into(), Bytes::from_static(WAV))));
    assert_eq!(seen[1].file, Some(("sound.ogg".into(), "audio/ogg".into(), Bytes::from_static(OPUS))));
    let texts: Vec<(&str, &str)> =
        seen[1].texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(
        texts,
        [
            ("language", "en"),
            ("model", "whisper-1"),
            ("prompt", "Riff, ComfyUI"),
            ("response_format", "json"),
            ("temperature", "0.5"),
        ]
    );
    let names: Vec<&String> = seen[0].texts.keys().collect();
    assert_eq!(names, ["model", "response_format", "temperature"], "what was not set is not sent");
}

#[tokio::test]
async fn what_is_no_speech_is_refused_in_words() {
    let (url, seen) = hears(says(" ")).await;
    let silence = transcribed(&url, WAV, json!({})).await.unwrap_err();
    assert!(matches!(&silence, EngineError::Input(said) if said.contains("nothing is said")), "{silence:?}");
    let picture = transcribed(&url, b"\x89PNG\r\n\x1a\n", json!({})).await.unwrap_err();
    assert!(matches!(&picture, EngineError::Input(said) if said.contains("is no sound")), "{picture:?}");
    let none = run(&engine(&url, ""), "Hello?", json!({})).await.unwrap_err();
    assert!(matches!(&none, EngineError::Input(said) if said.contains("--audio")), "{none:?}");
    assert_eq!(seen.lock().unwrap().len(), 1, "what is no sound is not sent");
    let foreign = transcribed(&url, WAV, json!({"language": "Klingon"})).await.unwrap_err();
    assert!(
        matches!(&foreign, EngineError::Input(said) if said.contains("Language is not supported")),
        "{foreign:?}"
    );
}

#[tokio::test]
async fn answers_that_are_no_transcript_are_told_apart() {
    let html = || ([("content-type", "text/html")], "<h1>nginx</h1>").into_response();
    let (url, _) = hears(html).await;
    let error = transcribed(&url, WAV, json!({})).await.unwrap_err();
    assert!(matches!(&error, EngineError::Failed(said) if said.contains("text/html")), "{error:?}");
    let (url, _) = hears(|| StatusCode::SERVICE_UNAVAILABLE.into_response()).await;
    let error = transcribed(&url, WAV, json!({})).await.unwrap_err();
    assert!(matches!(&error, EngineError::Unavailable(_)), "{error:?}");
    let (url, _) = hears(|| Json(json!({"text": 7})).into_response()).await;
    assert!(matches!(transcribed(&url, WAV, json!({})).await.unwrap_err(), EngineError::Failed(_)));
    let (url, _) = hears(|| "x".repeat(17 << 20).into_response()).await;
    let error = transcribed(&url, WAV, json!({})).await.unwrap_err();
    assert!(error.to_string().contains("more than 16777216 bytes"), "{error}");
}

#[tokio::test]
async fn a_model_that_transcribes_does_not_chat() {
    let (url, _) = hears(says("Hello.")).await;
    let spec = first(&engine(&url, "")).await;
    assert!(!spec.takes_words_alone() && spec.examples.is_empty());
    let chatting = engine(&url, "models = [{id = \"whisper-1\", transcribes = false}]");
    assert!(ask(&chatting, "Hello?", json!({})).await.is_err(), "the server has no chat");
}
