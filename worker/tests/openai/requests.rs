//! What servers are sent, and what follows from what they send back.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    http::HeaderMap,
    response::IntoResponse,
    routing::{get, post},
};
use riff_worker::engine::{Engine, EngineError, RunContext};
use serde_json::{Value, json};

use crate::support::{
    STOP, ask, chats, engine, events, first, part, png, recipe, serve, watched, with_picture,
};

#[tokio::test]
async fn a_recipe_is_put_as_the_api_has_it() {
    let (url, asked) = chats(|_| events(&[&part("hello"), STOP, "[DONE]"])).await;
    let engine = engine(&url, "extra = {top_k = 3}");
    let changes = json!({
        "seed": 11, "temperature": 0.5, "top_p": 0.25, "max_tokens": 9, "system": "Be kind.", "stop": ["1", "2", "3", "4", "5"],
        "history": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Ho."}],
    });
    assert_eq!(ask(&engine, "And now?", changes).await.unwrap(), "hello");
    let expected = json!({
        "model": "fox", "stream": true, "stream_options": {"include_usage": true}, "seed": 11, "temperature": 0.5,
        "top_p": 0.25, "max_tokens": 9, "stop": ["1", "2", "3", "4"], "top_k": 3,
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Ho."},
            {"role": "user", "content": "And now?"},
        ],
    });
    assert_eq!(asked.lock().unwrap()[0], expected);
}

#[tokio::test]
async fn inputs_that_the_section_leaves_out_are_not_sent() {
    let (url, asked) = chats(|_| events(&[&part("hello"), STOP])).await;
    let engine = engine(&url, "models = [{id = \"fox\", inputs = []}]");
    ask(&engine, "Hello?", json!({})).await.unwrap();
    let asked = asked.lock().unwrap();
    let keys: Vec<&String> = asked[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["max_tokens", "messages", "model", "stream", "stream_options"]);
}

#[tokio::test]
async fn a_picture_goes_with_the_question() {
    let (url, asked) = chats(|_| events(&[&part("a blue square"), STOP])).await;
    let engine = engine(&url, "vision = true");
    let spec = first(&engine).await;
    let (context, name) = with_picture(png(8));
    engine.run(&recipe(&spec, "What is this?", json!({"image": name})), &context).await.unwrap();
    let asked = asked.lock().unwrap();
    let content = &asked[0]["messages"][0]["content"];
    assert_eq!(content[0], json!({"type": "text", "text": "What is this?"}));
    let url = content[1]["image_url"]["url"].as_str().unwrap();
    assert!(url.starts_with("data:image/png;base64,iVBORw0KGgo"), "{url}");
}

#[tokio::test]
async fn a_file_that_is_no_picture_is_refused() {
    let (url, asked) = chats(|_| events(&[&part("never"), STOP])).await;
    let engine = engine(&url, "vision = true");
    let spec = first(&engine).await;
    let (context, name) = with_picture(bytes::Bytes::from_static(b"%PDF-1.7"));
    let refused =
        engine.run(&recipe(&spec, "What is this?", json!({"image": name})), &context).await.unwrap_err();
    assert!(matches!(refused, EngineError::Input(_)), "{refused:?}");
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let whole = json!({"object": "chat.completion", "usage": {"completion_tokens": 9},
                       "choices": [{"message": {"role": "assistant", "content": "all at once"}, "finish_reason": "stop"}]});
    let (url, _) = chats(move |_| Json(whole.clone()).into_response()).await;
    assert_eq!(ask(&engine(&url, ""), "Hello?", json!({})).await.unwrap(), "all at once");
}

