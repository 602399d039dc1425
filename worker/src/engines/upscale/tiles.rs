//! A picture enlarged tile by tile, so that memory does not grow with it. Tiles overlap by what the network sees around a
//! pixel, and only their inner parts are kept: there are no seams.

use image::RgbImage;

use super::network::Network;
use crate::engine::EngineError;

/// Pixels a side of what is kept of a tile, before it is enlarged.
pub const TILE: u32 = 128;
/// Pixels around it that the network sees too: as far as 18 convolutions of 3×3 reach, those of the compact networks.
/// Deeper ones see further; what lies there hardly counts.
const OVERLAP: u32 = 18;
/// Pixels beyond the picture that it sees, the same as those of its edge: as many as Real-ESRGAN's own tool adds.
const BEYOND: u32 = 10;

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
        let across = Span::new(tile % columns * side, side, picture.width());
        let down = Span::new(tile / columns * side, side, picture.height());
        let pixels = seen(picture, &across, &down);
        let size = (across.seen() as usize, down.seen() as usize);
        let made = network.run(pixels, size, keep_on);
        let made = made.map_err(|error| trouble(&error))?.ok_or(EngineError::Cancelled)?;
        keep(&made, factor, &mut large, &across, &down);
        after_tile((tile + 1) as f32 / (columns * rows) as f32);
    }
    Ok(large)
}

/// Where a tile lies along one side of the picture, in pixels before it is enlarged.
struct Span {
    /// Where it begins.
    start: u32,
    /// Pixels that are kept.
    kept: u32,
    /// Pixels seen before those, and behind them.
    before: u32,
    behind: u32,
    /// Pixels of the picture's side.
    all: u32,
}

impl Span {
    fn new(start: u32, side: u32, all: u32) -> Self {
        let kept = side.min(all - start);
        let around = |within: u32| OVERLAP.min(within + BEYOND);
        Self { start, kept, before: around(start), behind: around(all - start - kept), all }
    }

    /// How many pixels are seen.
    fn seen(&self) -> u32 {
        self.before + self.kept + self.behind
    }

    /// Which ones; beyond the picture, its last.
    fn pixels(&self) -> impl Iterator<Item = u32> {
        let (start, before, last) = (self.start, self.before, self.all - 1);
        (start..start + self.seen()).map(move |at| at.saturating_sub(before).min(last))
    }
}

fn trouble(error: &candle_core::Error) -> EngineError {
    let text = error.to_string();
    match text.to_lowercase().contains("out of memory") {
        true => EngineError::OutOfMemory(text),
        false => EngineError::Failed(format!("enlarging failed: {text}")),
    }
}

/// What the network sees of a tile: values from 0 to 1, each pixel's red, green and blue together.
fn seen(picture: &RgbImage, across: &Span, down: &Span) -> Vec<f32> {
    let row = |y| across.pixels().flat_map(move |x| picture.get_pixel(x, y).0);
    down.pixels().flat_map(row).map(|value| f32::from(value) / 255.0).collect()
}

/// Puts the inner part of what was made into the large picture.
fn keep(made: &[f32], factor: u32, large: &mut RgbImage, across: &Span, down: &Span) {
    let width = (across.seen() * factor) as usize;
    for y in 0..down.kept * factor {
        let row = (y + down.before * factor) as usize * width + (across.before * factor) as usize;
        for x in 0..across.kept * factor {
            let pixel = &made[3 * (row + x as usize)..][..3];
            let pixel = [0, 1, 2].map(|channel| (pixel[channel] * 255.0).round().clamp(0.0, 255.0) as u8);
            large.put_pixel(across.start * factor + x, down.start * factor + y, image::Rgb(pixel));
        }
    }
}
