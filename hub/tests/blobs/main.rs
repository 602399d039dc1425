//! Blobs in a folder and in a real S3-compatible store: the same stories over both.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../hub/database.rs"]
mod database;
mod stores;
#[path = "../hub/support.rs"]
#[allow(dead_code, reason = "the hub's own tests use the rest")]
mod support;

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use riff_hub::{
    blobs::{BlobError, Flow},
    canonical::Digest,
    hub::{Ask, Swept},
};
use stores::{Shelf, folder, s3};
use support::{painter, picture, reader};

/// Runs a story over every store.
macro_rules! over_both {
    ($($story:ident),* $(,)?) => {$(
        mod $story {
            #[tokio::test]
            async fn in_a_folder() {
                super::$story(super::folder().await).await;
            }

            #[tokio::test]
            async fn in_s3() {
                super::$story(super::s3().await).await;
            }
        }
    )*};
}

over_both!(
    what_is_stored_is_there_under_its_name,
    a_large_blob_flows_and_is_checked_while_it_does,
    a_damaged_blob_is_told_as_such,
    what_nothing_names_is_put_away_and_then_deleted,
    what_is_named_stays,
    what_is_stored_again_while_it_is_put_away_is_there,
);

const HOUR: Duration = Duration::from_secs(3_600);

async fn all(flow: Flow) -> Result<Vec<u8>, BlobError> {
    let chunks: Vec<Bytes> = flow.bytes.try_collect().await?;
    Ok(chunks.concat())
}

async fn what_is_stored_is_there_under_its_name(shelf: Shelf) {
    let blobs = &shelf.community.hub.blobs;
    blobs.ping().await.unwrap();
    let bytes = Bytes::from_static(b"a lighthouse");
    let name = blobs.put(bytes.clone()).await.unwrap();
    assert_eq!(name, Digest::of_bytes(&bytes));
    assert_eq!(blobs.put(bytes.clone()).await.unwrap(), name, "twice is once");
    assert_eq!(blobs.get(name).await.unwrap(), bytes);
    assert!(blobs.holds(name).await.unwrap());
    let flow = blobs.flow(name).await.unwrap();
    assert_eq!(flow.size, 12);
    assert_eq!(all(flow).await.unwrap(), bytes);

    let none = Digest::of_bytes(b"nothing");
    assert!(!blobs.holds(none).await.unwrap());
    assert!(matches!(blobs.get(none).await, Err(BlobError::Missing(missing)) if missing == none));
    assert!(blobs.kept(name, "small.webp").await.unwrap().is_none());
    blobs.keep(name, "small.webp", bytes.clone()).await.unwrap();
    assert_eq!(blobs.kept(name, "small.webp").await.unwrap(), Some(bytes));
}

