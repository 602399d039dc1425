//! MPEG audio, layer III: ISO/IEC 11172-3 and 13818-3, as <http://www.mp3-tech.org/programmer/frame_header.html> has them.
//! A file is frames one after the other, with tags before and behind.

use super::Read;

/// Kilobits a second by their code, from 1 on: of MPEG 1, and of MPEG 2 and 2.5.
const BITRATES: [[u32; 14]; 2] = [
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// Samples a second of MPEG 1 by their code; MPEG 2 has half as many, MPEG 2.5 a quarter.
const RATES: [u32; 3] = [44_100, 48_000, 32_000];
/// Bytes between frames, all of them together, that are no frames.
const MAX_JUNK: usize = 64 * 1_024;
/// Fewest frames: two in a row are hardly there by chance.
const MIN_FRAMES: usize = 2;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Frame {
    /// Bytes of the frame, its header included.
    bytes: usize,
    seconds: f64,
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [first, second, third, ..] = *bytes else { return None };
        let layer_three = (second >> 1) & 3 == 1;
        if first != 0xff || second >> 5 != 7 || !layer_three {
            return None;
        }
        let (version, slower) = match (second >> 3) & 3 {
            3 => (0, 1),
            2 => (1, 2),
            0 => (1, 4),
            _ => return None,
        };
        let kilobits = *BITRATES[version].get(usize::from(third >> 4).checked_sub(1)?)?;
        let rate = RATES.get(usize::from(third >> 2 & 3))? / slower;
        let samples = if version == 0 { 1_152 } else { 576 };
        let padding = u32::from(third >> 1 & 1);
        let length = samples / 8 * kilobits * 1_000 / rate + padding;
        Some(Self { bytes: length as usize, seconds: f64::from(samples) / f64::from(rate) })
    }
}

/// Whether a file begins with two frames.
pub fn begins(bytes: &[u8]) -> bool {
    let second = Frame::read(bytes).and_then(|first| bytes.get(first.bytes..));
    second.is_some_and(|rest| Frame::read(rest).is_some())
}

/// Keeps the whole frames of a file.
pub fn read(bytes: &[u8]) -> Read {
    let mut made = Vec::with_capacity(bytes.len());
    let (mut at, mut junk, mut frames, mut seconds) = (tag(bytes), 0, 0, 0.0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        match Frame::read(rest) {
            Some(frame) if frame.bytes <= rest.len() => {
                made.extend_from_slice(&rest[..frame.bytes]);
                seconds += frame.seconds;
                frames += 1;
                at += frame.bytes;
            }
            // The last one was cut off.
            Some(_) => break,
            None if rest.starts_with(b"TAG") || rest.starts_with(b"APETAGEX") => break,
            None if junk == MAX_JUNK => return Err("there is more between its frames than frames".to_owned()),
            None => {
                junk += 1;
                at += 1;
            }
        }
    }
    match frames >= MIN_FRAMES {
        true => Ok((seconds, made)),
        false => Err("there is no sound in it".to_owned()),
    }
}

/// How long the ID3 tag at the beginning is: <https://id3.org/id3v2.4.0-structure>.
fn tag(bytes: &[u8]) -> usize {
    let [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] = *bytes else { return 0 };
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    10 + footer + [a, b, c, d].into_iter().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f))
}
