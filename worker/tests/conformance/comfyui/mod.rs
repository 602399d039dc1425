//! The engine `comfyui` in front of a server that holds to ComfyUI's API: what it is asked, and what comes out.

mod check;
mod faults;
mod server;
mod work;

use std::sync::Arc;

use figment::{
    Figment,
    providers::{Format, Toml},
};
use riff_hub::{model::ModelSpec, schema::check_spec};
use riff_worker::{
    engine::{Artifact, Engine, EngineError, RunContext, Update},
    engines::comfyui::ComfyUiEngine,
};
use serde_json::{Value, json};

pub use self::server::Fake;
use crate::{
    ends::unavailable,
    files::{Shelf, png},
    suite::{recipe, watched},
    tls::Behind,
};

/// An engine with a workflow of this folder.
pub fn engine(url: &str, workflow: &str, more: &str) -> ComfyUiEngine {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/comfyui");
    engine_at(url, &format!("{folder}/{workflow}.json"), more)
}

fn engine_at(url: &str, file: &str, more: &str) -> ComfyUiEngine {
    let section = format!("url = \"{url}\"\nworkflow = \"{file}\"\nname = \"painter\"\n{more}");
    ComfyUiEngine::new(Figment::from(Toml::string(&section)).extract().unwrap())
}

/// A server, and an engine in front of it with a workflow of these nodes.
async fn with_nodes(nodes: Value, more: &str) -> (Fake, ComfyUiEngine, tempfile::TempDir) {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workflow.json");
    std::fs::write(&file, nodes.to_string()).unwrap();
    let engine = engine_at(&fake.url, file.to_str().unwrap(), more);
    (fake, engine, folder)
}

async fn with_pictures() -> (Fake, ComfyUiEngine) {
    let fake = Fake::start().await;
    let engine = engine(&fake.url, "pictures", "");
    (fake, engine)
}

async fn only(engine: &ComfyUiEngine) -> ModelSpec {
    let [spec] = engine.discover().await.unwrap().try_into().unwrap();
    check_spec(&spec).unwrap();
    spec
}

async fn run(engine: &ComfyUiEngine, prompt: &str, inputs: Value) -> Result<Vec<Artifact>, EngineError> {
    let spec = only(engine).await;
    engine.run(&recipe(&spec, prompt, &inputs), &watched().0).await
}

/// A painter of these inputs, with marks.
fn painter(marks: &str) -> Value {
    json!({"class_type": "RiffPainter", "_meta": {"title": marks},
           "inputs": {"prompt": "", "seed": 1, "steps": 2, "pause": 0.0, "width": 32, "height": 32, "batch_size": 1}})
}

fn save(from: &str, title: &str) -> Value {
    json!({"class_type": "SaveImage", "_meta": {"title": title}, "inputs": {"images": [from, 0], "filename_prefix": "p"}})
}

/// The prompts that were queued.
fn prompts(fake: &Fake) -> Vec<Value> {
    fake.with(|memory| {
        let calls = memory.calls.iter().filter(|(call, _)| call == "POST /prompt");
        calls.map(|(_, body)| body["prompt"].clone()).collect()
    })
}

#[tokio::test]
async fn a_workflow_of_samplers_becomes_a_model() {
    let fake = Fake::start().await;
    let spec = only(&engine(&fake.url, "portrait", "")).await;
    insta::assert_snapshot!(serde_json::to_string_pretty(&spec.schema).unwrap());
}

#[tokio::test]
async fn settings_amend_what_titles_mark_and_add_to_it() {
    let fake = Fake::start().await;
    let more = "[inputs.steps]\nmax = 9\ntitle = \"Rounds\"\n[inputs.batch]\nnode = \"1\"\nwidget = \"batch_size\"\nmax = 2";
    let amended = engine(&fake.url, "pictures", more);
    let spec = only(&amended).await;
    let steps = spec.property("steps").unwrap();
    assert_eq!(
        (&steps["maximum"], &steps["title"], &steps["default"]),
        (&json!(9), &json!("Rounds"), &json!(4))
    );
    assert_eq!(spec.property("batch").unwrap()["maximum"], 2);
    let plain = only(&engine(&fake.url, "pictures", "")).await;
    assert_ne!(plain.digest(), spec.digest());
    let newer = only(&engine(&fake.url, "pictures", "version = \"2\"")).await;
    assert_ne!(plain.digest(), newer.digest(), "the operator says that weights have changed");
}

