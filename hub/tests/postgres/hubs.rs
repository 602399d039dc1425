//! Several hubs on one database.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use riff_hub::{
    admission::Refusal,
    hub::{Ask, Change, Hub},
    job::State,
    store::{Store, WEB},
    wire::{Complete, Hello, LeaseRequest, PROTOCOL, Report},
};
use tokio_util::sync::CancellationToken;

use crate::{
    database::Database,
    support::{Community, painter, picture},
};

/// Another hub on the database of a community, which keeps in touch with the first.
async fn another(community: &Community) -> Arc<Hub> {
    let settings = community.hub.settings().clone();
    Arc::new(Hub::open(community.data.path(), settings, community.clock.clone()).await.unwrap())
}

/// Both keep in touch for as long as the future runs.
async fn in_touch<T>(one: &Hub, other: &Hub, story: impl Future<Output = T>) -> T {
    let stop = CancellationToken::new();
    tokio::select! {
        told = story => told,
        () = one.keep_in_touch(&stop) => unreachable!("nobody stops it"),
        () = other.keep_in_touch(&stop) => unreachable!("nobody stops it"),
    }
}

async fn hello(hub: &Hub, worker: &str) {
    let hello = Hello { protocol: PROTOCOL, models: vec![painter()], pools: Vec::new() };
    hub.hello(worker, &hello).await.unwrap();
}

#[tokio::test]
async fn a_prompt_at_one_hub_is_painted_by_a_worker_of_another_and_both_show_it() {
    let here = Community::new().await;
    let there = another(&here).await;
    hello(&there, "ada").await;
    here.hub.sweep().await.unwrap();
    there.sweep().await.unwrap();
    here.hub.sweep().await.unwrap();
    let alice = here.member("alice").await;
    in_touch(&here.hub, &there, async {
        let mut seen = here.hub.subscribe();
        let waits = LeaseRequest { wait_ms: 60_000, ..LeaseRequest::default() };
        let leased = tokio::spawn({
            let there = there.clone();
            async move { there.lease("ada", &waits).await.unwrap().unwrap() }
        });
        let job = here.job(&alice, "a lighthouse --n 1").await;
        let lease = leased.await.unwrap();
        assert_eq!(lease.job, job.id);
        let report = Report { attempt: 1, progress: 0.5, text: Some("half".into()), ..Report::default() };
        there.report("ada", &job.id, report).await.unwrap();
        let mut told = async |change| while seen.recv().await.unwrap().change != change {};
        told(Change::Progress).await;
        let view = here.hub.view(&job.id).await.unwrap();
        assert_eq!((view.job.state, view.percent(), view.text()), (State::Running, 50, Some("half")));
        there.store_output(("ada", &job.id, 1), 0, "image/png", picture()).await.unwrap();
        let done = Complete { attempt: 1, outputs: 1, gpu_seconds: 1.0, load_seconds: 0.0 };
        there.complete("ada", &job.id, &done).await.unwrap();
        told(Change::State).await;
        assert_eq!(here.state(&job).await, State::Succeeded);
        assert!(here.hub.store.live(&job.id).await.unwrap().is_none(), "what is over takes no room");
    })
    .await;
}

#[tokio::test]
async fn a_worker_counts_for_the_hubs_that_it_does_not_speak_to_until_it_leaves() {
    let here = Community::new().await;
    let there = another(&here).await;
    hello(&there, "ada").await;
    let alice = here.member("alice").await;
    let job = here.submit(&alice, "a lighthouse").await;
    assert!(job.is_ok(), "{job:?}");
    let eta = async || here.hub.view(&job.as_ref().unwrap().id).await.unwrap().place.unwrap().eta_ms;
    assert_eq!(eta().await, None, "nobody told this hub yet");
    there.sweep().await.unwrap();
    here.hub.sweep().await.unwrap();
    assert!(eta().await.is_some());
    there.bye("ada").await.unwrap();
    here.hub.sweep().await.unwrap();
    assert_eq!(eta().await, None);
}

