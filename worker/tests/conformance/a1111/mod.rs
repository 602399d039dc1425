//! The engine `a1111` in front of a server that holds to the web UI's API: what it is asked, and what comes out.

mod check;
mod faults;
mod server;

use std::sync::Arc;

use figment::{
    Figment,
    providers::{Format, Toml},
};
use riff_hub::{canonical::Digest, model::ModelSpec, schema::check_spec};
use riff_worker::{
    engine::{Artifact, Engine, EngineError, RunContext, Update},
    engines::a1111::A1111Engine,
};
use serde_json::{Value, json};

pub use self::server::Fake;
use crate::{
    ends::unavailable,
    files::{Shelf, png},
    suite::{recipe, watched},
    tls::Behind,
};

/// An engine in front of a server.
pub fn engine(url: &str, more: &str) -> A1111Engine {
    let section = format!("url = \"{url}\"\nname = \"sd\"\n{more}");
    A1111Engine::new(Figment::from(Toml::string(&section)).extract().unwrap())
}

async fn with_server(more: &str) -> (Fake, A1111Engine) {
    let fake = Fake::start().await;
    let engine = engine(&fake.url, more);
    (fake, engine)
}

async fn specs(engine: &A1111Engine) -> Vec<ModelSpec> {
    let specs = engine.discover().await.unwrap();
    specs.iter().for_each(|spec| check_spec(spec).unwrap());
    specs
}

async fn painter(engine: &A1111Engine) -> ModelSpec {
    specs(engine).await.remove(0)
}

/// A small picture in one step.
fn small(more: Value) -> Value {
    let mut inputs = json!({"steps": 1, "width": 64, "height": 64});
    inputs.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    inputs
}

async fn run(engine: &A1111Engine, prompt: &str, inputs: Value) -> Result<Vec<Artifact>, EngineError> {
    let spec = painter(engine).await;
    let context = RunContext { files: Arc::new(Shelf(vec![png(3), png(4)])), ..watched().0 };
    engine.run(&recipe(&spec, prompt, &inputs), &context).await
}

fn name(bytes: &bytes::Bytes) -> String {
    Digest::of_bytes(bytes).to_string()
}

/// The only request for pictures, which has no field that the API lacks.
fn request(fake: &Fake, call: &str) -> Value {
    let [body] = fake.bodies(&format!("POST /sdapi/v1/{call}")).try_into().unwrap();
    assert_eq!(check::unknown(&body), [""; 0]);
    body
}

#[tokio::test]
async fn what_there_is_on_the_server_is_the_schema() {
    let (_fake, engine) = with_server("").await;
    let specs = specs(&engine).await;
    assert_eq!(specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(), ["sd", "sd-upscale"]);
    let schemas: Vec<_> = specs.iter().map(|spec| &spec.schema).collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&schemas).unwrap());
}

#[tokio::test]
async fn settings_narrow_what_members_have() {
    let more = "checkpoints = [\"owl\", \"hen\"]\nupscale = false\nside = 1024\nmax_side = 1536";
    let (fake, engine) = with_server(more).await;
    fake.instead(
        "schedulers",
        crate::answers::answers(|| (axum::http::StatusCode::NOT_FOUND, "{\"detail\": \"Not Found\"}")),
    );
    let [spec] = specs(&engine).await.try_into().unwrap();
    assert_eq!(spec.property("checkpoint").unwrap()["enum"], json!(["owl"]));
    assert_eq!(
        (&spec.property("width").unwrap()["default"], &spec.property("width").unwrap()["maximum"]),
        (&json!(1024), &json!(1536))
    );
    assert!(!spec.takes("scheduler"), "an older server has none");
}

#[tokio::test]
async fn what_members_set_is_what_the_server_gets() {
    let (fake, engine) = with_server("extra = { clip_skip = 2, tiling = true }").await;
    fake.with(|memory| memory.calls.clear());
    let inputs = json!({"count": 2, "seed": 5, "lora": "ink", "lora_weight": 0.5, "negative_prompt": "hens", "guidance": 3,
                        "sampler": "DDIM", "scheduler": "Karras", "checkpoint": "owl"});
    let made = run(&engine, "a fox::2 in snow", small(inputs)).await.unwrap();
    assert_eq!(made.len(), 2);
    let [body] = fake.bodies("POST /sdapi/v1/txt2img").try_into().unwrap();
    assert_eq!(check::unknown(&body), ["clip_skip"], "the operator's own");
    let mut body = body;
    assert!(body["force_task_id"].as_str().unwrap().starts_with("riff-job-"));
    body.as_object_mut().unwrap().remove("force_task_id");
    insta::assert_snapshot!(serde_json::to_string_pretty(&body).unwrap());
}

