//! Servers that are down, slow, broken or lying: what the engine says of them, in which words.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Json, http::StatusCode, response::IntoResponse};
use riff_hub::schema::check_spec;
use riff_worker::{
    engine::{Artifact, Engine, EngineError},
    engines::cog::{CogEngine, Settings},
};
use serde_json::{Value, json};

use crate::{
    answers::{answers, html, says},
    bodies::{endless, hanging, truncated},
    ends::{failed, unavailable},
    fake::{Fake, document},
    files::png,
    suite::{recipe, watched},
    support::free_port,
};

async fn refused(fake: Fake) -> EngineError {
    fake.engine().await.discover().await.unwrap_err()
}

async fn run(fake: Fake) -> Result<Vec<Artifact>, EngineError> {
    let engine = fake.engine().await;
    let [spec] = engine.discover().await?.try_into().unwrap();
    engine.run(&recipe(&spec, "x", &json!({})), &watched().0).await
}

async fn predicting(answer: impl Fn() -> axum::response::Response + Send + Sync + 'static) -> EngineError {
    run(Fake { predict: answers(answer), ..Fake::well() }).await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_is_well_answers() {
    let made = run(Fake::well()).await.unwrap();
    assert_eq!(made[0].bytes, "yes");
}

#[tokio::test]
async fn a_server_that_is_down_is_not_available() {
    let url = format!("http://127.0.0.1:{}/", free_port());
    let error = CogEngine::new(Settings::new(&url, "down").unwrap()).discover().await.unwrap_err();
    unavailable(&error, "cannot be reached: ");
}

#[tokio::test]
async fn states_of_health_are_told_in_words() {
    for (health, words) in [
        (json!({"status": "STARTING"}), "still being set up"),
        (json!({"status": "SETUP_FAILED", "setup": {"logs": "a\nno weights"}}), "setup failed: no weights"),
        (json!({"status": "DEFUNCT"}), "broken down"),
        (json!({"status": "UNHEALTHY", "user_healthcheck_error": "too hot"}), "not well: too hot"),
        (json!({"status": "SLEEPING"}), "\"SLEEPING\", where READY was expected"),
    ] {
        unavailable(&refused(Fake { health: says(health), ..Fake::well() }).await, words);
    }
    let busy = Fake { health: says(json!({"status": "BUSY"})), ..Fake::well() };
    assert!(busy.engine().await.discover().await.is_ok());
}

#[tokio::test]
async fn answers_that_are_no_health_are_refused() {
    let other = |answer: fn() -> axum::response::Response| Fake { health: answers(answer), ..Fake::well() };
    failed(&refused(other(|| html(StatusCode::OK).into_response())).await, "Welcome to nginx");
    failed(
        &refused(other(|| html(StatusCode::BAD_GATEWAY).into_response())).await,
        "502 Bad Gateway with text/html",
    );
    failed(&refused(other(|| "{\"status\": \"RE".into_response())).await, "JSON was expected");
    failed(&refused(other(endless)).await, "more than 2097152 bytes");
    failed(&refused(other(truncated)).await, "broke off");
}

/// Time is paused: what waits is woken at once.
#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_not_waited_for() {
    let error = refused(Fake { health: answers(hanging), ..Fake::well() }).await;
    unavailable(&error, "in time");
}

