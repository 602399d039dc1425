//! `riff serve`: opens the hub, starts every long-lived task, and drains them when told to stop.
//!
//! Tasks: the HTTP server, the poster, the sweeper, and (where set) one worker. This function starts them all, and
//! returns when all have ended.

use std::{io::IsTerminal, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::{self, Next},
    response::Response,
    serve::ListenerExt,
};
use axum_extra::extract::cookie::Key;
#[cfg(feature = "candle")]
use riff_hub::safety::Watch;
use riff_hub::{hub::Hub, seam::System};
use riff_worker::{
    client::Client,
    engines::{Engines, Sources},
    runner,
};
use tokio::{net::TcpListener, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    api,
    discord::{self, endpoint, endpoint::Connected},
    measure, operate, otlp, poster,
    settings::{LogFormat, Moderation, Settings},
    state::AppState,
    web, worker_api,
};

/// How often lost leases and stale jobs are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Longest time that the job in hand gets once the process was told to stop.
const DRAIN: Duration = Duration::from_secs(20);
/// How long requests in hand may take once nothing new is answered.
const CLOSE: Duration = Duration::from_secs(5);
/// The file in the data folder with the key that signs cookies.
pub const COOKIE_KEY: &str = "cookie.key";
/// Name of the worker in this process.
const IN_PROCESS: &str = "in-process";

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// With a sentence for the operator: port taken, data folder unusable, and so on.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    log(&settings)?;
    let hub = Arc::new(Hub::open(&settings.data, settings.hub(), Arc::new(System)).await?);
    hub.store.put_channels(&settings.channels).await?;
    watch(&hub, &settings.moderation)?;
    let spans = otlp::export(&hub, &settings.operate.otlp)?;
    let listener = TcpListener::bind(settings.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; stop the program that does, or choose another address with RIFF_LISTEN",
            settings.listen
        )
    })?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let state = AppState {
        hub: hub.clone(),
        cookie_key: cookie_key(&settings)?,
        public_url: public_url(&settings, address).into(),
        redirect_from: settings.blobs.redirect_from_bytes,
        draining: stop.clone(),
        metrics: Arc::new(measure::Metrics::new(&hub)),
        readiness: Arc::default(),
    };
    let closing = CancellationToken::new();
    let mut tasks = JoinSet::new();
    spawn_loops(&mut tasks, &hub, &closing);
    operate::serve(&settings.operate, state.clone(), &mut tasks, &closing).await?;
    let discord = Connected::default();
    discord::join(&settings, &state, &discord, &mut tasks, &closing).await?;
    let worker = start_worker(&settings, &hub, address, &stop).await?;
    println!("Riff is at {}", state.public_url);
    tracing::info!(url = %state.public_url, data = %settings.data.display(), "ready");
    // Small answers and events are not held back for larger ones.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "small answers may be held back");
        }
    });
    let server =
        axum::serve(listener, app(state, discord)).with_graceful_shutdown(closing.clone().cancelled_owned());
    let mut server = std::pin::pin!(server.into_future());
    let served = tokio::select! {
        served = &mut server => served,
        () = drain(worker, &stop) => {
            closing.cancel();
            tokio::time::timeout(CLOSE, &mut server).await.unwrap_or(Ok(()))
        }
    };
    closing.cancel();
    while tasks.join_next().await.is_some() {}
    hub.resign().await;
    if let Some(spans) = spans {
        spans.end().await;
    }
    hub.store.close().await;
    served.context("the server stopped")
}

/// All routes.
pub fn app(state: AppState, discord: Connected) -> Router {
    let measured = middleware::from_fn_with_state(state.metrics.clone(), measure::layer);
    Router::new()
        .merge(operate::health())
        .nest("/api/v1", api::routes())
        .nest("/worker/v1", worker_api::routes())
        .merge(web::routes())
        .with_state(state)
        .merge(endpoint::routes(discord))
        .layer(middleware::from_fn(secure))
        .layer(measured)
}

