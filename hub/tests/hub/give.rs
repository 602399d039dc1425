//! What workers are given: ahead of time, together, by what they have in memory and room for, and what they give back.

use std::{collections::BTreeMap, time::Duration};

use riff_hub::{
    job::{Job, State},
    model::{Cost, ModelSpec},
    wire::{Complete, Hello, Lease, LeaseRequest, PROTOCOL, Pool, Release},
};

use crate::support::{Community, painter, writer};

/// A painter of another name.
fn named(name: &str, cost: Cost) -> ModelSpec {
    ModelSpec { name: name.into(), cost, ..painter() }
}

fn seconds(fixed: f64, load: f64) -> Cost {
    Cost { fixed, per_megapixel: 0.0, per_token: 0.0, load }
}

async fn ask(community: &Community, worker: &str, request: LeaseRequest) -> Option<Lease> {
    community.hub.lease(worker, &request).await.unwrap()
}

async fn give_back(community: &Community, worker: &str, lease: &Lease) {
    community.hub.release(worker, &lease.job, Release { attempt: lease.attempt }).await.unwrap();
}

async fn eta_ms(community: &Community, job: &Job) -> Option<i64> {
    community.hub.view(&job.id).await.unwrap().place.unwrap().eta_ms
}

#[tokio::test]
async fn a_busy_worker_gets_a_job_ahead_unless_an_idle_one_can_serve_it() {
    let community = Community::new().await;
    community.hello("busy", &[painter()]).await;
    community.hello("idle", &[painter()]).await;
    let alice = community.member("alice").await;
    let first = community.job(&alice, "a lighthouse").await;
    assert_eq!(community.lease_ahead("busy").await.unwrap().job, first.id, "nobody is idle");

    let hold = LeaseRequest { wait_ms: 50_000, ..LeaseRequest::default() };
    let (idle, ahead) = tokio::join!(biased; community.hub.lease("idle", &hold), async {
        let second = community.job(&alice, "a pond").await;
        (second, community.lease_ahead("busy").await)
    });
    assert_eq!(idle.unwrap().unwrap().job, ahead.0.id);
    assert!(ahead.1.is_none(), "it begins sooner elsewhere");
}

#[tokio::test]
async fn a_worker_that_waits_is_woken_for_a_job_whose_time_has_come() {
    let community = Community::new().await;
    community.hello("breaks", &[painter()]).await;
    community.hello("waits", &[painter()]).await;
    let alice = community.member("alice").await;
    let job = community.job(&alice, "a lighthouse").await;
    let lease = community.lease("breaks").await.unwrap();
    community.fail("breaks", &lease, true).await.unwrap();
    let hold = LeaseRequest { wait_ms: 50_000, ..LeaseRequest::default() };
    let waits = tokio::time::timeout(Duration::from_secs(20), community.hub.lease("waits", &hold));
    let (given, ()) = tokio::join!(biased; waits, async {
        community.pass(1).await;
        assert_eq!(community.state(&job).await, State::Queued, "it waits for 2 s");
        community.pass(1).await;
    });
    let given = given.expect("it is woken before its request ends").unwrap();
    assert_eq!(given.unwrap().job, job.id);
}

#[tokio::test]
async fn who_waits_is_not_woken_for_a_job_that_was_queued_just_now_and_woke_somebody() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    community.job(&community.member("alice").await, "a lighthouse").await;
    let left_over = async || {
        let now = community.hub.seam.now();
        community.hub.store.waiting_of(&[painter().digest()], now).await.unwrap()
    };
    assert_eq!(left_over().await, []);
    community.pass(1).await;
    assert_eq!(left_over().await, [painter().digest()]);
    let lease = community.lease("w").await.unwrap();
    assert_eq!(left_over().await, []);
    community.fail("w", &lease, true).await.unwrap();
    assert_eq!(left_over().await, [], "it waits for 2 s");
    community.pass(2).await;
    assert_eq!(left_over().await, [painter().digest()], "nobody was woken for it");
}

