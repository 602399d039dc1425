//! ComfyUI servers that are down, broken, lying or somebody else's: what the engine says of them, and what it stops.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use riff_worker::engine::{Engine, EngineError, Update};
use serde_json::{Value, json};

use super::{Fake, engine, engine_at, only, painter, run, save, with_nodes, with_pictures};
use crate::{
    answers::{answers, html},
    bodies::{endless, hanging, truncated},
    ends::{self, another_version, cancelled, failed, input, signalled, unavailable},
    files::{Shelf, png},
    suite::{recipe, watched},
    support::free_port,
};

/// What an engine says of a server that answers a path like this.
async fn discovered(
    path: &'static str,
    answer: impl Fn() -> Response + Send + Sync + 'static,
) -> EngineError {
    let (fake, engine) = with_pictures().await;
    ends::discovered(&fake, &engine, path, answer).await
}

/// How a run ends when a path is answered like this.
async fn ended(path: &'static str, answer: impl Fn() -> Response + Send + Sync + 'static) -> EngineError {
    let (fake, engine) = with_pictures().await;
    ends::ended(&fake, &engine, &json!({}), path, answer).await
}

#[tokio::test]
async fn servers_that_are_none_are_told_apart() {
    let down = engine(&format!("http://127.0.0.1:{}", free_port()), "pictures", "");
    unavailable(&down.discover().await.unwrap_err(), "cannot be reached");
    failed(&discovered("system_stats", || html(StatusCode::OK).into_response()).await, "Welcome to nginx");
    failed(
        &discovered("system_stats", || html(StatusCode::INTERNAL_SERVER_ERROR).into_response()).await,
        "500 Internal",
    );
    unavailable(
        &discovered("system_stats", || html(StatusCode::BAD_GATEWAY).into_response()).await,
        "502 Bad Gateway",
    );
    unavailable(
        &discovered("system_stats", || StatusCode::NOT_FOUND.into_response()).await,
        "address of a ComfyUI server",
    );
    unavailable(
        &discovered("system_stats", || StatusCode::UNAUTHORIZED.into_response()).await,
        "no password",
    );
    let cog = || axum::Json(json!({"status": "READY"})).into_response();
    unavailable(&discovered("system_stats", cog).await, "is no ComfyUI");
    failed(&discovered("object_info", truncated).await, "broke off");
    failed(&discovered("object_info", endless).await, "more than 33554432 bytes");
}

/// Time is paused: what waits is woken at once.
#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_not_waited_for() {
    unavailable(&discovered("system_stats", hanging).await, "in time");
    unavailable(&discovered("object_info", hanging).await, "in time");
}

