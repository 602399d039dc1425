//! A Cog server whose every answer a test decides.

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    routing::{get, post, put},
};
use reqwest12::Url;
use riff_worker::engines::cog::{CogEngine, Settings};
use serde_json::{Value, json};

use crate::answers::{Answers, says};

/// What a server answers to each call.
#[derive(Clone)]
pub struct Fake {
    pub health: Answers,
    pub schema: Answers,
    pub predict: Answers,
}

/// A document of a model with a prompt, further inputs and an output.
pub fn document(inputs: Value, output: Value) -> Value {
    let mut properties = json!({"prompt": {"type": "string", "x-order": 0}});
    properties.as_object_mut().unwrap().extend(inputs.as_object().unwrap().clone());
    json!({"components": {"schemas": {
        "Input": {"type": "object", "properties": properties, "required": ["prompt"]},
        "Output": output,
    }}})
}

impl Fake {
    /// A server that is well and says "yes" to everything.
    pub fn well() -> Self {
        Self {
            health: says(json!({"status": "READY"})),
            schema: says(document(json!({}), json!({"type": "string"}))),
            predict: says(json!({"status": "succeeded", "output": "yes"})),
        }
    }

    /// Starts it; it ends with the test's runtime.
    pub async fn start(self) -> Url {
        let take = |answers: Answers| move |_: Request| async move { answers() };
        let routes = Router::new()
            .route("/health-check", get(take(self.health)))
            .route("/openapi.json", get(take(self.schema)))
            .route("/predictions/{id}", put(take(self.predict)))
            .route("/predictions/{id}/cancel", post(StatusCode::OK));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        url
    }

    /// An engine in front of it.
    pub async fn engine(self) -> CogEngine {
        CogEngine::new(Settings::new(self.start().await.as_str(), "fake").unwrap())
    }
}
