//! The hub is killed with -9 between any two steps of an answer on Discord. Afterwards the result is there once.

use riff_tests::worker::painter;
use serde_json::json;

use crate::Stage;

/// Runs a prompt on a hub that dies at a step, starts it again, and gives how many posts there are in the end.
async fn posts_after_dying_at(step: &str) -> usize {
    let mut stage = Stage::set().await;
    stage.riff.set("RIFF_QUEUE__LEASE_SECONDS", 0.5).set("RIFF_QUEUE__RETRY_BACKOFF_SECONDS", 0.01);
    stage.riff.set("RIFF_FAILPOINT", step);
    stage.start().await;
    let worker = stage.worker(vec![painter()]).await;
    // Whether she is answered depends on the step.
    let _ = tokio::join!(
        async {
            tokio::select! {
                _ = stage.alice.slash(&stage.art, "/imagine", json!({"prompt": "a fox"})) => {}
                () = gone(&stage) => {}
            }
        },
        async {
            if let Ok(lease) = worker.lease().await {
                let _ = worker.finish(&lease).await;
            }
        }
    );
    stage.riff.died().await.unwrap();
    stage.riff.unset("RIFF_FAILPOINT").unset("RIFF_QUEUE__LEASE_SECONDS");
    stage.start().await;
    let worker = stage.riff.worker_of("w", vec![painter()]).await.unwrap();
    let checker = stage.riff.checker().await.unwrap();
    let unfinished = "SELECT COUNT(*) FROM job WHERE state IN ('queued', 'leased', 'running')";
    while checker.count(unfinished).await.unwrap() > 0 {
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    }
    stage.discord.see(|message| message.attachments.len() == 1).await.unwrap();
    let posts =
        stage.discord.messages(&stage.art).into_iter().filter(|post| post.attachments.len() == 1).count();
    stage.end().await;
    posts
}

/// Resolves when the hub answers no more.
async fn gone(stage: &Stage) {
    stage
        .discord
        .sessions_as("no session", |all| all.iter().all(|session| !session.connected))
        .await
        .unwrap();
}

#[tokio::test]
async fn before_the_answer() {
    assert_eq!(posts_after_dying_at("enqueued").await, 1);
}

#[tokio::test]
async fn between_the_answer_and_its_note() {
    assert_eq!(posts_after_dying_at("acknowledged").await, 1);
}

#[tokio::test]
async fn between_the_result_and_its_post() {
    assert_eq!(posts_after_dying_at("completed").await, 1);
}

#[tokio::test]
async fn between_the_post_and_the_next_step() {
    assert_eq!(posts_after_dying_at("published").await, 1);
}

#[tokio::test]
async fn what_was_cancelled_is_crossed_out_after_the_hub_died_of_it() {
    let mut stage = Stage::set().await;
    stage.riff.set("RIFF_FAILPOINT", "cancelled");
    stage.start().await;
    stage.worker(vec![painter()]).await;
    let waiting = stage.imagine("a fox").await;
    tokio::select! {
        _ = stage.alice.click(&waiting, "Cancel") => {}
        () = gone(&stage) => {}
    }
    stage.riff.died().await.unwrap();
    stage.riff.unset("RIFF_FAILPOINT");
    stage.start().await;
    let crossed_out = waiting.until(&stage.discord, |message| message.content.contains("~~")).await.unwrap();
    assert!(crossed_out.content.contains("Cancelled"), "{crossed_out}");
    stage.end().await;
}

#[tokio::test]
async fn what_was_taken_down_is_deleted_after_the_hub_died_of_it() {
    let mut stage = Stage::set().await;
    stage.riff.set("RIFF_FAILPOINT", "moderated");
    stage.start().await;
    let worker = stage.worker(vec![painter()]).await;
    let mia = stage.guild.moderator("mia");
    let post = stage.painted(&worker, "a fox").await;
    tokio::select! {
        _ = mia.click(&post, "🗑️") => {}
        () = gone(&stage) => {}
    }
    stage.riff.died().await.unwrap();
    stage.riff.unset("RIFF_FAILPOINT");
    stage.start().await;
    post.gone(&stage.discord).await.unwrap();
    stage.end().await;
}
