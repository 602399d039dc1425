//! What the hub takes as a result: pictures, sound and text, within limits, whoever sent them.

use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use crate::{
    model::Media,
    sound::{self, Container, Sound},
};

/// Largest upload, in bytes.
pub const MAX_BYTES: usize = 32 * 1_024 * 1_024;
/// Most pixels of a picture.
pub const MAX_PIXELS: u64 = 64_000_000;
/// Longest text, in bytes.
pub const MAX_TEXT_BYTES: usize = 1_024 * 1_024;
/// Most pixels a side of a preview.
const MAX_PREVIEW_SIDE: u32 = 512;
/// Largest preview, in bytes.
const MAX_PREVIEW_BYTES: usize = 256 * 1_024;
/// Memory that decoding may take: a picture of [`MAX_PIXELS`] in RGBA.
const MAX_ALLOC: u64 = MAX_PIXELS * 4;

/// Why bytes are refused.
#[derive(Debug, thiserror::Error)]
pub enum BadMedia {
    /// Over [`MAX_BYTES`] or [`MAX_TEXT_BYTES`].
    #[error("it has {bytes} bytes; at most {limit} are taken")]
    TooLarge {
        /// How many there were.
        bytes: usize,
        /// How many may be.
        limit: usize,
    },
    /// Over [`MAX_PIXELS`].
    #[error("it is {width}×{height} pixels; at most {MAX_PIXELS} in all are taken")]
    TooManyPixels {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// Sound that goes on for too long.
    #[error("it is {seconds:.1} s long; at most {limit} s are taken")]
    TooLong {
        /// How long it is, or how far it was read.
        seconds: f64,
        /// How long it may be.
        limit: f64,
    },
    /// Not what the model makes.
    #[error("it is {found}; expected {expected}")]
    Kind {
        /// What was sent.
        found: String,
        /// What the model makes.
        expected: &'static str,
    },
    /// Damaged.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// A picture without a recipe in it.
    #[error(
        "This picture carries no recipe: take a PNG made here, or by a tool that writes its settings into PNG files."
    )]
    NoRecipe,
}

/// A result that is what it says.
pub enum Checked {
    /// A decoded picture.
    Image(DynamicImage),
    /// Sound without anything else.
    Sound(Sound),
    /// Text.
    Text(String),
}

/// Reads an upload within limits.
///
/// # Errors
/// [`BadMedia`] for anything but a picture (PNG, JPEG, WebP), sound (as [`sound::read`] takes it) or UTF-8 text of the kind
/// that the model makes.
pub fn check(
    media_type: &str,
    wanted: Media,
    bytes: &Bytes,
    sounds: sound::Limits,
) -> Result<Checked, BadMedia> {
    let text = media_type.starts_with("text/");
    match wanted {
        Media::Image if text => Err(kind(media_type, "a picture")),
        Media::Image => decode(bytes).map(Checked::Image),
        Media::Audio if text => Err(kind(media_type, "sound")),
        Media::Audio => sound::read(bytes, sounds).map(Checked::Sound),
        Media::Text if !text => Err(kind(media_type, "text")),
        Media::Text => check_text(bytes).map(Checked::Text),
    }
}

fn kind(found: &str, expected: &'static str) -> BadMedia {
    BadMedia::Kind { found: format!("of type {found:?}"), expected }
}

fn check_text(bytes: &Bytes) -> Result<String, BadMedia> {
    check_size(bytes.len(), MAX_TEXT_BYTES)?;
    String::from_utf8(bytes.to_vec()).map_err(|error| BadMedia::Unreadable(error.to_string()))
}

fn check_size(bytes: usize, limit: usize) -> Result<(), BadMedia> {
    if bytes > limit {
        return Err(BadMedia::TooLarge { bytes, limit });
    }
    Ok(())
}

/// The media type of a picture or of sound, by its first bytes.
pub fn type_of(bytes: &[u8]) -> Option<&'static str> {
    match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) => {
            Some(format.to_mime_type())
        }
        _ => Container::of(bytes).map(Container::media_type),
    }
}

/// Decodes a picture within limits.
///
/// # Errors
/// [`BadMedia`] for anything but a PNG, JPEG or WebP within them.
pub fn decode(bytes: &[u8]) -> Result<DynamicImage, BadMedia> {
    check_size(bytes.len(), MAX_BYTES)?;
    let (width, height) = dimensions(bytes)?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(BadMedia::TooManyPixels { width, height });
    }
    reader(bytes)?.decode().map_err(unreadable)
}

fn dimensions(bytes: &[u8]) -> Result<(u32, u32), BadMedia> {
    reader(bytes)?.into_dimensions().map_err(unreadable)
}

fn reader(bytes: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, BadMedia> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| BadMedia::Unreadable(error.to_string()))?;
    match reader.format() {
        Some(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP) => {}
        _ => {
            return Err(BadMedia::Kind {
                found: "of no known format".to_owned(),
                expected: "PNG, JPEG or WebP",
            });
        }
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    Ok(reader)
}

fn unreadable(error: image::ImageError) -> BadMedia {
    BadMedia::Unreadable(error.to_string())
}

/// Checks a preview without decoding it: a small JPEG or PNG.
pub fn check_preview(bytes: &[u8]) -> Result<(), BadMedia> {
    check_size(bytes.len(), MAX_PREVIEW_BYTES)?;
    let (width, height) = dimensions(bytes)?;
    if width.max(height) > MAX_PREVIEW_SIDE {
        return Err(BadMedia::TooManyPixels { width, height });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_and_bombs_are_refused() {
        let check = |media_type, wanted, bytes: &Bytes| {
            super::check(media_type, wanted, bytes, sound::Limits { bytes: 1_000, seconds: 1.0 })
        };
        let garbage = check("image/png", Media::Image, &Bytes::from_static(b"not a picture"));
        assert!(matches!(garbage, Err(BadMedia::Kind { .. })));
        let bomb = check("image/png", Media::Image, &png_header(60_000, 60_000));
        assert!(matches!(bomb, Err(BadMedia::TooManyPixels { .. })));
        let cut = check("image/png", Media::Image, &png_header(64, 64));
        assert!(matches!(cut, Err(BadMedia::Unreadable(_))));
        let text = check("text/plain", Media::Image, &Bytes::from_static(b"hello"));
        assert!(matches!(text, Err(BadMedia::Kind { .. })));
        let told = check("text/plain", Media::Audio, &Bytes::from_static(b"hello"));
        assert!(matches!(told, Err(BadMedia::Kind { .. })));
        let latin = check("text/plain", Media::Text, &Bytes::from_static(b"caf\xe9"));
        assert!(matches!(latin, Err(BadMedia::Unreadable(_))));
    }

    /// A PNG that promises pixels and has almost none.
    fn png_header(width: u32, height: u32) -> Bytes {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 0x63]).unwrap();
        drop(writer);
        bytes.into()
    }
}
