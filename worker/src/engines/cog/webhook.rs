//! Where Cog servers report progress to: an HTTP server of this worker, one an engine.
//!
//! Reports are only ever shown. A prediction's result is the answer to its request, so nothing is lost with a report that
//! does not arrive, and nothing is believed of one that somebody else sends: the path has a secret of 128 bits.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    routing::post,
};
use reqwest::Url;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{progress::News, server::Prediction, settings::Webhook};

/// Largest report, in bytes: the text of a long answer, and logs.
const MAX_REPORT: usize = 8 << 20;

type Runs = Arc<Mutex<HashMap<String, watch::Sender<News>>>>;

/// The server for reports. It ends when this is dropped.
pub struct Hooks {
    base: String,
    runs: Runs,
    _stop: DropGuard,
}

/// Reports of one prediction are taken in while this is there.
pub struct Heard {
    runs: Runs,
    id: String,
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Hooks {
    /// Listens where `server` can reach this machine; `None` where that is switched off.
    pub async fn open(server: &Url, told: &Webhook) -> std::io::Result<Option<Self>> {
        let (listener, base) = match told {
            Webhook::Off => return Ok(None),
            Webhook::At(url) => {
                let port = url.port().unwrap_or_default();
                (TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?, url.to_string())
            }
            Webhook::Found => {
                let listener = TcpListener::bind((facing(server).await?, 0)).await?;
                let base = format!("http://{}/", listener.local_addr()?);
                (listener, base)
            }
        };
        let runs = Runs::default();
        let secret = format!("{:032x}", rand::random::<u128>());
        let routes = Router::new()
            .route(&format!("/{secret}/{{id}}"), post(take))
            .layer(DefaultBodyLimit::max(MAX_REPORT))
            .with_state(runs.clone());
        let stop = CancellationToken::new();
        let served = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::warn!(%error, "progress is not shown any more");
            }
        });
        Ok(Some(Self { base: format!("{base}{secret}/"), runs, _stop: stop.drop_guard() }))
    }

    /// The address for reports of a prediction, which go to `news` while the second is kept.
    pub fn listen(&self, id: &str, news: watch::Sender<News>) -> (String, Heard) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), news);
        (format!("{}{id}", self.base), Heard { runs: self.runs.clone(), id: id.to_owned() })
    }
}

/// The address of this machine that faces a server. Nothing is sent.
async fn facing(server: &Url) -> std::io::Result<IpAddr> {
    let host = server.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = server.port_or_known_default().unwrap_or(80);
    let there = tokio::net::lookup_host((host, port)).await?.next();
    let there = there.ok_or_else(|| std::io::Error::other(format!("{host} has no address")))?;
    let here = match there {
        SocketAddr::V4(_) => UdpSocket::bind("0.0.0.0:0").await?,
        SocketAddr::V6(_) => UdpSocket::bind("[::]:0").await?,
    };
    here.connect(there).await?;
    Ok(here.local_addr()?.ip())
}

async fn take(
    State(runs): State<Runs>,
    Path(id): Path<String>,
    Json(report): Json<Prediction>,
) -> StatusCode {
    let runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(news) = runs.get(&id) else {
        return StatusCode::NOT_FOUND;
    };
    news.send_if_modified(|news| news.catch_up(&report));
    StatusCode::OK
}
