//! Stands between everybody and the hubs, as a balancer does: it sends each request to a hub that is ready, and answers 502
//! where none answers. On the way it cuts workers off, notes what they say of their attempts, and, where fencing is to be
//! off, has every call about a job name whoever holds it, so that no hub can tell a late attempt from the current one.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use sqlx::PgPool;
use tokio::{net::TcpListener, task::JoinSet};

use crate::calls::{self, Act, Call, Calls, Outcome};

/// How often hubs are asked whether they are ready, and how long they may take to say so.
const LOOK: Duration = Duration::from_millis(300);
const READY_WITHIN: Duration = Duration::from_millis(500);
/// Largest body that passes: that of a result.
const MAX_BYTES: usize = 32 << 20;

/// Whether hubs can tell late attempts from current ones.
#[derive(Clone)]
pub enum Fencing {
    On,
    /// They cannot. Whoever holds a job is looked up here.
    Off(PgPool),
}

/// The balancer; it ends when this is dropped.
pub struct Balancer {
    pub url: String,
    way: Arc<Way>,
    _tasks: JoinSet<()>,
}

struct Way {
    http: reqwest::Client,
    hubs: Mutex<Vec<Hub>>,
    /// Workers by token.
    workers: HashMap<String, String>,
    cut: Mutex<HashSet<String>>,
    calls: Calls,
    next: AtomicU64,
    fencing: Fencing,
}

#[derive(Clone)]
struct Hub {
    url: String,
    ready: bool,
}

/// A request that is passed on.
#[derive(Clone)]
struct Asked {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Balancer {
    /// Before so many hubs, none of which is there yet. `workers` are their names by token.
    pub async fn start(
        hubs: usize,
        workers: HashMap<String, String>,
        fencing: Fencing,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let nowhere = Hub { url: String::new(), ready: false };
        let way = Arc::new(Way {
            http: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?,
            hubs: Mutex::new(vec![nowhere; hubs]),
            workers,
            cut: Mutex::default(),
            calls: Calls::default(),
            next: AtomicU64::new(0),
            fencing,
        });
        let mut tasks = JoinSet::new();
        let app = Router::new().fallback(pass).with_state(way.clone());
        tasks.spawn(async move {
            let _ends_with_the_balancer = axum::serve(listener, app).await;
        });
        for hub in 0..hubs {
            let way = way.clone();
            tasks.spawn(async move { way.watch(hub).await });
        }
        Ok(Self { url, way, _tasks: tasks })
    }

    /// Where a hub is from now on.
    pub fn place(&self, hub: usize, url: &str) {
        lock(&self.way.hubs)[hub] = Hub { url: url.to_owned(), ready: true };
    }

    /// Cuts a worker off: what it says is lost, and so are the answers to what it said.
    pub fn cut(&self, worker: &str) {
        lock(&self.way.cut).insert(worker.to_owned());
    }

    pub fn join(&self, worker: &str) {
        lock(&self.way.cut).remove(worker);
    }

    /// What workers said and heard so far.
    pub fn calls(&self) -> Vec<Call> {
        self.way.calls.all()
    }
}

async fn pass(State(way): State<Arc<Way>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let mut headers = parts.headers;
    for own in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(own);
    }
    let asked = Asked {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
    };
    let worker = token(&asked.headers).and_then(|token| way.workers.get(token)).cloned();
    let answer = match worker {
        Some(worker) => way.pass_worker(&worker, asked).await,
        None => way.send(&asked).await.map(flowing),
    };
    answer.unwrap_or_else(|| StatusCode::BAD_GATEWAY.into_response())
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// An answer that is passed on as it comes: pages' events never end.
fn flowing(answer: reqwest::Response) -> Response {
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONNECTION);
    (status, headers, Body::from_stream(answer.bytes_stream())).into_response()
}

