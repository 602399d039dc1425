//! The gateway and the signed endpoint.

use serde_json::json;

use crate::{Stage, seen};
use riff_tests::worker::painter;

#[tokio::test]
async fn a_dropped_connection_is_resumed_and_nothing_is_handled_twice() {
    let (stage, worker) = Stage::with_worker().await;
    stage.painted(&worker, "before").await;
    stage.discord.disconnect_gateway();
    let waiting = stage.imagine("meanwhile").await;
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    stage.finished(&waiting).await;
    let sessions = stage.discord.sessions();
    assert_eq!((sessions.len(), sessions[0].resumes), (1, 1));
    assert!(worker.lease_now().await.unwrap().is_none());
    stage.end().await;
}

#[tokio::test]
async fn after_an_invalid_session_a_new_one_is_begun() {
    let (stage, worker) = Stage::with_worker().await;
    stage.discord.invalidate_session();
    stage.discord.connected(1).await.unwrap();
    stage.painted(&worker, "a fox").await;
    assert_eq!(stage.discord.sessions_begun(), 2);
    stage.end().await;
}

#[tokio::test]
async fn there_are_as_many_shards_as_discord_asks_for() {
    let mut stage = Stage::set().await;
    stage.discord.limit(|limits| limits.shards = 2);
    let second = stage.discord.guild("Second").await.unwrap();
    stage.start().await;
    stage.discord.connected(2).await.unwrap();
    let worker = stage.worker(vec![painter()]).await;
    for guild in [&stage.guild, &second] {
        let carol = guild.member("carol");
        let shown = carol.slash(&guild.channel("art"), "/imagine", json!({"prompt": "a fox"})).await.unwrap();
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
        stage.finished(shown.message().unwrap()).await;
    }
    stage.end().await;
}

#[tokio::test]
async fn the_signed_endpoint_does_the_same_and_believes_nobody_else() {
    let mut stage = Stage::set().await;
    stage.riff.set("RIFF_DISCORD__RECEIVE", "endpoint");
    stage.riff.start().await.unwrap();
    stage.discord.registered("imagine").await.unwrap();
    let endpoint = format!("{}/discord/interactions", stage.riff.url());
    stage.discord.verify_endpoint(&endpoint).await.unwrap();
    stage.discord.deliver_by_http(&endpoint);
    let worker = stage.worker(vec![painter()]).await;
    let post = stage.painted(&worker, "a fox").await;
    let shown = stage.bob.click(&post, "🎲").await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    insta::assert_snapshot!(seen(&stage.finished(shown.message().unwrap()).await), @"
    Riff:
    in reply to Riff: **a fox** — @alice
    **a fox** — @bob
    -# painter · reroll of `…` · `--seed …` · recipe `…`
    riff-…-1.png 64×64
    [🎲] [✏️ Remix] [🗑️]
    ");
    assert_eq!(stage.discord.sessions().len(), 0, "no gateway is needed");

    let genuine = stage.discord.last_delivery().unwrap();
    let again = stage.discord.post(&endpoint, &genuine).await.unwrap();
    assert_eq!(again.0, 202, "Discord itself may send twice");
    assert!(worker.lease_now().await.unwrap().is_none(), "but it is handled once");
    let mut forged = genuine.clone();
    forged.body = forged.body.replace("\"version\":1", "\"version\":2");
    assert_eq!(stage.discord.post(&endpoint, &forged).await.unwrap().0, 401);
    let old = stage.discord.sign(&genuine.body, stage.discord.now_ms() / 1_000 - 3_600);
    assert_eq!(stage.discord.post(&endpoint, &old).await.unwrap().0, 401, "a replay");
    let nonsense = stage.discord.sign("{}", stage.discord.now_ms() / 1_000);
    assert_eq!(stage.discord.post(&endpoint, &nonsense).await.unwrap().0, 400);
    stage.end().await;
}

#[tokio::test]
async fn a_refused_token_is_named_at_the_start() {
    let mut stage = Stage::set().await;
    stage.riff.set("DISCORD_TOKEN", "wrong");
    let ended = stage.riff.start_in_vain(&[]).await.unwrap();
    insta::assert_snapshot!(ended.stderr.lines().last().unwrap(), @"riff: Discord refuses the bot token: reset it in the developer portal (Bot, Reset Token) and set DISCORD_TOKEN to the new one");
}
