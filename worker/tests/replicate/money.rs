//! What is counted as spent, and where spending ends.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use riff_hub::seam::Seam;
use riff_worker::{
    engine::{Engine, EngineError, RunContext},
    engines::replicate::ReplicateEngine,
};
use serde_json::json;

use crate::{
    server::Call,
    support::{Account, ask, recipe, run, spec},
};

/// A tenth of a cent a second; runs take two of them, and at most 30.
const BY_THE_SECOND: &str = "usd_per_second = 0.001\ntimeout_seconds = 30";

#[tokio::test]
async fn a_run_is_counted_by_what_it_took() {
    let account = Account::open().await;
    let engine = account.engine_with(1.0, BY_THE_SECOND);
    run(&engine, "painter", "x", json!({})).await.unwrap();
    assert_eq!(account.counted(), 2_000);
    for (prompt, added) in [
        ("no such colour", 2_000),
        ("is cancelled", 500),
        ("never begins", 0),
        ("says nothing of its time", 30_000),
    ] {
        let before = account.counted();
        ask(&engine, "fails", prompt).await.unwrap_err();
        assert_eq!(account.counted() - before, added, "{prompt}");
    }
}

#[tokio::test]
async fn a_request_that_may_have_begun_something_is_counted_and_one_that_cannot_is_not() {
    let account = Account::open().await;
    let engine = account.engine();
    let painter = spec(&engine, "painter").await;
    account.server.plan(Call::Create, StatusCode::UNPROCESSABLE_ENTITY);
    engine.run(&recipe(&painter, "x", json!({})), &RunContext::default()).await.unwrap_err();
    assert_eq!(account.counted(), 0, "it was refused");
    account.server.plan(Call::Create, (StatusCode::CREATED, "{\"id\": \"p"));
    engine.run(&recipe(&painter, "x", json!({})), &RunContext::default()).await.unwrap_err();
    assert_eq!(account.counted(), 10_000, "its answer is lost, and with it what it costs");
}

#[tokio::test]
async fn the_cap_holds_across_restarts_and_ends_with_the_month() {
    let account = Account::open().await;
    let engine = account.engine_with(0.03, "usd_per_run = 0.01");
    let painter = spec(&engine, "painter").await;
    for _ in 0..2 {
        engine.run(&recipe(&painter, "x", json!({})), &RunContext::default()).await.unwrap();
    }
    let engine = account.engine_with(0.03, "usd_per_run = 0.01");
    spec(&engine, "painter").await;
    engine.run(&recipe(&painter, "x", json!({})), &RunContext::default()).await.unwrap();
    let refused = engine.run(&recipe(&painter, "x", json!({})), &RunContext::default()).await.unwrap_err();
    assert!(matches!(refused, EngineError::Unavailable(_)), "it goes back to the queue: {refused:?}");
    assert_eq!(account.server.asked().len(), 3, "nothing was sent");

    let withdrawn = engine.discover().await.unwrap_err();
    assert!(matches!(withdrawn, EngineError::Unavailable(_)), "{withdrawn:?}");
    let told = withdrawn.to_string().replace(&account.folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(told, @"the cap of 0.03 USD, which monthly_usd sets, is reached: FOLDER/spent/2026-01.jsonl has 0.03 USD for 2026-01, and the next run may cost 0.01 USD. Nothing more runs there until the month is over, unless monthly_usd is raised");
    account.clock.advance(Duration::from_secs(31 * 24 * 60 * 60));
    let painter = spec(&engine, "painter").await;
    engine.run(&recipe(&painter, "x", json!({})), &RunContext::default()).await.unwrap();
}

#[tokio::test]
async fn only_models_that_the_rest_is_enough_for_are_served() {
    let account = Account::open().await;
    let settings = account.settings(0.05, "usd_per_run = 0.06");
    let engine = ReplicateEngine::new(settings, account.clock.clone() as Arc<dyn Seam>);
    assert!(engine.discover().await.unwrap_err().to_string().contains("monthly_usd"));
    let engine = account.engine_with(0.05, "usd_per_run = 0.05");
    assert_eq!(engine.discover().await.unwrap().len(), 5);
}

#[tokio::test]
async fn runs_at_once_do_not_go_beyond_the_cap_together() {
    let account = Account::open().await;
    let engine = account.engine_with(0.03, "usd_per_run = 0.01");
    let painter = spec(&engine, "painter").await;
    let recipe = recipe(&painter, "x", json!({"pause": 0.05}));
    let context = RunContext::default();
    let runs = (0..8).map(|_| engine.run(&recipe, &context));
    let ended = futures::future::join_all(runs).await;
    assert_eq!(ended.iter().filter(|run| run.is_ok()).count(), 3);
    assert_eq!((account.server.asked().len(), account.counted()), (3, 30_000));
}
