//! Where Cog servers report progress to: an HTTP server of this worker, one an engine.
//!
//! Nothing is believed of a report that somebody else sends: the path has a secret of 128 bits. Where a request is held, its
//! answer is the result, and reports are only ever shown; where it is not, the last report is the result.

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
use reqwest12::Url;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    super::predictor::{Prediction, progress::News},
    server::MAX_ANSWER,
    settings::Webhook,
};

type Runs = Arc<Mutex<HashMap<String, Listener>>>;

/// Who wants the reports of a prediction.
struct Listener {
    news: watch::Sender<News>,
    end: watch::Sender<Option<Prediction>>,
}

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
    end: watch::Receiver<Option<Prediction>>,
}

impl Heard {
    /// The prediction's end, once it is reported.
    pub async fn end(&mut self) -> Prediction {
        // An error means that another run of that id listens now.
        let ended = self.end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        match ended {
            Some(end) => end,
            None => std::future::pending().await,
        }
    }
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
            .layer(DefaultBodyLimit::max(MAX_ANSWER))
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
        let (tell, end) = watch::channel(None);
        let listener = Listener { news, end: tell };
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), listener);
        (format!("{}{id}", self.base), Heard { runs: self.runs.clone(), id: id.to_owned(), end })
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
    let Some(listener) = runs.get(&id) else {
        return StatusCode::NOT_FOUND;
    };
    listener.news.send_if_modified(|news| news.catch_up(&report));
    if report.has_ended() {
        listener.end.send_replace(Some(report));
    }
    StatusCode::OK
}
