//! Several pictures in one: the sheet that members choose from.

use image::{RgbImage, imageops};

use super::resize;
use crate::media::BadMedia;

/// Most pixels a side of a sheet. Within what browsers, Discord and WebP (16383) show; four pictures of 2048² fit whole.
const MAX_SIDE: u32 = 4_096;

/// How many of `count` pictures are side by side: up to three in one row, and else a square as far as it goes.
pub fn columns(count: u32) -> u32 {
    match count {
        0..=3 => count.max(1),
        _ => f64::from(count).sqrt().ceil() as u32,
    }
}

/// The pictures in one, from left to right and top to bottom, edge to edge. Each gets the room that the first takes, and
/// less where the sheet would pass 4096 pixels a side; one of another shape is centred on black.
///
/// # Errors
/// [`BadMedia::Unreadable`] if there is no picture, or nothing in one.
pub fn sheet(pictures: &[RgbImage]) -> Result<RgbImage, BadMedia> {
    let first = pictures.first().ok_or_else(|| BadMedia::Unreadable("there is no picture".to_owned()))?;
    let columns = columns(pictures.len() as u32);
    let rows = (pictures.len() as u32).div_ceil(columns);
    let (width, height) = room(first.dimensions(), columns, rows);
    let mut sheet = RgbImage::new(width * columns, height * rows);
    for (at, picture) in (0..).zip(pictures) {
        let (x, y) = ((at % columns) * width, (at / columns) * height);
        let (inner_width, inner_height) = fit(picture.dimensions(), (width, height));
        let place = (x + (width - inner_width) / 2, y + (height - inner_height) / 2);
        match (inner_width, inner_height) == picture.dimensions() {
            true => put(&mut sheet, picture, place),
            false => put(&mut sheet, &resize(picture, inner_width, inner_height)?, place),
        }
    }
    Ok(sheet)
}

fn put(sheet: &mut RgbImage, picture: &RgbImage, (x, y): (u32, u32)) {
    imageops::replace(sheet, picture, i64::from(x), i64::from(y));
}

/// The room of one picture.
fn room((width, height): (u32, u32), columns: u32, rows: u32) -> (u32, u32) {
    fit((width, height), ((MAX_SIDE / columns).min(width), (MAX_SIDE / rows).min(height)))
}

/// The largest size of the same shape within a room.
fn fit((width, height): (u32, u32), room: (u32, u32)) -> (u32, u32) {
    let scale = (f64::from(room.0) / f64::from(width)).min(f64::from(room.1) / f64::from(height));
    let scaled = |length: u32, most: u32| ((f64::from(length) * scale).round() as u32).clamp(1, most.max(1));
    (scaled(width, room.0), scaled(height, room.1))
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn plain(width: u32, height: u32, shade: u8) -> RgbImage {
        RgbImage::from_pixel(width, height, Rgb([shade; 3]))
    }

    #[test]
    fn pictures_lie_in_reading_order() {
        let four: Vec<RgbImage> = (1..=4).map(|shade| plain(10, 6, shade)).collect();
        let square = sheet(&four).unwrap();
        assert_eq!(square.dimensions(), (20, 12));
        let corners = [(0, 0), (19, 0), (0, 11), (19, 11)].map(|(x, y)| square.get_pixel(x, y)[0]);
        assert_eq!(corners, [1, 2, 3, 4]);
        assert_eq!(sheet(&four[..3]).unwrap().dimensions(), (30, 6));
        assert_eq!(sheet(&four[..1]).unwrap(), four[0]);
        assert_eq!([1, 2, 3, 4, 5, 9, 16].map(columns), [1, 2, 3, 2, 3, 3, 4]);
    }

    #[test]
    fn another_shape_is_centred_and_nothing_passes_the_limit() {
        let mixed = sheet(&[plain(10, 10, 1), plain(10, 5, 2)]).unwrap();
        assert_eq!([(10, 0), (10, 5), (19, 5), (10, 9)].map(|(x, y)| mixed.get_pixel(x, y)[0]), [0, 2, 2, 0]);
        let large: Vec<RgbImage> = (0..16).map(|_| plain(2_048, 1_024, 7)).collect();
        assert_eq!(sheet(&large).unwrap().dimensions(), (4_096, 2_048));
        assert!(sheet(&[]).is_err());
    }
}