#[tokio::test]
async fn picture_i_is_that_of_seed_plus_i() {
    let (_fake, engine) = with_server("").await;
    let three = run(&engine, "a fox", small(json!({"seed": 5, "count": 3}))).await.unwrap();
    let one = run(&engine, "a fox", small(json!({"seed": 7, "count": 1}))).await.unwrap();
    assert_eq!(three[2].bytes, one[0].bytes);
}

#[tokio::test]
async fn pictures_are_changed_and_masks_are_painted_anew() {
    let (fake, engine) = with_server("").await;
    run(&engine, "a fox", small(json!({"image": name(&png(3)), "strength": 0.5}))).await.unwrap();
    let body = request(&fake, "img2img");
    assert_eq!(
        (&body["denoising_strength"], &body["mask"], &body["resize_mode"]),
        (&json!(0.5), &Value::Null, &json!(1))
    );
    fake.with(|memory| memory.calls.clear());
    run(&engine, "a fox", small(json!({"image": name(&png(3)), "mask": name(&png(4))}))).await.unwrap();
    let body = request(&fake, "img2img");
    assert!(body["mask"].is_string() && body["inpainting_fill"] == 1, "{body}");
    let error = run(&engine, "a fox", small(json!({"mask": name(&png(4))}))).await.unwrap_err();
    assert!(matches!(&error, EngineError::Input(said) if said.contains("--image")), "{error:?}");
}

#[tokio::test]
async fn pictures_are_made_larger() {
    let (fake, engine) = with_server("").await;
    let spec = specs(&engine).await.remove(1);
    let context = RunContext { files: Arc::new(Shelf(vec![png(6)])), ..watched().0 };
    let inputs = json!({"image": name(&png(6)), "scale": 2, "upscaler": "R-ESRGAN 4x+"});
    let made = engine.run(&recipe(&spec, "x", &inputs), &context).await.unwrap();
    assert_eq!(image::load_from_memory(&made[0].bytes).unwrap().width(), 12);
    assert_eq!(request(&fake, "extra-single-image")["upscaler_1"], "R-ESRGAN 4x+");
    let error = engine.run(&recipe(&spec, "x", &json!({})), &context).await.unwrap_err();
    assert!(matches!(&error, EngineError::Input(said) if said.contains("--image")), "{error:?}");
}

#[tokio::test]
async fn pictures_beside_those_asked_for_are_left_out() {
    let (fake, engine) = with_server("").await;
    let plain = run(&engine, "a fox", small(json!({"count": 2}))).await.unwrap();
    fake.with(|memory| memory.surplus = (1, 2));
    let among = run(&engine, "a fox", small(json!({"count": 2}))).await.unwrap();
    assert_eq!(among.len(), 2);
    assert!(
        plain.iter().zip(&among).all(|(plain, among)| plain.bytes == among.bytes),
        "the grid is left out"
    );
}

/// The previews of a run that takes a while.
async fn previews(engine: &A1111Engine) -> Vec<(f32, u32)> {
    let spec = painter(engine).await;
    let (context, seen) = watched();
    engine.run(&recipe(&spec, "a fox", &small(json!({"steps": 60}))), &context).await.unwrap();
    let seen = seen.lock().unwrap();
    let preview = |update: &Update| match update {
        Update::Progress { done, preview: Some(preview) } => {
            let preview = image::load_from_memory_with_format(preview, image::ImageFormat::Jpeg).unwrap();
            Some((*done, preview.width()))
        }
        _ => None,
    };
    seen.iter().filter_map(preview).collect()
}

#[tokio::test]
async fn previews_are_shown_small() {
    let (_fake, engine) = with_server("").await;
    let shown = previews(&engine).await;
    assert!(shown.len() > 1 && shown.iter().all(|(_, width)| *width == 256), "{shown:?}");
    assert!(shown.is_sorted() && shown[shown.len() - 1].0 > 0.0, "{shown:?}");
}

/// With `--nowebui` there is only the API's progress, which does not say whose it is.
#[tokio::test]
async fn progress_that_may_be_anybodys_is_shown_where_the_server_is_ours_alone() {
    let nowhere = || crate::answers::answers(|| axum::http::StatusCode::METHOD_NOT_ALLOWED);
    let api_only = async |more: &str| {
        let (fake, engine) = with_server(more).await;
        // Both paths end in the same word: only this one is to be away.
        fake.instead("internal/progress", nowhere());
        engine
    };
    assert_eq!(previews(&api_only("").await).await, []);
    assert!(!previews(&api_only("exclusive = true").await).await.is_empty());
}

#[tokio::test]
async fn a_server_behind_tls_is_reached_if_somebody_vouches_for_it() {
    let fake = Fake::start().await;
    let behind = Behind::start(&fake.url.parse().unwrap()).await;
    let trusting = engine(behind.url.as_str(), &format!("certificate = {:?}", behind.authority.path()));
    assert_eq!(run(&trusting, "a fox", small(json!({}))).await.unwrap().len(), 1);
    unavailable(&engine(behind.url.as_str(), "").discover().await.unwrap_err(), "certificate");
}