/// Headers of every answer: nothing is framed, sniffed, or loaded from elsewhere.
async fn secure(request: Request, next: Next) -> Response {
    const HEADERS: [(&str, &str); 4] = [
        (
            "content-security-policy",
            "default-src 'none'; img-src 'self' blob: data:; media-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn spawn_loops(tasks: &mut JoinSet<()>, hub: &Arc<Hub>, stop: &CancellationToken) {
    let (poster_hub, poster_stop) = (hub.clone(), stop.clone());
    tasks.spawn(async move { poster::run(&poster_hub, &poster_stop).await });
    let (peer_hub, peer_stop) = (hub.clone(), stop.clone());
    tasks.spawn(async move { peer_hub.keep_in_touch(&peer_stop).await });
    let (hub, stop) = (hub.clone(), stop.clone());
    tasks.spawn(async move {
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if let Err(error) = hub.sweep().await {
                tracing::error!(%error, "the queue cannot be swept");
            }
        }
    });
}

/// Starts the worker of this process. It speaks the same protocol over the same port as every other worker.
async fn start_worker(
    settings: &Settings,
    hub: &Hub,
    address: SocketAddr,
    stop: &CancellationToken,
) -> anyhow::Result<Option<tokio::task::JoinHandle<()>>> {
    if !settings.worker.in_process {
        return Ok(None);
    }
    hub.revoke_worker(IN_PROCESS).await?;
    let token = hub.worker_token(IN_PROCESS).await?;
    let reach = if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    };
    let client = Client::new(&format!("http://{reach}"), &token)?;
    let sources = Sources { weights: settings.worker.weights.clone(), configured: settings.engines.clone() };
    let stop = stop.clone();
    Ok(Some(tokio::spawn(async move {
        let Ok(engines) = tokio::task::spawn_blocking(move || Engines::open(sources)).await else {
            tracing::error!("the engines crashed while they were opened");
            return;
        };
        if let Err(error) = runner::run(&client, &engines, &stop).await {
            tracing::error!(%error, "the worker in this process stopped");
        }
    })))
}

fn public_url(settings: &Settings, address: SocketAddr) -> String {
    match settings.public_url.trim_end_matches('/') {
        "" => format!("http://{address}"),
        url => url.to_owned(),
    }
}

/// The key that signs cookies: that of the settings, or the data folder's own.
fn cookie_key(settings: &Settings) -> anyhow::Result<Key> {
    let hex = settings.cookie_key.expose();
    if hex.is_empty() {
        return kept_key(&settings.data).context("the cookie key in the data folder cannot be used");
    }
    let bytes = hex::decode(hex).ok().filter(|bytes| bytes.len() == 64);
    let bytes =
        bytes.context("cookie_key must be 128 hexadecimal digits; `openssl rand -hex 64` makes some")?;
    Ok(Key::from(&bytes))
}

/// Made once, readable by the owner alone.
fn kept_key(data: &Path) -> anyhow::Result<Key> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let path = data.join(COOKIE_KEY);
    if let Ok(bytes) = std::fs::read(&path) {
        return Key::try_from(bytes.as_slice())
            .with_context(|| format!("{} is damaged; delete it", path.display()));
    }
    let mut bytes = [0_u8; 64];
    rand::fill(&mut bytes);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(&bytes)?;
    Ok(Key::from(&bytes))
}

fn log(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log.filter)
        .with_context(|| format!("log.filter {:?} is no filter", settings.log.filter))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match settings.log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Resolves once the process was told to stop and the worker in it has finished what it had. The server still answers
/// meanwhile: that worker has a result to hand in.
async fn drain(worker: Option<tokio::task::JoinHandle<()>>, stop: &CancellationToken) {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate => {}
    }
    tracing::info!("draining; interrupt again to stop at once");
    stop.cancel();
    let finished = async {
        if let Some(worker) = worker {
            let _ = worker.await;
        }
    };
    tokio::select! {
        () = finished => {}
        () = tokio::time::sleep(DRAIN) => tracing::warn!("stopped with work in hand; it goes back to the queue"),
        _ = tokio::signal::ctrl_c() => std::process::exit(130),
    }
}

/// Has the safety classifier of the settings look at every picture, where there is one.
#[cfg(feature = "candle")]
fn watch(hub: &Hub, moderation: &Moderation) -> anyhow::Result<()> {
    if moderation.classifier.as_os_str().is_empty() {
        return Ok(());
    }
    let opened = riff_worker::safety::NudeNet::open(&moderation.classifier);
    let classifier = opened.map_err(|why| anyhow::anyhow!("{why}; check moderation.classifier"))?;
    hub.watch(Watch {
        classifier: Arc::new(classifier),
        labels: moderation.classifier_labels.clone(),
        threshold: moderation.classifier_threshold.0,
    });
    Ok(())
}

/// A build that cannot look does not go on as if it did.
#[cfg(not(feature = "candle"))]
fn watch(_hub: &Hub, moderation: &Moderation) -> anyhow::Result<()> {
    match moderation.classifier.as_os_str().is_empty() {
        true => Ok(()),
        false => anyhow::bail!("moderation.classifier needs a build with the feature `candle`"),
    }
}
