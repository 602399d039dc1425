//! Deadlines and rate limits.

use std::time::Duration;

use fake_discord::{Fault, Message, Window};
use riff_tests::worker::picture;
use serde_json::json;

use crate::{Stage, seen};

const TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);

#[tokio::test]
async fn when_the_hub_is_slow_an_answer_is_promised_in_time() {
    let (stage, worker) = Stage::with_worker().await;
    let checker = stage.riff.checker().await.unwrap();
    let held = checker.lock().await.unwrap();
    let shown = stage.alice.slash(&stage.art, "/imagine", json!({"prompt": "a fox"})).await.unwrap();
    assert!(matches!(shown, fake_discord::Shown::Deferred { .. }), "{shown}");
    drop(held);
    let waiting = shown.settled(&stage.discord).await.unwrap();
    assert!(waiting.content.contains("a fox"), "{waiting}");
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    stage.finished(&waiting).await;
    stage.end().await;
}

#[tokio::test]
async fn a_refusal_after_a_promise_is_still_private() {
    let (stage, _worker) = Stage::with_worker().await;
    let held = stage.discord.delay_next("GET", "/channels/");
    let asking = stage.alice.slash(&stage.art, "/imagine", json!({"prompt": "a fox --sed 1"}));
    let shown = asking.await.unwrap();
    assert!(matches!(shown, fake_discord::Shown::Deferred { .. }), "{shown}");
    held.release();
    let refused =
        stage.discord.private(&stage.alice, |message| message.content.contains("--sed")).await.unwrap();
    assert!(refused.is_private());
    assert_eq!(stage.discord.messages(&stage.art), [], "the public promise is taken back");
    stage.end().await;
}

#[tokio::test]
async fn after_the_tokens_life_the_bot_edits_its_message_itself() {
    let (stage, worker) = Stage::with_worker().await;
    let message = stage.imagine("a fox").await;
    let lease = worker.lease().await.unwrap();
    stage.discord.advance(TOKEN_LIFE);
    worker.finish(&lease).await.unwrap();
    stage.finished(&message).await;
    assert!(stage.discord.requests().of("PATCH", "/channels/").any(|request| request.status == 200));
    stage.end().await;
}

#[tokio::test]
async fn a_private_answer_that_comes_too_late_goes_to_a_private_conversation() {
    let (stage, worker) = Stage::with_talker().await;
    let options = json!({"question": "what do I do?", "private": true});
    stage.alice.slash(&stage.art, "/ask", options).await.unwrap();
    let lease = worker.lease().await.unwrap();
    stage.discord.advance(TOKEN_LIFE);
    worker.answer(&lease, "Rest.").await.unwrap();
    let told = stage.discord.see(|message| message.content.contains("Rest.")).await.unwrap();
    assert_eq!(told.channel_id, stage.alice.dm().id());
    insta::assert_snapshot!(seen(&told), @"
    Riff:
    -# What you asked for in #art:
    **what do I do?** — @alice
    Rest.
    -# writer · `--seed …` · recipe `…`
    [💬 Reply] [🎲] [✏️ Remix]
    ");
    assert_eq!(stage.discord.messages(&stage.art), []);
    stage.end().await;
}

#[tokio::test]
async fn progress_is_shown_with_previews_and_never_after_the_result() {
    let (stage, worker) = Stage::with_worker().await;
    let message = stage.imagine("a fox").await;
    let lease = worker.lease().await.unwrap();
    worker.show(&lease, 0.4, &picture(32, 32)).await.unwrap();
    let previewed =
        |message: &Message| message.attachments.iter().any(|file| file.filename.starts_with("preview-"));
    let running = message.until(&stage.discord, previewed).await.unwrap();
    assert!(running.content.contains("Running, 40 %"), "{running}");

    let late = stage.discord.delay_next("PATCH", "/messages/@original");
    worker.show(&lease, 0.8, &picture(32, 32)).await.unwrap();
    late.arrived().await.unwrap();
    worker.finish(&lease).await.unwrap();
    // What ends later is posted; by then the first result would have been, if it did not wait for its turn.
    stage.painted(&worker, "another").await;
    late.release();
    stage.finished(&message).await;
    let (discord, message) = (stage.discord.clone(), message.clone());
    stage.end().await;
    let last = message.latest(&discord).unwrap();
    assert!(last.content.contains("recipe") && !previewed(&last), "the result stays: {last}");
}

#[tokio::test]
async fn it_waits_as_long_as_discord_says() {
    let (stage, worker) = Stage::with_worker().await;
    for global in [false, true] {
        let fault = Fault::Limited { retry_after: 0.3, global };
        stage.discord.fail_next("PATCH", "/messages/@original", fault, 1);
        stage.painted(&worker, "a fox").await;
    }
    stage.discord.faults_spent().await.unwrap();
    let requests = stage.discord.requests();
    let patches: Vec<_> = requests.of("PATCH", "@original").collect();
    for (at, request) in patches.iter().enumerate().filter(|(_, request)| request.status == 429) {
        let next = patches[at + 1..].iter().find(|next| next.path == request.path).unwrap();
        assert!(next.at - request.at >= 300, "{} ms", next.at - request.at);
    }
    stage.end().await;
}

#[tokio::test]
async fn a_busy_channel_never_exceeds_its_limit() {
    let (stage, worker) = Stage::with_worker().await;
    stage.discord.limit(|limits| limits.channel_post = Window::new(2, Duration::from_millis(500)));
    let first = stage.imagine("{a, b, c, d, e, f} bird").await;
    for _ in 0..6 {
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    }
    stage.finished(&first).await;
    for bird in ["b", "c", "d", "e", "f"] {
        let words = format!("**{bird} bird**");
        stage.discord.see(|message| message.content.contains(&words)).await.unwrap();
    }
    stage.end().await;
}
