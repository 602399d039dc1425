//! The queue: who is served next, and what becomes of a job whose worker fails, falls silent or comes too late.

use riff_hub::{
    hub::WorkError,
    job::State,
    queue::Place,
    store::StoreError,
    wire::{Complete, LeaseRequest, Signal},
};

use crate::support::{Community, painter, writer};

fn is_lost(answer: &Result<impl Sized, WorkError>) -> bool {
    matches!(answer, Err(WorkError::Store(StoreError::LeaseLost { .. })))
}

#[tokio::test]
async fn a_member_with_many_prompts_does_not_delay_one_with_few() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let (greedy, modest) = (community.member("greedy").await, community.member("modest").await);
    for i in 0..100 {
        community.job(&greedy, &format!("a tower {i}")).await;
    }
    let lease = community.lease("w").await.unwrap();
    community.finish("w", &lease, 1.0).await.unwrap();
    let wanted = community.job(&modest, "a pond").await;

    let next = [community.lease("w").await.unwrap().job, community.lease("w").await.unwrap().job];
    assert!(next.contains(&wanted.id), "served within two turns of one worker");
}

#[tokio::test]
async fn two_busy_members_are_served_in_turn() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let (alice, bob) = (community.member("alice").await, community.member("bob").await);
    for i in 0..10 {
        community.job(&alice, &format!("a tower {i}")).await;
    }
    for i in 0..10 {
        community.job(&bob, &format!("a pond {i}")).await;
    }
    let mut of_alice: i32 = 0;
    for served in 1..=20 {
        let lease = community.lease("w").await.unwrap();
        let job = community.hub.store.job(&lease.job).await.unwrap().unwrap();
        of_alice += i32::from(job.member == alice.id);
        assert!((2 * of_alice - served).abs() <= 2, "after {served}, alice had {of_alice}");
    }
}

#[tokio::test]
async fn cancelling_gives_a_member_the_place_back() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let (alice, bob) = (community.member("alice").await, community.member("bob").await);
    let mut regretted = Vec::new();
    for i in 0..50 {
        regretted.push(community.job(&alice, &format!("a tower {i}")).await);
    }
    for job in &regretted {
        community.hub.cancel(&alice, &job.id).await.unwrap();
    }
    community.job(&bob, "a pond").await;
    let wanted = community.job(&alice, "a hill").await;
    let next = [community.lease("w").await.unwrap().job, community.lease("w").await.unwrap().job];
    assert!(next.contains(&wanted.id), "fifty cancelled prompts cost no turn");
}

#[tokio::test]
async fn a_silent_workers_job_is_served_again_and_its_late_result_is_fenced_out() {
    let community = Community::new().await;
    community.hello("dies", &[painter()]).await;
    community.hello("lives", &[painter()]).await;
    let alice = community.member("alice").await;
    let job = community.job(&alice, "a lighthouse").await;

    let first = community.lease("dies").await.unwrap();
    assert_eq!((first.attempt, community.state(&job).await), (1, State::Leased));
    assert_eq!(community.report("dies", &first).await.unwrap(), Signal::Continue);
    assert_eq!(community.state(&job).await, State::Running);
    community.pass(9).await;
    assert_eq!(community.state(&job).await, State::Running, "the lease is not over yet");
    community.pass(2).await;
    assert_eq!(community.state(&job).await, State::Queued);
    assert!(community.lease("lives").await.is_none(), "it waits before the second attempt");

    community.pass(2).await;
    let second = community.lease("lives").await.unwrap();
    assert_eq!((second.job.as_str(), second.attempt), (job.id.as_str(), 2));
    assert!(is_lost(&community.report("dies", &first).await));
    assert!(is_lost(&community.finish("dies", &first, 1.0).await));
    let late = Complete { attempt: 1, outputs: 4, gpu_seconds: 1.0, load_seconds: 0.0 };
    assert!(is_lost(&community.hub.complete("dies", &job.id, &late).await));
    assert_eq!(community.state(&job).await, State::Leased, "a late result changes nothing");

    community.finish("lives", &second, 1.0).await.unwrap();
    assert_eq!(community.state(&job).await, State::Succeeded);
    community.finish("lives", &second, 1.0).await.unwrap_err();
    let again = Complete { attempt: 2, outputs: 4, gpu_seconds: 1.0, load_seconds: 0.0 };
    community.hub.complete("lives", &job.id, &again).await.expect("saying it twice is no error");
}

