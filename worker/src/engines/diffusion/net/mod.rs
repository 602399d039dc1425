//! The networks of Stable Diffusion, sized by the checkpoint's `config.json`s and with the names of diffusers.
//!
//! Their own implementation, as pictures that repeat need convolutions that wrap around, XL needs its second condition,
//! and a run must be able to end in the midst of a step.

mod attention;
mod layers;
mod resnet;
mod text;
mod transformer;
mod unet;
mod vae;

pub use self::{
    text::{Encoded, TextEncoder},
    unet::{Added, Unet},
    vae::Vae,
};

use candle_core::{Error, Result};

/// What lies beyond a picture's border, for convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Nothing.
    Zero,
    /// The opposite side: the picture repeats without a seam.
    Wrap,
}

/// One way through a network.
pub struct Pass<'a> {
    /// What lies beyond the border.
    pub edge: Edge,
    /// Whether anybody still wants the result; looked at between layers.
    pub wanted: &'a dyn Fn() -> bool,
}

impl Pass<'_> {
    /// Ends the pass if nobody wants it any more.
    ///
    /// # Errors
    /// [`Error::Msg`]; whoever gave [`Pass::wanted`] knows what it means.
    pub fn check(&self) -> Result<()> {
        match (self.wanted)() {
            true => Ok(()),
            false => Err(Error::Msg("cancelled".to_owned())),
        }
    }
}