#[tokio::test]
async fn a_hub_tells_of_its_workers_without_waiting_for_who_writes_to_one() {
    let here = Community::new().await;
    let loaded = LeaseRequest { loaded: vec![painter().name], ..LeaseRequest::default() };
    for worker in ["ada", "bob"] {
        hello(&here.hub, worker).await;
        assert!(here.hub.lease(worker, &loaded).await.unwrap().is_none());
    }
    let url = here.hub.settings().store.postgres.as_ref().unwrap().url.clone();
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let told = async || {
        let rows = sqlx::query_scalar("SELECT name FROM worker WHERE loaded <> '[]' ORDER BY name");
        let told: Vec<String> = rows.fetch_all(&pool).await.unwrap();
        told.join(" ")
    };
    let mut held = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM worker WHERE name = 'ada' FOR UPDATE").execute(&mut *held).await.unwrap();
    let swept = tokio::time::timeout(Duration::from_secs(5), here.hub.sweep()).await;
    swept.expect("it waits for nobody").unwrap();
    assert_eq!(told().await, "bob");
    held.rollback().await.unwrap();
    here.hub.sweep().await.unwrap();
    assert_eq!(told().await, "ada bob", "what was left out is told the next time");
}

#[tokio::test]
async fn no_job_is_given_away_twice_however_many_ask_at_once() {
    let here = Community::new().await;
    let there = another(&here).await;
    let alice = here.member("alice").await;
    let names: Vec<String> = (0..8).map(|i| format!("worker-{i}")).collect();
    for (i, name) in names.iter().enumerate() {
        hello([&here.hub, &*there][i % 2], name).await;
    }
    let mut asked = BTreeSet::new();
    for i in 0..40 {
        asked.insert(here.job(&alice, &format!("lighthouse {i} --n 1")).await.id);
    }
    let given = join_all(names.iter().enumerate().map(async |(i, name)| {
        let hub = [&here.hub, &*there][i % 2];
        let mut mine = Vec::new();
        for _ in 0..5 {
            mine.push(hub.lease(name, &LeaseRequest::default()).await.unwrap().unwrap().job);
        }
        mine
    }))
    .await;
    let given: Vec<String> = given.into_iter().flatten().collect();
    assert_eq!(given.len(), 40);
    assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), asked);
}

#[tokio::test]
async fn a_member_who_asks_at_every_hub_at_once_gets_no_more_than_the_quota() {
    let here = Community::with(|settings| settings.allowance_ms = 5_000).await;
    let there = another(&here).await;
    here.hello("ada", &[painter()]).await;
    there.sweep().await.unwrap();
    let alice = here.member("alice").await;
    let asks = (0..12).map(async |i| {
        let hub = [&here.hub, &*there][i % 2];
        hub.submit(&Ask::public(&alice, "general"), &format!("lighthouse {i} --n 1")).await
    });
    let answers = join_all(asks).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5, "one second each");
    let refused = answers.iter().filter(|answer| matches!(answer, Err(Refusal::Quota { .. })));
    assert_eq!(refused.count(), 7);
    assert_eq!(here.left(&alice).await, 0.0);
}

#[tokio::test]
async fn a_post_is_in_the_hands_of_one_hub_and_goes_to_the_other_when_that_is_gone() {
    let here = Community::new().await;
    let there = another(&here).await;
    here.hello("ada", &[painter()]).await;
    let alice = here.member("alice").await;
    for i in 0..6 {
        here.job(&alice, &format!("lighthouse {i} --n 1")).await;
        here.serve("ada").await;
    }
    let due = async |hub: &Hub| {
        let due = hub.store.due(WEB, 3, hub.seam.now()).await.unwrap();
        due.into_iter().map(|due| due.job).collect::<BTreeSet<_>>()
    };
    let (mine, theirs) = tokio::join!(due(&here.hub), due(&there));
    assert_eq!((mine.len(), theirs.len(), mine.union(&theirs).count()), (3, 3, 6));
    assert!(due(&there).await.is_empty(), "all are in somebody's hands");
    here.pass(16).await;
    assert_eq!(due(&there).await.len(), 3, "nobody delivered them");
}