#[tokio::test]
async fn a_job_that_is_given_back_is_first_in_line_again_and_nobody_is_blamed() {
    let community = Community::with(|settings| settings.max_attempts = 2).await;
    community.hello("w", &[painter()]).await;
    community.hello("other", &[painter()]).await;
    let alice = community.member("alice").await;
    let job = community.job(&alice, "a lighthouse").await;
    community.job(&alice, "a pond").await;
    for _ in 0..6 {
        let lease = community.lease("w").await.unwrap();
        assert_eq!(lease.job, job.id);
        give_back(&community, "w", &lease).await;
        assert_eq!(community.state(&job).await, State::Queued);
        let late = community.hub.release("w", &lease.job, Release { attempt: lease.attempt }).await;
        assert!(late.is_err(), "once is enough");
    }
    let lease = community.lease("other").await.unwrap();
    assert_eq!((lease.job.as_str(), lease.attempt), (job.id.as_str(), 7));
    assert_eq!(community.now(&job).await.tries(), 1);
    community.fail("other", &lease, true).await.unwrap();
    assert_eq!(community.state(&job).await, State::Queued, "one of two attempts failed");
    assert_eq!(community.hub.standing("w").await.unwrap().failures, 0);
    assert_eq!(community.hub.standing("other").await.unwrap().failures, 1);
}

#[tokio::test]
async fn what_a_leaving_worker_holds_goes_back_at_once() {
    let community = Community::new().await;
    community.hello("leaves", &[painter()]).await;
    let alice = community.member("alice").await;
    let jobs = [community.job(&alice, "a lighthouse").await, community.job(&alice, "a pond").await];
    for _ in &jobs {
        community.lease("leaves").await.unwrap();
    }
    community.hub.bye("leaves").await.unwrap();
    for job in &jobs {
        assert_eq!(community.state(job).await, State::Queued);
        assert_eq!(eta_ms(&community, job).await, None, "nobody is here who could");
    }
    community.hello("stays", &[painter()]).await;
    assert_eq!(community.lease("stays").await.unwrap().job, jobs[0].id);
}

#[tokio::test]
async fn a_loaded_model_goes_first_until_another_has_waited_as_long_as_it_loads() {
    let community = Community::new().await;
    let (small, large) = (named("small", seconds(1.0, 0.0)), named("large", seconds(1.0, 30.0)));
    community.hello("w", &[small, large]).await;
    let (alice, bob) = (community.member("alice").await, community.member("bob").await);
    let large = community.job(&alice, "a lighthouse --model large").await;
    for i in 0..40 {
        community.job(&bob, &format!("a pond {i} --model small")).await;
    }
    let loaded = || LeaseRequest { loaded: vec!["small".into()], ..LeaseRequest::default() };
    let mut served = 0;
    loop {
        let lease = ask(&community, "w", loaded()).await.unwrap();
        if lease.job == large.id {
            break;
        }
        community.pass(1).await;
        community.finish("w", &lease, 1.0).await.unwrap();
        served += 1;
    }
    assert_eq!(served, 30, "a swap takes 30 s");
}

#[tokio::test]
async fn a_model_that_another_worker_has_is_left_to_it_for_as_long_as_it_loads() {
    let community = Community::new().await;
    let large = named("large", seconds(1.0, 30.0));
    community.hello("has", std::slice::from_ref(&large)).await;
    community.hello("has-not", &[large]).await;
    let alice = community.member("alice").await;
    let loaded = || LeaseRequest { loaded: vec!["large".into()], ..LeaseRequest::default() };
    community.job(&alice, "a lighthouse --model large").await;
    assert!(ask(&community, "has", loaded()).await.is_some());
    let next = community.job(&alice, "a pond --model large").await;
    assert!(community.lease("has-not").await.is_none());
    assert!(community.lease_ahead("has-not").await.is_none());
    community.clock.advance(Duration::from_secs(15));
    ask(&community, "has", LeaseRequest { ahead: true, models: vec!["none".into()], ..loaded() }).await;
    assert!(community.lease("has-not").await.is_none());
    community.clock.advance(Duration::from_secs(15));
    assert_eq!(community.lease("has-not").await.unwrap().job, next.id, "it has waited for 30 s");
}

