//! How runs and looks at servers end that do not go well, and what is said then.

use axum::response::Response;
use riff_worker::engine::{Artifact, Engine, EngineError, RunContext, Update};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    answers::answers,
    remembered::Remembered,
    suite::{recipe, watched},
};

pub fn unavailable(error: &EngineError, reason: &str) {
    assert!(
        matches!(error, EngineError::Unavailable(said) if said.contains(reason)),
        "{error:?} says {reason:?}"
    );
}

pub fn failed(error: &EngineError, reason: &str) {
    assert!(matches!(error, EngineError::Failed(said) if said.contains(reason)), "{error:?} says {reason:?}");
}

pub fn input(error: &EngineError, reason: &str) {
    assert!(matches!(error, EngineError::Input(said) if said.contains(reason)), "{error:?} says {reason:?}");
}

pub fn cancelled(ended: &Result<Vec<Artifact>, EngineError>) {
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
}

/// What an engine says of a server that answers a path like this.
pub async fn discovered<M>(
    server: &Remembered<M>,
    engine: &dyn Engine,
    path: &'static str,
    answer: impl Fn() -> Response + Send + Sync + 'static,
) -> EngineError {
    server.instead(path, answers(answer));
    engine.discover().await.unwrap_err()
}

/// How a run of the first model ends when a path is answered like this.
pub async fn ended<M>(
    server: &Remembered<M>,
    engine: &dyn Engine,
    inputs: &Value,
    path: &'static str,
    answer: impl Fn() -> Response + Send + Sync + 'static,
) -> EngineError {
    let spec = engine.discover().await.unwrap().remove(0);
    server.instead(path, answers(answer));
    engine.run(&recipe(&spec, "a fox", inputs), &watched().0).await.unwrap_err()
}

/// A run of another version than the engine serves.
pub async fn another_version(engine: &dyn Engine) -> EngineError {
    let mut spec = engine.discover().await.unwrap().remove(0);
    spec.name = "older".to_owned();
    engine.run(&recipe(&spec, "x", &Value::Object(Default::default())), &watched().0).await.unwrap_err()
}

/// A context that says when something was shown.
pub fn signalled() -> (RunContext, watch::Receiver<bool>) {
    let (tell, told) = watch::channel(false);
    let updates = std::sync::Arc::new(move |_: Update| {
        tell.send_replace(true);
    });
    (RunContext { updates, ..watched().0 }, told)
}
