//! What of a picture is seen: the whole, more than there is, or what lies beside it. Where the view goes beyond the picture, a
//! mask says that it is painted anew.

use image::{GrayImage, Luma, RgbImage, imageops, imageops::FilterType};

use super::pixels::Pixels;

/// Pixels within the picture's border that are painted anew with what lies beyond, ever less of them: a latent's side, so that
/// there is no seam.
const SEAM: i64 = 8;

/// A view, in widths and heights of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Its centre, from left to right.
    pub x: f64,
    /// Its centre, from top to bottom.
    pub y: f64,
    /// Its extent.
    pub scale: f64,
}

impl View {
    /// That of the picture itself.
    pub const WHOLE: Self = Self { x: 0.5, y: 0.5, scale: 1.0 };

    /// Whether there is picture in all of it.
    pub fn is_within(self) -> bool {
        let within = |centre: f64| centre - self.scale / 2.0 >= 0.0 && centre + self.scale / 2.0 <= 1.0;
        within(self.x) && within(self.y)
    }

    /// What is seen, in the picture's size.
    pub fn of(self, picture: Pixels) -> Pixels {
        if self == Self::WHOLE {
            return picture;
        }
        let (width, height) = picture.image.dimensions();
        let side = |side: u32| ((f64::from(side) / self.scale).round() as u32).max(1);
        let at = |centre: f64, side: u32| ((0.5 - centre / self.scale) * f64::from(side)).round() as i64;
        let place = Place {
            left: at(self.x, width),
            top: at(self.y, height),
            width: side(width).into(),
            height: side(height).into(),
            view: (width, height),
        };
        let (columns, rows) = (side(width), side(height));
        let image = imageops::resize(&picture.image, columns, rows, FilterType::Lanczos3);
        let mask = picture.mask.map(|mask| imageops::resize(&mask, columns, rows, FilterType::Triangle));
        // Beyond the border, the border goes on: something has to be there, and its latents reach into the picture.
        let seen = RgbImage::from_fn(width, height, |x, y| {
            let (x, y) = place.nearest(x, y);
            *image.get_pixel(x, y)
        });
        let painted = GrayImage::from_fn(width, height, |x, y| {
            let beyond = place.beyond(x, y);
            let (x, y) = place.nearest(x, y);
            let asked = mask.as_ref().map_or(0, |mask| mask.get_pixel(x, y).0[0]);
            Luma([beyond.max(asked)])
        });
        let nothing = painted.pixels().all(|grey| grey.0[0] == 0);
        Pixels { image: seen, mask: (!nothing).then_some(painted) }
    }
}

/// Where the picture lies in the view, in pixels.
struct Place {
    left: i64,
    top: i64,
    width: i64,
    height: i64,
    /// Columns and rows of the view.
    view: (u32, u32),
}

impl Place {
    /// The place in the picture that is nearest to one in the view.
    fn nearest(&self, x: u32, y: u32) -> (u32, u32) {
        let within = |at: u32, from: i64, side: i64| (i64::from(at) - from).clamp(0, side - 1) as u32;
        (within(x, self.left, self.width), within(y, self.top, self.height))
    }

    /// How much of a pixel is painted anew, 0 to 255: all beyond the picture, and less and less within its border where
    /// there is something beyond.
    fn beyond(&self, x: u32, y: u32) -> u8 {
        // Pixels from the border, inwards; borders with nothing beyond them are none.
        let depth = |at: u32, from: i64, side: i64, all: u32| {
            let at = i64::from(at) - from;
            let before = if from > 0 { at } else { i64::MAX };
            let after = if from + side < i64::from(all) { side - 1 - at } else { i64::MAX };
            before.min(after)
        };
        let (columns, rows) = self.view;
        let depth = depth(x, self.left, self.width, columns).min(depth(y, self.top, self.height, rows));
        match depth {
            ..0 => 255,
            0..SEAM => ((SEAM - depth) * 255 / (SEAM + 1)) as u8,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn pattern() -> Pixels {
        let image = RgbImage::from_fn(128, 64, |x, y| Rgb([(x * 2) as u8, (y * 4) as u8, 9]));
        Pixels { image, mask: None }
    }

    #[test]
    fn from_afar_the_picture_is_in_the_middle() {
        let seen = View { scale: 2.0, ..View::WHOLE }.of(pattern());
        let mask = seen.mask.unwrap();
        assert_eq!(seen.image.dimensions(), (128, 64));
        let small = imageops::resize(&pattern().image, 64, 32, FilterType::Lanczos3);
        for (x, y, grey) in mask.enumerate_pixels() {
            let inside = (32..96).contains(&x) && (16..48).contains(&y);
            let kept = (40..88).contains(&x) && (24..40).contains(&y);
            assert_eq!(grey.0[0] == 255, !inside, "{x} {y}");
            assert_eq!(grey.0[0] == 0, kept, "{x} {y}");
            if inside {
                assert_eq!(seen.image.get_pixel(x, y), small.get_pixel(x - 32, y - 16));
            }
        }
    }

    #[test]
    fn beside_it_half_of_the_picture_stays() {
        let original = pattern();
        let seen = View { x: 1.0, ..View::WHOLE }.of(pattern());
        let mask = seen.mask.unwrap();
        for (x, y, grey) in mask.enumerate_pixels() {
            assert_eq!(grey.0[0] == 255, x >= 64, "{x} {y}");
            // Above and below there is nothing to paint.
            assert_eq!(grey.0[0] == 0, x < 56, "{x} {y}");
            if x < 64 {
                assert_eq!(seen.image.get_pixel(x, y), original.image.get_pixel(x + 64, y));
            }
        }
    }

    #[test]
    fn within_it_nothing_is_painted_anew() {
        let view = View { x: 0.25, y: 0.5, scale: 0.5 };
        assert!(view.is_within() && !View { x: 0.2, ..view }.is_within());
        assert!(view.of(pattern()).mask.is_none());
        let masked = Pixels { mask: Some(GrayImage::from_pixel(128, 64, Luma([255]))), ..pattern() };
        assert!(view.of(masked).mask.is_some(), "what was asked for is");
    }
}