#[tokio::test]
async fn schemas_that_cannot_be_used_are_refused() {
    let with = |schema: Value| Fake { schema: says(schema), ..Fake::well() };
    unavailable(&refused(with(json!([]))).await, "no components.schemas");
    unavailable(
        &refused(with(json!({"components": {"schemas": {"Output": {}}}}))).await,
        "no type \"Input\"",
    );
    unavailable(
        &refused(with(json!({"components": {"schemas": {"Input": {}}}}))).await,
        "no type \"Output\"",
    );
    let lost = document(json!({"a": {"$ref": "#/components/schemas/Lost"}}), json!({"type": "string"}));
    unavailable(&refused(with(lost)).await, "Lost\" is not in it");
    let mut recursive =
        document(json!({"a": {"allOf": [{"$ref": "#/components/schemas/A"}]}}), json!({"type": "string"}));
    recursive["components"]["schemas"]["A"] = json!({"anyOf": [{"$ref": "#/components/schemas/A"}]});
    unavailable(&refused(with(recursive)).await, "without end");
    let mut wide = document(json!({"a": {"$ref": "#/components/schemas/L6"}}), json!({"type": "string"}));
    wide["components"]["schemas"]["L0"] = json!({"type": "string"});
    for level in 1..=6 {
        let below = json!({"$ref": format!("#/components/schemas/L{}", level - 1)});
        wide["components"]["schemas"][format!("L{level}")] = json!({"allOf": vec![below; 30]});
    }
    unavailable(&refused(with(wide)).await, "without end, or too deep");
    let many: serde_json::Map<String, Value> =
        (0..300).map(|i| (format!("i{i}"), json!({"type": "integer"}))).collect();
    unavailable(&refused(with(document(many.into(), json!({"type": "string"})))).await, "301 inputs");
    let missing = Fake { schema: answers(|| StatusCode::SERVICE_UNAVAILABLE), ..Fake::well() };
    unavailable(&refused(missing).await, "openapi.json answers 503");
    failed(&refused(Fake { schema: answers(endless), ..Fake::well() }).await, "more than 2097152 bytes");
}

/// Every type of input that Cog has, and names that mean something else to Riff.
#[tokio::test]
async fn odd_inputs_still_make_a_sound_schema() {
    let inputs = json!({
        "image": {"type": "integer", "default": 3},
        "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": -1},
        "width": {"type": "integer", "minimum": 4_096, "nullable": true},
        "height": {"type": "integer", "minimum": 0, "maximum": 99_999, "default": 0, "description": "An enumeration."},
        "aspect_ratio": {"type": "string"},
        "model": {"type": "string", "enum": ["a", "b"], "default": "b"},
        "maybe": {"type": "number", "nullable": true},
        "needed": {"type": "integer"},
        "token": {"type": "string", "format": "password", "x-cog-secret": true},
        "tags": {"type": "array", "items": {"type": "string"}, "default": ["x"]},
        "numbers": {"type": "array", "items": {"type": "number"}},
        "anything": {"type": "object"},
        "flag": {"type": "boolean"},
        "pick": {"type": "number", "enum": [0.5, 2]},
        "nonsense": {"type": "integer", "minimum": 5, "maximum": 1, "default": 3},
        "num_inference_steps": {"type": "integer", "default": 20},
        "steps": {"type": "integer", "default": 1},
    });
    let fake =
        Fake { schema: says(document(inputs, json!({"type": "string", "format": "uri"}))), ..Fake::well() };
    let [spec] = fake.engine().await.discover().await.unwrap().try_into().unwrap();
    check_spec(&spec).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&spec.schema).unwrap());
}

