//! A server that holds to ComfyUI's HTTP and WebSocket API, as recorded from ComfyUI 0.26.0 with the node of `painter.py`:
//! the same answers, messages, order of messages and refusals. What it paints is its own.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Deref,
    sync::Arc,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        Multipart, Path, Query, Request, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use super::{check, work};
use crate::remembered::Remembered;

/// What ComfyUI says of the kinds of nodes. `"Infinity"` stands for the number that JSON does not have.
const OBJECT_INFO: &str = include_str!("object_info.json");

/// A prompt in the queue: `[number, prompt_id, prompt, extra_data, outputs_to_execute]`.
#[derive(Clone)]
pub struct Item(pub [Value; 5]);

impl Item {
    pub fn id(&self) -> &str {
        self.0[1].as_str().unwrap()
    }

    pub fn client(&self) -> &str {
        self.0[3]["client_id"].as_str().unwrap_or_default()
    }
}

/// All that the server remembers.
#[derive(Default)]
pub struct Memory {
    pub info: Value,
    pub number: u64,
    pub pending: VecDeque<Item>,
    pub running: Option<Item>,
    pub interrupted: bool,
    pub history: BTreeMap<String, Value>,
    pub sockets: HashMap<String, mpsc::UnboundedSender<Message>>,
    pub inputs: BTreeMap<String, Bytes>,
    pub outputs: BTreeMap<String, Bytes>,
    /// Results of nodes by what they were made of.
    pub cache: HashMap<String, Value>,
    /// Every call: method, path and body that is JSON.
    pub calls: Vec<(String, Value)>,
    /// What nodes give instead of what they should, by number.
    pub gives: HashMap<&'static str, Value>,
    /// Whether nobody is told of anything.
    pub mute: bool,
}

/// A server.
#[derive(Clone)]
pub struct Fake {
    /// Moved by every call; answers otherwise by the first part of the path.
    remembered: Remembered<Memory>,
    pub work: Arc<Notify>,
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
        let memory = Memory { info: serde_json::from_str(OBJECT_INFO).unwrap(), ..Memory::default() };
        let fake = Self { remembered: Remembered::new(memory), work: Arc::default(), url };
        let routes = Router::new()
            .route("/system_stats", get(system_stats))
            .route("/object_info/{class}", get(object_info))
            .route("/prompt", post(prompt))
            .route("/queue", get(queue).post(delete))
            .route("/interrupt", post(interrupt))
            .route("/history/{prompt}", get(history))
            .route("/upload/image", post(upload))
            .route("/view", get(view))
            .route("/ws", get(socket))
            .layer(middleware::from_fn_with_state(fake.clone(), intercept))
            .with_state(fake.clone());
        tokio::spawn(work::forever(fake.clone()));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        fake
    }

    /// How often a call was made, as in `POST /interrupt`.
    pub fn calls(&self, call: &str) -> usize {
        self.with(|memory| memory.calls.iter().filter(|(known, _)| known == call).count())
    }

    /// Queues a prompt of somebody else.
    pub fn queue(&self, client: &str, nodes: Value) {
        let item = Item([0.into(), uuid().into(), nodes, json!({"client_id": client}), json!(["2"])]);
        self.with(|memory| memory.pending.push_back(item));
        self.work.notify_one();
    }

    /// Forgets all prompts, as a server that is started anew has.
    pub fn forget(&self) {
        self.with(|memory| {
            memory.pending.clear();
            memory.running = None;
            memory.interrupted = true;
            memory.history.clear();
            memory.sockets.clear();
            memory.mute = true;
        });
    }

    /// Tells a client something.
    pub fn tell(&self, client: &str, kind: &str, data: Value) {
        self.send(client, Message::text(json!({"type": kind, "data": data}).to_string()));
    }

    pub fn send(&self, client: &str, message: Message) {
        self.with(|memory| {
            if let Some(socket) = memory.sockets.get(client).filter(|_| !memory.mute) {
                let _ = socket.send(message);
            }
        });
    }
}

async fn intercept(State(fake): State<Fake>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let first = path.split('/').nth(1).unwrap_or_default().to_owned();
    let json = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let read = if json { serde_json::from_slice(&body).unwrap_or_default() } else { Value::Null };
    fake.with(|memory| memory.calls.push((format!("{method} {path}"), read)));
    let response = match fake.otherwise(|known| known == first) {
        Some(answer) => answer(),
        None => next.run(Request::from_parts(parts, body.into())).await,
    };
    fake.has_moved();
    response
}

async fn system_stats() -> Json<Value> {
    Json(json!({"system": {"os": "linux", "comfyui_version": "0.26.0", "argv": ["main.py"]}, "devices": []}))
}

async fn object_info(State(fake): State<Fake>, Path(class): Path<String>) -> impl IntoResponse {
    let info = fake.with(|memory| memory.info.get(&class).cloned());
    let text = info.map_or_else(|| json!({}), |info| json!({class: info})).to_string();
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], text.replace("\"Infinity\"", "Infinity"))
}

