//! Pictures: what servers are sent, and every way in which they give them.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::Multipart,
    http::{HeaderMap, StatusCode},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use riff_worker::engine::{Engine, EngineError, RunContext};
use serde_json::{Value, json};

use crate::support::{engine, first, png, recipe, run, serve, with_picture};

/// A section whose only model is `brush`.
const BRUSH: &str = "[[models]]\nid = \"brush\"\nmedia = \"image\"\n";

type Asked = Arc<Mutex<Vec<Value>>>;

/// A server without a list of models that answers requests for pictures so.
async fn paints(answer: impl Fn(&Value) -> Response + Send + Sync + 'static) -> (String, Asked) {
    let asked = Asked::default();
    let (list, answer) = (asked.clone(), Arc::new(answer));
    let paint = move |Json(body): Json<Value>| async move {
        let response = answer(&body);
        list.lock().unwrap().push(body);
        response
    };
    let file = |headers: HeaderMap| async move {
        assert_eq!(headers["authorization"], "Bearer sk-secret", "the server's own address gets the key");
        png(16)
    };
    let router = Router::new().route("/v1/images/generations", post(paint)).route("/files/16.png", get(file));
    (serve(router).await, asked)
}

fn inline(side: u32) -> Value {
    json!({"b64_json": BASE64_STANDARD.encode(png(side))})
}

fn data(pictures: Vec<Value>) -> Response {
    Json(json!({"created": 1, "data": pictures})).into_response()
}

#[tokio::test]
async fn pictures_come_inline_and_by_address() {
    let elsewhere = |headers: HeaderMap| async move {
        assert!(!headers.contains_key("authorization"), "another server must not get the key");
        png(24)
    };
    let other = serve(Router::new().route("/v1/24.png", get(elsewhere))).await;
    let (url, asked) = paints(move |_| {
        let embedded = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png(32)));
        let pictures = [json!("/files/16.png"), json!(format!("{other}/24.png")), json!(embedded)];
        let mut pictures: Vec<Value> = pictures.into_iter().map(|url| json!({"url": url})).collect();
        pictures.push(inline(8));
        data(pictures)
    })
    .await;
    let engine = engine(&url, &format!("api_key = \"sk-secret\"\nextra = {{quality = \"low\"}}\n{BRUSH}"));
    let changes = json!({"count": 4, "width": 512, "height": 768});
    let made = run(&engine, "a fox::2 fog::0.5", changes).await.unwrap();
    let expected = [png(16), png(24), png(32), png(8)];
    assert_eq!(made.iter().map(|artifact| artifact.bytes.clone()).collect::<Vec<_>>(), expected);
    assert!(made.iter().all(|artifact| artifact.media_type == "image/png"));
    let sent = json!({"model": "brush", "prompt": "a fox fog", "n": 4, "size": "512x768", "quality": "low"});
    assert_eq!(asked.lock().unwrap()[0], sent);
}

#[tokio::test]
async fn what_a_server_leaves_out_is_asked_for_again_and_what_is_too_much_is_left() {
    let (url, asked) = paints(|_| data(vec![inline(8)])).await;
    let made = run(&engine(&url, BRUSH), "a fox", json!({"count": 3})).await.unwrap();
    assert_eq!(made.len(), 3);
    let wanted: Vec<u64> = asked.lock().unwrap().iter().map(|body| body["n"].as_u64().unwrap()).collect();
    assert_eq!(wanted, [3, 2, 1]);
    let (url, asked) = paints(|_| data(vec![inline(8); 1_000])).await;
    let made = run(&engine(&url, BRUSH), "a fox", json!({"count": 2})).await.unwrap();
    assert_eq!((made.len(), asked.lock().unwrap().len()), (2, 1));
}

