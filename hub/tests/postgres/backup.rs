//! PostgreSQL's own backup holds everything that a hub needs.

use riff_hub::{hub::Hub, job::State};

use crate::support::{Community, painter};

#[tokio::test]
async fn what_pg_dump_saves_pg_restore_brings_back() {
    let community = Community::new().await;
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    let done = community.job(&alice, "a lighthouse").await;
    community.serve("w").await;
    let waits = community.job(&alice, "a pond").await;

    let mut settings = community.hub.settings().clone();
    let postgres = settings.store.postgres.as_mut().unwrap();
    let server = temporary_postgres::shared().unwrap();
    let file = community.data.path().join("riff.dump");
    let dump =
        server.program("pg_dump").args(["--format=custom", "--file"]).arg(&file).arg(&postgres.url).output();
    let dump = dump.unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    postgres.url = server.database().unwrap();
    let mut restore = server.program("pg_restore");
    restore.args(["--exit-on-error", "--no-owner", "--dbname", &postgres.url]).arg(&file);
    let restore = restore.output().unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));

    let restored = Hub::open(community.data.path(), settings, community.clock.clone()).await.unwrap();
    assert_eq!(restored.view(&done.id).await.unwrap().outputs.len(), 4);
    assert_eq!(restored.store.job(&waits.id).await.unwrap().unwrap().state, State::Queued);
    assert_eq!(restored.allowance(&alice, "web", &[]).await.unwrap().left_ms, 3_599_000, "one is reserved");
    let next = restored.lease("w", &Default::default()).await.unwrap().unwrap();
    assert_eq!(next.job, waits.id, "and it goes on");
}