#[tokio::test]
async fn what_a_hub_may_have_overwritten_as_it_fell_silent_is_posted_again() {
    let here = Community::new().await;
    let there = another(&here).await;
    here.hello("ada", &[painter()]).await;
    let alice = here.member("alice").await;
    here.room(&alice, "7", "club").await;
    here.hub.submit(&Ask::public(&alice, "7"), "a pond --n 1").await.unwrap();
    here.serve("ada").await;
    let store = &here.hub.store;
    let due = async || store.due("chat", 9, here.hub.seam.now()).await.unwrap().pop();
    let publish = async |due| store.publish(&due, None, here.hub.seam.now()).await.unwrap();
    assert!(there.takes("edits").await.unwrap());
    publish(due().await.unwrap()).await;
    here.pass(5).await;
    assert!(!here.hub.takes("edits").await.unwrap());
    assert!(due().await.is_none());
    here.pass(2).await;
    assert!(here.hub.takes("edits").await.unwrap(), "nobody heard of the other");
    publish(due().await.unwrap()).await;

    here.pass(5).await;
    assert!(here.hub.takes("edits").await.unwrap());
    here.pass(7).await;
    assert!(there.takes("edits").await.unwrap());
    assert!(due().await.is_none(), "it lived on for long enough to put it right");
}

#[tokio::test]
async fn every_row_moves_from_sqlite_and_the_community_goes_on() {
    let sqlite = |settings: &mut riff_hub::hub::Settings| settings.store.postgres = None;
    let before = Community::with(sqlite).await;
    before.hello("ada", &[painter()]).await;
    let alice = before.member("alice").await;
    let first = before.job(&alice, "a lighthouse --n 1").await;
    before.serve("ada").await;
    let second = before.job(&alice, "a tower --n 1").await;
    let left = before.left(&alice).await;
    let post = before.hub.store.due(WEB, 1, 0_i64.max(before.hub.seam.now())).await.unwrap().remove(0);
    before.hub.store.publish(&post, None, before.hub.seam.now()).await.unwrap();
    before.hub.store.close().await;

    let database = Database::new();
    let moved = Store::transfer(before.data.path(), &database.options()).await.unwrap();
    let rows = |table| moved.iter().find(|moved| moved.table == table).unwrap().rows;
    assert_eq!((rows("job"), rows("member"), rows("ledger"), rows("post")), (2, 1, 3, 1));
    let again = Store::transfer(before.data.path(), &database.options()).await.unwrap_err();
    assert_eq!(
        again.to_string(),
        "the PostgreSQL database already has 1 rows in member; move into an empty one"
    );

    let settings = riff_hub::hub::Settings { store: database.options(), ..before.hub.settings().clone() };
    let hub = Hub::open(before.data.path(), settings, before.clock.clone()).await.unwrap();
    let posts = hub.store.posts("general", None, 10).await.unwrap();
    assert_eq!(posts[0].job, first.id);
    assert_eq!(hub.allowance(&alice, "web", &[]).await.unwrap().left_ms as f64 / 1_000.0, left);
    let lease = hub.lease("ada", &LeaseRequest::default()).await.unwrap().unwrap();
    assert_eq!(lease.job, second.id);
    hub.store_output(("ada", &second.id, 1), 0, "image/png", picture()).await.unwrap();
    let done = Complete { attempt: 1, outputs: 1, gpu_seconds: 1.0, load_seconds: 0.0 };
    hub.complete("ada", &second.id, &done).await.unwrap();
    let post = hub.store.due(WEB, 1, hub.seam.now()).await.unwrap().remove(0);
    hub.store.publish(&post, None, hub.seam.now()).await.unwrap();
    let posts = hub.store.posts("general", None, 10).await.unwrap();
    assert_eq!(posts[0].job, second.id, "numbers go on where they were");
}
