//! What the hub takes as sound: WAV, MP3, Ogg (Opus, Vorbis) and FLAC, within limits, whoever sent it.
//!
//! A file is taken apart and put together anew from its sound alone, without a loss: tags, pictures and whatever else a
//! container can carry stay behind. It never decodes what it does not have to, and never encodes.

mod flac;
mod mp3;
mod ogg;
mod wav;

use bytes::Bytes;

use crate::media::BadMedia;

/// A kind of file that holds sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// RIFF WAVE with PCM.
    Wav,
    /// MPEG audio, layer III.
    Mp3,
    /// Ogg with Opus or Vorbis.
    Ogg,
    /// Native FLAC.
    Flac,
}

impl Container {
    /// What a file's first bytes say that it is.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'O', b'g', b'g', b'S', ..] => Some(Self::Ogg),
            [b'f', b'L', b'a', b'C', ..] => Some(Self::Flac),
            [b'I', b'D', b'3', ..] => Some(Self::Mp3),
            _ => mp3::begins(bytes).then_some(Self::Mp3),
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Mp3 => "audio/mpeg",
            Self::Ogg => "audio/ogg",
            Self::Flac => "audio/flac",
        }
    }

    /// What its files' names end in.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Mp3 => "mp3",
            Self::Ogg => "ogg",
            Self::Flac => "flac",
        }
    }
}

/// How much sound is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Largest file, in bytes.
    pub bytes: usize,
    /// Longest, in seconds.
    pub seconds: f64,
}

/// A file with nothing but sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// What kind of file it is.
    pub container: Container,
    /// How long it is.
    pub seconds: f64,
    /// The file.
    pub bytes: Bytes,
}

/// Reads a file within limits.
///
/// # Errors
/// [`BadMedia`] for anything but sound of a known kind, and for too much of it.
pub fn read(bytes: &[u8], limits: Limits) -> Result<Sound, BadMedia> {
    if bytes.len() > limits.bytes {
        return Err(BadMedia::TooLarge { bytes: bytes.len(), limit: limits.bytes });
    }
    let container = Container::of(bytes).ok_or_else(|| BadMedia::Kind {
        found: "of no known format".to_owned(),
        expected: "WAV, MP3, Ogg (Opus or Vorbis) or FLAC",
    })?;
    let read = match container {
        Container::Wav => wav::read(bytes),
        Container::Mp3 => mp3::read(bytes),
        Container::Ogg => ogg::read(bytes),
        Container::Flac => flac::read(bytes, limits.seconds),
    };
    let (seconds, made) = read.map_err(BadMedia::Unreadable)?;
    match seconds <= limits.seconds {
        true => Ok(Sound { container, seconds, bytes: made.into() }),
        false => Err(BadMedia::TooLong { seconds, limit: limits.seconds }),
    }
}

/// How long a file's sound is in seconds, and the file made anew; or what is wrong with it.
type Read = Result<(f64, Vec<u8>), String>;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
