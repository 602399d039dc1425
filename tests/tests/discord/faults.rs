//! Discord fails, forgets and refuses; nothing is lost and nothing is said twice.

use std::time::Duration;

use fake_discord::{Fault, Window, permissions};
use riff_tests::worker::painter;
use serde_json::json;

use crate::{Stage, private, seen, writer};

#[tokio::test]
async fn buttons_of_other_versions_and_of_nobody_say_what_to_do_instead() {
    let (stage, worker) = Stage::with_worker().await;
    let post = stage.painted(&worker, "a fox").await;
    let known = post.custom_id("🎲").unwrap();
    let newer = known.replacen('1', "2", 1);
    let unknown_recipe = known.replacen(&known[3..10], "AAAAAAA", 1);
    let mut sentences = Vec::new();
    for id in
        [newer.as_str(), "hello", "1c.nonsense", unknown_recipe.as_str(), "1k.01ARZ3NDEKTSV4RRFFQ69G5FAV"]
    {
        sentences.push(private(&stage.bob.raw_component(&post, id).await.unwrap()));
    }
    insta::assert_snapshot!(sentences.join("\n"), @"
    I don't know this button: it is from another version of Riff. Use “Fork settings” in the Apps menu of the post, or /show with its recipe.
    I don't know this button: it is from another version of Riff. Use “Fork settings” in the Apps menu of the post, or /show with its recipe.
    I don't know this button: it is from another version of Riff. Use “Fork settings” in the Apps menu of the post, or /show with its recipe.
    There is no recipe … here.
    There is no job “01ARZ3NDEKTSV4RRFFQ69G5FAV” here.
    ");
    stage.end().await;
}

#[tokio::test]
async fn errors_and_lost_answers_of_discord_cost_nothing() {
    let (stage, worker) = Stage::with_worker().await;
    for fault in [Fault::Status(500), Fault::Status(503), Fault::Lost] {
        stage.discord.fail_next("PATCH", "/messages/@original", fault, 2);
        stage.painted(&worker, "a fox").await;
    }
    stage.discord.faults_spent().await.unwrap();
    let posts = stage.discord.messages(&stage.art);
    assert_eq!(posts.len(), 3, "{}", stage.discord.transcript());
    stage.end().await;
}

#[tokio::test]
async fn a_request_that_is_never_answered_is_sent_again() {
    let (stage, worker) = Stage::with_worker().await;
    stage.discord.fail_next("PATCH", "/messages/@original", Fault::Hang, 1);
    stage.painted(&worker, "a fox").await;
    stage.discord.faults_spent().await.unwrap();
    assert_eq!(stage.discord.messages(&stage.art).len(), 1);
    stage.end().await;
}

#[tokio::test]
async fn a_new_message_whose_answer_was_lost_is_there_once() {
    let (stage, worker) = Stage::with_talker().await;
    // Whoever gets no answer does not learn how much room is left either.
    stage.discord.limit(|limits| limits.channel_post = Window::new(50, Duration::from_secs(5)));
    // Twice: the request is repeated. Always: nobody ever learns that the message is there.
    for (times, answer) in [(2, "Hi."), (5, "Ho.")] {
        stage.discord.fail_next("POST", "/messages", Fault::Lost, times);
        stage.alice.mention(&stage.art, "hello").await.unwrap();
        worker.answer(&worker.lease().await.unwrap(), answer).await.unwrap();
        stage.discord.see(|message| message.content == answer).await.unwrap();
    }
    stage.discord.faults_spent().await.unwrap();
    let said = stage.discord.messages(&stage.art);
    assert_eq!(
        said.iter().filter(|message| message.author == "Riff").count(),
        2,
        "{}",
        stage.discord.transcript()
    );
    stage.end().await;
}

#[tokio::test]
async fn a_message_that_was_deleted_under_us_is_posted_anew() {
    let (stage, worker) = Stage::with_worker().await;
    let message = stage.imagine("a fox").await;
    let lease = worker.lease().await.unwrap();
    stage.discord.delete_message(&message).unwrap();
    worker.finish(&lease).await.unwrap();
    let post = stage.discord.see(|message| message.attachments.len() == 1).await.unwrap();
    assert_ne!(post.id, message.id);
    insta::assert_snapshot!(seen(&post), @"
    Riff:
    **a fox** — @alice
    -# painter · `--seed …` · recipe `…`
    riff-…-1.png 64×64
    [🎲] [✏️ Remix] [🗑️]
    ");
    stage.end().await;
}

#[tokio::test]
async fn when_the_channel_is_gone_the_asker_still_gets_the_result() {
    let (stage, worker) = Stage::with_worker().await;
    stage.imagine("a fox").await;
    let lease = worker.lease().await.unwrap();
    stage.discord.delete_channel(&stage.art);
    worker.finish(&lease).await.unwrap();
    let post = stage.discord.see(|message| message.attachments.len() == 1).await.unwrap();
    assert_eq!(post.channel_id, stage.alice.dm().id());
    stage.end().await;
}

#[tokio::test]
async fn when_permission_is_lost_the_asker_still_gets_the_result() {
    let (stage, worker) = Stage::with_talker().await;
    stage.alice.mention(&stage.art, "hello").await.unwrap();
    let lease = worker.lease().await.unwrap();
    let begun = stage
        .discord
        .see(|message| message.author == "Riff" && message.content.contains("-#"))
        .await
        .unwrap();
    stage.discord.delete_message(&begun).unwrap();
    stage.discord.revoke(&stage.art, permissions::SEND_MESSAGES);
    worker.answer(&lease, "Hi.").await.unwrap();
    let told = stage.discord.see(|message| message.content.contains("Hi.")).await.unwrap();
    assert_eq!(told.channel_id, stage.alice.dm().id());
    insta::assert_snapshot!(seen(&told), @"
    Riff:
    -# I may not post in #art any more, so here is your result.
    Hi.
    [💬 Reply] [🎲] [✏️ Remix] [🗑️]
    ");
    stage.end().await;
}

#[tokio::test]
async fn pictures_that_are_too_large_get_smaller_or_become_a_link() {
    let mut stage = Stage::set().await;
    stage.riff.set("RIFF_PUBLIC_URL", "https://riff.example").with_engines();
    stage.discord.limit(|limits| limits.file_bytes = 60_000);
    stage.start().await;
    stage.offers("\"seed\"").await;
    let options = json!({"prompt": "a forest", "width": 512, "height": 512, "count": 1});
    let shown = stage.alice.slash(&stage.art, "/imagine", options.clone()).await.unwrap();
    let post = stage.finished(shown.message().unwrap()).await;
    let file = &post.attachments[0];
    assert!(file.filename.ends_with(".webp") && file.size <= 60_000, "{post}");

    stage.discord.limit(|limits| limits.file_bytes = 500);
    let shown = stage.alice.slash(&stage.art, "/imagine", options).await.unwrap();
    let linked = |message: &fake_discord::Message| message.content.contains("https://riff.example/blobs/");
    let post = shown.message().unwrap().until(&stage.discord, linked).await.unwrap();
    assert!(post.attachments.is_empty());
    stage.end().await;
}

#[tokio::test]
async fn a_limit_that_discord_did_not_announce_is_found_out() {
    let mut stage = Stage::set().await;
    stage.riff.with_engines();
    stage.discord.limit(|limits| limits.file_bytes = 800_000);
    stage.start().await;
    stage.offers("\"seed\"").await;
    let options = json!({"prompt": "a forest", "width": 1024, "height": 1024, "count": 1});
    let held = stage.discord.delay_next("PATCH", "@original");
    let shown = stage.alice.slash(&stage.art, "/imagine", options).await.unwrap();
    held.arrived().await.unwrap();
    stage.discord.limit(|limits| limits.file_bytes = 200_000);
    held.release();
    let post = stage.finished(shown.message().unwrap()).await;
    assert!(post.attachments.iter().all(|file| file.size <= 200_000), "{post}");
    stage.end().await;
}

#[tokio::test]
async fn a_result_is_public_whatever_kept_its_asker_from_seeing_it_queued() {
    for (step, sentence) in [
        // The job is queued, and the hub does not hear of it.
        ("lost enqueue", "its database failed"),
        // It hears of it, and cannot read it.
        ("lost view", "How it goes cannot be shown just now"),
    ] {
        let mut stage = Stage::set().await;
        stage.riff.set("RIFF_FAILPOINT", step);
        stage.start().await;
        let worker = stage.worker(vec![painter()]).await;
        let shown = stage.alice.slash(&stage.art, "/imagine", json!({"prompt": "a fox"})).await.unwrap();
        assert!(shown.text().contains(sentence), "{shown}");
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
        let post = stage.discord.see(|message| message.attachments.len() == 1).await.unwrap();
        assert!(post.content.contains("a fox"), "{post}");
        assert_eq!(stage.discord.messages(&stage.art).len(), 1, "{}", stage.discord.transcript());
        stage.end().await;
    }
}

#[tokio::test]
async fn what_is_queued_in_private_stays_private_whatever_cannot_be_read() {
    let mut stage = Stage::set().await;
    stage.riff.set("RIFF_FAILPOINT", "lost view");
    stage.start().await;
    let worker = stage.worker(vec![writer()]).await;
    let asked = json!({"question": "what do I do?", "private": true});
    let shown = stage.alice.slash(&stage.art, "/ask", asked).await.unwrap();
    assert!(private(&shown).contains("How it goes cannot be shown just now"), "{shown}");
    worker.answer(&worker.lease().await.unwrap(), "Rest.").await.unwrap();
    stage.discord.private(&stage.alice, |message| message.content.contains("Rest.")).await.unwrap();
    assert_eq!(stage.discord.messages(&stage.art), [], "nobody else sees it");
    stage.end().await;
}
