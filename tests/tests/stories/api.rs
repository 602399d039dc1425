//! The JSON API, as a script uses it.

use reqwest::{Method, StatusCode};

use crate::{hub, hub_with_engines};

#[tokio::test]
async fn a_script_makes_a_picture() {
    let riff = hub_with_engines().await;
    let program = riff.program("robot").await.unwrap();
    let made = program.create("/imagine a lighthouse --seed 7 --n 2 --width 64 --height 64").await.unwrap();
    assert_eq!((made.status, made.media_type.as_str()), (StatusCode::CREATED, "application/json"));
    assert_eq!((made.text("model"), made.text("prompt")), ("abstract", "a lighthouse"));

    let job = program.ended(made.text("id")).await.unwrap();
    assert_eq!((job["state"].as_str(), job["progress"].as_f64()), (Some("succeeded"), Some(1.0)));
    let outputs = job["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 2);
    let picture = reqwest::get(outputs[1]["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
    let picture = image::load_from_memory(&picture).unwrap();
    assert_eq!((picture.width(), picture.height()), (64, 64));

    let path = format!("/api/v1/recipes/{}", job["recipe"].as_str().unwrap());
    let recipe = program.call(Method::GET, &path, None).await.unwrap();
    assert_eq!(recipe.body["params"]["seed"], 7);
    let health = program.call(Method::GET, "/healthz", None).await.unwrap();
    assert_eq!((health.status, health.text("status")), (StatusCode::OK, "ok"));
}

#[tokio::test]
async fn a_script_asks_a_question() {
    let riff = hub_with_engines().await;
    let program = riff.program("robot").await.unwrap();
    let job = program.job("/ask Say hello. --temperature 0 --max 16 --seed 1").await.unwrap();
    let job = program.ended(&job).await.unwrap();
    assert_eq!(job["state"], "succeeded", "{job}");
    assert!(!job["text"].as_str().unwrap().trim().is_empty());
}

#[tokio::test]
async fn the_place_in_line_is_told() {
    let riff = hub().await;
    let worker = riff.worker("w").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let first = program.create("one").await.unwrap();
    let second = program.create("two").await.unwrap();
    assert_eq!((first.body["position"].as_i64(), second.body["position"].as_i64()), (Some(1), Some(2)));
    assert_eq!(second.body["eta_seconds"], 2.0);
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    let shown = program.show(second.text("id")).await.unwrap();
    assert_eq!(shown.body["position"], 1);
    let cancelled = program.cancel(second.text("id")).await.unwrap();
    assert_eq!((cancelled.status, cancelled.text("state")), (StatusCode::OK, "cancelled"));
    let refused = program.cancel(first.text("id")).await.unwrap();
    assert_eq!((refused.status, refused.text("type")), (StatusCode::CONFLICT, "/problems/too-late"));
}

#[tokio::test]
async fn problems_are_documents_with_a_sentence() {
    let mut riff = crate::riff();
    riff.set("RIFF_RATE__BURST_MEMBER", 2)
        .set("RIFF_RATE__PROMPTS_PER_MINUTE_MEMBER", 1)
        .start()
        .await
        .unwrap();
    let _worker = riff.worker("w").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let answer = program.create("x --stesp 4").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.media_type.as_str()), (422, "application/problem+json"));
    assert_eq!(answer.text("type"), "/problems/bad-prompt");
    assert!(answer.text("detail").starts_with("There is no flag --stesp for painter"), "{answer:?}");
    program.job("taken").await.unwrap();
    let answer = program.create("too fast").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text("type")), (429, "/problems/rate-limited"));

    let missing = program.show("nothing").await.unwrap();
    assert_eq!((missing.status.as_u16(), missing.text("detail")), (404, "There is no job “nothing” here."));
    let stranger = riff_tests::Program::new(riff.url(), "wrong");
    let refused = stranger.create("x").await.unwrap();
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let garbled =
        program.call(Method::POST, "/api/v1/jobs", Some(serde_json::json!({"promt": 1}))).await.unwrap();
    assert_eq!(garbled.status.as_u16(), 422);
    assert!(garbled.text("detail").contains("promt"), "{garbled:?}");
    let path = program.call(Method::GET, "/api/v1/nothing", None).await.unwrap();
    assert_eq!((path.status.as_u16(), path.media_type.as_str()), (404, "application/problem+json"));
}
