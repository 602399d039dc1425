//! What is asked of the service, and what becomes of its answers.

use axum::{Json, Router, http::StatusCode, routing::get};
use bytes::Bytes;
use riff_hub::{
    canonical::Digest,
    model::{Media, Overflow},
};
use riff_worker::{
    engine::Engine,
    engines::cog::{self, CogEngine},
};
use serde_json::json;

use crate::{
    files::png,
    replicate_models::{delivered, find, said},
    server::Call,
    support::{Account, ask, recipe, run, spec, watched},
};

#[tokio::test]
async fn models_are_announced_as_overflow() {
    let account = Account::open().await;
    let engine = account.engine();
    let painter = spec(&engine, "painter").await;
    assert_eq!(painter.overflow, Some(Overflow { after_seconds: 60.0 }));
    assert_eq!((painter.media, painter.card.as_str()), (Media::Image, "The painter of the tests."));
    assert!(painter.takes("width") && painter.takes("count") && !painter.takes("prompt"));
    assert_eq!(spec(&engine, "poet").await.media, Media::Text);
    assert_eq!(account.server.wrong(), [""; 0]);
}

/// The same container behind a Cog server.
#[tokio::test]
async fn a_container_is_the_same_version_wherever_it_runs() {
    let account = Account::open().await;
    let document = find("acme", "painter").unwrap().version()["openapi_schema"].clone();
    let health = json!({"status": "READY", "version": {"coglet": "0.9", "python": "3.9"}});
    let routes = Router::new()
        .route("/health-check", get(|| async { Json(health) }))
        .route("/openapi.json", get(|| async { Json(document) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let plain = cog::Settings::new(&url, "painter").unwrap();
    let mut contained = plain.clone();
    contained.own.image = Some(find("acme", "painter").unwrap().id());
    let ours = CogEngine::new(contained).discover().await.unwrap();
    let theirs = spec(&account.engine(), "painter").await;
    assert_eq!(ours[0].digest(), theirs.digest());
    let unnamed = CogEngine::new(plain).discover().await.unwrap();
    assert_ne!(unnamed[0].digest(), theirs.digest(), "a server that does not say what it is");
}

#[tokio::test]
async fn results_come_in_every_form_that_models_give_them_in() {
    let account = Account::open().await;
    let engine = account.engine();
    let mixed = 7 + 1_000_003 * u64::from(b'x');
    let noise = |index: u64, width: u32| delivered(&format!("{}-{width}.png", mixed + index)).unwrap();
    let one = run(&engine, "painter", "x", json!({"width": 24})).await.unwrap();
    assert_eq!((one.len(), &one[0].bytes, one[0].media_type.as_ref()), (1, &noise(0, 24), "image/png"));
    let list = run(&engine, "prints", "x", json!({"count": 3})).await.unwrap();
    assert_eq!(
        list.iter().map(|made| made.bytes.clone()).collect::<Vec<_>>(),
        [noise(0, 16), noise(1, 16), noise(2, 16)]
    );
    let sheet = run(&engine, "sheet", "x", json!({})).await.unwrap();
    let without_seed = delivered(&format!("{}-16.png", mixed - 7)).unwrap();
    assert_eq!(sheet[0].bytes, without_seed);
    assert_eq!(ask(&engine, "poet", "x").await.unwrap(), said(mixed, 4).concat());
    assert_eq!(account.server.wrong(), [""; 0]);
}

#[tokio::test]
async fn every_picture_of_a_grid_is_a_prediction_of_its_own_where_a_model_makes_one() {
    let account = Account::open().await;
    let engine = account.engine();
    run(&engine, "painter", "x", json!({"count": 2, "seed": u32::MAX})).await.unwrap();
    let seeds: Vec<u64> =
        account.server.asked().iter().map(|asked| asked["input"]["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [u64::from(u32::MAX), 0]);
    assert_eq!(account.counted(), 20_000, "and costs as much");
}

#[tokio::test]
async fn requests_are_those_of_the_reference() {
    let account = Account::open().await;
    let engine = account.engine_with(1.0, "usd_per_run = 0.01\ntimeout_seconds = 90");
    run(&engine, "painter", "a fox::2 fog::0.5", json!({"width": 24})).await.unwrap();
    let input = json!({"prompt": "a fox fog", "seed": 7, "width": 24, "num_inference_steps": 2, "pause": 0});
    let version = find("acme", "painter").unwrap().id();
    assert_eq!(account.server.asked()[0], json!({"version": version, "input": input}));
    assert_eq!(account.server.header("prefer").as_deref(), Some("wait=1"));
    assert_eq!(account.server.header("cancel-after").as_deref(), Some("90s"));
    ask(&engine, "poet", "x").await.unwrap();
    assert_eq!(
        account.server.asked()[1].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["input"],
        "by name"
    );
    assert_eq!(account.server.header("prefer"), None, "the words would come late");
    assert_eq!(account.server.wrong(), [""; 0]);
}

#[tokio::test]
async fn words_are_shown_as_they_come() {
    let account = Account::open().await;
    let engine = account.engine();
    let poet = spec(&engine, "poet").await;
    let recipe = recipe(&poet, "x", json!({"max_tokens": 12, "pause": 0.02}));
    let (context, texts) = watched(Vec::new());
    let made = engine.run(&recipe, &context).await.unwrap();
    let end = String::from_utf8(made[0].bytes.to_vec()).unwrap();
    let shown = std::mem::take(&mut *texts.lock().unwrap());
    assert!(shown.len() > 2 && shown.windows(2).all(|pair| pair[1].starts_with(&pair[0])), "{shown:?}");
    assert_eq!(shown.last(), Some(&end), "with their line breaks");

    account.server.plan(Call::Stream, StatusCode::INTERNAL_SERVER_ERROR);
    let again = engine.run(&recipe, &context).await.unwrap();
    assert_eq!(again[0].bytes, end, "a stream that is not there costs the progress and nothing else");
    account.server.plan(Call::Stream, ([("content-type", "text/event-stream")], "event: output\ndata: fo"));
    let again = engine.run(&recipe, &context).await.unwrap();
    assert_eq!(again[0].bytes, end, "nor does one that breaks off");
}

#[tokio::test]
async fn small_pictures_go_along_and_large_ones_are_uploaded() {
    let account = Account::open().await;
    let engine = account.engine();
    let painter = spec(&engine, "painter").await;
    let small = png(8);
    let mut large = png(8).to_vec();
    large.resize((256 << 10) + 1, 0);
    let large = Bytes::from(large);
    for picture in [&small, &large] {
        let (context, _) = watched(vec![small.clone(), large.clone()]);
        let inputs = json!({"image": Digest::of_bytes(picture).to_string()});
        engine.run(&recipe(&painter, "x", inputs), &context).await.unwrap();
    }
    let sent: Vec<String> = account
        .server
        .asked()
        .iter()
        .map(|asked| asked["input"]["image"].as_str().unwrap().to_owned())
        .collect();
    assert!(sent[0].starts_with("data:image/png;base64,"), "{}", sent[0]);
    assert_eq!(
        (sent[1].as_str(), account.server.uploads()),
        (format!("{}/files/file0", account.server.url).as_str(), vec![large])
    );
    assert_eq!(account.server.wrong(), [""; 0]);
}
