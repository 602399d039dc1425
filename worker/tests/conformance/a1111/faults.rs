//! Servers that are down, broken, lying or busy with others' work: what the engine says of them, and what it stops.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use riff_worker::engine::{Engine, EngineError};
use serde_json::{Value, json};

use super::{Fake, engine, painter, run, server::LOGIN, small, with_server};
use crate::{
    answers::{answers, html},
    bodies::{endless, hanging, truncated},
    ends::{self, another_version, cancelled, failed, input, unavailable},
    suite::{recipe, watched},
    support::free_port,
};

/// What an engine says of a server that answers a path like this.
async fn discovered(
    path: &'static str,
    answer: impl Fn() -> Response + Send + Sync + 'static,
) -> EngineError {
    let (fake, engine) = with_server("").await;
    ends::discovered(&fake, &engine, path, answer).await
}

/// How a run ends when a path is answered like this.
async fn ended(path: &'static str, answer: impl Fn() -> Response + Send + Sync + 'static) -> EngineError {
    let (fake, engine) = with_server("").await;
    ends::ended(&fake, &engine, &small(json!({"steps": 150})), path, answer).await
}

#[tokio::test]
async fn servers_that_are_none_are_told_apart() {
    let down = engine(&format!("http://127.0.0.1:{}", free_port()), "");
    unavailable(&down.discover().await.unwrap_err(), "cannot be reached");
    let no_api = || (StatusCode::NOT_FOUND, Json(json!({"detail": "Not Found"}))).into_response();
    unavailable(&discovered("sd-models", no_api).await, "start it with --api");
    unavailable(
        &discovered("sd-models", || html(StatusCode::NOT_FOUND).into_response()).await,
        "start it with --api",
    );
    failed(&discovered("sd-models", || html(StatusCode::OK).into_response()).await, "Welcome to nginx");
    failed(
        &discovered("samplers", || html(StatusCode::INTERNAL_SERVER_ERROR).into_response()).await,
        "500 Internal",
    );
    unavailable(&discovered("options", || StatusCode::BAD_GATEWAY.into_response()).await, "502");
    failed(&discovered("loras", truncated).await, "broke off");
    failed(&discovered("loras", endless).await, "more than 67108864 bytes");
    unavailable(&discovered("sd-models", || Json(json!([])).into_response()).await, "no checkpoint");
    unavailable(&discovered("samplers", || Json(json!([])).into_response()).await, "no sampler");
}

/// Time is paused: what waits is woken at once.
#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_not_waited_for() {
    unavailable(&discovered("upscalers", hanging).await, "in time");
}

