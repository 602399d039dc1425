//! Runs that end before their prediction does, at each stage.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use riff_worker::engine::{Engine, EngineError, RunContext};
use serde_json::json;
use tokio::{sync::watch, time::timeout};

use crate::{
    server::Call,
    support::{Account, recipe, spec},
};

/// How long a run may take to notice.
const NOTICES: Duration = Duration::from_secs(10);

/// An answer that cancels a run when its body is asked for, and then says nothing for ever.
fn hangs(context: &RunContext) -> Response {
    let cancel = context.cancel.clone();
    let first = stream::once(async move {
        cancel.cancel();
        Ok::<_, std::convert::Infallible>(Bytes::from_static(b"{"))
    });
    let headers = [("content-type", "application/json")];
    (StatusCode::CREATED, headers, Body::from_stream(first.chain(stream::pending()))).into_response()
}

async fn ends_cancelled(account: &Account, context: &RunContext, model: &str) {
    let engine = account.engine();
    let spec = spec(&engine, model).await;
    let recipe = recipe(&spec, "x", json!({}));
    let ended = timeout(NOTICES, engine.run(&recipe, context)).await.expect("it notices");
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
}

#[tokio::test]
async fn before_it_begins_nothing_is_sent() {
    let account = Account::open().await;
    let context = RunContext::default();
    context.cancel.cancel();
    ends_cancelled(&account, &context, "painter").await;
    assert_eq!((account.server.asked().len(), account.counted()), (0, 0));
}

#[tokio::test]
async fn while_it_is_created_the_most_stays_counted_if_no_answer_comes() {
    let account = Account::open().await;
    let context = RunContext::default();
    account.server.plan(Call::Create, hangs(&context));
    ends_cancelled(&account, &context, "painter").await;
    assert_eq!(account.counted(), 10_000);
}

#[tokio::test]
async fn while_the_service_is_throttled_nothing_is_begun() {
    let account = Account::open().await;
    let context = RunContext::default();
    let cancel = context.cancel.clone();
    let body = stream::once(async move {
        cancel.cancel();
        Ok::<_, std::convert::Infallible>(Bytes::from_static(b"{}"))
    });
    let throttled = (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "20")], Body::from_stream(body));
    account.server.plan(Call::Create, throttled);
    ends_cancelled(&account, &context, "painter").await;
    assert_eq!((account.server.asked().len(), account.counted()), (1, 0));
}

#[tokio::test]
async fn while_a_result_is_fetched() {
    let account = Account::open().await;
    let context = RunContext::default();
    account.server.plan(Call::File, hangs(&context));
    ends_cancelled(&account, &context, "painter").await;
    assert_eq!((account.server.statuses(), account.counted()), (vec!["succeeded".to_owned()], 10_000));
}

/// A context that tells when something is shown.
fn telling() -> (RunContext, watch::Receiver<bool>) {
    let (tell, told) = watch::channel(false);
    let updates = Arc::new(move |_| {
        tell.send_replace(true);
    });
    (RunContext { updates, ..RunContext::default() }, told)
}

#[tokio::test]
async fn while_it_runs_it_is_stopped_there_and_costs_what_it_took() {
    let account = Account::open().await;
    let engine = Arc::new(account.engine_with(1.0, "usd_per_second = 0.001"));
    for model in ["painter", "poet"] {
        let before = account.server.statuses().len();
        let spec = spec(&engine, model).await;
        let steps = if model == "poet" { "max_tokens" } else { "num_inference_steps" };
        let recipe = recipe(&spec, "x", json!({"pause": 1.0, steps: 100}));
        let (context, mut told) = telling();
        let cancel = context.cancel.clone();
        let running = engine.clone();
        let run = tokio::spawn(async move { running.run(&recipe, &context).await });
        told.wait_for(|told| *told).await.unwrap();
        cancel.cancel();
        let ended = timeout(NOTICES, run).await.expect("it notices").unwrap();
        assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
        account.server.reaches(&vec!["canceled"; before + 1]).await;
    }
    settles(&account, 1_000).await;
}

#[tokio::test]
async fn a_run_that_is_dropped_is_stopped_there_too() {
    let account = Account::open().await;
    let engine = Arc::new(account.engine_with(1.0, "usd_per_second = 0.001"));
    let spec = spec(&engine, "painter").await;
    let recipe = recipe(&spec, "x", json!({"pause": 1.0, "num_inference_steps": 100}));
    let (context, mut told) = telling();
    let running = engine.clone();
    let run = tokio::spawn(async move { running.run(&recipe, &context).await });
    told.wait_for(|told| *told).await.unwrap();
    run.abort();
    account.server.reaches(&["canceled"]).await;
    settles(&account, 500).await;
}

/// Waits until the ledger has what stopped runs cost.
async fn settles(account: &Account, millionths: u64) {
    let settled = async {
        while account.counted() != millionths {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(NOTICES, settled).await.is_ok(), "{} is no {millionths}", account.counted());
}
