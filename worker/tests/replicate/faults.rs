//! A service that is down, slow, broken, throttled, or wants money.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    http::StatusCode,
    response::{Html, IntoResponse},
};
use riff_hub::seam::{Manual, Seam};
use riff_worker::{
    engine::{Engine, EngineError, RunContext},
    engines::replicate::ReplicateEngine,
};
use serde_json::{Value, json};

use crate::{
    bodies::{endless, hanging, truncated},
    server::Call,
    support::{Account, ask, recipe, run, spec},
};

/// How the first prediction ends that is answered so.
async fn created(answer: impl IntoResponse) -> (EngineError, Account) {
    let account = Account::open().await;
    let engine = account.engine();
    let painter = spec(&engine, "painter").await;
    account.server.plan(Call::Create, answer);
    let error = engine.run(&recipe(&painter, "x", json!({})), &RunContext::default()).await.unwrap_err();
    (error, account)
}

fn unavailable(error: &EngineError, part: &str) {
    assert!(
        matches!(error, EngineError::Unavailable(said) if said.contains(part)),
        "{error:?} says {part:?}"
    );
}

fn failed(error: &EngineError, part: &str) {
    assert!(matches!(error, EngineError::Failed(said) if said.contains(part)), "{error:?} says {part:?}");
}

fn says(status: u16, title: &str, detail: &str) -> (StatusCode, Json<Value>) {
    let status = StatusCode::from_u16(status).unwrap();
    (status, Json(json!({"title": title, "detail": detail, "status": status.as_u16()})))
}

#[tokio::test]
async fn inputs_that_a_model_refuses_are_told_in_plain_words() {
    let account = Account::open().await;
    let engine = account.engine();
    let painter = spec(&engine, "painter").await;
    let mut wide = recipe(&painter, "x", json!({}));
    wide.params.insert("width".to_owned(), json!(9_999));
    let error = engine.run(&wide, &RunContext::default()).await.unwrap_err();
    assert!(matches!(error, EngineError::Input(_)), "{error:?}");
    assert_eq!(error.to_string(), "the model refuses its inputs: width: Must be less than or equal to 256");
    assert_eq!(account.counted(), 0);
}

#[tokio::test]
async fn statuses_are_told_apart() {
    let (error, _) = created(says(401, "Unauthenticated", "You did not pass r8_secret")).await;
    unavailable(&error, "token_env");
    assert!(!error.to_string().contains("secret"), "{error}");
    unavailable(
        &created(says(422, "Invalid version or not permitted", "It does not exist")).await.0,
        "Invalid version",
    );
    unavailable(&created(says(503, "", "try later")).await.0, "try later");
    failed(&created(says(500, "", "it broke")).await.0, "it broke");
    failed(&created(Html("<h1>It works!</h1>")).await.0, "It works!");
    failed(&created(truncated()).await.0, "broke off");
    failed(&created(endless()).await.0, "more than 16777216 bytes");
    failed(
        &created(Json(json!({"id": "../account", "status": "starting"}))).await.0,
        "no id of a prediction",
    );
}

/// Time is paused: what waits is woken at once.
#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_not_waited_for() {
    let (error, account) = created(hanging()).await;
    failed(&error, "in time");
    assert_eq!(account.counted(), 10_000, "who knows what it began");
}

#[tokio::test(start_paused = true)]
async fn an_account_without_credit_is_left_alone_for_a_while() {
    let account = Account::open().await;
    let engine = account.engine();
    let painter = spec(&engine, "painter").await;
    account.server.plan(
        Call::Create,
        says(402, "Insufficient credit", "You have insufficient credit to run this model."),
    );
    let asked = recipe(&painter, "x", json!({}));
    let error = engine.run(&asked, &RunContext::default()).await.unwrap_err();
    unavailable(&error, "no credit, buy some there");
    unavailable(&engine.discover().await.unwrap_err(), "no credit");
    unavailable(&engine.run(&asked, &RunContext::default()).await.unwrap_err(), "no credit");
    assert_eq!((account.server.asked().len(), account.counted()), (1, 0), "nothing more was sent");
    tokio::time::advance(Duration::from_secs(601)).await;
    spec(&engine, "painter").await;
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_are_waited_out_as_the_service_says() {
    let account = Account::open().await;
    let engine = account.engine();
    let painter = spec(&engine, "painter").await;
    let throttled = |seconds: &'static str| {
        let body = json!({"detail": "Request was throttled. Your rate limit resets in ~5s."});
        (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds)], Json(body))
    };
    account.server.plan(Call::Create, throttled("5"));
    let begun = tokio::time::Instant::now();
    engine.run(&recipe(&painter, "x", json!({})), &RunContext::default()).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(5) && account.server.asked().len() == 2);
    account.server.plan(Call::Create, throttled("3600"));
    let error = engine.run(&recipe(&painter, "x", json!({})), &RunContext::default()).await.unwrap_err();
    unavailable(&error, "Request was throttled");
    unavailable(&engine.discover().await.unwrap_err(), "Request was throttled");
}

