//! Stories of two hubs on one PostgreSQL and one folder of blobs, with the web channel and a server on the fake Discord.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

use std::sync::Arc;

use fake_discord::{Channel, Discord, Guild, Message};
use riff_tests::{Riff, worker::painter};
use serde_json::json;
use temporary_postgres::Server;

/// Two hubs, of which the first is started first.
struct Hubs {
    first: Riff,
    second: Riff,
    discord: Discord,
    guild: Guild,
    art: Channel,
    _server: Arc<Server>,
}

impl Hubs {
    /// Neither is started yet.
    async fn set() -> Self {
        let server = temporary_postgres::shared().unwrap();
        let discord = Discord::start().await.unwrap();
        let guild = discord.guild("Lighthouse").await.unwrap();
        let mut first = Riff::new(env!("CARGO_BIN_EXE_riff-under-test")).unwrap();
        first.on_postgres(&server.database().unwrap()).on_discord(&discord);
        first.set("RIFF_QUEUE__LEASE_SECONDS", 2).set("RIFF_QUEUE__RETRY_BACKOFF_SECONDS", 0.01);
        let second = first.another().unwrap();
        Self { first, second, art: guild.channel("art"), discord, guild, _server: server }
    }

    /// Both run, and the bot is there by way of the first.
    async fn start(&mut self) {
        self.first.start().await.unwrap();
        self.discord.connected(1).await.unwrap();
        self.discord.registered("imagine").await.unwrap();
        self.second.start().await.unwrap();
    }

    async fn running() -> Self {
        let mut hubs = Self::set().await;
        hubs.start().await;
        hubs
    }

    async fn offered(&self) {
        let said = |request: &fake_discord::Request| {
            request.method == "PUT" && request.status == 200 && request.body.to_string().contains("\"seed\"")
        };
        self.discord.requested(said).await.unwrap();
    }

    async fn finished(&self, message: &Message) -> Message {
        let done = |message: &Message| !message.attachments.is_empty() && message.content.contains("recipe");
        message.until(&self.discord, done).await.unwrap()
    }

    /// Whatever happened, nothing is lost or doubled.
    async fn end(mut self) {
        for hub in [&mut self.first, &mut self.second] {
            // One of them may have been killed.
            let _ = hub.stop().await;
        }
        self.second.checker().await.unwrap().check().await.unwrap();
        assert_eq!(self.discord.violations(), []);
        assert_eq!(self.discord.exceeded(), 0, "no rate limit was exceeded");
    }
}

#[tokio::test]
async fn people_at_two_hubs_see_each_other_paint() {
    let hubs = Hubs::running().await;
    let worker = hubs.second.worker("w").await.unwrap();
    hubs.offered().await;
    let (alice, bob) = (hubs.first.member("alice").unwrap(), hubs.second.member("bob").unwrap());
    let mut hers = alice.open_channel().await.unwrap();
    let mut his = bob.open_channel().await.unwrap();
    alice.imagine("a lighthouse").await.unwrap();
    let card = his.card(|card| card.prompt.contains("a lighthouse")).await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.say(&lease, "half way").await.unwrap();
    while !hers.progress().iter().any(|told| told["text"] == "half way") {
        hers.next().await.unwrap();
    }
    worker.finish(&lease).await.unwrap();
    assert_eq!(hers.posted().await.unwrap().job, card.job);
    let post = his.posted().await.unwrap();
    bob.click(&post, "🎲").await.unwrap();
    hers.card(|card| card.member == "bob").await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    hers.posted().await.unwrap();
    hubs.end().await;
}

#[tokio::test]
async fn when_a_hub_dies_another_answers_on_discord_and_finishes_what_was_begun() {
    let mut hubs = Hubs::running().await;
    let worker = hubs.second.worker_of("w", vec![painter()]).await.unwrap();
    hubs.offered().await;
    let alice = hubs.guild.member("alice");
    let shown = alice.slash(&hubs.art, "/imagine", json!({"prompt": "a fox"})).await.unwrap();
    let before = shown.message().unwrap().clone();
    hubs.first.kill().await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    hubs.finished(&before).await;
    hubs.discord
        .sessions_as("a session of the other hub", |all| all.iter().any(|session| session.connected))
        .await
        .unwrap();
    let shown = alice.slash(&hubs.art, "/imagine", json!({"prompt": "an owl"})).await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    hubs.finished(shown.message().unwrap()).await;
    let posts = hubs.discord.messages(&hubs.art);
    assert_eq!(posts.iter().filter(|post| post.attachments.len() == 1).count(), 2, "each once");
    hubs.end().await;
}

#[tokio::test]
async fn what_a_hub_had_in_hand_when_it_died_is_posted_by_another_once() {
    let mut hubs = Hubs::set().await;
    hubs.first.set("RIFF_FAILPOINT", "completed");
    hubs.start().await;
    let worker = hubs.first.worker_of("w", vec![painter()]).await.unwrap();
    hubs.offered().await;
    let alice = hubs.guild.member("alice");
    let shown = alice.slash(&hubs.art, "/imagine", json!({"prompt": "a fox"})).await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.finish(&lease).await.unwrap_err();
    hubs.first.died().await.unwrap();
    hubs.finished(shown.message().unwrap()).await;
    let posts = hubs.discord.messages(&hubs.art);
    assert_eq!(posts.iter().filter(|post| post.attachments.len() == 1).count(), 1);
    hubs.end().await;
}

#[tokio::test]
async fn what_two_hubs_hear_is_done_once() {
    let hubs = Hubs::running().await;
    let worker = hubs.second.worker_of("w", vec![painter()]).await.unwrap();
    hubs.offered().await;
    hubs.first.pause().await.unwrap();
    hubs.discord
        .sessions_as("a session of each", |all| all.iter().filter(|session| session.connected).count() == 2)
        .await
        .unwrap();
    let alice = hubs.guild.member("alice");
    let shown = alice.slash(&hubs.art, "/imagine", json!({"prompt": "a fox"})).await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    hubs.finished(shown.message().unwrap()).await;
    // Now the first hears of it, and answers in vain.
    hubs.first.resume().await.unwrap();
    let refused =
        |request: &fake_discord::Request| request.status == 400 && request.path.contains("/callback");
    hubs.discord.requested(refused).await.unwrap();
    let jobs = hubs.second.checker().await.unwrap().count("SELECT COUNT(*) FROM job").await.unwrap();
    assert_eq!(jobs, 1);
    hubs.end().await;
}

#[tokio::test]
async fn commands_are_registered_by_one_of_them_and_shards_are_shared() {
    let mut hubs = Hubs::set().await;
    hubs.discord.limit(|limits| limits.shards = 2);
    let (started, also) = tokio::join!(hubs.first.start(), hubs.second.start());
    started.unwrap();
    also.unwrap();
    hubs.discord.connected(2).await.unwrap();
    hubs.discord.registered("imagine").await.unwrap();
    let _worker = hubs.second.worker_of("w", vec![painter()]).await.unwrap();
    hubs.offered().await;
    assert_eq!(hubs.discord.command_writes(), 2, "at first, and with the model");
    assert_eq!(hubs.discord.sessions_begun(), 2, "each shard once");
    hubs.end().await;
}
