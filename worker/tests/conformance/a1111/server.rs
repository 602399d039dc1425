//! A server that holds to the API of AUTOMATIC1111's web UI 1.10, by its own code: one task at a time behind a lock, tasks
//! with names, progress, interruption of whatever runs, and its refusals. What it paints is its own.

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::check;
use crate::{
    files::{noise, png},
    remembered::Remembered,
};

/// How long a step takes.
const STEP: Duration = Duration::from_millis(20);
/// Name and password.
pub const LOGIN: &str = "fox:hush";

/// All that the server remembers.
#[derive(Default)]
pub struct Memory {
    pub current: Option<String>,
    pub pending: Vec<String>,
    pub finished: Vec<String>,
    pub interrupted: bool,
    pub done: (u64, u64),
    pub checkpoint: String,
    /// Every call: method, path and body.
    pub calls: Vec<(String, Value)>,
    /// Pictures before the first, and after the last.
    pub surplus: (usize, usize),
    /// Whether calls need [`LOGIN`].
    pub guarded: bool,
}

/// A server.
#[derive(Clone)]
pub struct Fake {
    /// Moved by every step and call; answers otherwise by the end of the path.
    remembered: Remembered<Memory>,
    /// Only one task runs.
    queue_lock: Arc<tokio::sync::Mutex<()>>,
    pub url: String,
}

impl Deref for Fake {
    type Target = Remembered<Memory>;
    fn deref(&self) -> &Self::Target {
        &self.remembered
    }
}

impl Fake {
    /// Starts one; it ends with the test's runtime.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let memory = Memory { checkpoint: "fox.safetensors [aaaa000011]".to_owned(), ..Memory::default() };
        let fake = Self { remembered: Remembered::new(memory), queue_lock: Arc::default(), url };
        let routes = Router::new()
            .route("/sdapi/v1/sd-models", get(async || Json(checkpoints())))
            .route("/sdapi/v1/samplers", get(async || Json(named(&["DPM++ 2M", "Euler a", "DDIM"]))))
            .route("/sdapi/v1/schedulers", get(async || Json(schedulers())))
            .route("/sdapi/v1/loras", get(async || Json(json!([{"name": "ink", "alias": "Ink", "path": "/m/ink.safetensors", "metadata": {}}]))))
            .route("/sdapi/v1/upscalers", get(async || Json(named(&["None", "Lanczos", "R-ESRGAN 4x+"]))))
            .route("/sdapi/v1/options", get(options))
            .route("/sdapi/v1/txt2img", post(paint))
            .route("/sdapi/v1/img2img", post(paint))
            .route("/sdapi/v1/extra-single-image", post(upscale))
            .route("/sdapi/v1/progress", get(progress))
            .route("/sdapi/v1/interrupt", post(interrupt))
            .route("/internal/progress", post(internal_progress))
            .fallback(async || (StatusCode::NOT_FOUND, Json(json!({"detail": "Not Found"}))))
            .layer(middleware::from_fn_with_state(fake.clone(), intercept))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        fake
    }

    /// The bodies of a call, as in `POST /sdapi/v1/txt2img`.
    pub fn bodies(&self, call: &str) -> Vec<Value> {
        self.with(|memory| {
            memory.calls.iter().filter(|(known, _)| known == call).map(|(_, body)| body.clone()).collect()
        })
    }

    /// How often it was asked to stop.
    pub fn interrupts(&self) -> usize {
        self.bodies("POST /sdapi/v1/interrupt").len()
    }
}

fn named(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name, "aliases": [], "options": {}})).collect()
}

fn checkpoints() -> Value {
    json!([
        {"title": "owl.safetensors", "model_name": "owl", "hash": null, "sha256": null, "filename": "/m/owl.safetensors", "config": null},
        {"title": "fox.safetensors [aaaa000011]", "model_name": "fox", "hash": "aaaa000011", "sha256": "aaaa000011bb",
         "filename": "/m/fox.safetensors", "config": null},
    ])
}

fn schedulers() -> Value {
    json!([{"name": "automatic", "label": "Automatic", "aliases": null, "default_rho": -1.0, "need_inner_model": false},
           {"name": "karras", "label": "Karras", "aliases": null, "default_rho": 7.0, "need_inner_model": false}])
}