#[tokio::test]
async fn answers_that_are_no_prediction_are_refused() {
    failed(&predicting(|| html(StatusCode::OK).into_response()).await, "JSON was expected");
    failed(&predicting(|| html(StatusCode::INTERNAL_SERVER_ERROR).into_response()).await, "500 Internal");
    failed(&predicting(|| StatusCode::NOT_FOUND.into_response()).await, "404 Not Found");
    failed(&predicting(truncated).await, "broke off");
    failed(&predicting(endless).await, "bytes; it was dropped");
    failed(&predicting(|| Json(json!({})).into_response()).await, "ended as \"\"");
    failed(
        &predicting(|| r#"{"status": "succeeded", "output": NaN}"#.into_response()).await,
        "JSON was expected",
    );
    failed(&predicting(|| Json(json!({"status": "succeeded"})).into_response()).await, "no text");
    let down = || (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": "Setup has not finished yet."})));
    unavailable(&predicting(move || down().into_response()).await, "Setup has not finished yet.");
}

#[tokio::test]
async fn outputs_that_are_no_pictures_are_refused() {
    let pictures = |output: Value| Fake {
        schema: says(document(json!({}), json!({"type": "string", "format": "uri"}))),
        predict: says(json!({"status": "succeeded", "output": output})),
        ..Fake::well()
    };
    failed(&run(pictures(json!("data:image/png,abc"))).await.unwrap_err(), "where base64 was expected");
    failed(&run(pictures(json!("data:image/png;base64,a*c="))).await.unwrap_err(), "is damaged");
    failed(&run(pictures(json!("just words"))).await.unwrap_err(), "gave 0 pictures");
    failed(&run(pictures(json!(null))).await.unwrap_err(), "gave 0 pictures");
    let words = run(pictures(json!("data:image/png;base64,aGVsbG8="))).await.unwrap_err();
    assert!(matches!(&words, EngineError::Input(said) if said.contains("5 bytes")), "{words:?}");
    let gone = format!("http://127.0.0.1:{}/a.png", free_port());
    unavailable(&run(pictures(json!(gone))).await.unwrap_err(), "cannot be reached");
}

#[tokio::test]
async fn pictures_at_an_address_are_fetched() {
    let files = Fake { health: answers(|| png(3)), ..Fake::well() }.start().await;
    let there = files.join("health-check").unwrap();
    let fake = Fake {
        schema: says(document(
            json!({}),
            json!({"type": "object", "properties": {"picture": {"type": "string", "format": "uri"}}}),
        )),
        predict: says(json!({"status": "succeeded", "output": {"picture": there.as_str(), "score": 1}})),
        ..Fake::well()
    };
    assert_eq!(run(fake).await.unwrap()[0].bytes, png(3));
    let nothing = files.join("nothing").unwrap();
    let fake = Fake {
        schema: says(document(json!({}), json!({"type": "string", "format": "uri"}))),
        predict: says(json!({"status": "succeeded", "output": nothing.as_str()})),
        ..Fake::well()
    };
    failed(&run(fake).await.unwrap_err(), "answers 404");
}

#[tokio::test]
async fn a_server_without_room_is_asked_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let predict = move || match count.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => (StatusCode::CONFLICT, Json(json!({"error": "At capacity"}))),
        _ => (StatusCode::OK, Json(json!({"status": "succeeded", "output": "at last"}))),
    };
    let made = run(Fake { predict: answers(predict), ..Fake::well() }).await.unwrap();
    assert_eq!((made[0].bytes.as_ref(), asked.load(Ordering::SeqCst)), (&b"at last"[..], 3));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_has_room_is_given_up() {
    let full = || (StatusCode::CONFLICT, Json(json!({"error": "At capacity"}))).into_response();
    unavailable(&predicting(full).await, "no room");
}

/// It is well at first, hangs when it works, and then does not even say how it is.
#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_at_work_is_given_up() {
    let looks = Arc::new(AtomicUsize::new(0));
    let health = move || match looks.fetch_add(1, Ordering::SeqCst) {
        0 => Json(json!({"status": "READY"})).into_response(),
        _ => hanging(),
    };
    let error =
        run(Fake { health: answers(health), predict: answers(hanging), ..Fake::well() }).await.unwrap_err();
    unavailable(&error, "is lost");
}

#[tokio::test]
async fn cancelling_while_there_is_no_room_ends_the_run() {
    let full = || (StatusCode::CONFLICT, Json(json!({"error": "At capacity"})));
    let (context, _) = watched();
    let cancel = context.cancel.clone();
    let predict = move || {
        cancel.cancel();
        full()
    };
    let engine = Fake { predict: answers(predict), ..Fake::well() }.engine().await;
    let [spec] = engine.discover().await.unwrap().try_into().unwrap();
    let ended = engine.run(&recipe(&spec, "x", &json!({})), &context).await;
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
}

#[tokio::test]
async fn a_recipe_of_another_version_is_not_run() {
    let engine = Fake::well().engine().await;
    let [mut spec] = engine.discover().await.unwrap().try_into().unwrap();
    spec.name = "older".to_owned();
    let error = engine.run(&recipe(&spec, "x", &json!({})), &watched().0).await.unwrap_err();
    unavailable(&error, "does not serve that version");
}
