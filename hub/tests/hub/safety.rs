//! The safety classifier: what is withheld where, and who hears of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use image::RgbImage;
use riff_hub::{
    community::WEB,
    hub::{Act, Ask, Room},
    job::{Job, State},
    safety::{Classifier, Finding, Watch},
    store::Member,
    wire::Report,
};

use crate::support::{Community, painter, picture, reader};

/// Sees the same in every picture.
struct Sees(f32);

impl Classifier for Sees {
    fn look(&self, picture: &RgbImage) -> Result<Vec<Finding>, String> {
        let place = [0, 0, picture.width(), picture.height()];
        let finding = |label: &str, score| Finding { label: label.to_owned(), score, place };
        Ok(vec![finding("SKIN", self.0), finding("FACE", 0.99)])
    }
}

/// Sees nothing, and counts how often it looked.
struct Counts(Arc<AtomicUsize>);

impl Classifier for Counts {
    fn look(&self, _picture: &RgbImage) -> Result<Vec<Finding>, String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Vec::new())
    }
}

/// Cannot look.
struct Blind;

impl Classifier for Blind {
    fn look(&self, _picture: &RgbImage) -> Result<Vec<Finding>, String> {
        Err("it is dark".to_owned())
    }
}

async fn watched(classifier: impl Classifier + 'static) -> (Community, Member) {
    let community = Community::new().await;
    let labels = vec!["SKIN".to_owned()];
    community.hub.watch(Watch { classifier: Arc::new(classifier), labels, threshold: 0.5 });
    community.hello("w", &[painter()]).await;
    let alice = community.member("alice").await;
    (community, alice)
}

/// Runs the next job to its end.
async fn served(community: &Community, alice: &Member, line: &str) -> Job {
    let job = community.job(alice, line).await;
    community.serve("w").await;
    community.now(&job).await
}

#[tokio::test]
async fn a_flagged_result_is_withheld_refunded_and_told_to_moderators() {
    let (community, alice) = watched(Sees(0.83)).await;
    let before = community.left(&alice).await;
    let job = served(&community, &alice, "a pond --n 1").await;
    assert_eq!(job.state, State::Failed);
    let view = community.hub.view(&job.id).await.unwrap();
    insta::assert_snapshot!(format!("{}: {}", view.status(), job.reason.unwrap()), @"Failed; nothing was charged: the result was withheld, because a classifier takes it for nudity; age-restricted channels show it, and elsewhere another prompt may help");
    assert!(view.outputs.is_empty());
    assert_eq!(community.left(&alice).await, before);
    let log = community.hub.audit(WEB, None, 10).await.unwrap();
    assert_eq!(log.len(), 1);
    insta::assert_snapshot!(format!("{} {} {}", log[0].actor, log[0].act, log[0].detail), @"Riff withhold SKIN 0.83");
    assert_eq!(log[0].subject, job.id);
}

#[tokio::test]
async fn what_is_not_sure_enough_is_shown_and_kept_with_the_result() {
    let (community, alice) = watched(Sees(0.49)).await;
    let job = served(&community, &alice, "a pond --n 1").await;
    assert_eq!(job.state, State::Succeeded);
    let output = community.hub.store.outputs(&job).await.unwrap().remove(0);
    let seen: Vec<_> = output.findings().into_iter().map(|finding| (finding.label, finding.score)).collect();
    assert_eq!(seen, [("SKIN".to_owned(), 0.49), ("FACE".to_owned(), 0.99)]);
}

#[tokio::test]
async fn an_age_restricted_channel_shows_it() {
    let (community, alice) = watched(Sees(0.83)).await;
    let room = community.room(&alice, "after-dark", "club").await;
    community.hub.enter(&alice, &Room { mature: true, ..room }).await.unwrap();
    let job = community.submit_in(&alice, "after-dark", "a pond --n 1").await.unwrap();
    community.serve("w").await;
    assert_eq!(community.now(&job).await.state, State::Succeeded);
}

#[tokio::test]
async fn flagged_previews_are_not_shown_and_clean_ones_are() {
    for (score, shown) in [(0.83, false), (0.1, true)] {
        let (community, alice) = watched(Sees(score)).await;
        let job = community.job(&alice, "a pond --n 1").await;
        let lease = community.lease("w").await.unwrap();
        let preview = Some(base64::Engine::encode(&base64::prelude::BASE64_STANDARD, picture()));
        let report = Report { attempt: lease.attempt, progress: 0.5, preview, text: None };
        community.hub.report("w", &lease.job, report).await.unwrap();
        let live = community.hub.view(&job.id).await.unwrap().live;
        assert_eq!((live.preview.is_some(), live.progress), (shown, 0.5));
    }
}

#[tokio::test]
async fn a_result_that_cannot_be_looked_at_is_not_taken() {
    let (community, alice) = watched(Blind).await;
    community.job(&alice, "a pond --n 1").await;
    let lease = community.lease("w").await.unwrap();
    let stored =
        community.hub.store_output(("w", &lease.job, lease.attempt), 0, "image/png", picture()).await;
    insta::assert_snapshot!(stored.unwrap_err(), @"output 0 is refused: it cannot be read: the safety classifier failed");
}

#[tokio::test]
async fn moderators_do_not_withhold_they_take_down() {
    let (community, alice) = watched(Sees(0.1)).await;
    let job = community.job(&alice, "a pond").await.id;
    let act = Act::Withhold { job, found: String::new() };
    let refusal = community.hub.moderate(&alice, WEB, &act).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"Only the safety classifier withholds results: take it down instead.");
}

#[tokio::test]
async fn pictures_that_members_give_are_looked_at_where_not_everybody_may_see_them() {
    let (community, alice) = watched(Sees(0.83)).await;
    community.hello("w", &[painter(), reader()]).await;
    let image = community.hub.take_image(picture()).await.unwrap();
    let room = community.room(&alice, "after-dark", "club").await;
    community.hub.enter(&alice, &Room { mature: true, ..room }).await.unwrap();
    let line = format!("/ask What is this? --model reader --image {image}");
    assert!(community.submit_in(&alice, "after-dark", &line).await.is_ok());
    let refused = community.submit(&alice, &line).await.unwrap_err();
    insta::assert_snapshot!(refused.to_string().replace(&image.short(), "ID"), @"The picture ID can't be used here, because a classifier takes it for nudity: ask in an age-restricted channel, or use another picture.");
    let others = format!("/ask What is this? --model reader --others {image}");
    assert_eq!(community.submit(&alice, &others).await.unwrap_err().code(), "flagged-picture");
    let described = community.hub.describe(&Ask::public(&alice, "general"), image, None).await.unwrap_err();
    assert_eq!(described.code(), "flagged-picture");
}

#[tokio::test]
async fn a_picture_is_looked_at_once_and_used_if_nothing_is_seen() {
    let looks = Arc::new(AtomicUsize::new(0));
    let (community, alice) = watched(Counts(looks.clone())).await;
    community.hello("w", &[reader()]).await;
    let image = community.hub.take_image(picture()).await.unwrap();
    for _ in 0..3 {
        let line = format!("/ask What is this? --image {image}");
        community.submit(&alice, &line).await.unwrap();
    }
    assert_eq!(looks.load(Ordering::Relaxed), 1);
    let (blind, bob) = watched(Blind).await;
    blind.hello("w", &[reader()]).await;
    let image = blind.hub.take_image(picture()).await.unwrap();
    let refused = blind.submit(&bob, &format!("/ask What is this? --image {image}")).await.unwrap_err();
    insta::assert_snapshot!(refused, @"This picture can't be used: it cannot be read: the safety classifier failed.");
}