#[tokio::test]
async fn what_members_set_is_what_the_server_gets() {
    let (fake, engine) = with_pictures().await;
    let made =
        run(&engine, "a fox::2 in snow", json!({"seed": u32::MAX, "count": 2, "steps": 1, "width": 48}))
            .await;
    assert_eq!(made.unwrap().len(), 2);
    let sent: Vec<Value> = prompts(&fake).iter().map(|prompt| prompt["1"]["inputs"].clone()).collect();
    let seeds: Vec<&Value> = sent.iter().map(|inputs| &inputs["seed"]).collect();
    assert_eq!(seeds, [&json!(u32::MAX), &json!(0)], "picture i has seed + i, modulo 2^32");
    assert_eq!(
        (&sent[0]["prompt"], &sent[0]["width"], &sent[0]["height"]),
        (&json!("a fox in snow"), &json!(48), &json!(64))
    );
}

#[tokio::test]
async fn a_marked_batch_is_one_run() {
    let nodes = json!({"1": painter("riff:seed riff:count max=3"), "2": save("1", "")});
    let (fake, engine, _folder) = with_nodes(nodes, "").await;
    let made = run(&engine, "a fox", json!({"count": 3})).await.unwrap();
    assert_eq!((made.len(), prompts(&fake).len()), (3, 1));
    assert_ne!(made[0].bytes, made[1].bytes);
}

