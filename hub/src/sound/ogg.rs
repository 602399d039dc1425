//! Ogg with one stream of Opus (RFC 7845) or Vorbis (<https://xiph.org/vorbis/doc/Vorbis_I_spec.html>).

use std::io::Cursor;

use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};

use super::{Read, u16_at, u32_at};

/// Samples a second that Opus counts in, whatever it was made from.
const OPUS_RATE: f64 = 48_000.0;
/// Who wrote a file, in place of its tags.
const VENDOR: &[u8] = b"Riff";

/// How a stream is coded.
#[derive(Debug, Clone, Copy)]
enum Codec {
    Opus {
        /// Samples before the first that is heard.
        skipped: u64,
    },
    Vorbis {
        rate: u32,
    },
}

impl Codec {
    /// What a stream's first packet says.
    fn of(head: &[u8]) -> Option<Self> {
        match head {
            [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', ..] => {
                Some(Self::Opus { skipped: u16_at(head, 10)?.into() })
            }
            [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => {
                Some(Self::Vorbis { rate: u32_at(head, 12).filter(|rate| *rate > 0)? })
            }
            _ => None,
        }
    }

    /// The packet with the tags, as it is without any.
    fn comments(self) -> Vec<u8> {
        let vendor = [&(VENDOR.len() as u32).to_le_bytes(), VENDOR, &[0; 4]].concat();
        match self {
            Self::Opus { .. } => [b"OpusTags", vendor.as_slice()].concat(),
            Self::Vorbis { .. } => [b"\x03vorbis", vendor.as_slice(), &[1]].concat(),
        }
    }

    /// How long a stream is whose last sample has this number.
    fn seconds(self, last: u64) -> f64 {
        match self {
            Self::Opus { skipped } => last.saturating_sub(skipped) as f64 / OPUS_RATE,
            Self::Vorbis { rate } => last as f64 / f64::from(rate),
        }
    }
}

/// Keeps the packets of a file's first stream of sound. Its second packet has the tags.
pub fn read(bytes: &[u8]) -> Read {
    let mut packets = PacketReader::new(Cursor::new(bytes));
    let mut writer = PacketWriter::new(Vec::with_capacity(bytes.len()));
    let mut stream: Option<(u32, Codec)> = None;
    let (mut kept, mut last) = (0_u64, 0);
    while let Some(packet) = packets.read_packet().map_err(|error| error.to_string())? {
        let serial = packet.stream_serial();
        if stream.is_none() && packet.first_in_stream() {
            stream = Codec::of(&packet.data).map(|codec| (serial, codec));
        }
        let Some((_, codec)) = stream.filter(|(ours, _)| *ours == serial) else { continue };
        let end = match (packet.last_in_stream(), packet.last_in_page()) {
            (true, _) => PacketWriteEndInfo::EndStream,
            (false, true) => PacketWriteEndInfo::EndPage,
            (false, false) => PacketWriteEndInfo::NormalPacket,
        };
        let (position, over) = (packet.absgp_page(), packet.last_in_stream());
        let data = if kept == 1 { codec.comments() } else { packet.data };
        writer.write_packet(data, serial, end, position).map_err(|error| error.to_string())?;
        // All ones: no packet ends on that page.
        last = if position == u64::MAX { last } else { position };
        kept += 1;
        if over {
            break;
        }
    }
    let (_, codec) = stream.ok_or("there is neither Opus nor Vorbis in it")?;
    match codec.seconds(last) {
        seconds if seconds > 0.0 && kept > 2 => Ok((seconds, writer.into_inner())),
        _ => Err("there is no sound in it".to_owned()),
    }
}
