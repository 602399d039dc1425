//! The hub is killed with -9 between any two steps of the loop. Afterwards every job is done once or queued, every
//! ledger balances, and every post is there once.

use riff_tests::{Riff, Worker};

use crate::riff;

/// A hub that dies at the end of that step.
async fn hub_dying_at(step: &str) -> (Riff, Worker) {
    let mut riff = riff();
    riff.set("RIFF_QUEUE__LEASE_SECONDS", 0.4)
        .set("RIFF_QUEUE__RETRY_BACKOFF_SECONDS", 0.01)
        .set("RIFF_FAILPOINT", step);
    riff.start().await.unwrap();
    let worker = riff.worker("w").await.unwrap();
    (riff, worker)
}

/// Starts the hub again without the failpoint, lets a worker finish whatever is queued, and checks everything.
async fn recover(riff: &mut Riff, jobs: i64) {
    riff.died().await.unwrap();
    riff.unset("RIFF_FAILPOINT").unset("RIFF_QUEUE__LEASE_SECONDS").start().await.unwrap();
    let checker = riff.checker().await.unwrap();
    assert_eq!(checker.count("SELECT COUNT(*) FROM job").await.unwrap(), jobs);
    let worker = riff.worker("w").await.unwrap();
    let unfinished = "SELECT COUNT(*) FROM job WHERE state IN ('queued', 'leased', 'running')";
    while checker.count(unfinished).await.unwrap() > 0 {
        let lease = worker.lease().await.unwrap();
        worker.finish(&lease).await.unwrap();
    }
    riff.stop().await.unwrap();
    checker.check().await.unwrap();
}

#[tokio::test]
async fn after_a_prompt_was_queued() {
    let (mut riff, _worker) = hub_dying_at("enqueued").await;
    let program = riff.program("robot").await.unwrap();
    program.create("a lighthouse").await.unwrap_err();
    recover(&mut riff, 1).await;
}

#[tokio::test]
async fn after_a_job_was_leased() {
    let (mut riff, worker) = hub_dying_at("leased").await;
    riff.program("robot").await.unwrap().job("a lighthouse").await.unwrap();
    worker.lease().await.unwrap_err();
    recover(&mut riff, 1).await;
}

#[tokio::test]
async fn after_a_job_was_given_back() {
    let (mut riff, worker) = hub_dying_at("released").await;
    riff.program("robot").await.unwrap().job("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.client.release(&lease).await.unwrap_err();
    recover(&mut riff, 1).await;
}

#[tokio::test]
async fn after_a_report() {
    let (mut riff, worker) = hub_dying_at("reported").await;
    riff.program("robot").await.unwrap().job("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.report(&lease, 0.5).await.unwrap_err();
    recover(&mut riff, 1).await;
}

#[tokio::test]
async fn after_an_output_was_stored() {
    let (mut riff, worker) = hub_dying_at("output-stored").await;
    riff.program("robot").await.unwrap().job("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.finish(&lease).await.unwrap_err();
    recover(&mut riff, 1).await;
}

#[tokio::test]
async fn after_a_job_was_completed_and_before_its_post() {
    let (mut riff, worker) = hub_dying_at("completed").await;
    riff.program("robot").await.unwrap().job("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.finish(&lease).await.unwrap_err();
    recover(&mut riff, 1).await;
    let checker = riff.checker().await.unwrap();
    assert_eq!(checker.count("SELECT MAX(attempt) FROM job").await.unwrap(), 1, "it was not run again");
}

#[tokio::test]
async fn after_a_post_was_published() {
    let (mut riff, worker) = hub_dying_at("published").await;
    riff.program("robot").await.unwrap().job("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    let _ = worker.finish(&lease).await;
    recover(&mut riff, 1).await;
}

#[tokio::test]
async fn after_a_failure() {
    let (mut riff, worker) = hub_dying_at("failed").await;
    riff.program("robot").await.unwrap().job("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.fail(&lease, "out of memory", true).await.unwrap_err();
    recover(&mut riff, 1).await;
}

#[tokio::test]
async fn after_a_cancel() {
    let (mut riff, _worker) = hub_dying_at("cancelled").await;
    let program = riff.program("robot").await.unwrap();
    let job = program.job("a lighthouse").await.unwrap();
    program.cancel(&job).await.unwrap_err();
    recover(&mut riff, 1).await;
}

#[tokio::test]
async fn after_a_lost_lease_was_taken_back() {
    let (mut riff, worker) = hub_dying_at("taken-back").await;
    riff.program("robot").await.unwrap().job("a lighthouse").await.unwrap();
    worker.lease().await.unwrap();
    recover(&mut riff, 1).await;
}

#[tokio::test]
async fn while_many_are_in_flight() {
    let mut riff = riff();
    riff.set("RIFF_QUEUE__LEASE_SECONDS", 2.0).set("RIFF_QUEUE__RETRY_BACKOFF_SECONDS", 0.01);
    riff.start().await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let worker = riff.worker("w").await.unwrap();
    for i in 0..20 {
        program.job(&format!("a lighthouse {i}")).await.unwrap();
    }
    for _ in 0..5 {
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    }
    for _ in 0..5 {
        worker.lease().await.unwrap();
    }
    riff.kill().await.unwrap();
    riff.unset("RIFF_QUEUE__LEASE_SECONDS").start().await.unwrap();
    riff.kill().await.unwrap();
    riff.start().await.unwrap();
    let checker = riff.checker().await.unwrap();
    assert_eq!(checker.count("SELECT COUNT(*) FROM job WHERE state = 'succeeded'").await.unwrap(), 5);
    let worker = riff.worker("w").await.unwrap();
    for _ in 0..15 {
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    }
    riff.stop().await.unwrap();
    checker.check().await.unwrap();
    assert_eq!(checker.count("SELECT COUNT(*) FROM job").await.unwrap(), 20);
}