async fn intercept(State(fake): State<Fake>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let login = format!("Basic {}", BASE64_STANDARD.encode(LOGIN));
    let guarded = fake.with(|memory| {
        memory
            .calls
            .push((format!("{} {path}", parts.method), serde_json::from_slice(&body).unwrap_or_default()));
        memory.guarded
    });
    fake.has_moved();
    let known = parts.headers.get(header::AUTHORIZATION).is_some_and(|given| *given == *login);
    if guarded && !known {
        return (StatusCode::UNAUTHORIZED, Json(json!({"detail": "Not authenticated"}))).into_response();
    }
    match fake.otherwise(|end| path.ends_with(&format!("/{end}"))) {
        Some(answer) => answer(),
        None => next.run(Request::from_parts(parts, body.into())).await,
    }
}

/// An answer of the server's own handler of exceptions.
fn exception(status: StatusCode, kind: &str, detail: &str, errors: &str) -> Response {
    (status, Json(json!({"error": kind, "detail": detail, "body": "", "errors": errors}))).into_response()
}

async fn options(State(fake): State<Fake>) -> Json<Value> {
    Json(
        json!({"sd_model_checkpoint": fake.with(|memory| memory.checkpoint.clone()), "samples_format": "png"}),
    )
}

fn refused(body: &Value) -> Option<Response> {
    let problems = check::types(body);
    (!problems.is_empty())
        .then(|| (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"detail": problems}))).into_response())
}

async fn paint(State(fake): State<Fake>, Json(body): Json<Value>) -> Response {
    if let Some(refused) = refused(&body) {
        return refused;
    }
    let sampler = body["sampler_name"].as_str().unwrap_or("Euler a");
    if !["DPM++ 2M", "Euler a", "DDIM"].contains(&sampler) {
        return exception(
            StatusCode::BAD_REQUEST,
            "HTTPException",
            "Sampler not found",
            "400: Sampler not found",
        );
    }
    let pictures = body["init_images"].as_array().into_iter().flatten().chain([&body["mask"]]);
    for picture in pictures.filter_map(Value::as_str) {
        if BASE64_STANDARD.decode(picture).ok().is_none_or(|bytes| image::load_from_memory(&bytes).is_err()) {
            let detail = "Invalid encoded image";
            return exception(StatusCode::INTERNAL_SERVER_ERROR, "HTTPException", detail, detail);
        }
    }
    let task = body["force_task_id"].as_str().map_or_else(|| "task(txt2img-1)".to_owned(), str::to_owned);
    fake.with(|memory| memory.pending.push(task.clone()));
    fake.has_moved();
    // The server goes on when nobody waits for its answer any more.
    tokio::spawn(work(fake, task, body)).await.unwrap()
}

async fn work(fake: Fake, task: String, body: Value) -> Response {
    let _one_at_a_time = fake.queue_lock.lock().await;
    let (count, steps) = (body["n_iter"].as_u64().unwrap_or(1), body["steps"].as_u64().unwrap_or(50));
    fake.with(|memory| {
        memory.pending.retain(|known| *known != task);
        (memory.current, memory.interrupted, memory.done) = (Some(task.clone()), false, (0, count * steps));
        let wanted = body["override_settings"]["sd_model_checkpoint"].as_str();
        // One that it does not have is passed over.
        if let Some(known) = wanted
            .filter(|wanted| checkpoints().as_array().unwrap().iter().any(|one| one["title"] == *wanted))
        {
            memory.checkpoint = known.to_owned();
        }
    });
    let made = steps_of(&fake, count, steps).await;
    let checkpoint = fake.with(|memory| {
        memory.current = None;
        memory.finished.push(task);
        memory.checkpoint.clone()
    });
    let prompt = body["prompt"].as_str().unwrap_or_default();
    if prompt.contains("out of memory") {
        let said = "CUDA out of memory. Tried to allocate 2.00 GiB";
        return exception(StatusCode::INTERNAL_SERVER_ERROR, "OutOfMemoryError", "", said);
    }
    if prompt.contains("nan") {
        let said = "A tensor with NaNs was produced in Unet.";
        return exception(StatusCode::INTERNAL_SERVER_ERROR, "NansException", "", said);
    }
    Json(answer(&fake, &body, made, &checkpoint)).into_response()
}

