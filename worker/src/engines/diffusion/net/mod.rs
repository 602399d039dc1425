//! The networks of Stable Diffusion, sized by the checkpoint's `config.json`s and with the names of diffusers.
//!
//! Their own implementation, as pictures that repeat need convolutions that wrap around, XL needs its second condition,
//! and a run must be able to end in the midst of a step.

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
use crate::engines::neural::{Edge, Pass, attention, layers};
