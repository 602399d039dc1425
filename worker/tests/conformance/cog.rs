//! What is special in Cog models, against the real server.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use riff_hub::{canonical::Digest, model::Media, schema::check_spec, sound};
use riff_worker::{
    engine::{Artifact, Engine, EngineError, RunContext},
    engines::cog::{CogEngine, Settings},
};
use serde_json::{Value, json};

use crate::{
    files::{Shelf, png},
    suite::{at_work, recipe, watched},
    support::{Cog, path_in},
};

async fn run(settings: Settings, prompt: &str, inputs: Value) -> Result<Vec<Artifact>, EngineError> {
    run_with(settings, prompt, inputs, Vec::new()).await
}

async fn run_with(
    settings: Settings,
    prompt: &str,
    inputs: Value,
    files: Vec<Bytes>,
) -> Result<Vec<Artifact>, EngineError> {
    let engine = CogEngine::new(settings);
    let [spec] = engine.discover().await?.try_into().unwrap();
    let context = RunContext { files: Arc::new(Shelf(files)), ..watched().0 };
    engine.run(&recipe(&spec, prompt, &inputs), &context).await
}

#[tokio::test]
async fn the_openapi_document_becomes_the_schema() {
    for predictor in ["image", "several"] {
        let [spec] = CogEngine::new(Cog::shared(predictor).await.settings())
            .discover()
            .await
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(spec.media, Media::Image);
        let schema = serde_json::to_string_pretty(&spec.schema).unwrap();
        insta::assert_snapshot!(format!("schema_of_{predictor}"), schema);
    }
    let server = Cog::shared("text").await;
    let [spec] = CogEngine::new(server.settings()).discover().await.unwrap().try_into().unwrap();
    assert_eq!((spec.media, spec.takes("prompt"), spec.takes("max_tokens")), (Media::Text, false, true));
}

#[tokio::test]
async fn pictures_of_a_grid_have_the_seeds_that_follow() {
    let settings = async || Cog::shared("image").await.settings();
    let grid = run(settings().await, "a fox", json!({"seed": u32::MAX, "count": 2})).await.unwrap();
    let first = run(settings().await, "a fox", json!({"seed": u32::MAX})).await.unwrap();
    let second = run(settings().await, "a fox", json!({"seed": 0})).await.unwrap();
    assert_eq!(grid[0].bytes, first[0].bytes);
    assert_eq!(grid[1].bytes, second[0].bytes);
    assert_ne!(grid[0].bytes, grid[1].bytes);
}

#[tokio::test]
async fn files_go_in_and_out() {
    let server = Cog::start("edit").await;
    let (picture, mask) = (png(8), png(9));
    let name = |bytes: &Bytes| Digest::of_bytes(bytes).to_string();
    let all = vec![picture.clone(), mask.clone()];
    let plain =
        run_with(server.settings(), "x", json!({"image": name(&picture)}), all.clone()).await.unwrap();
    assert_eq!(plain[0].media_type, "image/png");
    let more =
        json!({"image": name(&picture), "mask": name(&mask), "references": [name(&mask), name(&picture)]});
    let masked = run_with(server.settings(), "x", more, all.clone()).await.unwrap();
    assert_ne!(plain[0].bytes, masked[0].bytes);

    let none = run_with(server.settings(), "x", json!({}), all).await.unwrap_err();
    assert_eq!(none.to_string(), "the model needs a picture: give one with --image");
    let words = Bytes::from_static(b"not a picture");
    let named = json!({"image": name(&words)});
    let wrong = run_with(server.settings(), "x", named.clone(), vec![words]).await.unwrap_err();
    assert!(
        matches!(&wrong, EngineError::Input(reason) if reason.contains("is neither a picture nor a sound")),
        "{wrong}"
    );
    let gone = run_with(server.settings(), "x", named, Vec::new()).await.unwrap_err();
    assert!(matches!(&gone, EngineError::Input(reason) if reason.contains("is not there")), "{gone}");
}

/// The container and the length of the tone are the predictor's.
#[tokio::test]
async fn sound_goes_in_and_out() {
    let mut settings = Cog::shared("tone").await.settings();
    let mut misled = Cog::shared("text").await.settings();
    misled.own.media = Some(Media::Audio);
    let error = CogEngine::new(misled).discover().await.unwrap_err();
    assert!(error.to_string().contains("the model gives text, and `media` says"), "{error}");
    settings.own.media = Some(Media::Audio);
    let alone = run(settings.clone(), "rain", json!({"seed": 3})).await.unwrap().remove(0);
    assert_eq!(alone.media_type, "audio/wav");
    let heard = sound::read(&alone.bytes, sound::Limits { bytes: 1 << 20, seconds: 1.0 }).unwrap();
    assert_eq!(heard.seconds, 0.25);
    let melody = json!({"seed": 3, "melody": Digest::of_bytes(&heard.bytes).to_string()});
    let guided = run_with(settings, "rain", melody, vec![heard.bytes.clone()]).await.unwrap();
    assert_ne!(guided[0].bytes, alone.bytes);

    let listener = Cog::start("listen").await;
    let engine = CogEngine::new(listener.settings());
    let [spec] = engine.discover().await.unwrap().try_into().unwrap();
    check_spec(&spec).unwrap();
    assert_eq!(spec.property("audio").unwrap()["x-media"], "audio");
    assert!(!spec.takes_words_alone(), "a prompt by itself has nothing to listen to");
    let audio = json!({"audio": Digest::of_bytes(&heard.bytes).to_string()});
    let said = run_with(listener.settings(), "x", audio, vec![heard.bytes]).await.unwrap();
    assert_eq!(said[0].bytes, "0.25 s of sound");
    let none = run_with(listener.settings(), "x", json!({}), Vec::new()).await.unwrap_err();
    assert_eq!(none.to_string(), "the model needs a sound: give one with --audio");
}

