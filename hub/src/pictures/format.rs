//! The formats that pictures are handed out in.

use image::{ExtendedColorType, ImageEncoder, RgbImage, codecs::jpeg::JpegEncoder};

use crate::media::BadMedia;

/// How much of a picture a lossy format keeps, 0 to 100, as libwebp and libjpeg count.
pub type Quality = u8;

/// How hard libwebp tries, 0 to 6. With its usual 4 a file gets 4 % smaller in 2.6 times the time.
const WEBP_METHOD: i32 = 2;

/// A format for pictures without transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lossless, read everywhere.
    Png,
    /// Lossy, read everywhere.
    Jpeg(Quality),
    /// Lossy, smaller than JPEG, read by everything of this decade.
    WebP(Quality),
}

impl Format {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg(_) => "image/jpeg",
            Self::WebP(_) => "image/webp",
        }
    }

    /// What its files' names end in.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg(_) => "jpg",
            Self::WebP(_) => "webp",
        }
    }
}

/// The bytes of a picture.
///
/// # Errors
/// [`BadMedia::Unreadable`] if the format cannot hold it: WebP has at most 16383 pixels a side, JPEG 65535.
pub fn encode(picture: &RgbImage, format: Format) -> Result<Vec<u8>, BadMedia> {
    match format {
        Format::Png => png(picture),
        Format::Jpeg(quality) => jpeg(picture, quality),
        Format::WebP(quality) => webp(picture, quality),
    }
}

fn png(picture: &RgbImage) -> Result<Vec<u8>, BadMedia> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    set_speed(&mut encoder);
    let mut writer = encoder.write_header().map_err(unreadable)?;
    writer.write_image_data(picture).map_err(unreadable)?;
    writer.finish().map_err(unreadable)?;
    Ok(bytes)
}

/// Makes a PNG encoder as fast as results are written.
pub(crate) fn set_speed<W: std::io::Write>(encoder: &mut png::Encoder<'_, W>) {
    encoder.set_compression(png::Compression::Fast);
}

fn jpeg(picture: &RgbImage, quality: Quality) -> Result<Vec<u8>, BadMedia> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .map_err(unreadable)?;
    Ok(bytes)
}

fn webp(picture: &RgbImage, quality: Quality) -> Result<Vec<u8>, BadMedia> {
    let mut config =
        webp::WebPConfig::new().map_err(|()| BadMedia::Unreadable("libwebp does not start".to_owned()))?;
    config.quality = f32::from(quality.min(100));
    config.method = WEBP_METHOD;
    let encoder = webp::Encoder::from_rgb(picture, picture.width(), picture.height());
    let bytes = encoder.encode_advanced(&config);
    bytes.map(|bytes| bytes.to_vec()).map_err(|error| {
        BadMedia::Unreadable(format!("{}×{} pixels as WebP: {error:?}", picture.width(), picture.height()))
    })
}

fn unreadable(error: impl std::fmt::Display) -> BadMedia {
    BadMedia::Unreadable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_read_back_as_what_it_says() {
        let picture = RgbImage::from_fn(96, 64, |x, y| image::Rgb([x as u8 * 2, y as u8 * 3, 128]));
        for format in [Format::Png, Format::Jpeg(90), Format::WebP(90)] {
            let bytes = encode(&picture, format).unwrap();
            let found = image::guess_format(&bytes).unwrap();
            assert_eq!(found.to_mime_type(), format.media_type());
            let read = image::load_from_memory(&bytes).unwrap().into_rgb8();
            let off = read.iter().zip(picture.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(off <= if format == Format::Png { 0 } else { 24 }, "{format:?}: {off}");
        }
        assert!(encode(&RgbImage::new(16_384, 1), Format::WebP(80)).is_err());
    }
}
