//! What the server tells while it works: the WebSocket of one client, joined again when it is lost.
//! Messages: <https://docs.comfy.org/development/comfyui-server/comms_messages>.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use reqwest12::Url;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use tokio_util::either::Either;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// First and longest wait before the server is joined again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Largest message, in bytes: previews are small, and errors hold a workflow's inputs.
const MAX_MESSAGE: usize = 16 << 20;
/// Binary messages: a preview, and one with what it is of before it.
const PREVIEW: u32 = 1;
const PREVIEW_OF: u32 = 4;

/// Something that the server told.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A prompt begins to run.
    Begun {
        /// Its name.
        prompt: String,
    },
    /// Nodes of a prompt whose results are still there from earlier.
    Cached {
        /// Its name.
        prompt: String,
        /// Their numbers.
        nodes: Vec<String>,
    },
    /// A node begins.
    Node {
        /// The prompt.
        prompt: String,
        /// Its number.
        node: String,
    },
    /// Part of a node is done.
    Part {
        /// The prompt; nothing if an older server does not say.
        prompt: Option<String>,
        /// The node's number; nothing if an older server does not say.
        node: Option<String>,
        /// 0 to 1.
        done: f64,
    },
    /// A picture on its way.
    Preview(Bytes),
    /// A prompt has ended, one way or another.
    Over {
        /// Its name.
        prompt: String,
    },
    /// The connection is lost.
    Lost,
    /// The connection is there, for the first time or again.
    Joined,
}

/// Where events come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// `ws:` or `wss:`.
    pub url: Url,
    /// What a connection with TLS trusts.
    pub tls: Arc<ClientConfig>,
}

impl Source {
    /// A connection to the server, on which nothing was said yet.
    async fn connect(&self) -> io::Result<Either<TcpStream, TlsStream<TcpStream>>> {
        let missing = || io::Error::from(io::ErrorKind::InvalidInput);
        let host = self.url.host_str().ok_or_else(missing)?.trim_matches(['[', ']']).to_owned();
        let port = self.url.port_or_known_default().ok_or_else(missing)?;
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        if self.url.scheme() == "ws" {
            return Ok(Either::Left(stream));
        }
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        TlsConnector::from(self.tls.clone()).connect(name, stream).await.map(Either::Right)
    }
}

type Socket = WebSocketStream<Either<TcpStream, TlsStream<TcpStream>>>;

enum State {
    Open(Box<Socket>),
    Joining(BoxFuture<'static, Option<Socket>>),
}

/// The events of one client.
pub struct Events {
    source: Source,
    state: State,
    wait: Duration,
}

impl Events {
    /// Begins to listen; the first thing that [`Self::next`] gives is whether the connection is there.
    pub fn of(source: Source) -> Self {
        let state = State::Joining(join(source.clone(), Duration::ZERO));
        Self { source, state, wait: BACKOFF.0 }
    }

    /// Whether the server can tell something now.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The next thing that the server tells. Nothing is lost if this is dropped before it is ready.
    pub async fn next(&mut self) -> News {
        loop {
            match &mut self.state {
                State::Open(socket) => match socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        if let Some(news) = read_text(&text) {
                            return news;
                        }
                    }
                    Some(Ok(Message::Binary(bytes))) => {
                        if let Some(news) = read_binary(bytes.into()) {
                            return news;
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return self.lose(),
                },
                State::Joining(joining) => match joining.await {
                    Some(socket) => {
                        self.state = State::Open(Box::new(socket));
                        return News::Joined;
                    }
                    None => return self.lose(),
                },
            }
        }
    }

