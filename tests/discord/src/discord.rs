//! The fake itself: starting it, its addresses and keys, what a test reads of it, and what a test does to it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::DefaultBodyLimit, routing::get, serve::ListenerExt};
use ed25519_dalek::SigningKey;
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    Guild, Limits,
    clock::{Clock, Ids},
    gateway,
    journal::Journal,
    rest,
    session::Sessions,
    shared::Shared,
    world::{User, World},
};

/// How much is kept of each channel, of interactions and of the journal, once a bench asks for flat memory.
const BENCH_KEEP: usize = 4_000;

/// A running Discord. It ends when the last of its clones is dropped.
#[derive(Clone)]
pub struct Discord {
    pub(crate) shared: Arc<Shared>,
    _server: Arc<Server>,
}

/// Owns the task that accepts connections, and ends it and every connection.
struct Server {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
        self.accepting.abort();
    }
}

impl Discord {
    /// Starts on a free port of the loopback address, with no guild.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let clock = Clock::new();
        let key = SigningKey::from_bytes(&[42; 32]);
        let world = world(&clock, &url, &key);
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            clock,
            limits: Mutex::default(),
            meter: Mutex::default(),
            journal: Mutex::new(Journal::default()),
            faults: Mutex::default(),
            changed: watch::Sender::new(0),
            moved: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            key,
            http: reqwest::Client::new(),
            endpoint: Mutex::default(),
            last_delivery: Mutex::default(),
        });
        let app = Router::new()
            .route("/gateway", get(gateway::upgrade))
            .route("/gateway/", get(gateway::upgrade))
            .route("/attachments/{channel}/{id}/{filename}", get(rest::attachment))
            .fallback(rest::serve)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let accepting = tokio::spawn(async move {
            // Small frames are not held back for larger ones: Discord's gateway does not do that either.
            let listener = listener.tap_io(|stream| {
                if let Err(error) = stream.set_nodelay(true) {
                    eprintln!("small frames may be held back: {error}");
                }
            });
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("the fake Discord stopped: {error}");
            }
        });
        let server = Arc::new(Server { shared: Arc::clone(&shared), accepting });
        Ok(Self { shared, _server: server })
    }

    /// Where it listens: what serenity calls the proxy.
    pub fn url(&self) -> String {
        self.shared.world.lock().url.clone()
    }

    /// The bot's token, without `Bot `.
    pub fn token(&self) -> String {
        self.shared.world.lock().token.clone()
    }

    pub fn application_id(&self) -> u64 {
        self.shared.world.lock().application
    }

    pub fn bot_id(&self) -> u64 {
        self.shared.world.lock().bot.id
    }

    /// What signatures are verified with, in hexadecimal digits.
    pub fn public_key(&self) -> String {
        self.shared.world.lock().public_key.clone()
    }

    /// The guild of that name, founded if need be, with the bot in it and a channel “general”.
    pub async fn guild(&self, name: &str) -> anyhow::Result<Guild> {
        let known = {
            let world = self.shared.world.lock();
            world.guilds.values().find(|guild| guild.name == name).map(|guild| guild.id)
        };
        Ok(match known {
            Some(number) => Guild { id: number.to_string(), number, shared: Arc::clone(&self.shared) },
            None => Guild::found(&self.shared, name),
        })
    }

    /// Changes limits.
    pub fn limit(&self, change: impl FnOnce(&mut Limits)) {
        change(&mut self.shared.limits.lock());
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
        self.shared.moved.send_modify(|count| *count += 1);
        self.shared.touch();
    }

    /// Milliseconds since 1970 by its clock.
    pub fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    /// Keeps memory flat: old messages, files, interactions and requests are forgotten.
    pub fn bench_mode(&self) {
        self.shared.world.lock().keep = Some(BENCH_KEEP);
        self.shared.journal.lock().keep = Some(BENCH_KEEP);
    }
}

/// What the bot and its application are called.
const BOT: &str = "Riff";

fn world(clock: &Clock, url: &str, key: &SigningKey) -> World {
    let (mut ids, now) = (Ids::default(), clock.now_ms());
    let application = ids.next(now);
    // A bot's user and its application have the same id, as in every application that was made since 2016.
    let bot = User { id: application, name: BOT.to_owned(), bot: true };
    World {
        ids,
        application,
        application_name: BOT.to_owned(),
        users: [(bot.id, bot.clone())].into(),
        bot,
        token: format!("{}.fake.{:x}", hex::encode(application.to_string()), now),
        public_key: hex::encode(key.verifying_key().as_bytes()),
        url: url.to_owned(),
        locales: BTreeMap::new(),
        guilds: BTreeMap::new(),
        channels: BTreeMap::new(),
        files: BTreeMap::new(),
        commands: BTreeMap::new(),
        commands_made: Vec::new(),
        command_writes: 0,
        nonces: HashMap::new(),
        nonce_order: VecDeque::new(),
        interactions: HashMap::new(),
        interaction_order: VecDeque::new(),
        sessions: Sessions::default(),
        keep: None,
    }
}
