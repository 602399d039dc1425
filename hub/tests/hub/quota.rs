//! Quota: a ledger that reserves, settles and refunds, and never goes below zero.

use proptest::prelude::*;
use riff_hub::{job::State, store::Member};

use crate::support::{Community, painter};

#[tokio::test]
async fn an_estimate_is_reserved_and_the_measured_cost_is_charged() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    community.job(&alice, "a lighthouse").await;
    assert_eq!(community.left(&alice).await, 3_599.0, "one second is reserved");
    let lease = community.lease("w").await.unwrap();
    community.pass(5).await;
    community.finish("w", &lease, 0.25).await.unwrap();
    assert_eq!(community.left(&alice).await, 3_599.75);
}

#[tokio::test]
async fn a_worker_cannot_charge_for_longer_than_it_held_the_job() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    community.job(&alice, "a lighthouse").await;
    let lease = community.lease("w").await.unwrap();
    community.pass(3).await;
    community.finish("w", &lease, 1e9).await.unwrap();
    assert_eq!(community.left(&alice).await, 3_597.0);
}

#[tokio::test]
async fn who_has_nothing_left_is_told_how_much_and_when() {
    let community = Community::with(|settings| settings.allowance_ms = 2_500).await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    community.job(&alice, "one").await;
    community.job(&alice, "two").await;
    let refusal = community.submit(&alice, "three").await.unwrap_err();
    insta::assert_snapshot!(refusal, @"This needs about 1.0 GPU-seconds and you have 0.5 left today. The allowance is filled up again in 24 h; a smaller size or a smaller --n costs less.");

    let all_or_none = community.submit(&alice, "{a, b, c} bird").await;
    assert!(all_or_none.is_err());
    assert_eq!(community.left(&alice).await, 0.5);
    community.clock.advance(std::time::Duration::from_secs(24 * 3_600));
    community.job(&alice, "three").await;
}

#[tokio::test]
async fn unfinished_jobs_are_limited() {
    let community = Community::with(|settings| settings.max_waiting = 2).await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    community.job(&alice, "{red, blue} bird").await;
    let refusal = community.submit(&alice, "a third").await.unwrap_err();
    insta::assert_snapshot!(refusal, @"You already have 2 prompts waiting: let some of them finish, or cancel some, and try again.");
}

/// What may happen next in a community.
#[derive(Debug, Clone)]
enum Happening {
    Prompt(usize),
    Lease,
    Finish { gpu_seconds: f64 },
    Fail { retry: bool },
    Cancel(usize),
    Pass(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Happening::Prompt),
        4 => Just(Happening::Lease),
        3 => (0.0..30.0_f64).prop_map(|gpu_seconds| Happening::Finish { gpu_seconds }),
        1 => any::<bool>().prop_map(|retry| Happening::Fail { retry }),
        1 => (0..20_usize).prop_map(Happening::Cancel),
        2 => (1..12_u64).prop_map(Happening::Pass),
    ]
}

async fn live_through(happenings: &[Happening]) -> Result<(), TestCaseError> {
    const ALLOWANCE: f64 = 5.0;
    let community = Community::with(|settings| settings.allowance_ms = 5_000).await;
    community.hello("w", &[painter()]).await;
    let members: [Member; 3] =
        [community.member("a").await, community.member("b").await, community.member("c").await];
    let (mut jobs, mut leases) = (Vec::new(), Vec::new());
    for happening in happenings {
        match happening {
            Happening::Prompt(who) => jobs.extend(community.submit(&members[*who], "a bird").await.ok()),
            Happening::Lease => leases.extend(community.lease("w").await),
            Happening::Finish { gpu_seconds } => {
                if let Some(lease) = leases.pop() {
                    let _ = community.finish("w", &lease, *gpu_seconds).await;
                }
            }
            Happening::Fail { retry } => {
                if let Some(lease) = leases.pop() {
                    let _ = community.fail("w", &lease, *retry).await;
                }
            }
            Happening::Cancel(which) => {
                if let Some(job) = jobs.get(*which) {
                    let who = members.iter().find(|member| member.id == job.member).unwrap();
                    let _ = community.hub.cancel(who, &job.id).await;
                }
            }
            Happening::Pass(seconds) => community.pass(*seconds).await,
        }
        for member in &members {
            let left = community.left(member).await;
            prop_assert!((0.0..=ALLOWANCE).contains(&left), "{left} left after {happening:?}");
        }
    }
    community.pass(4_000).await;
    for member in &members {
        let mut charged = 0;
        for job in jobs.iter().filter(|job| job.member == member.id) {
            let job = community.now(job).await;
            prop_assert!(job.state.is_final() || job.state == State::Queued, "{:?}", job.state);
            charged += job.cost_ms.filter(|_| job.state == State::Succeeded).unwrap_or(0);
        }
        let left = community.left(member).await;
        prop_assert!(
            left >= ALLOWANCE - charged as f64 / 1_000.0 - 1e-9,
            "{left} left of {ALLOWANCE}, {charged} ms charged"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_happens_the_ledger_never_goes_below_zero_nor_loses_anything(
        happenings in proptest::collection::vec(happening(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live_through(&happenings))?;
    }
}
