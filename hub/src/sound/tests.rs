//! `hub/tests/sounds` has a tone of half a second in every container, as libsndfile writes it, with a title.

use super::*;

const WAV: &[u8] = include_bytes!("../../tests/sounds/tone.wav");
const MP3: &[u8] = include_bytes!("../../tests/sounds/tone.mp3");
const VORBIS: &[u8] = include_bytes!("../../tests/sounds/vorbis.ogg");
const OPUS: &[u8] = include_bytes!("../../tests/sounds/opus.ogg");
const FLAC: &[u8] = include_bytes!("../../tests/sounds/tone.flac");
const ALL: [(&[u8], Container); 5] = [
    (WAV, Container::Wav),
    (MP3, Container::Mp3),
    (VORBIS, Container::Ogg),
    (OPUS, Container::Ogg),
    (FLAC, Container::Flac),
];
const TITLE: &[u8] = b"where I live";
const LIMITS: Limits = Limits { bytes: 1 << 20, seconds: 60.0 };

fn has(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

fn unreadable(bytes: &[u8]) -> String {
    match read(bytes, LIMITS) {
        Err(BadMedia::Unreadable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_container_is_told_by_its_bytes_and_measured() {
    for (bytes, container) in ALL {
        let sound = read(bytes, LIMITS).unwrap();
        assert_eq!(sound.container, container);
        // MP3 has whole frames, and silence before the first sample.
        let off = if container == Container::Mp3 { 0.15 } else { 0.001 };
        assert!((sound.seconds - 0.5).abs() < off, "{container:?}: {}", sound.seconds);
    }
}

#[test]
fn nothing_but_the_sound_gets_through() {
    for (bytes, container) in ALL {
        assert!(has(bytes, TITLE), "{container:?} has a title");
        let made = read(bytes, LIMITS).unwrap();
        assert!(!has(&made.bytes, TITLE), "{container:?}");
        assert_eq!(read(&made.bytes, LIMITS).unwrap(), made, "{container:?}: what was made is read as it is");
    }
}

#[test]
fn what_is_behind_the_sound_stays_behind() {
    let page = b"<script>alert(1)</script>";
    for (bytes, container) in ALL.into_iter().filter(|(_, container)| *container != Container::Flac) {
        let more = [bytes, page].concat();
        let made = read(&more, LIMITS).map(|sound| has(&sound.bytes, page));
        assert!(!made.unwrap_or(false), "{container:?}");
    }
    let mut tagged = [b"ID3\x04\0\0\0\0\0\x19".as_slice(), page, MP3].concat();
    tagged.extend_from_slice(&[b"TAG".as_slice(), &[b'x'; 125]].concat());
    assert_eq!(read(&tagged, LIMITS).unwrap().bytes, read(MP3, LIMITS).unwrap().bytes);
}

#[test]
fn files_of_other_kinds_are_refused() {
    let garbage: [&[u8]; 6] = [
        b"",
        b"not a sound",
        b"<html>",
        b"\xff\xd8\xff\xe0jpeg",
        b"\x1a\x45\xdf\xa3webm",
        b"RIFF\0\0\0\0WEBP",
    ];
    for bytes in garbage {
        let refused = read(bytes, LIMITS);
        assert!(matches!(refused, Err(BadMedia::Kind { .. })), "{bytes:?}: {refused:?}");
    }
}

#[test]
fn damaged_files_say_what_is_wrong_and_never_panic() {
    assert_eq!(unreadable(b"RIFF\0\0\0\0WAVE"), "there are no samples in it");
    assert_eq!(
        unreadable(b"RIFF\0\0\0\0WAVEdata\x04\0\0\0...."),
        "its samples come before their description"
    );
    assert_eq!(unreadable(b"ID3\x04\0\0\0\0\0\0nothing"), "there is no sound in it");
    assert_eq!(unreadable(b"fLaC\0\0\0\x22"), "its description is cut off");
    assert!(!unreadable(&[b"OggS".as_slice(), &[7; 100]].concat()).is_empty());
    let mut odd = WAV.to_vec();
    odd[20] = 0x55;
    assert_eq!(unreadable(&odd), "its WAV holds samples of kind 0x0055, where PCM was expected");
    for (bytes, _) in ALL {
        for cut in (0..bytes.len()).step_by(311) {
            let _ = read(&bytes[..cut], LIMITS);
            let mut bent = bytes.to_vec();
            bent[cut] ^= 0x5a;
            let _ = read(&bent, LIMITS);
        }
    }
}

#[test]
fn too_much_is_refused() {
    for (bytes, container) in ALL {
        let long = read(bytes, Limits { seconds: 0.4, ..LIMITS });
        assert!(matches!(long, Err(BadMedia::TooLong { .. })), "{container:?}: {long:?}");
        let large = read(bytes, Limits { bytes: bytes.len() - 1, ..LIMITS });
        assert!(matches!(large, Err(BadMedia::TooLarge { .. })), "{container:?}: {large:?}");
    }
}

#[test]
fn a_wav_that_was_streamed_goes_on_to_its_end() {
    let data = WAV.windows(4).position(|name| name == b"data").unwrap();
    for unknown in [0_u32, u32::MAX] {
        let mut streamed = WAV.to_vec();
        streamed[data + 4..data + 8].copy_from_slice(&unknown.to_le_bytes());
        let made = read(&streamed, LIMITS).unwrap();
        assert!((made.seconds - 0.5).abs() < 0.02, "{}", made.seconds);
        assert_eq!(u32_at(&made.bytes, 4).map(|size| size as usize + 8), Some(made.bytes.len()));
    }
}
