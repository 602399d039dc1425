//! Steps that are asked for at the same moment are done together, and nobody can tell.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::future::join_all;
use riff_hub::{
    job::{Job, Lane, State},
    recipe::Recipe,
    store::{Admitted, Completion, Ending, Member, NewJob, Search, Shares, StoreError},
    wire::LeaseRequest,
};
use tokio::time::timeout;

use crate::support::{Community, painter};

/// Who asks, in which channel and its community, for how many jobs of how many seconds each.
type Asked = (&'static str, (&'static str, &'static str), usize, i64);

const HERE: (&str, &str) = ("general", "web");
const THERE: (&str, &str) = ("elsewhere", "others");

/// What members ask for, with ten seconds each and at most six prompts waiting.
const ASKED: [Asked; 10] = [
    ("alice", HERE, 2, 1),
    ("bob", HERE, 1, 2),
    ("alice", THERE, 1, 1),
    ("carol", THERE, 3, 2),
    ("alice", HERE, 1, 5),
    ("bob", HERE, 4, 1),
    ("alice", HERE, 1, 4),
    ("carol", HERE, 1, 1),
    ("bob", THERE, 1, 1),
    ("alice", HERE, 2, 1),
];

/// A community in which one prompt of alice's waits.
struct Asking {
    community: Community,
    members: HashMap<&'static str, Member>,
    recipe: Recipe,
}

impl Asking {
    async fn new() -> Self {
        let community = Community::new().await;
        community.hello("w", &[painter()]).await;
        let mut members = HashMap::new();
        for name in ["alice", "bob", "carol"] {
            let member = community.member(name).await;
            community.room(&member, THERE.0, THERE.1).await;
            members.insert(name, member);
        }
        let waits = community.job(&members["alice"], "a lighthouse --n 1").await;
        let recipe = community.hub.store.recipe(waits.recipe).await.unwrap().unwrap();
        Self { community, members, recipe }
    }

    /// Asks for the `i`th of [`ASKED`].
    async fn ask(&self, i: usize) -> Result<Vec<Job>, StoreError> {
        let (name, (channel, within), count, seconds) = ASKED[i];
        let jobs = (0..count).map(|k| NewJob {
            id: format!("{i}-{k}"),
            recipe: self.recipe.clone(),
            estimate_ms: seconds * 1_000,
            reply: None,
            request: None,
        });
        let admitted = Admitted {
            member: self.members[name].id.clone(),
            channel: channel.into(),
            community: within.into(),
            private: false,
            lane: Lane::Fast,
            shares: Shares { community: 1.0, member: if name == "carol" { 2.0 } else { 1.0 } },
            allowance_ms: 10_000,
            period: 7,
            max_waiting: 6,
            now: 1,
            expires_at: i64::MAX,
        };
        self.community.hub.store.enqueue(admitted, jobs.collect()).await
    }
}

/// What an answer says, whoever the member is.
fn told(answer: &Result<Vec<Job>, StoreError>) -> String {
    let tags = |job: &Job| format!("{} {}..{}", job.id, job.start_tag, job.finish_tag);
    match answer {
        Ok(jobs) => jobs.iter().map(tags).collect::<Vec<_>>().join(", "),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_members_ask_at_once_is_taken_as_if_they_asked_one_after_another() {
    let here = Asking::new().await;
    let mut alone = Vec::new();
    for i in 0..ASKED.len() {
        alone.push(told(&here.ask(i).await));
    }
    let there = Asking::new().await;
    let together = join_all((0..ASKED.len()).map(|i| there.ask(i))).await;
    let together: Vec<String> = together.iter().map(told).collect();
    assert_eq!(together, alone);
    assert_eq!(alone[6], "needs 4000 ms of quota, 2000 ms are left", "alice has asked for eight seconds");
    assert_eq!(alone[9], "the member already has 5 unfinished jobs", "and asks for two");
}

#[tokio::test]
async fn ends_that_are_told_at_once_are_answered_each_by_itself() {
    let community = Community::with(|settings| settings.allowance_ms = 4_500).await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    let mut leases = Vec::new();
    for prompt in ["one", "two", "three", "four"] {
        community.job(&alice, &format!("{prompt} --n 1")).await;
        leases.push(community.lease("w").await.unwrap());
    }
    for lease in &leases[..3] {
        community.upload("w", lease).await.unwrap();
    }
    community.pass(3).await;
    let now = community.hub.seam.now();
    let done = |i: usize, attempt: u32| Completion {
        job: leases[i].job.clone(),
        worker: "w".into(),
        attempt,
        outputs: 1,
        run_ms: 3_000,
        load_ms: 0,
        allowance_ms: 4_500,
        now,
    };
    let told = [done(0, 1), done(1, 1), done(0, 1), done(2, 2), done(3, 1)];
    let answers = join_all(told.map(|done| community.hub.store.complete(done))).await;
    let [first, second, again, late, incomplete] = answers.try_into().unwrap();
    let (Ending::Now(first), Ending::Now(second)) = (first.unwrap(), second.unwrap()) else {
        panic!("both end now");
    };
    assert_eq!([first.state, second.state], [State::Succeeded; 2]);
    assert!(matches!(again.unwrap(), Ending::Before(job) if job.id == first.id), "told twice, ended once");
    assert!(matches!(late, Err(StoreError::LeaseLost { attempt: 2, .. })));
    assert!(matches!(incomplete, Err(StoreError::Missing(_))), "nothing was uploaded");
    // Of 4.5 seconds, two are reserved for the others. The first job takes what was left; there is nothing for the second.
    assert_eq!(community.left(&alice).await, 0.0);
    community.finish("w", &leases[2], 0.5).await.unwrap();
    assert_eq!(community.left(&alice).await, 0.5);
}

#[tokio::test]
async fn workers_that_look_at_once_get_all_that_waits_however_many_run_together() {
    let community = Community::new().await;
    let workers = ["first", "second", "third"];
    for worker in workers {
        community.hello(worker, &[painter()]).await;
    }
    let alice = community.member("alice").await;
    for i in 0..10 {
        community.job(&alice, &format!("lighthouse {i} --n 1")).await;
    }
    let looks = workers.map(|worker| {
        let search = Search {
            worker: worker.into(),
            wanted: vec![painter().digest()],
            loaded: vec![painter().digest()],
            elsewhere: HashSet::new(),
            swap_share: 0.05,
            overflowing: Vec::new(),
            batch: [(painter().digest(), 4)].into(),
            present: Vec::new(),
            now: community.hub.seam.now(),
        };
        community.hub.store.lease(search, i64::MAX)
    });
    let mut given: Vec<usize> =
        join_all(looks).await.into_iter().map(|leased| leased.unwrap().len()).collect();
    given.sort_unstable();
    assert_eq!(given, [2, 4, 4]);
}

#[tokio::test]
async fn what_a_worker_is_given_that_has_gone_meanwhile_is_the_next_ones() {
    let community = Community::new().await;
    for worker in ["goes", "stays"] {
        community.hello(worker, &[painter()]).await;
    }
    let alice = community.member("alice").await;
    for i in 0..40 {
        let job = community.job(&alice, &format!("lighthouse {i} --n 1")).await;
        let request = LeaseRequest::default();
        let asks = community.hub.lease("goes", &request);
        if let Ok(lease) = timeout(Duration::from_micros(100 * i), asks).await {
            community.finish("goes", &lease.unwrap().unwrap(), 0.1).await.unwrap();
            continue;
        }
        let given = async {
            loop {
                if let Some(lease) = community.lease("stays").await {
                    return lease;
                }
            }
        };
        let lease = timeout(Duration::from_secs(30), given).await.unwrap();
        community.finish("stays", &lease, 0.1).await.unwrap();
        assert_eq!(community.now(&job).await.tries(), 1);
    }
}