    fn lose(&mut self) -> News {
        self.state = State::Joining(join(self.source.clone(), self.wait));
        self.wait = (self.wait * 2).min(BACKOFF.1);
        News::Lost
    }
}

/// Connects after a while; `None` if that does not work.
fn join(source: Source, wait: Duration) -> BoxFuture<'static, Option<Socket>> {
    let limits = WebSocketConfig {
        max_message_size: Some(MAX_MESSAGE),
        max_frame_size: Some(MAX_MESSAGE),
        ..WebSocketConfig::default()
    };
    async move {
        sleep(wait).await;
        let joined = async {
            let stream = source.connect().await.ok()?;
            let joined = client_async_with_config(source.url.as_str(), stream, Some(limits)).await;
            joined.ok().map(|(socket, _)| socket)
        };
        timeout(CONNECT, joined).await.ok().flatten()
    }
    .boxed()
}

/// Messages that say nothing of a prompt's way are `None`, as are those that cannot be read.
fn read_text(text: &str) -> Option<News> {
    let message: Value = serde_json::from_str(text).ok()?;
    let data = &message["data"];
    let word = |key: &str| data[key].as_str().map(str::to_owned);
    let prompt = word("prompt_id");
    Some(match message["type"].as_str()? {
        "execution_start" => News::Begun { prompt: prompt? },
        "execution_cached" => {
            let nodes =
                data["nodes"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            News::Cached { prompt: prompt?, nodes }
        }
        "executing" => match word("node") {
            Some(node) => News::Node { prompt: prompt?, node },
            None => News::Over { prompt: prompt? },
        },
        "progress" => {
            let (value, max) = (data["value"].as_f64()?, data["max"].as_f64()?);
            let done = if max > 0.0 { (value / max).clamp(0.0, 1.0) } else { 0.0 };
            News::Part { prompt, node: word("node"), done }
        }
        "executed" => News::Part { prompt, node: Some(word("node")?), done: 1.0 },
        "execution_success" | "execution_error" | "execution_interrupted" => News::Over { prompt: prompt? },
        _ => return None,
    })
}

/// A picture behind four bytes that say what kind of message it is, and four that say what kind of picture, or, in newer
/// servers, how much is told of it before it.
fn read_binary(bytes: Bytes) -> Option<News> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let begin = match word(0)? {
        PREVIEW => 8,
        PREVIEW_OF => 8 + word(4)? as usize,
        _ => return None,
    };
    (begin < bytes.len()).then(|| News::Preview(bytes.slice(begin..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let read = |text: &str| read_text(text);
        let over = Some(News::Over { prompt: "p".to_owned() });
        assert_eq!(read(r#"{"type": "executing", "data": {"node": null, "prompt_id": "p"}}"#), over);
        assert_eq!(read(r#"{"type": "execution_error", "data": {"prompt_id": "p", "node_id": "1"}}"#), over);
        let part = News::Part { prompt: None, node: None, done: 0.25 };
        assert_eq!(read(r#"{"type": "progress", "data": {"value": 5, "max": 20}}"#), Some(part));
        assert_eq!(read(r#"{"type": "status", "data": {"status": {}}}"#), None);
        assert_eq!(read("<html>"), None);
        let zero = News::Part { prompt: None, node: None, done: 0.0 };
        assert_eq!(read(r#"{"type": "progress", "data": {"value": 5, "max": 0}}"#), Some(zero));
    }

    #[test]
    fn previews_are_found_behind_what_is_told_of_them() {
        let read = |bytes: &'static [u8]| read_binary(Bytes::from_static(bytes));
        let preview = Some(News::Preview(Bytes::from_static(b"jpg")));
        assert_eq!(read(b"\0\0\0\x01\0\0\0\x01jpg"), preview);
        assert_eq!(read(b"\0\0\0\x04\0\0\0\x02{}jpg"), preview);
        assert_eq!(read(b"\0\0\0\x04\xff\xff\xff\xff{}jpg"), None);
        assert_eq!(read(b"\0\0\0\x03text"), None);
        assert_eq!(read(b"\0\0"), None);
        assert_eq!(read(b"\0\0\0\x01\0\0\0\x01"), None);
    }
}