#[tokio::test]
async fn thoughts_move_the_progress_and_are_not_shown() {
    let thought = r#"{"choices": [{"delta": {"reasoning_content": "secretly"}, "finish_reason": null}]}"#;
    let (url, _) = chats(move |_| events(&[thought, thought, &part("4"), STOP])).await;
    let engine = engine(&url, "");
    let spec = first(&engine).await;
    let (context, shown) = watched(usize::MAX);
    engine.run(&recipe(&spec, "2+2?", json!({"max_tokens": 4})), &context).await.unwrap();
    assert_eq!(*shown.lock().unwrap(), ["0.25", "0.50", "4"]);
}

#[tokio::test]
async fn a_conversation_that_is_too_long_loses_its_older_half_again_and_again() {
    let long = json!({"error": {"message": "too much", "type": "invalid_request_error", "code": "context_length_exceeded"}});
    let (url, asked) = chats(move |body| match body["messages"].as_array().unwrap().len() {
        1..=3 => events(&[&part("short enough"), STOP]),
        _ => (axum::http::StatusCode::BAD_REQUEST, Json(long.clone())).into_response(),
    })
    .await;
    let turn = |i: usize| json!({"role": if i.is_multiple_of(2) { "user" } else { "assistant" }, "content": i.to_string()});
    let history: Vec<Value> = (0..8).map(turn).collect();
    let changes = json!({"history": history});
    assert_eq!(ask(&engine(&url, ""), "And now?", changes).await.unwrap(), "short enough");
    let asked = asked.lock().unwrap();
    let lengths: Vec<usize> = asked.iter().map(|body| body["messages"].as_array().unwrap().len()).collect();
    assert_eq!(lengths, [9, 5, 3]);
    assert_eq!(asked[2]["messages"][0]["content"], "6", "the newest question is kept with its answer");
}

#[tokio::test]
async fn what_runs_cost_is_learnt_from_the_servers_timings() {
    let timed =
        r#"{"choices": [], "timings": {"prompt_ms": 2000.0, "predicted_ms": 20000.0, "predicted_n": 100}}"#;
    let (url, _) = chats(move |_| events(&[&part("hello"), STOP, timed, "[DONE]"])).await;
    let engine = engine(&url, "");
    let before = first(&engine).await;
    ask(&engine, "Hello?", json!({})).await.unwrap();
    let after = first(&engine).await;
    assert_eq!((after.cost.fixed, after.cost.per_token), (2.0, 0.2));
    assert_ne!(before.cost, after.cost);
    assert_eq!(before.digest(), after.digest(), "it is the same version");
}

#[tokio::test]
async fn the_key_goes_along_and_its_refusal_does_not_repeat_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = seen.clone();
    let models = move |headers: HeaderMap| async move {
        list.lock().unwrap().push(headers["authorization"].to_str().unwrap().to_owned());
        Json(json!({"data": [{"id": "fox"}]}))
    };
    let chat = |headers: HeaderMap| async move {
        let key = headers["authorization"].to_str().unwrap().to_owned();
        let said = json!({"error": {"message": format!("Incorrect API key provided: {key}")}});
        (axum::http::StatusCode::UNAUTHORIZED, Json(said))
    };
    let router = Router::new().route("/v1/models", get(models)).route("/v1/chat/completions", post(chat));
    let engine = engine(&serve(router).await, "api_key = \"sk-secret\"");
    let refused = ask(&engine, "Hello?", json!({})).await.unwrap_err();
    assert_eq!(*seen.lock().unwrap(), ["Bearer sk-secret"]);
    assert!(matches!(refused, EngineError::Unavailable(_)), "{refused:?}");
    assert!(
        refused.to_string().contains("set api_key") && !refused.to_string().contains("sk-secret"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_recipe_of_a_model_that_is_gone_is_given_back() {
    let (url, _) = chats(|_| events(&[])).await;
    let engine = engine(&url, "");
    let mut gone = recipe(&first(&engine).await, "Hello?", json!({}));
    gone.model = riff_hub::canonical::Digest::of_bytes(b"gone");
    assert!(engine.run(&gone, &RunContext::default()).await.unwrap_err().is_worth_retrying());
}
