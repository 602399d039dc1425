//! RIFF WAVE: <http://soundfile.sapp.org/doc/WaveFormat/>, <https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html>.

use super::{Read, u16_at, u32_at};

/// Codes of PCM: whole numbers, floating point, A-law, µ-law, and that which says it further behind.
const PCM: [u16; 5] = [1, 3, 6, 7, 0xfffe];
/// Most channels.
const MAX_CHANNELS: u16 = 8;
/// Most samples a second.
const MAX_RATE: u32 = 384_000;
/// Longest description that means something, in bytes; it has an even number of them.
const MAX_FORMAT: usize = 40;

/// Keeps the description and the samples of a file.
pub fn read(bytes: &[u8]) -> Read {
    let (format, data) = chunks(bytes)?;
    let short = || "its description is too short".to_owned();
    let code = u16_at(format, 0).ok_or_else(short)?;
    let channels = u16_at(format, 2).ok_or_else(short)?;
    let rate = u32_at(format, 4).ok_or_else(short)?;
    let block = u16_at(format, 12).ok_or_else(short)?;
    if !PCM.contains(&code) {
        return Err(format!("its WAV holds samples of kind {code:#06x}, where PCM was expected"));
    }
    if !(1..=MAX_CHANNELS).contains(&channels) || !(1..=MAX_RATE).contains(&rate) || block < channels {
        return Err(format!(
            "it has {channels} channels of {rate} samples a second in blocks of {block} bytes"
        ));
    }
    let data = &data[..data.len() - data.len() % usize::from(block)];
    if data.is_empty() {
        return Err("there is no sound in it".to_owned());
    }
    let seconds = (data.len() / usize::from(block)) as f64 / f64::from(rate);
    Ok((seconds, write(format, data)))
}

/// The description, and the samples: up to the end of the file where a program that did not know how many there would be
/// says none, or more than there are.
fn chunks(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let mut format = None;
    let mut at = 12;
    while let Some(size) = u32_at(bytes, at + 4) {
        let name = &bytes[at..at + 4];
        let begin = at + 8;
        let end = begin.saturating_add(size as usize).min(bytes.len());
        match (name, format) {
            (b"fmt ", _) => format = Some(&bytes[begin..end]),
            (b"data", Some(format)) if size == 0 => return Ok((format, &bytes[begin..])),
            (b"data", Some(format)) => return Ok((format, &bytes[begin..end])),
            (b"data", None) => return Err("its samples come before their description".to_owned()),
            _ => {}
        }
        at = end + size as usize % 2;
    }
    Err("there are no samples in it".to_owned())
}

fn write(format: &[u8], data: &[u8]) -> Vec<u8> {
    let format = &format[..(format.len() & !1).min(MAX_FORMAT)];
    let padding = data.len() % 2;
    let size = 4 + 8 + format.len() + 8 + data.len() + padding;
    let mut made = Vec::with_capacity(8 + size);
    made.extend_from_slice(b"RIFF");
    made.extend_from_slice(&(size as u32).to_le_bytes());
    made.extend_from_slice(b"WAVE");
    for (name, chunk) in [(b"fmt ", format), (b"data", data)] {
        made.extend_from_slice(name);
        made.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
        made.extend_from_slice(chunk);
    }
    made.resize(8 + size, 0);
    made
}
