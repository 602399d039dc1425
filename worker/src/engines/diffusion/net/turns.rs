//! Where places are, by which their queries and keys are turned: <https://arxiv.org/abs/2104.09864>, by several axes.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::rotary_emb::rope_i;

/// How fast the slowest pair of channels turns: one part of this a place.
const SLOWEST: f64 = 10_000.0;

/// The turn of each pair of channels at each place.
pub struct Turns {
    cosines: Tensor,
    sines: Tensor,
}

impl Turns {
    /// Those of places, by their coordinates on axes; `axes` has the channels that each axis turns.
    pub fn new<const N: usize>(places: &[[usize; N]], axes: &[usize; N], device: &Device) -> Result<Self> {
        let angles: Vec<f64> = places
            .iter()
            .flat_map(|place| {
                place.iter().zip(axes).flat_map(|(at, channels)| {
                    let slower = move |i: usize| libm::pow(SLOWEST, -2.0 * i as f64 / *channels as f64);
                    (0..channels / 2).map(move |i| *at as f64 * slower(i))
                })
            })
            .collect();
        let shape = (places.len(), angles.len() / places.len().max(1));
        let of = |f: fn(f64) -> f64| {
            let numbers: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
            Tensor::from_vec(numbers, shape, device)
        };
        Ok(Self { cosines: of(libm::cos)?, sines: of(libm::sin)? })
    }

    /// (batch, heads, places, channels) to the same, in single precision within.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let turned = rope_i(&x.to_dtype(DType::F32)?.contiguous()?, &self.cosines, &self.sines)?;
        turned.to_dtype(x.dtype())
    }
}