#[tokio::test]
async fn a_cancelled_prediction_cleans_up_on_the_server() {
    let server = Cog::start("slow").await;
    let engine = Arc::new(CogEngine::new(server.settings()));
    let [spec] = engine.discover().await.unwrap().try_into().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mark = path_in(&folder, "mark");
    let (context, mut told) = at_work();
    let cancel = context.cancel.clone();
    let long = recipe(&spec, mark.to_str().unwrap(), &json!({}));
    let (running, job) = (engine.clone(), context.job.clone());
    let run = tokio::spawn(async move { running.run(&long, &context).await });
    told.wait_for(|working| *working).await.unwrap();
    cancel.cancel();
    let ended = run.await.unwrap();
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
    assert_eq!(std::fs::read_to_string(&mark).unwrap(), "cancelled", "the server had time to clean up");

    let again = RunContext { job, ..watched().0 };
    let short = recipe(&spec, "again", &json!({"seconds": 0}));
    assert_eq!(engine.run(&short, &again).await.unwrap()[0].bytes, "done");
}

#[tokio::test]
async fn an_attempt_takes_over_from_one_that_was_left_behind() {
    let server = Cog::start("slow").await;
    let engine = Arc::new(CogEngine::new(server.settings()));
    let [spec] = engine.discover().await.unwrap().try_into().unwrap();
    let (left, mut told) = at_work();
    let job = left.job.clone();
    let folder = tempfile::tempdir().unwrap();
    let long = recipe(&spec, path_in(&folder, "left").to_str().unwrap(), &json!({}));
    let abandoned = engine.clone();
    let abandoned = tokio::spawn(async move { abandoned.run(&long, &left).await });
    told.wait_for(|working| *working).await.unwrap();
    let short = recipe(&spec, "next", &json!({"seconds": 0}));
    let made = engine.run(&short, &RunContext { job, ..watched().0 }).await.unwrap();
    assert_eq!(made[0].bytes, "done");
    let ended = abandoned.await.unwrap();
    assert!(
        matches!(&ended, Err(EngineError::Failed(reason)) if reason.contains("not by this worker")),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_stopped() {
    let server = Cog::start("slow").await;
    let folder = tempfile::tempdir().unwrap();
    let mark = path_in(&folder, "mark");
    let mut settings = server.settings();
    settings.endpoint.timeout = Duration::from_secs(2);
    let error = run(settings, mark.to_str().unwrap(), json!({})).await.unwrap_err();
    assert_eq!(error.to_string(), "the model took longer than 2s");
    assert!(mark.exists(), "it was stopped on the server too");
}

#[tokio::test]
async fn a_setup_that_failed_is_told_with_its_reason() {
    let server = Cog::start("setup_fails").await;
    let error = CogEngine::new(server.settings()).discover().await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable(_)), "{error:?}");
    let reason = error.to_string();
    assert!(reason.starts_with("the model's setup failed:"), "{reason}");
    assert!(reason.ends_with("FileNotFoundError: weights/model.safetensors is not there"), "{reason}");
}

#[tokio::test]
async fn failures_are_told_apart() {
    let server = Cog::start("fails").await;
    let fail = async |prompt: &str| run(server.settings(), prompt, json!({})).await.unwrap_err();
    let error = fail("a unicorn").await;
    assert!(
        matches!(&error, EngineError::Failed(reason) if reason.contains("cannot paint 'a unicorn'")),
        "{error}"
    );
    let error = fail("memory").await;
    assert!(matches!(&error, EngineError::OutOfMemory(reason) if reason.contains("20.00 GiB")), "{error:?}");
    let error = fail("nothing").await;
    assert_eq!(error.to_string(), "the model gave 0 pictures where 1 were asked for");
    let error = fail("a thousand").await;
    assert_eq!(error.to_string(), "the model gave more than 64 files where 1 were asked for");
    let error = fail("a song").await;
    assert!(matches!(&error, EngineError::Input(reason) if reason.contains("of 12 bytes")), "{error}");
    let error = fail("a crash").await;
    assert!(matches!(&error, EngineError::Failed(reason) if reason.contains("crashed")), "{error}");
    let engine = CogEngine::new(server.settings());
    let error = engine.discover().await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable(_)), "its models are withdrawn: {error:?}");
}

#[tokio::test]
async fn fixed_inputs_are_not_for_members() {
    let server = Cog::shared("image").await;
    let mut settings = server.settings();
    settings.own.inputs.insert("style".to_owned(), json!("hard"));
    let [spec] = CogEngine::new(settings.clone()).discover().await.unwrap().try_into().unwrap();
    check_spec(&spec).unwrap();
    assert!(!spec.takes("style"));
    let [plain] = CogEngine::new(server.settings()).discover().await.unwrap().try_into().unwrap();
    assert_ne!(spec.digest(), plain.digest(), "another version");
    let fixed = run(settings, "a fox", json!({})).await.unwrap();
    let chosen = run(server.settings(), "a fox", json!({"style": "hard"})).await.unwrap();
    assert_eq!(fixed[0].bytes, chosen[0].bytes);
}