#[tokio::test]
async fn each_picture_has_its_own_seed_where_the_server_has_seeds() {
    let (url, asked) = paints(|_| data(vec![inline(8)])).await;
    let section = format!("{BRUSH}inputs = [\"seed\", \"negative_prompt\"]\nsizes = [\"64x32\"]");
    let changes = json!({"count": 3, "seed": u32::MAX, "negative_prompt": "text"});
    run(&engine(&url, &section), "a fox", changes).await.unwrap();
    let asked = asked.lock().unwrap();
    let seeds: Vec<u64> = asked.iter().map(|body| body["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [u64::from(u32::MAX), 0, 1]);
    let sent = json!({"model": "brush", "prompt": "a fox", "n": 1, "size": "64x32", "seed": 0, "negative_prompt": "text"});
    assert_eq!(asked[1], sent);
}

#[tokio::test]
async fn a_picture_is_changed_where_the_server_can() {
    let parts = Arc::new(Mutex::new(Vec::new()));
    let list = parts.clone();
    let edit = move |mut form: Multipart| async move {
        while let Some(field) = form.next_field().await.unwrap() {
            let name = field.name().unwrap().to_owned();
            let kind = field.content_type().unwrap_or("-").to_owned();
            let bytes = field.bytes().await.unwrap();
            list.lock().unwrap().push((name, kind, bytes));
        }
        data(vec![inline(8)])
    };
    let url = serve(Router::new().route("/v1/images/edits", post(edit))).await;
    let engine = engine(&url, &format!("{BRUSH}edits = true\nextra = {{steps = 4}}"));
    let spec = first(&engine).await;
    let (context, name) = with_picture(png(48));
    engine.run(&recipe(&spec, "now at night", json!({"image": name})), &context).await.unwrap();
    let parts = parts.lock().unwrap();
    let of =
        |name: &str| parts.iter().find(|part| part.0 == name).unwrap_or_else(|| panic!("{name}: {parts:?}"));
    assert_eq!((of("image").1.as_str(), &of("image").2), ("image/png", &png(48)));
    let texts =
        ["model", "prompt", "n", "size", "steps"].map(|name| std::str::from_utf8(&of(name).2).unwrap());
    assert_eq!(texts, ["brush", "now at night", "1", "1024x1024", "4"]);
}

async fn failure(answer: impl Fn(&Value) -> Response + Send + Sync + 'static) -> EngineError {
    let (url, _) = paints(answer).await;
    run(&engine(&url, BRUSH), "a fox", json!({"count": 2})).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_picture_is_told_apart() {
    let cases = [
        (data(Vec::new()), "without a picture"),
        (Json(json!({"data": null})).into_response(), "without a picture"),
        (data(vec![json!({})]), "neither b64_json nor url"),
        (data(vec![json!({"b64_json": "???"})]), "no base64"),
        (data(vec![json!({"b64_json": BASE64_STANDARD.encode("not a picture")})]), "no known format"),
        (data(vec![json!({"b64_json": BASE64_STANDARD.encode(&png(64)[..60])})]), "is none"),
        (data(vec![json!({"url": "file:///etc/passwd"})]), "no address"),
        (Html("<h1>It works!</h1>").into_response(), "text/html"),
        (Json(json!({"error": "the GPU fell off"})).into_response(), "the GPU fell off"),
    ];
    for (answer, expected) in cases {
        let answer = Mutex::new(Some(answer));
        let failed = failure(move |_| answer.lock().unwrap().take().unwrap()).await;
        assert!(
            matches!(failed, EngineError::Failed(_)) && failed.to_string().contains(expected),
            "{failed:?}"
        );
    }
    let refuse = |_: &Value| {
        let said = json!({"error": {"message": "Your request was rejected by the safety system.", "code": "moderation_blocked"}});
        (StatusCode::BAD_REQUEST, Json(said)).into_response()
    };
    let refused = failure(refuse).await;
    assert!(
        matches!(refused, EngineError::Input(_)) && refused.to_string().contains("safety system"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn painting_is_cancelled_while_the_server_thinks() {
    let context = RunContext::default();
    let cancel = context.cancel.clone();
    let think = move || async move {
        cancel.cancel();
        std::future::pending::<()>().await
    };
    let url = serve(Router::new().route("/v1/images/generations", post(think))).await;
    let engine = engine(&url, BRUSH);
    let spec = first(&engine).await;
    let outcome = engine.run(&recipe(&spec, "a fox", json!({})), &context).await;
    assert!(matches!(outcome, Err(EngineError::Cancelled)), "{outcome:?}");
}
