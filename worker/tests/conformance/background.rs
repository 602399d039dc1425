//! Cog servers that report the end of a prediction (`Prefer: respond-async`), and ones behind TLS.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    routing::{get, post, put},
};
use figment::{
    Figment,
    providers::{Format, Toml},
};
use riff_worker::{
    engine::{Artifact, Engine, EngineError, RunContext},
    engines::cog::{CogEngine, Prefer, Settings, Webhook},
};
use serde_json::{Value, json};

use crate::{
    answers::{answers, says},
    fake::{Fake, document},
    files::png,
    suite::{at_work, recipe, watched},
    support::{Cog, path_in},
    tls::Behind,
};

async fn run(settings: Settings, prompt: &str, inputs: Value) -> Result<Vec<Artifact>, EngineError> {
    let engine = CogEngine::new(settings);
    let [spec] = engine.discover().await?.try_into().unwrap();
    engine.run(&recipe(&spec, prompt, &inputs), &watched().0).await
}

fn in_background(mut settings: Settings) -> Settings {
    settings.own.prefer = Prefer::RespondAsync;
    settings
}

#[tokio::test]
async fn what_is_reported_is_what_is_answered() {
    for (predictor, inputs) in
        [("image", json!({"seed": 3})), ("several", json!({"count": 3})), ("text", json!({}))]
    {
        let server = Cog::shared(predictor).await;
        let held = run(server.settings(), "a fox", inputs.clone()).await.unwrap();
        let reported = run(in_background(server.settings()), "a fox", inputs).await.unwrap();
        let bytes = |made: Vec<Artifact>| made.into_iter().map(|one| one.bytes).collect::<Vec<_>>();
        assert_eq!(bytes(held), bytes(reported), "{predictor}");
    }
}

#[tokio::test]
async fn failures_are_reported_too() {
    let server = Cog::start("fails").await;
    let error = run(in_background(server.settings()), "a unicorn", json!({})).await.unwrap_err();
    assert!(error.to_string().contains("cannot paint 'a unicorn'"), "{error}");
    let error = run(in_background(server.settings()), "x", json!({"needed": -1})).await.unwrap_err();
    assert!(matches!(&error, EngineError::Input(said) if said.contains("needed")), "{error:?}");
}

#[tokio::test]
async fn a_cancelled_prediction_is_stopped_and_one_left_behind_is_taken_over() {
    let server = Cog::start("slow").await;
    let engine = Arc::new(CogEngine::new(in_background(server.settings())));
    let [spec] = engine.discover().await.unwrap().try_into().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (mark, dropped) in [("cancelled", false), ("dropped", true)] {
        let mark = path_in(&folder, mark);
        let (context, mut told) = at_work();
        let (cancel, job) = (context.cancel.clone(), context.job.clone());
        let (running, long) = (engine.clone(), recipe(&spec, mark.to_str().unwrap(), &json!({})));
        let run = tokio::spawn(async move { running.run(&long, &context).await });
        told.wait_for(|working| *working).await.unwrap();
        if dropped {
            run.abort();
        } else {
            cancel.cancel();
            let ended = run.await.unwrap();
            assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
        }
        let again = RunContext { job, ..watched().0 };
        let made = engine.run(&recipe(&spec, "again", &json!({"seconds": 0})), &again).await.unwrap();
        assert_eq!(made[0].bytes, "done");
        assert_eq!(std::fs::read_to_string(&mark).unwrap(), "cancelled");
    }
}

/// A server that takes predictions in the background, reports nothing, and answers who asks again with the next of these
/// statuses, the last one for good.
async fn silent(statuses: &'static [&'static str]) -> Settings {
    let asked = Arc::new(Mutex::new(statuses.iter()));
    let begin = move |headers: HeaderMap, Json(body): Json<Value>| async move {
        assert_eq!(headers["prefer"], "respond-async");
        assert!(body["webhook_events_filter"].as_array().unwrap().contains(&json!("completed")));
        let mut asked = asked.lock().unwrap();
        let status = asked.next().or(statuses.last()).unwrap();
        (StatusCode::ACCEPTED, Json(json!({"id": body["id"], "status": status, "output": "at last"})))
    };
    let routes = Router::new()
        .route("/health-check", get(|| async { Json(json!({"status": "READY"})) }))
        .route("/openapi.json", get(|| async { Json(document(json!({}), json!({"type": "string"}))) }))
        .route("/predictions/{id}", put(begin))
        .route("/predictions/{id}/cancel", post(StatusCode::NOT_FOUND));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    in_background(Settings::new(&url, "silent").unwrap())
}

/// Time is paused: what waits is woken at once.
#[tokio::test(start_paused = true)]
async fn a_prediction_whose_reports_do_not_arrive_is_looked_at() {
    let made = run(silent(&["starting", "processing", "succeeded"]).await, "x", json!({})).await.unwrap();
    assert_eq!(made[0].bytes, "at last");
    let error = run(silent(&["starting", "processing", "starting"]).await, "x", json!({})).await.unwrap_err();
    assert!(
        matches!(&error, EngineError::Unavailable(said) if said.contains("does not report")),
        "{error:?}"
    );
}

#[tokio::test]
async fn without_a_webhook_nothing_would_be_heard() {
    let mut settings = silent(&["starting"]).await;
    settings.own.webhook = Webhook::Off;
    let error = CogEngine::new(settings).discover().await.unwrap_err();
    assert!(error.to_string().contains("needs a webhook"), "{error}");
}

#[tokio::test]
async fn cancelling_while_a_result_is_fetched_ends_the_run() {
    let (context, _) = watched();
    let cancel = context.cancel.clone();
    let hang = move || {
        cancel.cancel();
        crate::bodies::hanging()
    };
    let files = Fake { health: answers(hang), ..Fake::well() }.start().await;
    let there = files.join("health-check").unwrap();
    let fake = Fake {
        schema: says(document(json!({}), json!({"type": "string", "format": "uri"}))),
        predict: says(json!({"status": "succeeded", "output": there.as_str()})),
        ..Fake::well()
    };
    let engine = fake.engine().await;
    let [spec] = engine.discover().await.unwrap().try_into().unwrap();
    let ended = engine.run(&recipe(&spec, "x", &json!({})), &context).await;
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
}

#[tokio::test]
async fn a_server_behind_tls_is_reached_if_somebody_vouches_for_it() {
    let server = Cog::shared("image").await;
    let behind = Behind::start(server.url()).await;
    let file = behind.authority.path();
    let section = |more: &str| {
        let toml = format!("url = {:?}\nname = \"image\"\n{more}", behind.url.as_str());
        Figment::from(Toml::string(&toml)).extract::<Settings>().map_err(|error| error.to_string())
    };
    let trusted = section(&format!("certificate = {file:?}")).unwrap();
    let plain = run(server.settings(), "a fox", json!({})).await.unwrap();
    assert_eq!(run(trusted, "a fox", json!({})).await.unwrap()[0].bytes, plain[0].bytes);
    let stranger = CogEngine::new(section("").unwrap()).discover().await.unwrap_err();
    assert!(
        matches!(&stranger, EngineError::Unavailable(said) if said.contains("certificate")),
        "{stranger:?}"
    );
    for (wrong, words) in [
        (png(8), "no certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".into(), "does not work"),
    ] {
        std::fs::write(file, wrong).unwrap();
        let refused = section(&format!("certificate = {file:?}")).unwrap_err();
        assert!(refused.contains("certificate = ") && refused.contains(words), "{refused}");
    }
}
