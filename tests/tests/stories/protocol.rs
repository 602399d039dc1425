//! The workers' protocol, from the worker's side.

use std::time::Duration;

use reqwest::StatusCode;
use riff_hub::{
    canonical::Digest,
    wire::{Complete, Signal},
};
use riff_worker::client::{CallError, Client};
use tokio::time::Instant;

use crate::hub;

#[tokio::test]
async fn a_held_request_is_answered_when_a_prompt_comes() {
    let riff = hub().await;
    let worker = riff.worker("w").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let (lease, job) = tokio::join!(worker.lease(), program.job("a lighthouse"));
    assert_eq!(lease.unwrap().job, job.unwrap());
}

#[tokio::test]
async fn cancel_is_signalled_down_at_once() {
    let riff = hub().await;
    let worker = riff.worker("w").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let job = program.job("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    let asked = Instant::now();
    let hold = Duration::from_secs(50);
    let (signal, cancelled) =
        tokio::join!(worker.client.signal(&job, lease.attempt, hold), program.cancel(&job));
    cancelled.unwrap();
    assert_eq!(signal.unwrap(), Signal::Cancel);
    assert!(asked.elapsed() < hold, "it did not wait for the hold to end");
    let late = worker.finish(&lease).await;
    assert!(matches!(late, Err(CallError::LeaseLost(_))));
}

#[tokio::test]
async fn a_job_is_not_complete_with_fewer_results_than_were_asked_for() {
    let riff = hub().await;
    let worker = riff.worker("w").await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let job = program.job("a lighthouse --n 3").await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.upload(&lease, "image/png", riff_tests::worker::picture(64, 64)).await.unwrap();
    for claimed in [1, 3] {
        let complete =
            Complete { attempt: lease.attempt, outputs: claimed, gpu_seconds: 0.0, load_seconds: 0.0 };
        let refused = worker.client.complete(&job, &complete).await.unwrap_err();
        assert!(refused.to_string().contains("3 were asked for, 1 are stored"), "{refused}");
    }
    worker.finish(&lease).await.unwrap();
    assert_eq!(program.ended(&job).await.unwrap()["outputs"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn one_worker_cannot_touch_anothers_job() {
    let riff = hub().await;
    let (first, second) = (riff.worker("first").await.unwrap(), riff.worker("second").await.unwrap());
    riff.program("robot").await.unwrap().job("a lighthouse").await.unwrap();
    let lease = first.lease().await.unwrap();
    assert!(matches!(second.finish(&lease).await, Err(CallError::LeaseLost(_))));
    assert!(matches!(second.fail(&lease, "mine", true).await, Err(CallError::LeaseLost(_))));
    first.finish(&lease).await.unwrap();
}

#[tokio::test]
async fn a_worker_in_another_language_serves() {
    let riff = hub().await;
    let token = riff.cli(&["token", "create", "--worker", "python"]).await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/worker.py");
    let mut python = tokio::process::Command::new("python3")
        .arg(script)
        .env("RIFF_HUB", riff.url())
        .env("RIFF_TOKEN", token)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let alice = riff.member("alice").unwrap();
    riff.logged("gradient").await.unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    alice.imagine("a sunset --model gradient --seed 5").await.unwrap();
    let post = channel.posted().await.unwrap();
    let picture = alice.fetch(&post.pictures[0]).await.unwrap();
    assert_eq!(image::load_from_memory(&picture).unwrap().width(), 256);
    python.kill().await.unwrap();
}

#[tokio::test]
async fn a_worker_fetches_the_pictures_that_inputs_name() {
    let riff = hub().await;
    let worker = riff.worker("w").await.unwrap();
    riff.program("robot").await.unwrap().job("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    let picture = riff_tests::worker::picture(64, 64);
    let stored = worker.client.put_output(&lease, 0, "image/png", picture).await.unwrap();
    let bytes = worker.client.blob(stored.blob).await.unwrap();
    assert_eq!(Digest::of_bytes(&bytes), stored.blob);
    let absent = worker.client.blob(Digest::of_bytes(b"absent")).await;
    assert!(matches!(absent, Err(CallError::Refused { status: StatusCode::NOT_FOUND, .. })), "{absent:?}");
    let stranger = Client::new(riff.url(), "riff_w_wrong").unwrap();
    assert!(matches!(stranger.blob(stored.blob).await, Err(CallError::Token(_))));
}