#[tokio::test]
async fn a_worker_leaves_work_in_memory_only_for_a_small_part_of_its_time() {
    let community = Community::with(|settings| settings.swap_share = 0.1).await;
    let models = ["a", "b", "c"].map(|name| named(name, seconds(1.0, 4.0)));
    community.hello("w", &models).await;
    let alice = community.member("alice").await;
    for i in 0..50 {
        for name in ["a", "b", "c"] {
            community.job(&alice, &format!("a pond {i} --model {name}")).await;
        }
    }
    let (mut loaded, mut swaps) = (String::from("a"), Vec::new());
    for second in 0..130 {
        let request = LeaseRequest { loaded: vec![loaded.clone()], ..LeaseRequest::default() };
        let lease = ask(&community, "w", request).await.unwrap();
        let model = community.hub.store.model(lease.recipe.model).await.unwrap().unwrap().spec.name;
        if model != loaded {
            swaps.push(second);
            loaded = model;
        }
        community.pass(1).await;
        community.finish("w", &lease, 1.0).await.unwrap();
    }
    let apart = swaps.windows(2).map(|two| two[1] - two[0]);
    assert!(swaps.len() >= 3 && apart.min().unwrap() >= 40, "a load of 4 s every 40 s: {swaps:?}");
}

#[tokio::test]
async fn a_loading_time_that_was_measured_counts_instead_of_the_announced_one() {
    let community = Community::new().await;
    community.hello("w", &[named("large", seconds(1.0, 30.0)), named("small", seconds(1.0, 0.0))]).await;
    let alice = community.member("alice").await;
    community.job(&alice, "a lighthouse --model large").await;
    let lease = community.lease("w").await.unwrap();
    community.upload("w", &lease).await.unwrap();
    community.pass(5).await;
    let complete = Complete { attempt: lease.attempt, outputs: 4, gpu_seconds: 1.0, load_seconds: 4.0 };
    community.hub.complete("w", &lease.job, &complete).await.unwrap();

    let next = community.job(&alice, "a lighthouse --model large").await;
    assert_eq!(eta_ms(&community, &next).await, Some(5_000), "4 s to load it, 1 s to run");
    community.job(&alice, "a pond --model small").await;
    assert_eq!(eta_ms(&community, &next).await, Some(6_000), "what needs no loading goes first for 4 s");
    community.pass(4).await;
    let loaded = LeaseRequest { loaded: vec!["small".into()], ..LeaseRequest::default() };
    assert_eq!(ask(&community, "w", loaded).await.unwrap().job, next.id, "it has waited for 4 s");
}

#[tokio::test]
async fn costs_are_learnt_for_each_worker_and_do_not_run_away() {
    let community = Community::new().await;
    community.hello("slow", &[painter()]).await;
    let alice = community.member("alice").await;
    for i in 0..60 {
        community.job(&alice, &format!("a pond {i}")).await;
    }
    for _ in 0..60 {
        let lease = community.lease("slow").await.unwrap();
        community.pass(3).await;
        community.finish("slow", &lease, 3.0).await.unwrap();
    }
    let job = community.job(&alice, "a lighthouse").await;
    assert!((2_900..=3_001).contains(&job.estimate_ms), "{} where 3 s were measured", job.estimate_ms);
    let lease = community.lease("slow").await.unwrap();
    community.pass(1).await;
    community.finish("slow", &lease, 1.0).await.unwrap();
    let next = community.job(&alice, "a lighthouse").await;
    let (model, worker) = (next.estimate_ms, eta_ms(&community, &next).await.unwrap());
    assert!(
        worker < model - 200,
        "what this worker takes changes faster than what all take: {worker}, {model}"
    );
}

#[tokio::test]
async fn a_job_that_a_worker_has_no_memory_for_goes_to_another() {
    let community = Community::new().await;
    community.hello("small", &[painter()]).await;
    community.hello("large", &[painter()]).await;
    let alice = community.member("alice").await;
    let huge = community.job(&alice, "a lighthouse --width 2048 --height 2048").await;
    let lease = community.lease("small").await.unwrap();
    community.run_out_of_memory("small", &lease).await;
    assert_eq!(community.hub.standing("small").await.unwrap().failures, 0, "it is not to blame");
    let fits = community.job(&alice, "a pond").await;
    community.pass(2).await;
    assert_eq!(community.lease("small").await.unwrap().job, fits.id, "smaller ones it can serve");
    assert!(community.lease("small").await.is_none());
    assert_eq!(community.lease("large").await.unwrap().job, huge.id);
}

