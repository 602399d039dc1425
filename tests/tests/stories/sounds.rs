//! Sound in the web channel: asked for, played, and given.

use bytes::Bytes;
use reqwest::StatusCode;
use riff_hub::{
    model::{Media, ModelSpec},
    sound::{self, Limits},
};
use riff_tests::worker::{picture, spec};
use serde_json::json;

use crate::hub;

const OPUS: &[u8] = include_bytes!("../../../hub/tests/sounds/opus.ogg");
const MP3: &[u8] = include_bytes!("../../../hub/tests/sounds/tone.mp3");

/// A model that makes sound, to a melody or without one.
fn singer() -> ModelSpec {
    let properties = json!({
        "seed": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
        "melody": {"type": "string", "x-media": "audio", "default": ""},
        "covers": {"type": "array", "items": {"type": "string", "x-media": "image"}, "default": []},
    });
    spec("singer", Media::Audio, properties)
}

/// What the hub keeps of a file.
fn kept(file: &[u8]) -> Bytes {
    sound::read(file, Limits { bytes: 1 << 20, seconds: 60.0 }).unwrap().bytes
}

#[tokio::test]
async fn a_sound_is_played_in_the_channel_from_anywhere_in_it() {
    let mut riff = hub().await;
    let worker = riff.worker_of("w", vec![singer()]).await.unwrap();
    let alice = riff.member("alice").unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    alice.send("/sound rain on a tin roof --seed 3").await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.prompt.as_str(), "rain on a tin roof");
    worker.upload(&lease, "audio/ogg", Bytes::from_static(OPUS)).await.unwrap();
    worker.complete(&lease, 0.0).await.unwrap();
    let card = channel.posted().await.unwrap();
    insta::assert_snapshot!(card, @"
    alice: rain on a tin roof
    sounds: 1
    buttons: 🎲 | ✏️ Remix | 🍴 Fork
    ");
    let (kind, whole) = alice.fetch_as(&card.sounds[0], "audio/*").await.unwrap();
    assert_eq!((kind.as_str(), whole.as_slice()), ("audio/ogg", &*kept(OPUS)));
    let (status, extent, part) = alice.fetch_part(&card.sounds[0], "bytes=4-9").await.unwrap();
    assert_eq!((status, extent), (StatusCode::PARTIAL_CONTENT, format!("bytes 4-9/{}", whole.len())));
    assert_eq!(part, whole[4..10]);
    let (status, ..) = alice.fetch_part(&card.sounds[0], "bytes=999999-").await.unwrap();
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
    let remix = alice.click(&card, "✏️ Remix").await.unwrap();
    assert!(remix.contains("/sound rain on a tin roof"), "{remix}");
    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn files_of_the_form_become_inputs() {
    let mut riff = hub().await;
    let worker = riff.worker_of("w", vec![singer()]).await.unwrap();
    let alice = riff.member("alice").unwrap();
    let page = alice.page("/c/general?model=singer").await.unwrap();
    assert!(page.contains("type=\"file\" name=\"file.melody\" accept=\"audio/"), "{page}");
    let fields =
        [("form", "singer"), ("model", "singer"), ("prompt", "/sound this, slower"), ("set.melody", "")];
    alice.send_file(&fields, ("file.melody", "hum.mp3", MP3)).await.unwrap();
    let lease = worker.lease().await.unwrap();
    let name = lease.recipe.text("melody").unwrap().to_owned();
    assert_eq!(worker.client.blob(name.parse().unwrap()).await.unwrap(), kept(MP3));
    worker.upload(&lease, "audio/mpeg", Bytes::from_static(MP3)).await.unwrap();
    worker.complete(&lease, 0.0).await.unwrap();

    let before =
        [("form", "singer"), ("model", "singer"), ("prompt", "/sound more"), ("set.covers", name.as_str())];
    alice.send_file(&before, ("file.covers", "a.png", &picture(8, 8))).await.unwrap();
    let lease = worker.lease().await.unwrap();
    let covers = lease.recipe.params["covers"].as_array().unwrap();
    assert_eq!((covers.len(), &covers[0]), (2, &json!(name)), "one that was there, and one that was chosen");
    worker.fail(&lease, "enough", false).await.unwrap();

    let refused = alice.send_file(&fields, ("file.melody", "x.mp3", b"no sound")).await.unwrap_err();
    insta::assert_snapshot!(refused, @"This sound can't be used: it is of no known format; expected WAV, MP3, Ogg (Opus or Vorbis) or FLAC.");
    let refused = alice.send_file(&fields, ("file.tempo", "x.mp3", MP3)).await.unwrap_err();
    insta::assert_snapshot!(refused, @"There is no input “tempo” for a file here.");
    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}
