//! Engines together: one that cannot say what it serves is left out, the others keep working, and the hub is told.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use riff_hub::{canonical::Digest, model::ModelSpec, recipe::Recipe, wire::Hello};
use riff_worker::{
    client::Client,
    engine::{Artifact, Engine, EngineError, RunContext},
    engines::{Engines, abstract_},
    runner,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Serves, each time it is asked, what the next of a row of answers says; the last one for good.
struct Moody {
    asked: AtomicUsize,
    answers: Vec<Option<&'static str>>,
}

#[async_trait]
impl Engine for Moody {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        let at = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let name = self.answers[at].ok_or_else(|| EngineError::Unavailable("it sleeps".to_owned()))?;
        let [spec] = abstract_::engine().discover().await?.try_into().unwrap();
        Ok(vec![ModelSpec { name: name.to_owned(), ..spec }])
    }

    fn loaded(&self, _: Digest) -> bool {
        true
    }

    async fn load(&self, _: Digest) -> Result<(), EngineError> {
        Ok(())
    }

    async fn run(&self, _: &Recipe, _: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        Err(EngineError::Unavailable("it went away".to_owned()))
    }
}

fn names(models: &[ModelSpec]) -> Vec<&str> {
    models.iter().map(|spec| spec.name.as_str()).collect()
}

fn with_abstract(moody: &[Option<&'static str>]) -> Engines {
    Engines::of_list(vec![
        ("moody".to_owned(), Arc::new(Moody { asked: AtomicUsize::new(0), answers: moody.to_vec() })),
        ("abstract".to_owned(), abstract_::engine()),
    ])
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_fails_is_left_out_and_asked_again() {
    let engines = with_abstract(&[None, None, Some("late")]);
    engines.discover().await;
    let models = engines.models();
    assert_eq!(names(&models), ["abstract"]);
    assert_eq!(names(&engines.changed(&models).await), ["late", "abstract"]);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_changes_is_noticed() {
    let engines = with_abstract(&[Some("one"), Some("one"), Some("two"), None]);
    engines.discover().await;
    let models = engines.changed(&engines.models()).await;
    assert_eq!(names(&models), ["two", "abstract"]);
    assert_eq!(names(&engines.changed(&models).await), ["abstract"]);
}

#[tokio::test]
async fn a_model_that_the_hub_would_refuse_keeps_nobody_out() {
    let engines = with_abstract(&[Some("Not A Name")]);
    engines.discover().await;
    assert_eq!(names(&engines.models()), ["abstract"]);
    let engines = with_abstract(&[Some("abstract")]);
    engines.discover().await;
    assert_eq!(names(&engines.models()), ["abstract"], "a name is one engine's");
}

/// A hub that hears every hello, and gives one job.
async fn hub(job: Option<serde_json::Value>) -> (Client, mpsc::UnboundedReceiver<Hello>) {
    let (tell, told) = mpsc::unbounded_channel();
    let jobs = Arc::new(std::sync::Mutex::new(job));
    let hello = |State(tell): State<mpsc::UnboundedSender<Hello>>, Json(hello): Json<Hello>| async move {
        let _ = tell.send(hello);
        Json(json!({"heartbeat_ms": 1_000, "lease_ms": 10_000}))
    };
    let lease = move || async move {
        let job = jobs.lock().unwrap().take();
        match job {
            Some(job) => Json(job),
            None => std::future::pending().await,
        }
    };
    let signal = || std::future::pending::<StatusCode>();
    let routes = Router::new()
        .route("/worker/v1/hello", post(hello))
        .route("/worker/v1/lease", post(lease))
        .route("/worker/v1/jobs/{job}/report", post(|| async { Json(json!({"signal": "continue"})) }))
        .route("/worker/v1/jobs/{job}/signal", axum::routing::get(signal))
        .route("/worker/v1/jobs/{job}/fail", post(StatusCode::NO_CONTENT))
        .with_state(tell);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (Client::new(&format!("http://{address}"), "riff_w_test").unwrap(), told)
}

#[tokio::test]
async fn the_hub_is_told_when_a_server_comes_up() {
    let (client, mut told) = hub(None).await;
    let stop = CancellationToken::new();
    let worker = {
        let stop = stop.clone();
        tokio::spawn(
            async move { runner::run(&client, "w", &with_abstract(&[None, Some("late")]), &stop).await },
        )
    };
    assert_eq!(names(&told.recv().await.unwrap().models), ["abstract"]);
    assert_eq!(names(&told.recv().await.unwrap().models), ["late", "abstract"]);
    stop.cancel();
    worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_went_away_under_a_job_is_withdrawn_at_once() {
    let [mut spec] = abstract_::engine().discover().await.unwrap().try_into().unwrap();
    spec.name = "frail".to_owned();
    let recipe = crate::suite::recipe(&spec, "x", &json!({}));
    let job = json!({"job": "01J", "attempt": 1, "recipe_id": recipe.id(), "recipe": recipe});
    let (client, mut told) = hub(Some(job)).await;
    let stop = CancellationToken::new();
    let worker = {
        let stop = stop.clone();
        tokio::spawn(
            async move { runner::run(&client, "w", &with_abstract(&[Some("frail"), None]), &stop).await },
        )
    };
    assert_eq!(names(&told.recv().await.unwrap().models), ["frail", "abstract"]);
    assert_eq!(names(&told.recv().await.unwrap().models), ["abstract"]);
    stop.cancel();
    worker.await.unwrap().unwrap();
}
