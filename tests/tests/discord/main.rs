//! Stories on Discord: the `riff` process, its bot, and people in a server of a fake Discord that checks every request.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod commands;
mod crash;
mod faults;
mod gateway;
mod guide;
mod moderators;
mod prompts;
mod safety;
mod sounds;
mod talk;
mod timing;

use fake_discord::{Channel, Discord, Guild, Member, Message, Shown};
use riff_hub::model::{Media, ModelSpec};
use riff_tests::{
    Riff, Worker,
    worker::{painter, spec},
};
use serde_json::json;

/// A server with its people, and the hub that its bot belongs to.
struct Stage {
    discord: Discord,
    guild: Guild,
    art: Channel,
    alice: Member,
    bob: Member,
    riff: Riff,
}

impl Stage {
    /// A server that the bot is in, and a hub that is not started yet.
    async fn set() -> Self {
        let discord = Discord::start().await.unwrap();
        let guild = discord.guild("Lighthouse").await.unwrap();
        let mut riff = Riff::new(env!("CARGO_BIN_EXE_riff-under-test")).unwrap();
        riff.on_discord(&discord);
        Self {
            art: guild.channel("art"),
            alice: guild.member("alice"),
            bob: guild.member("bob"),
            discord,
            guild,
            riff,
        }
    }

    /// Starts the hub and waits until the bot is there.
    async fn start(&mut self) {
        self.riff.start().await.unwrap();
        self.discord.connected(1).await.unwrap();
        self.discord.registered("imagine").await.unwrap();
    }

    /// A running hub with the real engines in its process.
    async fn with_engines() -> Self {
        let mut stage = Self::set().await;
        stage.riff.with_engines();
        stage.start().await;
        stage.offers("\"seed\"").await;
        stage
    }

    /// A running hub whose only worker does what the story says.
    async fn with_worker() -> (Self, Worker) {
        let mut stage = Self::set().await;
        stage.start().await;
        let worker = stage.worker(vec![painter()]).await;
        (stage, worker)
    }

    /// The same with a model that talks and one that reads pictures.
    async fn with_talker() -> (Self, Worker) {
        let mut stage = Self::set().await;
        stage.start().await;
        let worker = stage.worker(vec![writer()]).await;
        (stage, worker)
    }

    /// A worker that serves those models, known to Discord's commands.
    async fn worker(&self, models: Vec<ModelSpec>) -> Worker {
        let worker = self.riff.worker_of("w", models).await.unwrap();
        self.offers("\"seed\"").await;
        worker
    }

    /// Waits until commands were registered that say this.
    async fn offers(&self, words: &str) {
        let said = |request: &fake_discord::Request| {
            request.method == "PUT" && request.status == 200 && request.body.to_string().contains(words)
        };
        self.discord.requested(said).await.unwrap();
    }

    /// Alice prompts; the message that answers her.
    async fn imagine(&self, prompt: &str) -> Message {
        let shown = self.alice.slash(&self.art, "/imagine", json!({"prompt": prompt})).await.unwrap();
        shown.message().unwrap().clone()
    }

    /// Alice prompts and the worker paints; the post.
    async fn painted(&self, worker: &Worker, prompt: &str) -> Message {
        let message = self.imagine(prompt).await;
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
        self.finished(&message).await
    }

    /// Waits for a message's pictures.
    async fn finished(&self, message: &Message) -> Message {
        let done = |message: &Message| !message.attachments.is_empty() && message.content.contains("recipe");
        message.until(&self.discord, done).await.unwrap()
    }

    /// Stops the hub, and checks that it lost nothing and that Discord has nothing to complain about.
    async fn end(mut self) {
        self.riff.stop().await.unwrap();
        self.riff.checker().await.unwrap().check().await.unwrap();
        assert_eq!(self.discord.violations(), []);
        assert_eq!(self.discord.exceeded(), 0, "no rate limit was exceeded");
    }
}

/// A model that talks and keeps conversations.
fn writer() -> ModelSpec {
    let properties = json!({
        "seed": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 2048, "default": 256, "x-flags": ["max"]},
        "history": {"type": "array", "default": [], "x-hidden": true},
    });
    spec("writer", Media::Text, properties)
}

/// A model that reads pictures.
fn reader() -> ModelSpec {
    let properties = json!({
        "image": {"type": "string", "x-media": "image", "default": ""},
        "seed": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
    });
    spec("reader", Media::Text, properties)
}

/// What a message shows, without ids and seeds that differ from run to run.
fn seen(message: &Message) -> String {
    hide(&message.to_string())
}

fn hide(text: &str) -> String {
    let mut hidden = String::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let digest = word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let drawn =
            hidden.ends_with("--seed ") && word.len() > 4 && word.bytes().all(|byte| byte.is_ascii_digit());
        hidden.push_str(if digest || drawn { "…" } else { &word });
        word.clear();
        hidden.push(c);
    }
    hidden.trim_end().to_owned()
}

/// The sentence that only who asked sees.
fn private(shown: &Shown) -> String {
    assert!(shown.is_private(), "{shown}");
    hide(&shown.text())
}