#[tokio::test]
async fn reports_keep_a_lease_alive() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    let job = community.job(&alice, "a lighthouse").await;
    let lease = community.lease("w").await.unwrap();
    for _ in 0..10 {
        community.pass(8).await;
        community.report("w", &lease).await.unwrap();
    }
    let until = community.now(&job).await.lease_until;
    community.pass(1).await;
    community.report("w", &lease).await.unwrap();
    assert_eq!(community.now(&job).await.lease_until, until, "nothing is written for so little");
    community.pass(2).await;
    community.report("w", &lease).await.unwrap();
    assert!(community.now(&job).await.lease_until > until);
    community.finish("w", &lease, 83.0).await.unwrap();
    assert_eq!(community.state(&job).await, State::Succeeded);
    assert_eq!(community.now(&job).await.attempt, 1);
}

#[tokio::test]
async fn attempts_back_off_and_end_with_the_reason() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    let job = community.job(&alice, "a lighthouse").await;
    for wait in [2, 4] {
        let lease = community.lease("w").await.unwrap();
        community.fail("w", &lease, true).await.unwrap();
        assert_eq!(community.state(&job).await, State::Queued);
        community.pass(wait - 1).await;
        assert!(community.lease("w").await.is_none(), "waits {wait} s");
        community.pass(1).await;
    }
    let lease = community.lease("w").await.unwrap();
    community.fail("w", &lease, true).await.unwrap();
    let ended = community.now(&job).await;
    assert_eq!((ended.state, ended.reason.as_deref()), (State::Failed, Some("it broke")));
    assert_eq!(community.left(&alice).await, 3_600.0);
}

#[tokio::test]
async fn a_job_at_fault_fails_at_once() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    let job = community.job(&alice, "a lighthouse").await;
    let lease = community.lease("w").await.unwrap();
    community.fail("w", &lease, false).await.unwrap();
    assert_eq!(community.state(&job).await, State::Failed);
}

#[tokio::test]
async fn a_worker_that_keeps_failing_is_set_aside_until_it_had_time_to_recover() {
    let community = Community::with(|settings| settings.max_attempts = 100).await;
    community.hello("bad", &[painter()]).await;
    let alice = community.member("alice").await;
    for i in 0..6 {
        community.job(&alice, &format!("a lighthouse {i}")).await;
    }
    for _ in 0..5 {
        let lease = community.lease("bad").await.unwrap();
        community.fail("bad", &lease, true).await.unwrap();
    }
    assert!(community.lease("bad").await.is_none(), "five failures in a row");
    community.hello("good", &[painter()]).await;
    assert!(community.lease("good").await.is_some(), "others are served");
    community.pass(11).await;
    assert!(community.lease("bad").await.is_some(), "it gets another chance");
}

#[tokio::test]
async fn cancel_reaches_the_worker_and_nothing_is_posted() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let (alice, bob) = (community.member("alice").await, community.member("bob").await);
    let job = community.job(&alice, "a lighthouse").await;
    let lease = community.lease("w").await.unwrap();
    let refusal = community.hub.cancel(&bob, &job.id).await.unwrap_err();
    assert_eq!(refusal.to_string(), "Only alice can cancel this.");

    community.hub.cancel(&alice, &job.id).await.unwrap();
    assert_eq!(community.report("w", &lease).await.unwrap(), Signal::Cancel);
    assert!(is_lost(&community.finish("w", &lease, 1.0).await));
    assert_eq!(community.state(&job).await, State::Cancelled);
    assert_eq!(community.hub.store.due("web", 9, i64::MAX).await.unwrap().len(), 0);
    community.hub.cancel(&alice, &job.id).await.expect("cancelling twice is no error");

    let done = community.job(&alice, "a lighthouse").await;
    let lease = community.lease("w").await.unwrap();
    community.finish("w", &lease, 1.0).await.unwrap();
    let refusal = community.hub.cancel(&alice, &done.id).await.unwrap_err();
    assert_eq!(refusal.to_string(), "This is already succeeded, so it can't be cancelled any more.");
}

