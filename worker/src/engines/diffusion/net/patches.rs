//! Latents as places of a transformer, a square of them each, and back.

use candle_core::{Result, Tensor};

/// (batch, channels, rows, columns) to (batch, places, channels × side × side).
pub fn cut(latents: &Tensor, side: usize) -> Result<Tensor> {
    let (batch, channels, rows, columns) = latents.dims4()?;
    let (down, across) = (rows / side, columns / side);
    latents
        .reshape(vec![batch, channels, down, side, across, side])?
        .permute(vec![0, 2, 4, 1, 3, 5])?
        .contiguous()?
        .reshape((batch, down * across, channels * side * side))
}

/// Which of a place's numbers come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Those of one channel.
    Channels,
    /// Those of one latent.
    Latents,
}

/// The way back from [`cut`], to so many rows and columns of latents.
pub fn lay(places: &Tensor, (rows, columns): (usize, usize), side: usize, order: Order) -> Result<Tensor> {
    let (batch, _, numbers) = places.dims3()?;
    let (down, across, channels) = (rows / side, columns / side, numbers / (side * side));
    let (shape, way) = match order {
        Order::Channels => (vec![batch, down, across, channels, side, side], vec![0, 3, 1, 4, 2, 5]),
        Order::Latents => (vec![batch, down, across, side, side, channels], vec![0, 5, 1, 3, 2, 4]),
    };
    places.reshape(shape)?.permute(way)?.contiguous()?.reshape((batch, channels, rows, columns))
}
