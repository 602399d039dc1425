//! A picture enlarged tile by tile, so that memory does not grow with it. Tiles overlap by what the network sees around a
//! pixel, and only their inner parts are kept: there are no seams.

use image::RgbImage;

use super::network::Network;
use crate::engine::EngineError;

/// Pixels a side of what is kept of a tile, before it is enlarged.
pub const TILE: u32 = 128;
/// Pixels around it that the network sees too: as far as 18 convolutions of 3×3 reach, those of the compact networks.
/// Deeper ones see further; what lies there hardly counts.
pub const OVERLAP: u32 = 18;

/// Enlarges a picture by the network's factor. `after_tile` gets the part done; nothing is given if `keep_on` says so.
///
/// # Errors
/// [`EngineError::OutOfMemory`] if a tile does not fit on the device, [`EngineError::Failed`] for what else it says.
pub fn enlarge(
    network: &Network,
    picture: &RgbImage,
    keep_on: &dyn Fn() -> bool,
    after_tile: &dyn Fn(f32),
) -> Result<RgbImage, EngineError> {
    enlarge_by(TILE, network, picture, keep_on, after_tile)
}

/// The same in tiles of a size.
pub(super) fn enlarge_by(
    side: u32,
    network: &Network,
    picture: &RgbImage,
    keep_on: &dyn Fn() -> bool,
    after_tile: &dyn Fn(f32),
) -> Result<RgbImage, EngineError> {
    let factor = network.factor() as u32;
    let mut large = RgbImage::new(picture.width() * factor, picture.height() * factor);
    let (columns, rows) = (picture.width().div_ceil(side), picture.height().div_ceil(side));
    for tile in 0..columns * rows {
        let (left, top) = (tile % columns * side, tile / columns * side);
        let width = side.min(picture.width() - left);
        let height = side.min(picture.height() - top);
        let seen = (width + 2 * OVERLAP, height + 2 * OVERLAP);
        let pixels = around(picture, (left, top), seen);
        let made = network.run(pixels, (seen.0 as usize, seen.1 as usize), keep_on);
        let made = made.map_err(|error| trouble(&error))?.ok_or(EngineError::Cancelled)?;
        keep(&made, seen, factor, &mut large, (left, top), (width, height));
        after_tile((tile + 1) as f32 / (columns * rows) as f32);
    }
    Ok(large)
}

fn trouble(error: &candle_core::Error) -> EngineError {
    let text = error.to_string();
    match text.to_lowercase().contains("out of memory") {
        true => EngineError::OutOfMemory(text),
        false => EngineError::Failed(format!("enlarging failed: {text}")),
    }
}

/// The pixels around a tile, channel by channel; beyond the picture, those of its edge.
fn around(picture: &RgbImage, (left, top): (u32, u32), (width, height): (u32, u32)) -> Vec<f32> {
    let within = |at: u32, length: u32| at.saturating_sub(OVERLAP).min(length - 1);
    let mut pixels = Vec::with_capacity((width * height * 3) as usize);
    for channel in 0..3 {
        for y in top..top + height {
            let y = within(y, picture.height());
            let row = (left..left + width).map(|x| picture.get_pixel(within(x, picture.width()), y)[channel]);
            pixels.extend(row.map(|value| f32::from(value) / 255.0));
        }
    }
    pixels
}

/// Puts the inner part of what was made into the large picture.
fn keep(
    made: &[f32],
    seen: (u32, u32),
    factor: u32,
    large: &mut RgbImage,
    (left, top): (u32, u32),
    (width, height): (u32, u32),
) {
    let stride = (seen.0 * factor) as usize;
    let plane = stride * (seen.1 * factor) as usize;
    for y in 0..height * factor {
        let row = (y + OVERLAP * factor) as usize * stride + (OVERLAP * factor) as usize;
        for x in 0..width * factor {
            let at = row + x as usize;
            let value = |channel: usize| (made[at + channel * plane] * 255.0).round().clamp(0.0, 255.0) as u8;
            let pixel = image::Rgb([value(0), value(1), value(2)]);
            large.put_pixel(left * factor + x, top * factor + y, pixel);
        }
    }
}