#[tokio::test]
async fn a_job_that_nobody_serves_expires() {
    let community = Community::new().await;
    community.hello("gone", &[painter()]).await;
    let alice = community.member("alice").await;
    let job = community.job(&alice, "a lighthouse").await;
    community.pass(3_599).await;
    assert_eq!(community.state(&job).await, State::Queued);
    community.pass(1).await;
    assert_eq!(community.state(&job).await, State::Expired);
    assert_eq!(community.hub.store.due("web", 9, i64::MAX).await.unwrap().len(), 1, "its member is told");
    assert_eq!(community.left(&alice).await, 3_600.0);
}

#[tokio::test]
async fn position_and_wait_count_only_what_present_workers_serve() {
    let community = Community::new().await;
    community.hello("painters", &[painter()]).await;
    community.hello("writers", &[writer()]).await;
    let alice = community.member("alice").await;
    for i in 0..3 {
        community.job(&alice, &format!("/ask what is {i}?")).await;
    }
    let first = community.job(&alice, "a lighthouse").await;
    let second = community.job(&alice, "a pond").await;
    let place = async |job: &riff_hub::job::Job| community.hub.view(&job.id).await.unwrap().place;
    assert_eq!(place(&first).await, Some(Place { position: 1, eta_ms: Some(1_000) }));
    assert_eq!(place(&second).await, Some(Place { position: 2, eta_ms: Some(2_000) }));

    let lease = community.lease("painters").await.unwrap();
    assert_eq!(lease.job, first.id);
    assert_eq!(place(&first).await, None, "it is no longer in line");
    assert_eq!(place(&second).await, Some(Place { position: 1, eta_ms: Some(2_000) }));

    community.clock.advance(std::time::Duration::from_secs(25));
    assert_eq!(place(&second).await, Some(Place { position: 1, eta_ms: None }), "its worker went away");
}

#[tokio::test]
async fn an_expected_time_counts_those_who_are_likely_to_come_and_go_before() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let (alice, bob) = (community.member("alice").await, community.member("bob").await);
    for i in 0..3 {
        community.job(&bob, &format!("a pond {i}")).await;
        let lease = community.lease("w").await.unwrap();
        community.pass(1).await;
        community.finish("w", &lease, 1.0).await.unwrap();
    }
    community.clock.advance(std::time::Duration::from_secs(14 * 60 + 52));
    community.hello("w", &[painter()]).await;
    let mut last = community.job(&alice, "a tower").await;
    for i in 1..20 {
        last = community.job(&alice, &format!("a tower {i}")).await;
    }
    let eta_ms = async || community.hub.view(&last.id).await.unwrap().place.unwrap().eta_ms;
    assert_eq!(
        eta_ms().await,
        Some(23_000),
        "three came within the last quarter of an hour, the first almost that long ago"
    );
    community.clock.advance(std::time::Duration::from_secs(20));
    assert_eq!(eta_ms().await, Some(20_000), "that was longer ago");
}

#[tokio::test]
async fn a_worker_gets_only_what_it_serves() {
    let community = Community::new().await;
    community.hello("writers", &[writer()]).await;
    community.hello("painters", &[painter()]).await;
    let alice = community.member("alice").await;
    let picture = community.job(&alice, "a lighthouse").await;
    assert!(community.lease("writers").await.is_none());
    assert_eq!(community.lease("painters").await.unwrap().job, picture.id);
    let unknown = community.hub.lease("stranger", &LeaseRequest::default()).await;
    assert!(matches!(unknown, Err(WorkError::Unknown(_))));
}