async fn a_large_blob_flows_and_is_checked_while_it_does(shelf: Shelf) {
    let blobs = &shelf.community.hub.blobs;
    let bytes = Bytes::from((0..3_000_000_u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
    let name = blobs.put(bytes.clone()).await.unwrap();
    assert!(all(blobs.flow(name).await.unwrap()).await.unwrap() == bytes);
    shelf.damage(name);
    let damaged = all(blobs.flow(name).await.unwrap()).await;
    assert!(matches!(damaged, Err(BlobError::Damaged(found)) if found == name));
}

async fn a_damaged_blob_is_told_as_such(shelf: Shelf) {
    let blobs = &shelf.community.hub.blobs;
    let name = blobs.put(Bytes::from_static(b"a lighthouse")).await.unwrap();
    shelf.damage(name);
    assert!(matches!(blobs.get(name).await, Err(BlobError::Damaged(found)) if found == name));
    assert!(matches!(blobs.flow(name).await.map(drop), Err(BlobError::Damaged(found)) if found == name));
}

async fn what_nothing_names_is_put_away_and_then_deleted(shelf: Shelf) {
    let hub = &shelf.community.hub;
    let name = hub.blobs.put(Bytes::from_static(b"nobody's")).await.unwrap();
    let swept = async || hub.sweep_blobs(24 * HOUR).await.unwrap();
    assert_eq!(swept().await, Swept { kept: 1, ..Swept::default() }, "it is new");
    shelf.age(name, 25 * HOUR);
    assert_eq!(swept().await, Swept { put_away: 1, ..Swept::default() });
    assert_eq!(swept().await, Swept::default(), "it is away, and was not for long");
    shelf.age_away(name, 25 * HOUR);
    assert_eq!(swept().await, Swept { deleted: 1, ..Swept::default() });
    assert!(!hub.blobs.holds(name).await.unwrap());
}

async fn what_is_named_stays(shelf: Shelf) {
    let community = &shelf.community;
    community.hello("w", &[painter(), reader()]).await;
    let alice = community.member("alice").await;
    community.job(&alice, "a lighthouse --n 1").await;
    community.serve("w").await;
    let dropped = community.hub.take_image(stores::another_picture()).await.unwrap();
    let ask = Ask::public(&alice, "general");
    let job = community.hub.describe(&ask, dropped, None).await.unwrap().remove(0);
    community.hub.cancel(&alice, &job.id).await.unwrap();

    let before = shelf.names();
    assert_eq!(before.len(), 2);
    before.iter().for_each(|name| shelf.age(*name, 25 * HOUR));
    let swept = community.hub.sweep_blobs(24 * HOUR).await.unwrap();
    assert_eq!(swept, Swept { kept: 2, ..Swept::default() }, "a result and an input");
}

async fn what_is_stored_again_while_it_is_put_away_is_there(shelf: Shelf) {
    let community = &shelf.community;
    let hub = &community.hub;
    community.hello("w", &[painter(), reader()]).await;
    let alice = community.member("alice").await;
    let dropped = hub.take_image(picture()).await.unwrap();
    shelf.age(dropped, 25 * HOUR);

    // It is there when it is dropped once more, and away right after that.
    assert_eq!(hub.take_image(picture()).await.unwrap(), dropped);
    assert_eq!(hub.sweep_blobs(24 * HOUR).await.unwrap().put_away, 1);
    let ask = Ask::public(&alice, "general");
    hub.describe(&ask, dropped, None).await.unwrap();
    assert!(!hub.blobs.get(dropped).await.unwrap().is_empty(), "who looks for it brings it back");

    // Named, and away all the same: the sweep brings it back and does not delete it.
    hub.blobs.put_away(dropped).await.unwrap();
    shelf.age_away(dropped, 25 * HOUR);
    let swept = hub.sweep_blobs(24 * HOUR).await.unwrap();
    assert_eq!(swept, Swept { brought_back: 1, kept: 1, ..Swept::default() });
    assert_eq!(shelf.names(), [dropped]);
}

#[tokio::test]
async fn a_signed_address_gives_the_blob_to_whoever_has_it() {
    let shelf = s3().await;
    let blobs = &shelf.community.hub.blobs;
    let bytes = Bytes::from_static(b"a lighthouse");
    let name = blobs.put(bytes.clone()).await.unwrap();
    assert_eq!(blobs.signed(name, 13).await.unwrap(), None, "it is too small for the detour");
    let address = blobs.signed(name, 12).await.unwrap().unwrap();
    assert_eq!(stores::fetch(&address).await, (200, bytes.to_vec()));
    let bare = address.split_once('?').unwrap().0;
    assert_eq!(stores::fetch(bare).await.0, 403, "the signature is what opens it");
    let none = Digest::of_bytes(b"nothing");
    assert_eq!(blobs.signed(none, 0).await.unwrap(), None);
    let folder = folder().await;
    let name = folder.community.hub.blobs.put(bytes).await.unwrap();
    assert_eq!(folder.community.hub.blobs.signed(name, 0).await.unwrap(), None, "a folder signs nothing");
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_told() {
    let shelf = stores::s3_with_secret("wrong").await;
    let refused = shelf.community.hub.blobs.put(Bytes::from_static(b"a lighthouse")).await.unwrap_err();
    assert!(refused.to_string().starts_with("the blob store failed"), "{refused}");
    assert!(shelf.community.hub.ready().await.is_err());
    assert!(!refused.to_string().contains("wrong"), "{refused}");
}

#[tokio::test]
async fn settings_do_not_show_the_secret() {
    let shelf = stores::s3_with_secret("hush").await;
    assert!(!format!("{:?}", shelf.community.hub.settings()).contains("hush"));
}