impl Way {
    /// Asks a hub again and again whether it is ready.
    async fn watch(&self, hub: usize) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let url = lock(&self.hubs)[hub].url.clone();
            let asked = self.http.get(format!("{url}/readyz")).timeout(READY_WITHIN).send().await;
            let ready = asked.is_ok_and(|answer| answer.status().is_success());
            let mut hubs = lock(&self.hubs);
            if hubs[hub].url == url {
                hubs[hub].ready = ready;
            }
        }
    }

    /// The hubs that are ready, each time another one first.
    fn ready(&self) -> Vec<String> {
        let hubs = lock(&self.hubs);
        let first = self.next.fetch_add(1, Ordering::Relaxed) as usize % hubs.len();
        let turned = hubs[first..].iter().chain(&hubs[..first]);
        turned.filter(|hub| hub.ready).map(|hub| hub.url.clone()).collect()
    }

    /// Passes a request on. One that no hub took goes to the next; nothing comes of one that was lost on the way.
    async fn send(&self, asked: &Asked) -> Option<reqwest::Response> {
        let query = if asked.query.is_empty() { String::new() } else { format!("?{}", asked.query) };
        for hub in self.ready() {
            let request = self.http.request(asked.method.clone(), format!("{hub}{}{query}", asked.path));
            match request.headers(asked.headers.clone()).body(asked.body.clone()).send().await {
                Err(error) if error.is_connect() => {}
                answer => return answer.ok(),
            }
        }
        None
    }

    /// Passes a worker's request on and notes what it was about.
    async fn pass_worker(&self, worker: &str, asked: Asked) -> Option<Response> {
        if lock(&self.cut).contains(worker) {
            return None;
        }
        let about = calls::attempt_of(&asked.path, &asked.query, &asked.body);
        let sent = match (&self.fencing, &about) {
            (Fencing::Off(pool), Some((_, job, attempt))) => self.unfenced(pool, job, *attempt, &asked).await,
            _ => None,
        };
        let arrived = calls::now();
        let answer = self.heard(sent.as_ref().unwrap_or(&asked)).await;
        let (status, body) =
            answer.as_ref().map_or((502, Bytes::new()), |(status, _, body)| (status.as_u16(), body.clone()));
        let answered = calls::now();
        let call = |(act, job, attempt), outcome| {
            let worker = worker.to_owned();
            Call { worker, act, job, attempt, arrived, answered, outcome }
        };
        match about {
            Some(about) => self.calls.note([call(about.clone(), calls::outcome(about.0, status, &body))]),
            None if asked.path == "/worker/v1/lease" && status == 200 => {
                let given = calls::leases(&body).into_iter();
                self.calls.note(given.map(|(job, attempt)| call((Act::Lease, job, attempt), Outcome::Taken)));
            }
            None => {}
        }
        let (status, headers, body) = answer?;
        (!lock(&self.cut).contains(worker)).then(|| (status, headers, body).into_response())
    }

    /// An answer that has come whole.
    async fn heard(&self, asked: &Asked) -> Option<(StatusCode, HeaderMap, Bytes)> {
        let answer = self.send(asked).await?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::CONNECTION);
        Some((status, headers, answer.bytes().await.ok()?))
    }

    /// The request as the last holder of the job would send it, where that is another attempt than the one that does.
    async fn unfenced(&self, pool: &PgPool, job: &str, attempt: i64, asked: &Asked) -> Option<Asked> {
        let held = "SELECT worker, attempt FROM job WHERE id = $1 AND worker IS NOT NULL";
        let held: Option<(String, i64)> = sqlx::query_as(held).bind(job).fetch_optional(pool).await.ok()?;
        let (holder, current) = held.filter(|(_, current)| *current != attempt)?;
        let (token, _) = self.workers.iter().find(|(_, name)| **name == holder)?;
        let mut asked = asked.clone();
        asked.headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().ok()?);
        asked.query = asked.query.replace(&format!("attempt={attempt}"), &format!("attempt={current}"));
        if let Ok(mut told) = serde_json::from_slice::<serde_json::Value>(&asked.body) {
            told["attempt"] = current.into();
            asked.body = serde_json::to_vec(&told).ok()?.into();
        }
        Some(asked)
    }
}
