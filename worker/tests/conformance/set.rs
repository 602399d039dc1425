//! Engines together: one that cannot say what it serves is left out, the others keep working, and the hub is told.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use riff_hub::{
    canonical::Digest,
    model::ModelSpec,
    recipe::Recipe,
    wire::{Fail, Hello},
};
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

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        let Some(name) = recipe.text("image") else {
            return Err(EngineError::Unavailable("it went away".to_owned()));
        };
        let picture = context.files.get(name.parse().unwrap()).await?;
        Err(EngineError::Input(format!("{} had {} bytes to look at", context.job, picture.len())))
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

/// The name of the picture that the hub has.
fn picture() -> Digest {
    Digest::of_bytes(b"picture")
}

/// What a hub heard from its worker.
enum Heard {
    Hello(Hello),
    Fail(Fail),
}

impl Heard {
    fn hello(self) -> Vec<ModelSpec> {
        match self {
            Self::Hello(hello) => hello.models,
            Self::Fail(fail) => panic!("a hello was expected, and {fail:?} came"),
        }
    }
}

/// A hub that gives one job and has one picture.
async fn hub(job: Option<serde_json::Value>) -> (Client, mpsc::UnboundedReceiver<Heard>) {
    let (tell, told) = mpsc::unbounded_channel();
    let jobs = Arc::new(std::sync::Mutex::new(job));
    type Tell = State<mpsc::UnboundedSender<Heard>>;
    let hello = |State(tell): Tell, Json(hello): Json<Hello>| async move {
        tell.send(Heard::Hello(hello)).unwrap();
        Json(json!({"worker": "w", "heartbeat_ms": 1_000, "lease_ms": 10_000}))
    };
    let fail = |State(tell): Tell, Json(fail): Json<Fail>| async move {
        tell.send(Heard::Fail(fail)).unwrap();
        StatusCode::NO_CONTENT
    };
    let lease = move || async move {
        let job = jobs.lock().unwrap().take();
        match job {
            Some(job) => Json(job),
            None => std::future::pending().await,
        }
    };
    let blob = |Path(name): Path<String>| async move {
        match name == picture().to_string() {
            true => Ok("picture"),
            false => {
                Err((StatusCode::NOT_FOUND, Json(json!({"type": "/problems/not-found", "detail": "no"}))))
            }
        }
    };
    let routes = Router::new()
        .route("/worker/v1/hello", post(hello))
        .route("/worker/v1/lease", post(lease))
        .route("/worker/v1/blobs/{name}", get(blob))
        .route("/worker/v1/jobs/{job}/report", post(|| async { Json(json!({"signal": "continue"})) }))
        .route("/worker/v1/jobs/{job}/signal", get(std::future::pending::<StatusCode>))
        .route("/worker/v1/jobs/{job}/fail", post(fail))
        .with_state(tell);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (Client::new(&format!("http://{address}"), "riff_w_test").unwrap(), told)
}

/// A job for the first model of an engine that is called `name`.
async fn job(name: &str, inputs: serde_json::Value) -> serde_json::Value {
    let [spec] = abstract_::engine().discover().await.unwrap().try_into().unwrap();
    let recipe = crate::suite::recipe(&ModelSpec { name: name.to_owned(), ..spec }, "x", &inputs);
    json!({"job": "01J", "attempt": 1, "recipe_id": recipe.id(), "recipe": recipe})
}

/// A worker that serves until the guard is dropped.
fn serve(client: Client, moody: &'static [Option<&'static str>]) -> tokio_util::sync::DropGuard {
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    tokio::spawn(async move { runner::run(&client, &with_abstract(moody), &stop).await });
    guard
}

#[tokio::test]
async fn the_hub_is_told_when_a_server_comes_up() {
    let (client, mut told) = hub(None).await;
    let _worker = serve(client, &[None, Some("late")]);
    assert_eq!(names(&told.recv().await.unwrap().hello()), ["abstract"]);
    assert_eq!(names(&told.recv().await.unwrap().hello()), ["late", "abstract"]);
}

#[tokio::test]
async fn a_server_that_went_away_under_a_job_is_withdrawn_at_once() {
    let (client, mut told) = hub(Some(job("frail", json!({})).await)).await;
    let _worker = serve(client, &[Some("frail"), None]);
    assert_eq!(names(&told.recv().await.unwrap().hello()), ["frail", "abstract"]);
    let (mut failed, mut withdrawn) = (false, false);
    while !(failed && withdrawn) {
        match told.recv().await.unwrap() {
            Heard::Fail(fail) => failed = fail.retry,
            Heard::Hello(hello) => withdrawn = names(&hello.models) == ["abstract"],
        }
    }
}

#[tokio::test]
async fn engines_get_the_pictures_that_recipes_name() {
    for (name, said) in [
        (picture(), "01J had 7 bytes to look at".to_owned()),
        (
            Digest::of_bytes(b""),
            format!("the hub does not have the picture {} any more", Digest::of_bytes(b"")),
        ),
    ] {
        let (client, mut told) = hub(Some(job("eye", json!({"image": name.to_string()})).await)).await;
        let _worker = serve(client, &[Some("eye")]);
        assert_eq!(names(&told.recv().await.unwrap().hello()), ["eye", "abstract"]);
        let Heard::Fail(fail) = told.recv().await.unwrap() else { panic!("a failure was expected") };
        assert_eq!((fail.reason, fail.retry), (said, false));
    }
}