#[tokio::test]
async fn ends_without_a_result_are_told_apart() {
    let account = Account::open().await;
    let engine = account.engine();
    let end = async |prompt: &str| ask(&engine, "fails", prompt).await.unwrap_err();
    failed(&end("the GPU fell off").await, "the model failed: the GPU fell off");
    assert!(matches!(end("CUDA out of memory").await, EngineError::OutOfMemory(_)));
    let filtered = end("NSFW content detected. Try a different prompt.").await;
    assert!(matches!(&filtered, EngineError::Input(said) if said.contains("NSFW")), "{filtered:?}");
    failed(&end("is cancelled").await, "not by this worker");
    unavailable(&end("never begins").await, "no hardware was free");
    failed(&end("says nothing of its time").await, "gave 0 pictures where 1 were asked for");
}

#[tokio::test]
async fn results_that_are_gone_are_told_and_those_that_are_late_are_waited_for() {
    let account = Account::open().await;
    let engine = account.engine();
    account.server.plan(Call::File, StatusCode::NOT_FOUND);
    failed(&run(&engine, "painter", "x", json!({})).await.unwrap_err(), "keeps results for an hour");
    for _ in 0..2 {
        account.server.plan(Call::File, StatusCode::BAD_GATEWAY);
    }
    run(&engine, "painter", "x", json!({})).await.unwrap();
    assert_eq!(account.server.asked().len(), 2, "it was paid for once");
    account.server.plan(Call::File, "not a picture");
    let error = run(&engine, "painter", "x", json!({})).await.unwrap_err();
    assert!(matches!(&error, EngineError::Input(said) if said.contains("13 bytes")), "{error:?}");
}

#[tokio::test]
async fn silence_about_a_prediction_is_borne_for_a_while() {
    let account = Account::open().await;
    let engine = account.engine();
    let slow = json!({"pause": 0.5, "num_inference_steps": 4});
    for _ in 0..4 {
        account.server.plan(Call::Get, StatusCode::BAD_GATEWAY);
    }
    run(&engine, "painter", "x", slow.clone()).await.unwrap();
    for _ in 0..5 {
        account.server.plan(Call::Get, StatusCode::BAD_GATEWAY);
    }
    let slower = json!({"pause": 1.0, "num_inference_steps": 100});
    unavailable(&run(&engine, "painter", "x", slower).await.unwrap_err(), "a prediction is lost");
    account.server.reaches(&["succeeded", "canceled"]).await;
}

#[tokio::test]
async fn a_service_that_is_down_serves_nothing_and_one_model_that_is_gone_leaves_the_others() {
    let account = Account::open().await;
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = account.settings_at(&format!("http://{nowhere}/v1"), 1.0, "usd_per_run = 0.01");
    let engine = ReplicateEngine::new(settings, Arc::new(Manual::new(1)) as Arc<dyn Seam>);
    unavailable(&engine.discover().await.unwrap_err(), "cannot be reached");
    account.server.plan(Call::Model, StatusCode::NOT_FOUND);
    assert_eq!(account.engine().discover().await.unwrap().len(), 4);
    account.server.plan(Call::Model, Json(json!({"latest_version": null})));
    assert_eq!(account.engine().discover().await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_recipe_of_another_version_is_not_run() {
    let account = Account::open().await;
    let engine = account.engine();
    let mut other = spec(&engine, "painter").await;
    let asked = recipe(&other, "x", json!({}));
    other.name = "older".to_owned();
    let asked = riff_hub::recipe::Recipe { model: other.digest(), ..asked };
    unavailable(
        &engine.run(&asked, &RunContext::default()).await.unwrap_err(),
        "does not serve that version",
    );
    assert_eq!(account.counted(), 0);
}