/// Works until all is done, or somebody interrupts; gives how many pictures are done.
async fn steps_of(fake: &Fake, count: u64, steps: u64) -> u64 {
    let mut made = 0;
    'all: for picture in 0..count {
        for step in 0..steps {
            tokio::time::sleep(STEP).await;
            let interrupted = fake.with(|memory| {
                memory.done.0 = picture * steps + step + 1;
                memory.interrupted
            });
            fake.has_moved();
            if interrupted {
                break 'all;
            }
        }
        made += 1;
    }
    made
}

fn answer(fake: &Fake, body: &Value, made: u64, checkpoint: &str) -> Value {
    let side = |key: &str| body[key].as_u64().unwrap_or(512) as u32;
    let mut origin = body.clone();
    for key in ["force_task_id", "n_iter", "seed"] {
        origin.as_object_mut().unwrap().remove(key);
    }
    let origin = blake3::hash(origin.to_string().as_bytes());
    let origin = u64::from_le_bytes(origin.as_bytes()[..8].try_into().unwrap());
    let seed = body["seed"].as_u64().unwrap();
    let picture =
        |index: u64| BASE64_STANDARD.encode(noise((seed + index) ^ origin, side("width"), side("height")));
    let (before, after) = fake.with(|memory| memory.surplus);
    let more = |count| (0..count).map(|_| BASE64_STANDARD.encode(png(8)));
    let images: Vec<String> = more(before).chain((0..made).map(picture)).chain(more(after)).collect();
    let hash = checkpoint.split(['[', ']']).nth(1).unwrap_or_default();
    let info = json!({"seed": seed, "all_seeds": (0..made).map(|index| seed + index).collect::<Vec<_>>(),
                      "index_of_first_image": before, "sd_model_name": checkpoint, "sd_model_hash": hash});
    json!({"images": images, "parameters": body, "info": info.to_string()})
}

async fn upscale(State(fake): State<Fake>, Json(body): Json<Value>) -> Response {
    if let Some(refused) = refused(&body) {
        return refused;
    }
    let _one_at_a_time = fake.queue_lock.lock().await;
    let bytes = BASE64_STANDARD.decode(body["image"].as_str().unwrap()).unwrap_or_default();
    let Ok(picture) = image::load_from_memory(&bytes) else {
        return exception(StatusCode::INTERNAL_SERVER_ERROR, "HTTPException", "Invalid encoded image", "");
    };
    let side = (f64::from(picture.width()) * body["upscaling_resize"].as_f64().unwrap()) as u32;
    Json(json!({"html_info": "<p>Upscale</p>", "image": BASE64_STANDARD.encode(png(side))})).into_response()
}

fn done(memory: &Memory) -> f64 {
    memory.done.0 as f64 / memory.done.1.max(1) as f64
}

fn preview() -> Bytes {
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(640, 320).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    jpeg.into_inner().into()
}

async fn progress(State(fake): State<Fake>) -> Json<Value> {
    fake.with(|memory| {
        let working = memory.current.is_some();
        Json(json!({
            "progress": if working { done(memory) } else { 0.0 }, "eta_relative": 1.0,
            "state": {"job": if working { "scripts_txt2img" } else { "" }, "interrupted": memory.interrupted},
            "current_image": working.then(|| BASE64_STANDARD.encode(preview())), "textinfo": null,
        }))
    })
}

async fn internal_progress(State(fake): State<Fake>, Json(body): Json<Value>) -> Json<Value> {
    let task = body["id_task"].as_str().unwrap_or_default().to_owned();
    fake.with(|memory| {
        let active = memory.current.as_deref() == Some(&*task);
        let queued = memory.pending.contains(&task);
        let mut told = json!({"active": active, "queued": queued, "paused": false,
                              "completed": memory.finished.contains(&task), "progress": null, "id_live_preview": -1});
        if active {
            told["progress"] = json!(done(memory));
            told["id_live_preview"] = json!(memory.done.0);
            if body["id_live_preview"] != memory.done.0 {
                told["live_preview"] = format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(preview())).into();
            }
        }
        Json(told)
    })
}

async fn interrupt(State(fake): State<Fake>) -> Json<Value> {
    fake.with(|memory| memory.interrupted = true);
    Json(json!({}))
}
