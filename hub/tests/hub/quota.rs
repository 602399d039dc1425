//! Quota: a ledger that reserves, settles and refunds, and never goes below zero.

use proptest::prelude::*;
use riff_hub::{
    community::WEB,
    hub::{Act, Ask, Privacy},
    job::State,
    store::Member,
};

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
    Grant(usize, i64),
    Lease,
    Finish { gpu_seconds: f64 },
    Fail { retry: bool },
    Cancel(usize),
    Pass(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Happening::Prompt),
        1 => (0..3_usize, 1..4_000_i64).prop_map(|(who, gpu_ms)| Happening::Grant(who, gpu_ms)),
        4 => Just(Happening::Lease),
        3 => (0.0..30.0_f64).prop_map(|gpu_seconds| Happening::Finish { gpu_seconds }),
        1 => any::<bool>().prop_map(|retry| Happening::Fail { retry }),
        1 => (0..20_usize).prop_map(Happening::Cancel),
        2 => (1..12_u64).prop_map(Happening::Pass),
    ]
}

/// Everybody's allowance, and that of the first member's role.
const ALLOWANCES: [i64; 3] = [8_000, 5_000, 5_000];

async fn prompt(community: &Community, members: &[Member; 3], who: usize) -> Option<String> {
    let roles: &[String] = if who == 0 { &["patron".to_owned()] } else { &[] };
    let privacy = if who == 1 { Privacy::Private } else { Privacy::Public };
    let ask = Ask { roles, privacy, ..Ask::public(&members[who], "general") };
    community.hub.submit(&ask, "a bird").await.ok().map(|jobs| jobs[0].id.clone())
}

async fn live_through(happenings: &[Happening]) -> Result<(), TestCaseError> {
    let community = Community::with(|settings| settings.allowance_ms = 5_000).await;
    community.hello("w", &[painter()]).await;
    let members: [Member; 3] =
        [community.member("a").await, community.member("b").await, community.member("c").await];
    community.act(&members[2], Act::Allow { role: "patron".into(), gpu_ms: Some(ALLOWANCES[0]) }).await;
    let (mut jobs, mut leases, mut granted) = (Vec::new(), Vec::new(), [0; 3]);
    let period = period_of(&community);
    for happening in happenings {
        match happening {
            Happening::Prompt(who) => {
                jobs.extend(prompt(&community, &members, *who).await.map(|job| (*who, job)))
            }
            Happening::Grant(who, gpu_ms) => {
                granted[*who] += gpu_ms;
                let act = Act::Grant { member: members[*who].clone(), gpu_ms: *gpu_ms };
                community.act(&members[2], act).await;
            }
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
                if let Some((who, job)) = jobs.get(*which) {
                    let _ = community.hub.cancel(&members[*who], job).await;
                }
            }
            Happening::Pass(seconds) => community.pass(*seconds).await,
        }
        for (who, member) in members.iter().enumerate() {
            let left = community.hub.store.quota_left(&member.id, period, ALLOWANCES[who]).await.unwrap();
            let most = ALLOWANCES[who] + granted[who];
            prop_assert!((0..=most).contains(&left), "{left} ms of {most} left after {happening:?}");
        }
    }
    community.pass(4_000).await;
    for (who, member) in members.iter().enumerate() {
        let mut charged = 0;
        for (_, job) in jobs.iter().filter(|(of, _)| *of == who) {
            let job = community.hub.store.job(job).await.unwrap().unwrap();
            prop_assert!(job.state.is_final() || job.state == State::Queued, "{:?}", job.state);
            charged += job.cost_ms.filter(|_| job.state == State::Succeeded).unwrap_or(0);
        }
        let left = community.hub.store.quota_left(&member.id, period, ALLOWANCES[who]).await.unwrap();
        let most = ALLOWANCES[who] + granted[who];
        prop_assert!(left >= most - charged, "{left} ms of {most} left, {charged} ms charged");
    }
    Ok(())
}

/// The day that the clock started in; no case here lasts into the next.
fn period_of(community: &Community) -> i64 {
    community.hub.seam.now().div_euclid(24 * 60 * 60 * 1_000)
}

#[tokio::test]
async fn the_largest_allowance_of_ones_roles_counts_and_grants_are_for_today() {
    let community = Community::with(|settings| settings.allowance_ms = 5_000).await;
    let (alice, maud) = (community.member("alice").await, community.member("maud").await);
    for (role, gpu_ms) in [("patron", 9_000), ("newcomer", 1_000)] {
        community.act(&maud, Act::Allow { role: role.into(), gpu_ms: Some(gpu_ms) }).await;
    }
    let of = async |roles: &[&str]| {
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        let allowance = community.hub.allowance(&alice, WEB, &roles).await.unwrap();
        (allowance.left_ms, allowance.of_ms)
    };
    assert_eq!(of(&[]).await, (5_000, 5_000));
    assert_eq!(of(&["newcomer", "patron"]).await, (9_000, 9_000));
    assert_eq!(of(&["newcomer"]).await, (5_000, 5_000), "a role takes nothing away");
    community.act(&maud, Act::Grant { member: alice.clone(), gpu_ms: 600 }).await;
    assert_eq!(of(&["patron"]).await, (9_600, 9_600));
    community.act(&maud, Act::Allow { role: "patron".into(), gpu_ms: None }).await;
    assert_eq!(of(&["patron"]).await, (5_600, 5_600));
    community.pass(24 * 3_600).await;
    assert_eq!(of(&[]).await, (5_000, 5_000), "a grant is for its day");
    let none = Act::Grant { member: alice.clone(), gpu_ms: 0 };
    let refusal = community.hub.moderate(&maud, WEB, &none).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"A grant is more than 0 seconds and at most a year of GPU time: give another number.");
}

#[tokio::test]
async fn a_roles_allowance_holds_until_its_jobs_are_settled() {
    let community = Community::with(|settings| settings.allowance_ms = 1_000).await;
    community.hello("w", &[painter()]).await;
    let (alice, maud) = (community.member("alice").await, community.member("maud").await);
    community.act(&maud, Act::Allow { role: "patron".into(), gpu_ms: Some(10_000) }).await;
    let roles = ["patron".to_owned()];
    let ask = Ask { roles: &roles, ..Ask::public(&alice, "general") };
    community.hub.submit(&ask, "a lighthouse").await.unwrap();
    let lease = community.lease("w").await.unwrap();
    community.act(&maud, Act::Allow { role: "patron".into(), gpu_ms: None }).await;
    community.pass(5).await;
    community.finish("w", &lease, 4.0).await.unwrap();
    let left = community.hub.store.quota_left(&alice.id, period_of(&community), 10_000).await.unwrap();
    assert_eq!(left, 6_000, "charged what it took, as it was admitted for");
    assert_eq!(community.left(&alice).await, 0.0, "never shown below zero");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::CASES))]
    #[test]
    fn whatever_happens_the_ledger_never_goes_below_zero_nor_loses_anything(
        happenings in proptest::collection::vec(happening(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live_through(&happenings))?;
    }
}