#[tokio::test]
async fn results_come_from_the_marked_nodes_or_from_all_that_save() {
    let all = |marks: [&str; 2]| {
        let mut other = painter("");
        other["inputs"]["seed"] = 5.into();
        let preview = json!({"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}});
        json!({"1": painter(""), "2": save("1", marks[0]), "10": other, "11": save("10", marks[1]), "3": preview})
    };
    let (_fake, engine, _folder) = with_nodes(all(["", ""]), "outputs = 2").await;
    let both = run(&engine, "a fox", json!({})).await.unwrap();
    assert_eq!(both.len(), 2);
    let (_fake, engine, _folder) = with_nodes(all(["", "riff:output"]), "").await;
    let second = run(&engine, "a fox", json!({})).await.unwrap();
    assert_eq!(
        (second.len(), &second[0].bytes),
        (1, &both[1].bytes),
        "previews are no results where something is saved"
    );
    let preview =
        json!({"1": painter(""), "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}});
    let (_fake, engine, _folder) = with_nodes(preview, "").await;
    assert_eq!(run(&engine, "a fox", json!({})).await.unwrap()[0].bytes, both[0].bytes);
}

#[tokio::test]
async fn pictures_go_up_and_are_named_in_the_workflow() {
    let load = |title: &str| json!({"class_type": "LoadImage", "_meta": {"title": title}, "inputs": {"image": "example.png"}});
    let mask = json!({"class_type": "LoadImageMask", "_meta": {"title": "riff:mask"}, "inputs": {"image": "m.png", "channel": "red"}});
    let mut paint = painter("");
    paint["inputs"]["image"] = json!(["5", 0]);
    paint["inputs"]["mask"] = json!(["6", 0]);
    let nodes = |title: &str| json!({"1": paint, "2": save("1", ""), "5": load(title), "6": mask});
    let (fake, engine, _folder) = with_nodes(nodes("riff:image"), "").await;
    let spec = only(&engine).await;
    let names = [png(3), png(4)].map(|bytes| riff_hub::canonical::Digest::of_bytes(&bytes).to_string());
    let context = RunContext { files: Arc::new(Shelf(vec![png(3), png(4)])), ..watched().0 };
    let inputs = json!({"image": names[0], "mask": names[1]});
    let made = engine.run(&recipe(&spec, "a fox", &inputs), &context).await.unwrap();
    assert_eq!(made[0].bytes, png(3));
    assert_eq!(prompts(&fake)[0]["6"]["inputs"]["image"], format!("riff/{}.png", names[1]));
    let Err(EngineError::Input(said)) = run(&engine, "a fox", json!({"image": names[0]})).await else {
        panic!()
    };
    assert!(said.contains("with --mask") || said.contains("not there"), "{said}");

    let (fake, engine, _folder) = with_nodes(nodes("riff:image optional"), "").await;
    fake.with(|memory| memory.inputs.insert("example.png".to_owned(), png(7)));
    let spec = only(&engine).await;
    let made = engine.run(&recipe(&spec, "a fox", &json!({"mask": names[1]})), &context).await.unwrap();
    assert_eq!(made[0].bytes, png(7), "the workflow's own picture");
}

#[tokio::test]
async fn a_workflow_may_make_text() {
    let nodes = json!({
        "1": {"class_type": "PrimitiveStringMultiline", "_meta": {"title": "riff:prompt"}, "inputs": {"value": ""}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    });
    let (_fake, engine, _folder) = with_nodes(nodes, "media = \"text\"").await;
    let made = run(&engine, "say this", json!({})).await.unwrap();
    assert_eq!(
        (made[0].bytes.as_ref(), made[0].media_type.as_ref()),
        (&b"say this"[..], "text/plain; charset=utf-8")
    );
}

#[tokio::test]
async fn previews_are_small_pictures() {
    let (_fake, engine) = with_pictures().await;
    let spec = only(&engine).await;
    let (context, seen) = watched();
    engine.run(&recipe(&spec, "a fox", &json!({"steps": 3, "pause": 0.01})), &context).await.unwrap();
    let seen = seen.lock().unwrap();
    let previews = seen.iter().filter_map(|update| match update {
        Update::Progress { preview, .. } => preview.as_ref(),
        Update::Text { .. } => None,
    });
    let sizes: Vec<_> = previews
        .map(|bytes| image::load_from_memory_with_format(bytes, image::ImageFormat::Jpeg).unwrap().width())
        .collect();
    assert!(!sizes.is_empty() && sizes.iter().all(|width| *width <= 256), "{sizes:?}");
}

/// The server has the results of unchanged nodes, and says so.
#[tokio::test]
async fn a_run_that_the_server_remembers_is_not_made_again() {
    let (_fake, engine) = with_pictures().await;
    let first = run(&engine, "a fox", json!({"steps": 2})).await.unwrap();
    let (context, seen) = watched();
    let spec = only(&engine).await;
    let again = engine.run(&recipe(&spec, "a fox", &json!({"steps": 2})), &context).await.unwrap();
    assert_eq!(first[0].bytes, again[0].bytes);
    let previews = seen
        .lock()
        .unwrap()
        .iter()
        .filter(|seen| matches!(seen, Update::Progress { preview: Some(_), .. }))
        .count();
    assert_eq!(previews, 0);
}

#[tokio::test]
async fn a_server_behind_tls_is_asked_and_listened_to() {
    let fake = Fake::start().await;
    let behind = Behind::start(&fake.url.parse().unwrap()).await;
    let trusting =
        engine(behind.url.as_str(), "pictures", &format!("certificate = {:?}", behind.authority.path()));
    let spec = only(&trusting).await;
    let (context, seen) = watched();
    let long = recipe(&spec, "a fox", &json!({"steps": 8, "pause": 0.02}));
    assert_eq!(trusting.run(&long, &context).await.unwrap().len(), 1);
    assert_eq!(fake.calls("GET /ws"), 1);
    let previews = |update: &Update| matches!(update, Update::Progress { preview: Some(_), .. });
    assert!(seen.lock().unwrap().iter().any(previews), "only the socket has previews");
    let stranger = engine(behind.url.as_str(), "pictures", "").discover().await.unwrap_err();
    unavailable(&stranger, "certificate");
}
