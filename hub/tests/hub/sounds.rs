//! Sound: what models give, and what members give them.

use bytes::Bytes;
use riff_hub::{
    admission::Refusal,
    hub::{Ask, Privacy},
    job::State,
    media::BadMedia,
};

use crate::support::{Community, TONE, listener, singer, writer};

const OPUS: &[u8] = include_bytes!("../sounds/opus.ogg");

#[tokio::test]
async fn a_sound_is_asked_for_and_kept_without_its_tags() {
    let community = Community::new().await;
    community.hello("w", &[singer(), writer()]).await;
    let alice = community.member("alice").await;
    let job = community.job(&alice, "/sound rain on a {tin} roof").await;
    community.serve("w").await;
    let view = community.hub.view(&job.id).await.unwrap();
    assert_eq!((view.job.state, view.recipe.prompt.as_str()), (State::Succeeded, "rain on a {tin} roof"));
    let output = &view.sounds().next().unwrap().output;
    assert_eq!((output.media_type.as_str(), output.width), ("audio/wav", None));
    let kept = community.hub.blobs.get(output.blob).await.unwrap();
    assert!(kept.len() < TONE.len(), "the title is gone");
    insta::assert_snapshot!(community.submit(&alice, "/sing a song").await.unwrap_err(), @"There is no command “/sing” here: start with /imagine for pictures, /sound for sound or /ask for text.");
}

#[tokio::test]
async fn a_model_of_sound_gives_nothing_else() {
    let community = Community::new().await;
    community.hello("w", &[singer()]).await;
    let alice = community.member("alice").await;
    community.job(&alice, "/sound rain").await;
    let lease = community.lease("w").await.unwrap();
    for (media_type, bytes) in [("text/plain", "rain"), ("audio/wav", "rain"), ("audio/wav", "")] {
        let stored =
            community.hub.store_output(("w", &lease.job, lease.attempt), 0, media_type, bytes.into()).await;
        assert!(
            stored.unwrap_err().to_string().starts_with("output 0 is refused: it is of "),
            "{media_type}"
        );
    }
}

#[tokio::test]
async fn what_is_said_in_a_sound_goes_to_a_model_that_listens() {
    let community = Community::new().await;
    let alice = community.member("alice").await;
    let sound = community.hub.take_sound(Bytes::from_static(OPUS)).await.unwrap();
    let ask = Ask { privacy: Privacy::Private, ..Ask::public(&alice, "general") };
    insta::assert_snapshot!(community.hub.transcribe(&ask, sound, None).await.unwrap_err(), @"No model that listens is here yet: an operator has to start a worker that serves one.");
    community.hello("w", &[listener(), writer()]).await;
    let job = community.hub.transcribe(&ask, sound, None).await.unwrap().remove(0);
    let view = community.hub.view(&job.id).await.unwrap();
    assert_eq!(
        (view.model.name.as_str(), view.recipe.prompt.as_str()),
        ("listener", "Write down what is said.")
    );
    assert_eq!(view.recipe.text("audio"), Some(sound.to_string().as_str()));
    let typed = community.submit(&alice, &format!("/ask What now? --audio {sound} --model listener")).await;
    assert!(typed.is_ok(), "{typed:?}");
    let gone = riff_hub::canonical::Digest::of_bytes(b"gone");
    let refused = community.submit(&alice, &format!("/ask What now? --audio {gone} --model listener")).await;
    assert_eq!(refused.unwrap_err().to_string(), format!("There is no sound {} here.", gone.short()));
}

#[tokio::test]
async fn sound_of_members_has_limits() {
    let community = Community::with(|settings| settings.sounds.seconds = 0.4).await;
    let long = community.hub.take_sound(Bytes::from_static(OPUS)).await.unwrap_err();
    insta::assert_snapshot!(long, @"This sound can't be used: it is 0.5 s long; at most 0.4 s are taken.");
    let other = community.hub.take_sound(Bytes::from_static(b"%PDF-1.7")).await.unwrap_err();
    assert!(matches!(&other, Refusal::Sound(BadMedia::Kind { .. })), "{other}");
    insta::assert_snapshot!(other, @"This sound can't be used: it is of no known format; expected WAV, MP3, Ogg (Opus or Vorbis) or FLAC.");
}