async fn prompt(State(fake): State<Fake>, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let refuse = |refusal: Value| (StatusCode::BAD_REQUEST, Json(refusal)).into_response();
    let Some(nodes) = body.get("prompt") else {
        return refuse(check::refusal("no_prompt", "No prompt provided", "No prompt provided", json!({})));
    };
    let queued = fake.with(|memory| {
        let inputs: Vec<String> = memory.inputs.keys().cloned().collect();
        let (outputs, errors) = check::prompt(nodes, &memory.info, &inputs)?;
        let id = uuid();
        let mut extra = body.get("extra_data").cloned().unwrap_or_else(|| json!({}));
        extra["client_id"] = body["client_id"].clone();
        let item = Item([memory.number.into(), id.as_str().into(), nodes.clone(), extra, outputs.into()]);
        memory.pending.push_back(item);
        memory.number += 1;
        Ok(json!({"prompt_id": id, "number": memory.number - 1, "node_errors": errors}))
    });
    fake.work.notify_one();
    queued.map_or_else(refuse, |answer| Json(answer).into_response())
}

fn uuid() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

async fn queue(State(fake): State<Fake>) -> Json<Value> {
    fake.with(|memory| {
        let list = |items: Vec<&Item>| items.into_iter().map(|item| json!(item.0)).collect::<Vec<_>>();
        Json(json!({
            "queue_running": list(memory.running.iter().collect()),
            "queue_pending": list(memory.pending.iter().collect()),
        }))
    })
}

async fn delete(State(fake): State<Fake>, Json(body): Json<Value>) -> StatusCode {
    let gone: Vec<Value> = body["delete"].as_array().cloned().unwrap_or_default();
    fake.with(|memory| memory.pending.retain(|item| !gone.contains(&item.0[1])));
    StatusCode::OK
}

async fn interrupt(State(fake): State<Fake>, body: Bytes) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    fake.with(|memory| {
        let meant = body["prompt_id"].as_str();
        let ours = meant.is_none_or(|id| memory.running.as_ref().is_some_and(|item| item.id() == id));
        memory.interrupted |= ours;
    });
    StatusCode::OK
}

async fn history(State(fake): State<Fake>, Path(prompt): Path<String>) -> Json<Value> {
    let entry = fake.with(|memory| memory.history.get(&prompt).cloned());
    Json(entry.map_or_else(|| json!({}), |entry| json!({prompt: entry})))
}

async fn upload(State(fake): State<Fake>, mut form: Multipart) -> Response {
    let (mut file, mut folder) = (None, String::new());
    while let Some(field) = form.next_field().await.unwrap() {
        match field.name().unwrap() {
            "image" => file = Some((field.file_name().map(str::to_owned), field.bytes().await.unwrap())),
            "subfolder" => folder = field.text().await.unwrap(),
            _ => {}
        }
    }
    let Some((Some(name), bytes)) = file.filter(|_| !folder.contains("..")) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (stem, ending) = name.rsplit_once('.').map_or((name.as_str(), ""), |(stem, ending)| (stem, ending));
    let at = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let (mut chosen, mut copy) = (name.clone(), 1);
    fake.with(|memory| {
        while memory.inputs.get(&at(&chosen)).is_some_and(|known| *known != bytes) {
            chosen = format!("{stem} ({copy}).{ending}");
            copy += 1;
        }
        memory.inputs.insert(at(&chosen), bytes);
    });
    Json(json!({"name": chosen, "subfolder": folder, "type": "input"})).into_response()
}

async fn view(State(fake): State<Fake>, Query(query): Query<HashMap<String, String>>) -> Response {
    let word = |key: &str| query.get(key).map(String::as_str);
    let Some(name) = word("filename").filter(|name| !name.is_empty()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if name.starts_with('/')
        || name.contains("..")
        || !matches!(word("type"), None | Some("output" | "temp" | "input"))
    {
        return StatusCode::BAD_REQUEST.into_response();
    }
    if word("subfolder").is_some_and(|folder| folder.contains("..")) {
        return StatusCode::FORBIDDEN.into_response();
    }
    match fake.with(|memory| memory.outputs.get(name).cloned()) {
        Some(bytes) => ([(header::CONTENT_TYPE, "image/png")], bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn socket(
    State(fake): State<Fake>,
    Query(query): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let client = query.get("clientId").cloned().unwrap_or_else(uuid);
    upgrade.on_upgrade(move |socket| serve(fake, client, socket))
}

async fn serve(fake: Fake, client: String, mut socket: WebSocket) {
    let (tell, mut told) = mpsc::unbounded_channel();
    fake.with(|memory| memory.sockets.insert(client.clone(), tell));
    fake.tell(&client, "status", json!({"status": {"exec_info": {"queue_remaining": 0}}, "sid": client}));
    loop {
        tokio::select! {
            message = told.recv() => match message {
                Some(message) => if socket.send(message).await.is_err() { return },
                // The server has dropped it.
                None => return,
            },
            heard = socket.recv() => if !matches!(heard, Some(Ok(_))) { return },
        }
    }
}
