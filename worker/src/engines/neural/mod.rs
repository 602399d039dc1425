//! What networks that paint have in common: layers, noise by seed, and pixels as numbers.

pub mod attention;
pub mod conv;
pub mod lanes;
pub mod layers;
pub mod noise;
pub mod original;
pub mod pixels;
pub mod progress;
pub mod view;
pub mod winograd;

use candle_core::{Error, Result};

use super::is_out_of_memory;
use crate::engine::{EngineError, RunContext};

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

/// What members are told of a run that broke off: that it was cancelled, if it was, whatever the network says of it.
pub fn broken_off(error: Error, context: &RunContext) -> EngineError {
    match error {
        _ if context.cancel.is_cancelled() => EngineError::Cancelled,
        error if is_out_of_memory(&error.to_string()) => EngineError::OutOfMemory(error.to_string()),
        error => EngineError::Failed(error.to_string()),
    }
}
