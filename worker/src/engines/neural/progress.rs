//! How far a run is, as members see it.

use image::RgbImage;

use crate::{
    engine::{RunContext, Update},
    engines::picture,
};

/// How far a run is, and how what there is looks.
#[derive(Default)]
pub struct Progress {
    /// Steps taken.
    pub done: usize,
    /// Steps in all.
    pub all: usize,
    /// The results that are done, small.
    pub small: Vec<RgbImage>,
}

impl Progress {
    /// Tells how far it is, with what is done and what is in the making, of `count` results; places that are not begun are black.
    pub fn tell(&self, context: &RunContext, current: &[RgbImage], count: usize) {
        let mut sheet: Vec<RgbImage> = self.small.iter().chain(current).cloned().collect();
        if let Some((width, height)) = sheet.first().map(RgbImage::dimensions) {
            sheet.resize_with(count, || RgbImage::new(width, height));
        }
        let done = self.done as f32 / self.all.max(1) as f32;
        (context.updates)(Update::Progress { done, preview: picture::sheet(&sheet) });
    }
}