#[tokio::test]
async fn workflows_that_do_not_fit_say_why() {
    let refused = async |nodes: Value, more: &str| {
        let (_fake, engine, _folder) = with_nodes(nodes, more).await;
        engine.discover().await.unwrap_err()
    };
    let simple = || json!({"1": painter("riff:seed"), "2": save("1", "")});
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut nodes = simple();
        change(&mut nodes);
        nodes
    };
    let class = changed(&|nodes| nodes["1"]["class_type"] = "Nowhere".into());
    unavailable(&refused(class, "").await, "no node \"Nowhere\", which node 1");
    let title = changed(&|nodes| nodes["1"]["_meta"]["title"] = "riff:colour".into());
    unavailable(&refused(title, "").await, "colour has no widget on node 1 (RiffPainter)");
    let linked = changed(&|nodes| {
        nodes["1"]["inputs"]["prompt"] = json!(["3", 0]);
        nodes["1"]["_meta"]["title"] = "riff:prompt".into();
        nodes["3"] = json!({"class_type": "PrimitiveStringMultiline", "inputs": {"value": ""}});
    });
    unavailable(&refused(linked, "").await, "which another node sets");
    unavailable(&refused(simple(), "[inputs.tone]\nmax = 1").await, "in `inputs` and not in the workflow");
    unavailable(
        &refused(simple(), "[inputs.tone]\nnode = \"9\"").await,
        "node 9, which the workflow does not have",
    );
    let lost = changed(&|nodes| {
        nodes["4"] =
            json!({"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "gone.safetensors"}});
    });
    unavailable(&refused(lost, "").await, "does not have ckpt_name \"gone.safetensors\", which node 4");
    let choice = changed(&|nodes| {
        nodes["4"] = json!({"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "fox.safetensors"},
                            "_meta": {"title": "riff:checkpoint choices=fox.safetensors|hen.safetensors"}});
    });
    unavailable(&refused(choice, "").await, "\"hen.safetensors\", which the server does not have");
    unavailable(&refused(json!({"nodes": [], "links": []}), "").await, "format of the editor");
    let fake = Fake::start().await;
    unavailable(
        &engine_at(&fake.url, "/nowhere/x.json", "").discover().await.unwrap_err(),
        "/nowhere/x.json cannot be read",
    );
}

#[tokio::test]
async fn what_the_server_refuses_is_said_in_words() {
    let (fake, engine) = with_pictures().await;
    let error = run(&engine, "a fox", json!({"steps": 101})).await.unwrap_err();
    input(&error, "--steps: Value 101 bigger than max of 100");
    fake.with(|memory| memory.info["SaveImage"]["input"]["required"]["quality"] = json!(["INT", {}]));
    let error = run(&engine, "a fox", json!({})).await.unwrap_err();
    unavailable(&error, "node 2 (SaveImage), quality: Required input is missing");
    fake.with(|memory| memory.info["RiffPainter"] = Value::Null);
    let spec_gone = engine.discover().await.unwrap_err();
    unavailable(&spec_gone, "no node \"RiffPainter\"");
}

#[tokio::test]
async fn answers_to_a_prompt_that_are_none() {
    failed(&ended("prompt", || html(StatusCode::OK).into_response()).await, "JSON was expected");
    failed(
        &ended("prompt", || html(StatusCode::INTERNAL_SERVER_ERROR).into_response()).await,
        "500 Internal",
    );
    failed(&ended("prompt", || "{\"prompt_id\": 7}".into_response()).await, "without a prompt_id");
    failed(&ended("prompt", truncated).await, "broke off");
    failed(&ended("prompt", endless).await, "it was dropped");
    unavailable(&ended("prompt", || StatusCode::SERVICE_UNAVAILABLE.into_response()).await, "503");
}

#[tokio::test]
async fn a_history_that_cannot_be_read_is_a_lost_server() {
    unavailable(
        &ended("history", || html(StatusCode::OK).into_response()).await,
        "is lost: JSON was expected",
    );
    unavailable(&ended("history", truncated).await, "is lost: the server's answer broke off");
    unavailable(&ended("history", || StatusCode::BAD_GATEWAY.into_response()).await, "is lost");
}

#[tokio::test]
async fn results_that_are_no_pictures_are_refused() {
    failed(&ended("view", || html(StatusCode::OK).into_response()).await, "is no picture that Riff shows");
    failed(&ended("view", || png(3).slice(..20).into_response()).await, "cannot be read");
    failed(&ended("view", || "RIFF....WEBPnonsense".into_response()).await, "is no picture");
    failed(&ended("view", || StatusCode::NOT_FOUND.into_response()).await, "does not have it any more");
    failed(&ended("view", truncated).await, "broke off");
    failed(&ended("view", endless).await, "more than 33554432 bytes");
}

#[tokio::test]
async fn too_few_and_too_many_results() {
    let of = async |given: Value| {
        let (fake, engine) = with_pictures().await;
        fake.with(|memory| memory.gives.insert("2", given));
        run(&engine, "a fox", json!({})).await.unwrap_err()
    };
    failed(&of(json!({"images": []})).await, "gave 0 pictures where 1 were asked for");
    failed(
        &of(json!({"audio": [{"filename": "a.flac", "subfolder": "", "type": "output"}]})).await,
        "gave 0 pictures",
    );
    let file = json!({"filename": "a.png", "subfolder": "", "type": "output"});
    input(&of(json!({"images": vec![file; 1_000]})).await, "gave 1000 files; at most 64");
    failed(&of(json!({"images": [{"subfolder": 7}]})).await, "cannot be read");
}

#[tokio::test]
async fn runs_that_fail_say_where_and_why() {
    let (fake, engine) = with_pictures().await;
    let memory = run(&engine, "out of memory", json!({})).await.unwrap_err();
    assert!(matches!(&memory, EngineError::OutOfMemory(said) if said.contains("2.00 GiB")), "{memory:?}");
    failed(
        &run(&engine, "please fail", json!({})).await.unwrap_err(),
        "node 1 (RiffPainter) failed: the painter fell asleep",
    );
    let (context, mut begun) = signalled();
    let spec = only(&engine).await;
    let long = recipe(&spec, "a fox", &json!({"steps": 60, "pause": 0.02}));
    let interrupt = async {
        begun.wait_for(|begun| *begun).await.unwrap();
        fake.with(|memory| memory.interrupted = true);
    };
    let (ended, ()) = tokio::join!(engine.run(&long, &context), interrupt);
    failed(&ended.unwrap_err(), "interrupted, and not by this worker");
}

#[tokio::test]
async fn without_a_socket_the_end_is_found_by_asking() {
    let (fake, engine) = with_pictures().await;
    fake.instead("ws", answers(|| StatusCode::FORBIDDEN));
    assert_eq!(run(&engine, "a fox", json!({"steps": 2})).await.unwrap().len(), 1);
}

#[tokio::test]
async fn whoever_joins_late_is_shown_what_is_left() {
    let (fake, engine) = with_pictures().await;
    let spec = only(&engine).await;
    let (context, seen) = watched();
    fake.instead("ws", answers(|| StatusCode::FORBIDDEN));
    let long = recipe(&spec, "a fox", &json!({"steps": 50, "pause": 0.05}));
    let let_in = async {
        fake.until(|memory| memory.running.is_some()).await;
        fake.as_ever();
    };
    let (made, ()) = tokio::join!(engine.run(&long, &context), let_in);
    assert_eq!(made.unwrap().len(), 1);
    let seen = seen.lock().unwrap();
    assert!(
        seen.iter().any(|update| matches!(update, Update::Progress { preview: Some(_), .. })),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_socket_that_is_lost_is_joined_again() {
    let (fake, engine) = with_pictures().await;
    let spec = only(&engine).await;
    let (context, mut begun) = signalled();
    let long = recipe(&spec, "a fox", &json!({"steps": 40, "pause": 0.02}));
    let cut = async {
        begun.wait_for(|begun| *begun).await.unwrap();
        fake.with(|memory| memory.sockets.clear());
    };
    let (made, ()) = tokio::join!(engine.run(&long, &context), cut);
    assert_eq!(made.unwrap().len(), 1);
    assert!(fake.calls("GET /ws") >= 2);
}

#[tokio::test]
async fn a_server_that_was_started_anew_does_not_know_the_prompt() {
    let (fake, engine) = with_pictures().await;
    let spec = only(&engine).await;
    let (context, mut begun) = signalled();
    let long = recipe(&spec, "a fox", &json!({"steps": 60, "pause": 0.02}));
    let restart = async {
        begun.wait_for(|begun| *begun).await.unwrap();
        fake.forget();
    };
    let (ended, ()) = tokio::join!(engine.run(&long, &context), restart);
    unavailable(&ended.unwrap_err(), "does not know the prompt any more");
}

#[tokio::test]
async fn a_server_that_falls_silent_at_work_is_given_up() {
    let (fake, engine) = with_pictures().await;
    let spec = only(&engine).await;
    let (context, mut begun) = signalled();
    let long = recipe(&spec, "a fox", &json!({"steps": 60, "pause": 0.05}));
    let cut = async {
        begun.wait_for(|begun| *begun).await.unwrap();
        for path in ["history", "queue", "ws"] {
            fake.instead(path, answers(|| StatusCode::BAD_GATEWAY));
        }
        fake.with(|memory| memory.sockets.clear());
    };
    let (ended, ()) = tokio::join!(engine.run(&long, &context), cut);
    unavailable(&ended.unwrap_err(), "the server is lost");
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_stopped() {
    let fake = Fake::start().await;
    let engine = engine(&fake.url, "pictures", "timeout_seconds = 0.3");
    let error = run(&engine, "a fox", json!({"steps": 60, "pause": 0.05})).await.unwrap_err();
    failed(&error, "timeout_seconds");
    assert_eq!(fake.calls("POST /interrupt"), 1);
    assert!(fake.with(|memory| memory.running.is_none()));
}

/// A prompt of somebody else's that runs until it is interrupted, or 6 s.
fn others() -> Value {
    let mut paint = painter("");
    paint["inputs"]["steps"] = 100.into();
    paint["inputs"]["pause"] = json!(0.06);
    json!({"1": paint, "2": save("1", "")})
}

#[tokio::test]
async fn cancelling_while_it_waits_takes_it_out_of_the_queue() {
    let (fake, engine) = with_pictures().await;
    let spec = only(&engine).await;
    fake.queue("somebody", others());
    let (context, _) = watched();
    let cancel = async {
        fake.until(|memory| !memory.pending.is_empty() && memory.running.is_some()).await;
        context.cancel.cancel();
    };
    let waiting = recipe(&spec, "a fox", &json!({}));
    let (ended, ()) = tokio::join!(engine.run(&waiting, &context), cancel);
    cancelled(&ended);
    assert_eq!((fake.calls("POST /queue"), fake.calls("POST /interrupt")), (1, 0), "what others run goes on");
    assert!(fake.with(|memory| memory.pending.is_empty() && memory.running.is_some()));
}

#[tokio::test]
async fn cancelling_while_it_runs_interrupts_it() {
    let (fake, engine) = with_pictures().await;
    let spec = only(&engine).await;
    let (context, mut begun) = signalled();
    let cancel = context.cancel.clone();
    let long = recipe(&spec, "a fox", &json!({"steps": 60, "pause": 0.05}));
    let cancel = async {
        begun.wait_for(|begun| *begun).await.unwrap();
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(engine.run(&long, &context), cancel);
    cancelled(&ended);
    assert_eq!(fake.calls("POST /interrupt"), 1);
    assert!(fake.with(|memory| memory.running.is_none()), "it is waited for");
}

/// While a picture goes up, while the prompt is taken, while the result comes down.
#[tokio::test]
async fn cancelling_at_every_call_ends_the_run() {
    for path in ["upload", "prompt", "view"] {
        let nodes = json!({"1": painter(""), "2": save("1", ""),
            "5": {"class_type": "LoadImage", "_meta": {"title": "riff:image"}, "inputs": {"image": "x.png"}}});
        let (fake, engine, _folder) = with_nodes(nodes, "").await;
        let spec = only(&engine).await;
        let (mut context, _) = watched();
        context.files = std::sync::Arc::new(Shelf(vec![png(3)]));
        let cancel = context.cancel.clone();
        fake.instead(
            path,
            answers(move || {
                cancel.cancel();
                hanging()
            }),
        );
        let name = riff_hub::canonical::Digest::of_bytes(&png(3)).to_string();
        cancelled(&engine.run(&recipe(&spec, "a fox", &json!({"image": name})), &context).await);
    }
}

#[tokio::test]
async fn what_an_earlier_attempt_left_behind_is_stopped_first() {
    let (fake, engine) = with_pictures().await;
    let spec = only(&engine).await;
    let (context, mut begun) = signalled();
    let long = recipe(&spec, "a fox", &json!({"steps": 60, "pause": 0.05}));
    tokio::select! {
        _ = engine.run(&long, &context) => panic!("it takes longer"),
        _ = begun.wait_for(|begun| *begun) => {}
    }
    assert!(fake.with(|memory| memory.running.is_some()), "the attempt is dropped, its prompt is not");
    let quick = recipe(&spec, "a fox", &json!({"steps": 1}));
    assert_eq!(engine.run(&quick, &context).await.unwrap().len(), 1);
    assert_eq!(fake.calls("POST /interrupt"), 1);
}

#[tokio::test]
async fn a_recipe_of_another_version_is_not_run() {
    let (_fake, engine) = with_pictures().await;
    unavailable(&another_version(&engine).await, "does not serve that version");
}
