//! Overflow: jobs go to a worker that costs money only when the others would take too long.

use riff_hub::{
    hub::WorkError,
    model::{Cost, ModelSpec, Overflow},
    queue::Place,
    wire::{Hello, PROTOCOL},
};

use crate::support::{Community, painter};

/// The painter, at one second a run, as a worker offers it that is paid for by the run.
fn hosted(after_seconds: f64) -> ModelSpec {
    ModelSpec { overflow: Some(Overflow { after_seconds }), ..painter() }
}

#[tokio::test]
async fn jobs_overflow_only_beyond_the_limit() {
    let community = Community::new().await;
    community.hello("ours", &[painter()]).await;
    community.hello("hosted", &[hosted(2.0)]).await;
    let alice = community.member("alice").await;
    let mut jobs = Vec::new();
    for i in 0..2 {
        jobs.push(community.job(&alice, &format!("a tower {i}")).await.id);
    }
    assert!(community.lease("hosted").await.is_none(), "ours is done with both within two seconds");
    jobs.push(community.job(&alice, "a tower too many").await.id);
    assert_eq!(community.lease("hosted").await.unwrap().job, jobs[2], "the first beyond the limit");
    assert!(community.lease("hosted").await.is_none(), "no other is");
    assert_eq!(community.lease("ours").await.unwrap().job, jobs[0]);
    community.clock.advance(std::time::Duration::from_secs(1));
    assert!(community.lease("hosted").await.is_none());
    assert_eq!(community.lease("ours").await.unwrap().job, jobs[1], "ours goes on in its order");
}

#[tokio::test]
async fn what_only_the_paid_worker_serves_goes_there_at_once() {
    let community = Community::new().await;
    community.hello("ours", &[painter()]).await;
    community.hello("hosted", &[hosted(60.0)]).await;
    let alice = community.member("alice").await;
    let job = community.job(&alice, "a lighthouse").await;
    assert!(community.lease("hosted").await.is_none());
    community.clock.advance(std::time::Duration::from_secs(25));
    let lease = community.lease("hosted").await.expect("ours went away");
    assert_eq!(lease.job, job.id);
    community.finish("hosted", &lease, 1.0).await.unwrap();
}

#[tokio::test]
async fn members_are_told_the_wait_that_the_paid_worker_leaves() {
    let community = Community::new().await;
    community.hello("ours", &[painter()]).await;
    community.hello("hosted", &[hosted(2.0)]).await;
    let alice = community.member("alice").await;
    let mut etas = Vec::new();
    for i in 0..4 {
        let job = community.job(&alice, &format!("a tower {i}")).await;
        let place = community.hub.view(&job.id).await.unwrap().place;
        etas.push(place.map(|Place { position, eta_ms }| (position, eta_ms.unwrap())).unwrap());
    }
    assert_eq!(etas, [(1, 1_000), (2, 2_000), (3, 1_000), (4, 2_000)]);
}

#[tokio::test]
async fn an_offer_says_nothing_of_what_others_serve() {
    let community = Community::new().await;
    let dear = Cost { fixed: 100.0, ..painter().cost };
    let offer = ModelSpec { cost: dear, title: "Painter, hosted".into(), ..hosted(2.0) };
    let known = async || {
        let model = community.hub.store.model(painter().digest()).await.unwrap().unwrap();
        (model.spec.title, model.spec.cost.fixed, model.spec.overflow)
    };
    assert_eq!(offer.digest(), painter().digest(), "it is the same version");
    community.hello("hosted", std::slice::from_ref(&offer)).await;
    assert_eq!(known().await, ("Painter, hosted".into(), 100.0, None));
    community.hello("ours", &[painter()]).await;
    community.hello("hosted", &[offer]).await;
    assert_eq!(known().await, ("painter".into(), 1.0, None));
}

#[tokio::test]
async fn an_offer_must_begin_at_some_time() {
    let community = Community::new().await;
    for after in [-1.0, f64::NAN, 1e12] {
        let hello = Hello { protocol: PROTOCOL, models: vec![hosted(after)], pools: Vec::new() };
        let refused = community.hub.hello("hosted", &hello).await.err().unwrap();
        assert!(matches!(refused, WorkError::Spec { .. }), "{refused}");
        assert!(refused.to_string().contains("from 0 to 31536000"), "{refused}");
    }
}
