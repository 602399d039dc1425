//! Native FLAC: RFC 9639.

use std::io::Cursor;

use claxon::FlacReader;

use super::Read;

/// Bytes of the block that describes the stream, which comes first.
const STREAM_INFO: usize = 34;

/// Keeps the description and the frames of a file, and decodes it to see that they are some: it need not say how long it
/// is. No more than `most` seconds are looked at.
pub fn read(bytes: &[u8], most: f64) -> Read {
    let made = without_tags(bytes).ok_or("its description is cut off")?;
    let mut reader = FlacReader::new(Cursor::new(&made)).map_err(|error| error.to_string())?;
    let rate = f64::from(reader.streaminfo().sample_rate.max(1));
    let mut blocks = reader.blocks();
    let (mut samples, mut buffer) = (0_u64, Vec::new());
    while let Some(block) = blocks.read_next_or_eof(buffer).map_err(|error| error.to_string())? {
        samples += u64::from(block.duration());
        if samples as f64 / rate > most {
            break;
        }
        buffer = block.into_buffer();
    }
    match samples {
        0 => Err("there is no sound in it".to_owned()),
        samples => Ok((samples as f64 / rate, made)),
    }
}

/// The file with no block of metadata but the first.
fn without_tags(bytes: &[u8]) -> Option<Vec<u8>> {
    let info = bytes.get(8..8 + STREAM_INFO)?;
    let mut at = 4;
    loop {
        let [kind, a, b, c] = *bytes.get(at..at + 4)? else { return None };
        at += 4 + u32::from_be_bytes([0, a, b, c]) as usize;
        if kind & 0x80 != 0 {
            break;
        }
    }
    let frames = bytes.get(at..)?;
    Some([&[b'f', b'L', b'a', b'C', 0x80, 0, 0, STREAM_INFO as u8], info, frames].concat())
}
