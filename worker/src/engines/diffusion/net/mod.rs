//! The networks of Stable Diffusion and Flux, sized by the checkpoint's `config.json`s and with the names of diffusers.
//!
//! Their own implementation, as pictures that repeat need convolutions that wrap around, XL needs its second condition,
//! and a run must be able to end in the midst of a step.

mod adaptive;
mod flux;
mod joint;
mod patches;
mod resnet;
mod t5;
mod text;
mod three;
mod transformer;
mod turns;
mod unet;
mod vae;

use candle_core::{Error, Result, Tensor};

pub use self::{
    flux::Flux,
    t5::T5,
    text::{Encoded, TextEncoder, Whole},
    three::Three,
    unet::Unet,
    vae::Vae,
};
use crate::engines::neural::{Edge, Pass, attention, layers};

/// What a network goes by, one row for each of the latents.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Words, (batch, length, size).
    pub words: &'a Tensor,
    /// The prompt as a whole, (batch, size), for networks that are given it.
    pub pooled: Option<&'a Tensor>,
    /// How much the prompt counts, for networks that are told.
    pub guidance: f64,
    /// Rows and columns of the picture in pixels.
    pub size: (usize, usize),
}

impl Given<'_> {
    /// The prompt as a whole.
    ///
    /// # Errors
    /// [`Error::Msg`] where the text encoders give none.
    pub fn pooled(&self) -> Result<&Tensor> {
        self.pooled.ok_or_else(|| Error::Msg("the text encoders give no prompt as a whole".to_owned()))
    }
}

/// The network that is asked at every step.
pub enum Net {
    /// Of 1, 2 and XL.
    Unet(Box<Unet>),
    /// Of Stable Diffusion 3.
    Three(Box<Three>),
    /// Of Flux.
    Flux(Box<Flux>),
}

impl Net {
    /// What it says of `latents`, (batch, channels, rows, columns), at a step of its training; (batch, latents' own channels,
    /// rows, columns).
    ///
    /// # Errors
    /// Those of the device, and that of [`Pass::check`].
    pub fn forward(&self, latents: &Tensor, step: f64, given: &Given, pass: &Pass) -> Result<Tensor> {
        match self {
            Self::Unet(net) => net.forward(latents, step, given, pass),
            Self::Three(net) => net.forward(latents, step, given, pass),
            Self::Flux(net) => net.forward(latents, step, given, pass),
        }
    }
}
