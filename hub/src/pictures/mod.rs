//! Pictures as surfaces show them: several in one sheet, smaller, and in the format that a surface takes.
//!
//! It owns how they are composed, resized and coded. It never decides what a surface shows, and never touches the results
//! themselves: those stay the PNG files with their recipe that the hub stored.

mod format;
mod sheet;

use std::borrow::Cow;

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use image::RgbImage;
use rayon::prelude::*;

pub(crate) use self::format::set_speed;
pub use self::{
    format::{Format, Quality, encode},
    sheet::{columns, sheet},
};
use crate::media::{self, BadMedia};

/// Decodes pictures (PNG, JPEG or WebP) within the hub's limits, all at once, in their order.
///
/// # Errors
/// [`BadMedia`] for the first that is none.
pub fn decode<B: AsRef<[u8]> + Sync>(files: &[B]) -> Result<Vec<RgbImage>, BadMedia> {
    files.par_iter().map(|file| Ok(media::decode(file.as_ref())?.into_rgb8())).collect()
}

/// The picture with at most `side` pixels a side; as it is where it has no more.
///
/// # Errors
/// [`BadMedia::Unreadable`] if there is nothing in it.
pub fn shrink(picture: &RgbImage, side: u32) -> Result<Cow<'_, RgbImage>, BadMedia> {
    let longer = picture.width().max(picture.height());
    if longer <= side {
        return Ok(Cow::Borrowed(picture));
    }
    let fit = |length: u32| ((f64::from(length) * f64::from(side) / f64::from(longer)).round() as u32).max(1);
    resize(picture, fit(picture.width()), fit(picture.height())).map(Cow::Owned)
}

/// The picture with exactly so many pixels, by Lanczos's filter of three lobes.
fn resize(picture: &RgbImage, width: u32, height: u32) -> Result<RgbImage, BadMedia> {
    let unreadable = |error: &dyn std::fmt::Display| BadMedia::Unreadable(error.to_string());
    let source = ImageRef::new(picture.width(), picture.height(), picture.as_raw(), PixelType::U8x3)
        .map_err(|error| unreadable(&error))?;
    let mut small = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new().resize(&source, &mut small, &options).map_err(|error| unreadable(&error))?;
    RgbImage::from_raw(width, height, small.into_vec()).ok_or_else(|| unreadable(&"sizes disagree"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_shrunk_to_its_longer_side_and_never_enlarged() {
        let wide = RgbImage::from_pixel(600, 300, image::Rgb([9, 90, 200]));
        let small = shrink(&wide, 200).unwrap();
        assert_eq!(small.dimensions(), (200, 100));
        assert!(small.pixels().all(|pixel| pixel.0 == [9, 90, 200]));
        assert!(matches!(shrink(&wide, 600).unwrap(), Cow::Borrowed(_)));
        assert_eq!(shrink(&RgbImage::new(1_000, 1), 10).unwrap().dimensions(), (10, 1));
    }

    #[test]
    fn files_are_decoded_in_their_order_and_within_limits() {
        let file =
            |shade: u8| encode(&RgbImage::from_pixel(3, 2, image::Rgb([shade; 3])), Format::Png).unwrap();
        let decoded = decode(&[file(1), file(2), file(3)]).unwrap();
        assert_eq!(decoded.iter().map(|one| one.get_pixel(0, 0)[0]).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(matches!(decode(&[file(1), b"not a picture".to_vec()]), Err(BadMedia::Kind { .. })));
    }
}
