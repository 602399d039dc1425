//! Whose turn it is: members and communities share the fleet by weight, whoever asks for most.

use riff_hub::{
    hub::Ask,
    simulate::{Adversary, Community as Crowd, GpuKind, Models, Scenario, Scheduler, Workload, compare},
    store::Member,
};
use tempfile::TempDir;

use crate::support::{Community, painter};

/// Members by the names that begin with that word, each in the room of that name, which is a community of its own.
async fn crowd(community: &Community, word: &str, count: usize) -> Vec<Member> {
    let mut members = Vec::new();
    for i in 0..count {
        let member = community.member(&format!("{word}{i}")).await;
        community.room(&member, word, word).await;
        members.push(member);
    }
    members
}

async fn ask(community: &Community, who: &Member, room: &str, prompts: usize) {
    for i in 0..prompts {
        community.submit_in(who, room, &format!("a tower {i}")).await.unwrap();
    }
}

/// How many of the next jobs are of a room.
async fn served_of(community: &Community, room: &str, jobs: usize) -> usize {
    let mut its = 0;
    for _ in 0..jobs {
        let lease = community.serve("w").await;
        its += usize::from(community.hub.store.job(&lease.job).await.unwrap().unwrap().channel == room);
    }
    its
}

#[tokio::test]
async fn an_adversary_does_not_delay_a_newcomer() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let adversary = community.member("adversary").await;
    ask(&community, &adversary, "general", 500).await;
    for turn in 0..5 {
        community.serve("w").await;
        let newcomer = community.member(&format!("newcomer {turn}")).await;
        let wanted = community.job(&newcomer, "a pond").await;
        let next = [community.serve("w").await.job, community.serve("w").await.job];
        assert!(next.contains(&wanted.id), "newcomer {turn} is served within two turns");
    }
}

#[tokio::test]
async fn a_community_of_many_does_not_starve_one_of_few() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    for member in crowd(&community, "many", 200).await {
        ask(&community, &member, "many", 1).await;
    }
    let few = crowd(&community, "few", 1).await;
    ask(&community, &few[0], "few", 30).await;
    let served = served_of(&community, "few", 40).await;
    assert!((18..=22).contains(&served), "{served} of 40 jobs are the small community's");
}

#[tokio::test]
async fn members_of_a_large_community_share_what_it_gets_as_its_crowd_grows() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let many = crowd(&community, "many", 10).await;
    let few = crowd(&community, "few", 1).await;
    ask(&community, &few[0], "few", 60).await;
    for member in &many {
        ask(&community, member, "many", 10).await;
    }
    let served = served_of(&community, "few", 60).await;
    assert!((26..=34).contains(&served), "{served} of 60 jobs are the small community's");
}

#[tokio::test]
async fn weights_of_communities_and_roles_are_their_shares() {
    let community = Community::with(|settings| {
        settings.fairness.communities.insert("double".into(), 2.0);
        settings.fairness.roles.insert("patron".into(), 3.0);
    })
    .await;
    community.hello("w", &[painter()]).await;
    let (double, single) = (crowd(&community, "double", 1).await, crowd(&community, "single", 2).await);
    ask(&community, &double[0], "double", 40).await;
    let roles = ["patron".to_owned()];
    for i in 0..40 {
        let patron = Ask { roles: &roles, ..Ask::public(&single[0], "single") };
        community.hub.submit(&patron, &format!("a pond {i}")).await.unwrap();
    }
    ask(&community, &single[1], "single", 40).await;
    let (mut of_double, mut of_patron) = (0, 0);
    for _ in 0..48 {
        let lease = community.serve("w").await;
        let job = community.hub.store.job(&lease.job).await.unwrap().unwrap();
        of_double += usize::from(job.member == double[0].id);
        of_patron += usize::from(job.member == single[0].id);
    }
    assert!((30..=34).contains(&of_double), "{of_double} of 48, where 32 are its share");
    assert!((11..=14).contains(&of_patron), "{of_patron} of the other 16, where 12 are their share");
}

/// A fleet that has about as much to do as it can, a quarter of an hour long.
fn busy() -> Scenario {
    Scenario {
        hours: 0.25,
        load: 0.95,
        models: Models { count: 6, ..Models::default() },
        gpus: vec![GpuKind { count: 3, speed: 1.0, memory_gb: 20.0 }],
        communities: vec![
            Crowd { members: 20, activity: 2.0, weight: 1.0, patrons: 0.0 },
            Crowd { members: 4, activity: 1.0, weight: 1.0, patrons: 0.0 },
        ],
        adversary: Some(Adversary { prompts: 50, at_minutes: 2.5, community: 0 }),
        ..Scenario::default()
    }
}

#[tokio::test]
async fn the_hub_loads_less_and_does_more_than_first_come_first_served_and_a_seed_tells_all() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let report = compare(&busy(), first.path()).await.unwrap();
    let (riff, fifo) = (report.of(Scheduler::Riff).unwrap(), report.of(Scheduler::Fifo).unwrap());
    assert!(riff.swaps * 3 <= fifo.swaps, "{report}");
    assert!(riff.wait_s[1] <= fifo.wait_s[1], "{report}");
    assert!(riff.jain > 0.8 && riff.jain > fifo.jain, "{report}");
    assert!(riff.goodput > fifo.goodput && riff.goodput <= report.bound, "{report}");

    let again = compare(&busy(), second.path()).await.unwrap();
    assert_eq!((report.to_string(), report.csv()), (again.to_string(), again.csv()));
    let other = Scenario { seed: 2, ..busy() };
    assert_ne!(Workload::draw(&busy()).unwrap().jobs, Workload::draw(&other).unwrap().jobs);
}
