//! Engines, recipes and servers for these tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    body::Body,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use figment::{
    Figment,
    providers::{Format, Toml},
};
use riff_hub::{
    canonical::Digest,
    model::ModelSpec,
    recipe::Recipe,
    schema::{check_spec, fill_defaults, validate},
};
use riff_worker::{
    engine::{Artifact, Engine, EngineError, Files, RunContext, Update},
    engines::openai::{OpenAiEngine, Settings},
};
use serde_json::{Value, json};

/// An engine with a section of the settings, `url` first.
pub fn engine(url: &str, more: &str) -> OpenAiEngine {
    let toml = format!("url = \"{url}\"\n{more}");
    let settings: Settings = Figment::from(Toml::string(&toml)).extract().unwrap();
    OpenAiEngine::new(settings)
}

/// Its first model, which the hub would take.
pub async fn first(engine: &OpenAiEngine) -> ModelSpec {
    let spec = engine.discover().await.unwrap().remove(0);
    check_spec(&spec).unwrap();
    spec
}

pub fn recipe(spec: &ModelSpec, prompt: &str, changes: Value) -> Recipe {
    let mut params: BTreeMap<String, Value> = changes.as_object().unwrap().clone().into_iter().collect();
    if spec.takes("seed") {
        params.entry("seed".to_owned()).or_insert_with(|| 7.into());
    }
    fill_defaults(&mut params, spec);
    validate(&params, spec).unwrap();
    Recipe { riff: 1, model: spec.digest(), prompt: prompt.parse().unwrap(), params, origin: None }
}

/// Runs a prompt on the first model.
pub async fn run(engine: &OpenAiEngine, prompt: &str, changes: Value) -> Result<Vec<Artifact>, EngineError> {
    let spec = first(engine).await;
    engine.run(&recipe(&spec, prompt, changes), &RunContext::default()).await
}

/// The same, for text.
pub async fn ask(engine: &OpenAiEngine, prompt: &str, changes: Value) -> Result<String, EngineError> {
    let made = run(engine, prompt, changes).await?;
    assert_eq!((made.len(), made[0].media_type.as_ref()), (1, "text/plain; charset=utf-8"));
    Ok(String::from_utf8(made[0].bytes.to_vec()).unwrap())
}

/// A run that cancels itself after so many updates, and what it showed.
pub fn watched(cancel_at: usize) -> (RunContext, Arc<Mutex<Vec<String>>>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let mut context = RunContext::default();
    let (list, cancel) = (shown.clone(), context.cancel.clone());
    context.updates = Arc::new(move |update| {
        let mut list = list.lock().unwrap();
        list.push(match update {
            Update::Text { text, .. } => text,
            Update::Progress { done, .. } => format!("{done:.2}"),
        });
        if list.len() == cancel_at {
            cancel.cancel();
        }
    });
    (context, shown)
}

/// A picture for recipes.
pub struct Picture(pub Bytes);

#[async_trait]
impl Files for Picture {
    async fn get(&self, blob: Digest) -> Result<Bytes, EngineError> {
        assert_eq!(blob, Digest::of_bytes(&self.0));
        Ok(self.0.clone())
    }
}

/// A run with a picture, and the picture's name.
pub fn with_picture(bytes: Bytes) -> (RunContext, String) {
    let name = Digest::of_bytes(&bytes).to_string();
    (RunContext { files: Arc::new(Picture(bytes)), ..RunContext::default() }, name)
}

pub fn png(side: u32) -> Bytes {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(side, side, image::Rgb([9, 99, 199]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner().into()
}

/// Serves on a free loopback port; gives the address with `/v1`.
pub async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/v1")
}

/// A server with the model `fox`, whose chats are answered so. Gives its address and what it was asked.
pub async fn chats(
    answer: impl Fn(&Value) -> Response + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<Value>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (list, answer) = (asked.clone(), Arc::new(answer));
    let chat = move |Json(body): Json<Value>| async move {
        let response = answer(&body);
        list.lock().unwrap().push(body);
        response
    };
    let listing = || async { Json(json!({"object": "list", "data": [{"id": "fox", "object": "model"}]})) };
    let router = Router::new().route("/v1/models", get(listing)).route("/v1/chat/completions", post(chat));
    (serve(router).await, asked)
}

/// A stream of events of these data, and its end.
pub fn events(data: &[&str]) -> Response {
    let body: String = data.iter().map(|data| format!("data: {data}\n\n")).collect();
    stream(Body::from(body))
}

pub fn stream(body: Body) -> Response {
    ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], body).into_response()
}

/// Data of an event with new text.
pub fn part(content: &str) -> String {
    json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": null}]})
        .to_string()
}

/// Data of the event that ends an answer.
pub const STOP: &str = r#"{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}"#;
