//! Against llama.cpp's own server with the default language model.

use std::time::Duration;

use riff_worker::engine::{Engine, EngineError, RunContext};
use serde_json::{Value, json};

use crate::{
    server::Llama,
    support::{ask, engine, first, recipe, watched},
};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the server says of its only slot.
async fn slot(llama: &Llama) -> Value {
    let slots: Value = reqwest::get(format!("{}/slots", llama.url)).await.unwrap().json().await.unwrap();
    slots[0].clone()
}

async fn answer(prompt: &str, changes: Value) -> String {
    let engine = engine(&Llama::shared().url, "extra = {cache_prompt = false}");
    ask(&engine, prompt, changes).await.unwrap()
}

#[tokio::test]
async fn its_model_is_found_under_a_name_that_members_can_type() {
    let engine = engine(&Llama::shared().url, "");
    let spec = first(&engine).await;
    assert_eq!((spec.name.as_str(), spec.title.as_str()), ("smollm2-135m-instruct", "SmolLM2-135M-Instruct"));
    assert!(!spec.takes("image"), "it does not see: {:?}", spec.schema);
    assert!(engine.loaded(spec.digest()));
    assert_eq!(first(&engine).await.digest(), spec.digest());
}

#[tokio::test]
async fn a_question_is_answered_while_it_is_watched() {
    let engine = engine(&Llama::shared().url, "");
    let spec = first(&engine).await;
    let (context, shown) = watched(usize::MAX);
    let asked = recipe(&spec, "What is 2+2?", json!({"temperature": 0, "max_tokens": 24}));
    let made = engine.run(&asked, &context).await.unwrap();
    let text = std::str::from_utf8(&made[0].bytes).unwrap();
    assert!(text.contains('4'), "{text}");
    let shown = shown.lock().unwrap();
    assert!(shown.len() > 3, "it came bit by bit: {shown:?}");
    assert!(shown.windows(2).all(|pair| pair[1].starts_with(&pair[0])), "{shown:?}");
    assert_eq!(shown.last().unwrap(), text);
}

#[tokio::test]
async fn a_seed_gives_its_answer_again_and_another_seed_another() {
    let changes = |seed: u32| json!({"seed": seed, "temperature": 1.2, "max_tokens": 24});
    let first = answer("Tell me a story about a fox.", changes(1)).await;
    assert_eq!(first, answer("Tell me a story about a fox.", changes(1)).await);
    assert_ne!(first, answer("Tell me a story about a fox.", changes(2)).await);
    let last = answer("Tell me a story about a fox.", changes(u32::MAX)).await;
    assert_eq!(
        last,
        answer("Tell me a story about a fox.", changes(u32::MAX)).await,
        "the highest seed is one too"
    );
}

#[tokio::test]
async fn stop_strings_and_length_are_kept() {
    let stopped = answer("What is 2+2?", json!({"temperature": 0, "stop": ["4"]})).await;
    assert!(!stopped.is_empty() && !stopped.contains('4'), "{stopped}");
    let five = answer("What is 2+2?", json!({"temperature": 0, "stop": ["§", "¤", "¥", "£", "4"]})).await;
    assert_eq!(five, stopped, "more stop strings than the API takes");
    let short = answer("Count from one to a hundred.", json!({"max_tokens": 3})).await;
    assert!(!short.is_empty() && short.split_whitespace().count() <= 3, "{short}");
}

#[tokio::test]
async fn what_was_said_before_counts_and_so_does_the_system() {
    let history = json!([
        {"role": "user", "content": "My name is Zanzibar."},
        {"role": "assistant", "content": "Hello, Zanzibar! How can I help you?"},
    ]);
    let with =
        answer("What is my name?", json!({"temperature": 0, "history": history, "max_tokens": 24})).await;
    assert!(with.contains("Zanzibar"), "{with}");
    let plain = answer("Who are you?", json!({"temperature": 0, "max_tokens": 24})).await;
    let pirate = json!({"temperature": 0, "max_tokens": 24, "system": "You are Captain Redbeard, a pirate."});
    assert_ne!(answer("Who are you?", pirate).await, plain);
}

#[tokio::test]
async fn a_conversation_that_is_too_long_loses_its_oldest_turns_and_a_prompt_that_is_too_long_is_refused() {
    let engine = engine(&Llama::shared().url, "");
    let long = "the sea is wide and ".repeat(80);
    let turns = (0..3).flat_map(|_| {
        [json!({"role": "user", "content": long}), json!({"role": "assistant", "content": "Yes."})]
    });
    let changes = json!({"history": turns.collect::<Vec<_>>(), "max_tokens": 4, "temperature": 0});
    let text = ask(&engine, "What is 2+2?", changes).await.unwrap();
    assert!(!text.is_empty());
    let refused =
        ask(&engine, &"sea ".repeat(990), json!({"max_tokens": 4, "system": "wide ".repeat(700)})).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, EngineError::Input(_)), "{refused:?}");
    assert!(
        refused.to_string().starts_with("The prompt is too long for this model: shorten it"),
        "{refused}"
    );
}

#[tokio::test]
async fn cancelling_stops_the_server_too() {
    let llama = Llama::start();
    let engine = engine(&llama.url, "extra = {ignore_eos = true}");
    let spec = first(&engine).await;
    let (context, shown) = watched(3);
    let asked = recipe(&spec, "Tell me a long story.", json!({"max_tokens": 900}));
    let outcome = engine.run(&asked, &context).await;
    assert!(matches!(outcome, Err(EngineError::Cancelled)), "{outcome:?}");
    assert_eq!(shown.lock().unwrap().len(), 3);
    let idle = async {
        loop {
            let now = slot(&llama).await;
            if now["is_processing"] == false {
                return now;
            }
        }
    };
    let slot = tokio::time::timeout(PATIENCE, idle).await.expect("the slot is free");
    // The conversation's tokens and those of the answer until it was stopped; 900 were asked for.
    let tokens = slot["n_prompt_tokens"].as_u64().unwrap();
    assert!(tokens < 450, "it wrote on for nobody: {slot}");
    assert!(!ask(&engine, "Hello!", json!({"max_tokens": 2})).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_goes_away_is_unavailable() {
    let llama = Llama::start();
    let engine = engine(&llama.url, "");
    let spec = first(&engine).await;
    drop(llama);
    let asked = recipe(&spec, "Hello!", json!({}));
    let failed = engine.run(&asked, &RunContext::default()).await.unwrap_err();
    assert!(matches!(failed, EngineError::Unavailable(_)), "{failed:?}");
    assert!(failed.to_string().contains("cannot be reached"), "{failed}");
    let failed = engine.discover().await.unwrap_err();
    assert!(matches!(failed, EngineError::Unavailable(_)), "{failed:?}");
}
