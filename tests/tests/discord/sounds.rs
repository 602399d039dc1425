//! Sound on Discord: posted as a file, and taken from one.

use fake_discord::attachment;
use riff_hub::model::{Media, ModelSpec};
use riff_tests::worker::spec;
use serde_json::json;

use crate::{Stage, private, seen, writer};

const OPUS: &[u8] = include_bytes!("../../../hub/tests/sounds/opus.ogg");
const WAV: &[u8] = include_bytes!("../../../hub/tests/sounds/tone.wav");

fn singer() -> ModelSpec {
    spec(
        "singer",
        Media::Audio,
        json!({"seed": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
               "melody": {"type": "string", "x-media": "audio", "default": ""}}),
    )
}

fn listener() -> ModelSpec {
    let audio = json!({"type": "string", "x-media": "audio", "x-required": true, "default": ""});
    spec("listener", Media::Text, json!({"audio": audio}))
}

#[tokio::test]
async fn a_sound_is_attached_to_its_post() {
    let mut stage = Stage::set().await;
    stage.start().await;
    assert!(!stage.discord.commands().iter().any(|command| command["name"] == "sound"), "nothing makes any");
    let worker = stage.worker(vec![singer(), writer()]).await;
    stage.discord.registered("sound").await.unwrap();
    let hum = attachment(WAV.to_vec(), "hum.wav", "audio/wav");
    let options = json!({"prompt": "rain on a tin roof", "seed": 3, "melody": hum});
    let shown = stage.alice.slash(&stage.art, "/sound", options).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert!(lease.recipe.text("melody").is_some_and(|name| !name.is_empty()));
    worker.upload(&lease, "audio/ogg", OPUS.into()).await.unwrap();
    worker.complete(&lease, 0.0).await.unwrap();
    let post = stage.finished(shown.message().unwrap()).await;
    assert_eq!(post.attachments[0].content_type, "audio/ogg");
    assert!(post.attachments[0].filename.ends_with("-1.ogg"), "{}", post.attachments[0].filename);
    assert!(seen(&post).contains("**rain on a tin roof** — @alice"), "{post}");
    stage.end().await;
}

#[tokio::test]
async fn what_is_said_in_a_sound_is_written_down() {
    let mut stage = Stage::set().await;
    stage.start().await;
    let worker = stage.worker(vec![listener(), writer()]).await;
    stage.discord.registered("transcribe").await.unwrap();
    let note = || attachment(OPUS.to_vec(), "voice-message.ogg", "audio/ogg");
    let shown = stage.alice.slash(&stage.art, "/transcribe", json!({"audio": note()})).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.prompt.as_str(), "Write down what is said.");
    let name = lease.recipe.text("audio").unwrap();
    assert!(worker.client.blob(name.parse().unwrap()).await.unwrap().starts_with(b"OggS"));
    worker.answer(&lease, "Hello from the lighthouse.").await.unwrap();
    let told = shown.message().unwrap().until(&stage.discord, |m| m.content.contains("Hello")).await.unwrap();
    assert!(
        seen(&told).contains("**Write down what is said.** — @alice\nHello from the lighthouse."),
        "{told}"
    );

    let options = json!({"question": "What does it say?", "audio": note(), "model": "listener"});
    stage.alice.slash(&stage.art, "/ask", options).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.text("audio"), Some(name));
    worker.answer(&lease, "Hello.").await.unwrap();
    let question = json!({"question": "What now?"});
    stage.alice.slash(&stage.art, "/ask", question).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert!(lease.recipe.params.contains_key("history"), "words alone go to the model that needs no sound");
    worker.answer(&lease, "Nothing.").await.unwrap();

    let text = attachment(b"hello".to_vec(), "voice.txt", "text/plain");
    let refused = stage.alice.slash(&stage.art, "/transcribe", json!({"audio": text})).await.unwrap();
    insta::assert_snapshot!(private(&refused), @"This sound can't be used: it is of no known format; expected WAV, MP3, Ogg (Opus or Vorbis) or FLAC.");
    stage.end().await;
}