#[tokio::test]
async fn where_no_other_worker_is_here_the_same_one_tries_and_the_member_is_told_what_to_do() {
    let community = Community::new().await;
    community.hello("small", &[painter()]).await;
    community.hello("gone", &[painter()]).await;
    community.clock.advance(Duration::from_secs(60));
    let alice = community.member("alice").await;
    let job = community.job(&alice, "a lighthouse").await;
    for wait in [2, 4, 0] {
        let lease = community.lease("small").await.expect("nobody else is here");
        community.run_out_of_memory("small", &lease).await;
        community.pass(wait).await;
    }
    let failed = community.now(&job).await;
    assert_eq!(failed.state, State::Failed);
    insta::assert_snapshot!(failed.reason.unwrap(), @"out of memory: 24 GiB are too few. Ask for less at once: a smaller size, fewer, or a shorter answer");
}

#[tokio::test]
async fn what_was_learnt_of_memory_is_forgotten_when_it_suffices() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    community.job(&alice, "a lighthouse").await;
    let lease = community.lease("w").await.unwrap();
    community.run_out_of_memory("w", &lease).await;
    community.pass(2).await;
    community.serve("w").await;
    community.hello("other", &[painter()]).await;
    community.job(&alice, "a lighthouse").await;
    assert!(community.lease("w").await.is_some(), "it had room for one like it");
}

fn together(most: u32) -> LeaseRequest {
    LeaseRequest { batch: BTreeMap::from([("painter".to_owned(), most)]), ..LeaseRequest::default() }
}

#[tokio::test]
async fn jobs_that_differ_in_prompt_and_seed_run_together_across_members() {
    let community = Community::new().await;
    community.hello("w", &[painter(), writer()]).await;
    let (alice, bob) = (community.member("alice").await, community.member("bob").await);
    let carol = community.member("carol").await;
    let a = community.job(&alice, "a lighthouse --seed 1").await;
    let b = community.job(&bob, "a pond --seed 2").await;
    let wide = community.job(&carol, "a hill --width 1024").await;
    community.job(&bob, "/ask what is it?").await;
    community.clock.advance(Duration::from_millis(1));
    let c = community.job(&alice, "a tower").await;
    let lease = ask(&community, "w", together(8)).await.unwrap();
    let mut jobs: Vec<&str> = vec![&lease.job];
    jobs.extend(lease.others.iter().map(|lease| lease.job.as_str()));
    jobs.sort_unstable_by_key(|job| *job != a.id);
    assert_eq!(jobs, [&a.id, &b.id], "and not {}: {} waits", c.id, wide.id);

    let bobs = lease.others.iter().chain([&lease]).find(|lease| lease.job == b.id).unwrap();
    community.finish("w", bobs, 1.0).await.unwrap();
    assert_eq!(community.state(&b).await, State::Succeeded);
    assert_eq!(community.state(&a).await, State::Leased, "each has an end of its own");
    community.hub.cancel(&alice, &a.id).await.unwrap();
    assert_eq!(community.lease("w").await.unwrap().job, wide.id, "its turn was not taken");
}

#[tokio::test]
async fn a_pool_counts_for_as_many_jobs_as_it_runs_at_once() {
    let community = Community::new().await;
    let pools = vec![Pool { models: vec!["painter".into()], jobs: 4 }];
    let hello = Hello { protocol: PROTOCOL, models: vec![painter(), writer()], pools };
    community.hub.hello("w", &hello).await.unwrap();
    let alice = community.member("alice").await;
    let mut jobs = Vec::new();
    for i in 0..8 {
        jobs.push(community.job(&alice, &format!("a pond {i}")).await);
    }
    let text = community.job(&alice, "/ask what is it?").await;
    assert_eq!(eta_ms(&community, &jobs[3]).await, Some(1_000));
    assert_eq!(eta_ms(&community, &jobs[7]).await, Some(2_000));
    assert_eq!(eta_ms(&community, &text).await, Some(1_000), "it waits for no picture");
    let only = LeaseRequest { models: vec!["writer".into()], ..LeaseRequest::default() };
    assert_eq!(ask(&community, "w", only).await.unwrap().job, text.id);
}