/// The variable is this test's alone, and no other thread of it reads variables while it is set.
#[tokio::test]
async fn a_server_that_wants_a_name_and_a_password_gets_them() {
    let (fake, engine_without) = with_server("").await;
    fake.with(|memory| memory.guarded = true);
    unavailable(&engine_without.discover().await.unwrap_err(), "set auth_env");
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a1111::faults::with_a_login", "--ignored"])
        .env("RIFF_TEST_LOGIN", LOGIN)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

#[tokio::test]
#[ignore = "the test above starts it, with a variable that it needs"]
async fn with_a_login() {
    let (fake, engine) = with_server("auth_env = \"RIFF_TEST_LOGIN\"").await;
    fake.with(|memory| memory.guarded = true);
    assert_eq!(run(&engine, "a fox", small(json!({}))).await.unwrap().len(), 1);
    assert_eq!(fake.bodies("POST /internal/progress").len(), 1);
}

#[tokio::test]
async fn refusals_are_the_recipes_fault() {
    let (_fake, engine) = with_server("").await;
    input(&run(&engine, "a fox", small(json!({"sampler": "loud"}))).await.unwrap_err(), "Sampler not found");
    input(
        &run(&engine, "a fox", small(json!({"steps": "many"}))).await.unwrap_err(),
        "steps: Input should be a valid integer",
    );
    input(
        &run(&engine, "a fox", small(json!({"checkpoint": "hen"}))).await.unwrap_err(),
        "no checkpoint \"hen\"",
    );
}

#[tokio::test]
async fn runs_that_fail_say_why() {
    let (_fake, engine) = with_server("").await;
    let memory = run(&engine, "out of memory", small(json!({}))).await.unwrap_err();
    assert!(matches!(&memory, EngineError::OutOfMemory(said) if said.contains("2.00 GiB")), "{memory:?}");
    failed(&run(&engine, "a nan", small(json!({}))).await.unwrap_err(), "NansException: A tensor with NaNs");
}

#[tokio::test]
async fn answers_that_are_no_pictures() {
    let given = async |answer: Value| ended("txt2img", move || Json(answer.clone()).into_response()).await;
    failed(&given(json!({"images": [], "info": "{}"})).await, "gave 0 pictures where 1 were asked for");
    failed(&given(json!({"images": null})).await, "gave 0 pictures");
    failed(
        &given(json!({"images": ["a*c"], "info": "no JSON"})).await,
        "result 1 is no picture: \"a*c\" is no base64",
    );
    failed(&given(json!({"images": ["aGVsbG8="]})).await, "result 1 is no picture");
    input(&given(json!({"images": vec!["aGVsbG8="; 1_000]})).await, "gave 1000 pictures");
    let other = json!({"sd_model_name": "hen", "sd_model_hash": "ffff"}).to_string();
    failed(&given(json!({"images": ["aGVsbG8="], "info": other})).await, "checkpoint \"hen\"");
    failed(&ended("txt2img", || html(StatusCode::OK).into_response()).await, "JSON was expected");
    failed(
        &ended("txt2img", || html(StatusCode::INTERNAL_SERVER_ERROR).into_response()).await,
        "500 Internal",
    );
    failed(&ended("txt2img", truncated).await, "broke off");
    failed(&ended("txt2img", endless).await, "it was dropped");
    failed(&ended("txt2img", || "{\"images\": [NaN]}".into_response()).await, "gave 0 pictures");
    unavailable(&ended("txt2img", || StatusCode::SERVICE_UNAVAILABLE.into_response()).await, "503");
}

#[tokio::test]
async fn a_server_that_falls_silent_at_work_is_given_up() {
    unavailable(&ended("progress", || StatusCode::BAD_GATEWAY.into_response()).await, "the server is lost");
    unavailable(
        &ended("progress", || html(StatusCode::OK).into_response()).await,
        "is lost: JSON was expected",
    );
    unavailable(
        &ended("progress", || Json(json!({"progress": "half"})).into_response()).await,
        "\"active\" was expected",
    );
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_stopped() {
    let (fake, engine) = with_server("timeout_seconds = 0.5").await;
    failed(&run(&engine, "a fox", small(json!({"steps": 150}))).await.unwrap_err(), "timeout_seconds");
    assert_eq!(fake.interrupts(), 1);
}

#[tokio::test]
async fn cancelling_while_it_runs_interrupts_it() {
    let (fake, engine) = with_server("").await;
    let long = recipe(&painter(&engine).await, "a fox", &small(json!({"steps": 150})));
    let (context, _) = watched();
    let cancel = async {
        fake.until(|memory| memory.done.0 > 2).await;
        context.cancel.cancel();
    };
    let (ended, ()) = tokio::join!(engine.run(&long, &context), cancel);
    cancelled(&ended);
    assert_eq!(fake.interrupts(), 1);
}

/// Somebody else's work.
async fn others(fake: &Fake, steps: u32) {
    let body = json!({"prompt": "mine", "seed": 1, "steps": steps, "width": 64, "height": 64, "force_task_id": "others"});
    let url = format!("{}/sdapi/v1/txt2img", fake.url);
    tokio::spawn(async move { reqwest::Client::new().post(url).json(&body).send().await });
    fake.until(|memory| memory.current.as_deref() == Some("others")).await;
}

#[tokio::test]
async fn cancelling_while_it_waits_leaves_others_alone_and_stops_it_later() {
    let (fake, engine) = with_server("").await;
    let long = recipe(&painter(&engine).await, "a fox", &small(json!({"steps": 150})));
    others(&fake, 60).await;
    let (context, _) = watched();
    let cancel = async {
        fake.until(|memory| !memory.pending.is_empty()).await;
        context.cancel.cancel();
    };
    let (ended, ()) = tokio::join!(engine.run(&long, &context), cancel);
    cancelled(&ended);
    assert_eq!(fake.interrupts(), 0, "the others' work goes on");
    fake.until(|memory| memory.current.as_deref().is_some_and(|task| task != "others")).await;
    assert!(fake.with(|memory| memory.finished.contains(&"others".to_owned())));
    engine.discover().await.unwrap();
    assert_eq!(fake.interrupts(), 1, "what nobody waits for is stopped as soon as it has begun");
    engine.discover().await.unwrap();
    assert_eq!(fake.interrupts(), 1, "and once");
}

/// Where the server does not say whose its work is, it is only stopped if nobody else uses it.
#[tokio::test]
async fn work_that_may_be_anybodys_is_stopped_where_the_server_is_ours_alone() {
    let nowhere = || answers(|| StatusCode::NOT_FOUND);
    let nameless = || answers(|| Json(json!({"active": false, "queued": false, "completed": false})));
    for (more, progress, interrupts) in [
        ("", nowhere(), 0),
        ("exclusive = true", nowhere(), 1),
        ("", nameless(), 0),
        ("exclusive = true", nameless(), 1),
    ] {
        let (fake, engine) = with_server(more).await;
        fake.instead("internal/progress", progress);
        let long = recipe(&painter(&engine).await, "a fox", &small(json!({"steps": 150})));
        let (context, _) = watched();
        let cancel = async {
            fake.until(|memory| memory.done.0 > 2).await;
            context.cancel.cancel();
        };
        let (ended, ()) = tokio::join!(engine.run(&long, &context), cancel);
        cancelled(&ended);
        assert_eq!(fake.interrupts(), interrupts, "{more}");
    }
}

#[tokio::test]
async fn a_recipe_of_another_version_is_not_run() {
    let (_fake, engine) = with_server("").await;
    unavailable(&another_version(&engine).await, "does not serve that version");
}
