//! The safety classifier, with its real weights: what a channel sees of a flagged result.

use bytes::Bytes;
use riff_tests::{process::weights, worker::painter};
use serde_json::json;

use crate::{Stage, seen};

/// Two shaded discs, which the classifier takes for something else.
fn discs() -> Bytes {
    Bytes::from_static(include_bytes!("../../../worker/tests/safety/square.png"))
}

#[tokio::test]
async fn a_flagged_result_is_withheld_here_and_shown_among_adults() {
    let mut stage = Stage::set().await;
    stage.riff.set("RIFF_MODERATION__CLASSIFIER", weights().join("nudenet-320n.onnx").display());
    stage.start().await;
    let worker = stage.worker(vec![painter()]).await;

    let message = stage.imagine("two discs --n 1").await;
    let lease = worker.lease().await.unwrap();
    worker.upload(&lease, "image/png", discs()).await.unwrap();
    worker.complete(&lease, 1.0).await.unwrap();
    let ended = message.until(&stage.discord, |message| message.content.contains("withheld")).await.unwrap();
    insta::assert_snapshot!(seen(&ended), @"
    Riff:
    **two discs** — @alice
    -# painter · `--seed …` · recipe `…`
    ⚠️ Failed; nothing was charged: the result was withheld, because a classifier takes it for nudity; age-restricted channels show it, and elsewhere another prompt may help
    [✏️ Edit and try again]
    ");

    let mia = stage.guild.moderator("mia");
    let log = mia.slash(&stage.art, "/mod audit", json!({})).await.unwrap();
    let log = log.text();
    assert!(log.contains("withhold") && log.contains("two discs") && log.contains("BUTTOCKS"), "{log}");

    let adults = stage.guild.nsfw_channel("after-dark");
    let options = json!({"prompt": "two discs", "count": 1});
    let shown = stage.alice.slash(&adults, "/imagine", options).await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.upload(&lease, "image/png", discs()).await.unwrap();
    worker.complete(&lease, 1.0).await.unwrap();
    let post = stage.finished(shown.message().unwrap()).await;
    assert_eq!(post.attachments.len(), 1);
    stage.end().await;
}
