//! Convolutions of pictures whose channels lie last, (batch, rows, columns, channels), so that large matrix products do most of them.
//! On a processor that is faster than with channels first.

use candle_core::{CpuStorage, CustomOp1, Error, Layout, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use rayon::prelude::*;

use super::{
    Edge, Pass,
    winograd::{KERNEL, Kernel},
};

/// A convolution of 3×3 places, or of one.
pub struct Conv(How);

enum How {
    /// Of 3×3 places, on a processor.
    Squares(Kernel),
    /// In one matrix product, of what kernels cover laid side by side.
    Product {
        /// (covered × from, to).
        weight: Tensor,
        kernel: usize,
        then: Option<Then>,
    },
}

/// What follows, for each channel: (to,).
struct Then {
    /// What is added.
    bias: Tensor,
    /// What the sum is multiplied with where it is below 0.
    slopes: Tensor,
}

impl Conv {
    /// Reads one of 3×3 places without a bias.
    ///
    /// # Errors
    /// Candle's, naming the tensor that is missing or has another shape.
    pub fn new(from: usize, to: usize, vb: VarBuilder) -> Result<Self> {
        Self::of(&vb.get((to, from, KERNEL, KERNEL), "weight")?, None)
    }

    /// Reads one of single places without a bias.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_one(from: usize, to: usize, vb: VarBuilder) -> Result<Self> {
        Self::of(&vb.get((to, from, 1, 1), "weight")?, None)
    }

    /// One of weights (to, from, kernel, kernel), with a kernel of 1 or 3, on the device where they are. `then` has for each channel
    /// what is added to it, and what the sum is multiplied with where it is below 0.
    ///
    /// # Errors
    /// Those of the device.
    pub fn of(weight: &Tensor, then: Option<(Vec<f32>, Vec<f32>)>) -> Result<Self> {
        let (to, from, kernel, _) = weight.dims4()?;
        if kernel == KERNEL && weight.device().is_cpu() {
            let (bias, slopes) = then.unwrap_or_else(|| (vec![0.0; to], vec![1.0; to]));
            let weight: Vec<f32> = weight.flatten_all()?.to_vec1()?;
            return Ok(Self(How::Squares(Kernel::new(&weight, bias, slopes)?)));
        }
        let there = |numbers: Vec<f32>| Tensor::new(numbers, weight.device());
        let then =
            then.map(|(bias, slopes)| Ok::<_, Error>(Then { bias: there(bias)?, slopes: there(slopes)? }));
        let weight = weight.permute((2, 3, 1, 0))?.reshape((kernel * kernel * from, to))?;
        Ok(Self(How::Product { weight, kernel, then: then.transpose()? }))
    }

    /// Has each channel's sum multiplied with its slope where it is below 0, and with what it is multiplied with there already, which
    /// is 0 or more.
    ///
    /// # Errors
    /// Those of the device.
    pub fn slope(&mut self, new: &[f32]) -> Result<()> {
        match &mut self.0 {
            How::Squares(kernel) => kernel.slopes.iter_mut().zip(new).for_each(|(slope, new)| *slope *= new),
            How::Product { weight, then, .. } => {
                let new = Tensor::new(new, weight.device())?;
                *then = Some(match then.take() {
                    Some(Then { bias, slopes }) => Then { bias, slopes: (slopes * new)? },
                    None => Then { bias: new.zeros_like()?, slopes: new },
                });
            }
        }
        Ok(())
    }

    /// (batch, rows, columns, from) to (batch, rows, columns, to).
    ///
    /// # Errors
    /// Those of the device, and that of `pass`.
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        pass.check()?;
        match &self.0 {
            How::Squares(kernel) => convolved(x, kernel, pass, Order::ChannelsLast),
            How::Product { weight, kernel: 1, then } => product(x, weight, then.as_ref()),
            How::Product { weight, then, .. } => {
                let (_, rows, columns, _) = x.dims4()?;
                let around = around(x, pass.edge)?;
                let seen = each(|down, across| {
                    around.narrow(1, down, rows)?.narrow(2, across, columns)?.contiguous()
                })?;
                product(&Tensor::cat(&seen, 3)?, weight, then.as_ref())
            }
        }
    }

    /// The same of every second row and column, to (batch, rows / 2, columns / 2, to).
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn halve(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (batch, rows, columns, from) = x.dims4()?;
        let (rows, columns) = (rows / 2, columns / 2);
        let (weight, then) = match &self.0 {
            How::Squares(_) => {
                // There are few of these: to make all and keep a quarter costs less than a way of their own.
                let all = self.forward(x, pass)?;
                let all = all.reshape(vec![batch, rows, 2, columns, 2, all.dim(3)?])?;
                return all.narrow(2, 0, 1)?.narrow(4, 0, 1)?.contiguous()?.reshape((
                    batch,
                    rows,
                    columns,
                    (),
                ));
            }
            How::Product { weight, then, .. } => (weight, then),
        };
        pass.check()?;
        let around = around(x, pass.edge)?.reshape(vec![batch, rows + 1, 2, columns + 1, 2, from])?;
        let seen = each(|down, across| {
            let part = around.narrow(1, down / 2, rows)?.narrow(2, down % 2, 1)?;
            let part = part.narrow(3, across / 2, columns)?.narrow(4, across % 2, 1)?;
            part.contiguous()?.reshape((batch, rows, columns, from))
        })?;
        product(&Tensor::cat(&seen, 3)?, weight, then.as_ref())
    }
}

/// Where the channels of pictures are.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// (batch, channels, rows, columns).
    ChannelsFirst,
    /// (batch, rows, columns, channels).
    ChannelsLast,
}

/// What a kernel makes of pictures on a processor, in their order.
///
/// # Errors
/// If they have other channels, and that of `pass`.
pub fn convolved(x: &Tensor, kernel: &Kernel, pass: &Pass, order: Order) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Convolved { kernel, pass, order })
}

struct Convolved<'a> {
    kernel: &'a Kernel,
    pass: &'a Pass<'a>,
    order: Order,
}

impl CustomOp1 for Convolved<'_> {
    fn name(&self) -> &'static str {
        "convolution in squares"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (start, end) = layout
            .contiguous_offsets()
            .ok_or_else(|| Error::Msg("what is convolved has to lie in one piece".to_owned()))?;
        let pictures = &storage.as_slice::<f32>()?[start..end];
        let (batch, rows, columns, from) = match (self.order, layout.shape().dims4()?) {
            (Order::ChannelsFirst, (batch, from, rows, columns)) => (batch, rows, columns, from),
            (Order::ChannelsLast, shape) => shape,
        };
        let (shape, places) = ((rows, columns, from), rows * columns);
        match self.order {
            Order::ChannelsLast => {
                let made = self.kernel.convolve(pictures, shape, self.pass)?;
                let to = made.len() / (batch * places).max(1);
                Ok((CpuStorage::F32(made), Shape::from((batch, rows, columns, to))))
            }
            Order::ChannelsFirst => {
                let made = self.kernel.convolve(&turned(pictures, (from, places)), shape, self.pass)?;
                let to = made.len() / (batch * places).max(1);
                Ok((CpuStorage::F32(turned(&made, (places, to))), Shape::from((batch, to, rows, columns))))
            }
        }
    }
}

/// Matrices (rows, columns), one after another, as (columns, rows).
fn turned(matrices: &[f32], (rows, columns): (usize, usize)) -> Vec<f32> {
    /// Columns that are read side by side.
    const BESIDE: usize = 16;
    let mut made = vec![0.0; matrices.len()];
    let whole = (rows * columns).max(1);
    for (matrix, made) in matrices.chunks_exact(whole).zip(made.chunks_exact_mut(whole)) {
        made.par_chunks_mut(BESIDE * rows).enumerate().for_each(|(strip, made)| {
            for (row, numbers) in matrix.chunks_exact(columns).enumerate() {
                for (made, number) in made.chunks_exact_mut(rows).zip(&numbers[strip * BESIDE..]) {
                    made[row] = *number;
                }
            }
        });
    }
    made
}

fn product(seen: &Tensor, weight: &Tensor, then: Option<&Then>) -> Result<Tensor> {
    let (batch, rows, columns, covered) = seen.dims4()?;
    let made = seen.reshape((batch * rows * columns, covered))?.matmul(weight)?;
    let made = match then {
        None => made,
        Some(Then { bias, slopes }) => sloped(&made.broadcast_add(bias)?, slopes)?,
    };
    made.reshape((batch, rows, columns, weight.dim(1)?))
}

/// Times each channel's slope where it is below 0.
///
/// # Errors
/// Those of the device.
pub fn sloped(x: &Tensor, slopes: &Tensor) -> Result<Tensor> {
    let above = x.relu()?;
    let below = (x - &above)?.broadcast_mul(slopes)?;
    above + below
}

/// What each place of a kernel sees, by rows down and columns across.
fn each(see: impl Fn(usize, usize) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    (0..KERNEL * KERNEL).map(|place| see(place / KERNEL, place % KERNEL)).collect()
}

/// The picture with one more place on each side.
fn around(x: &Tensor, edge: Edge) -> Result<Tensor> {
    match edge {
        Edge::Zero => x.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?.contiguous(),
        Edge::Wrap => wrap(&wrap(x, 1)?, 2),
    }
}

fn wrap(x: &Tensor, side: usize) -> Result<Tensor> {
    let last = x.narrow(side, x.dim(side)? - 1, 1)?.contiguous()?;
    let first = x.narrow(side, 0, 1)?.contiguous()?;
    Tensor::cat(&[&last, x, &first], side)
}

/// Each place as `times` by `times`.
///
/// # Errors
/// Those of the device.
pub fn enlarged(x: &Tensor, times: usize) -> Result<Tensor> {
    let (batch, rows, columns, channels) = x.dims4()?;
    let all = batch * rows;
    let many = x.reshape((all, 1, columns, 1, channels))?;
    let many = many.broadcast_as((all, times, columns, times, channels))?.contiguous()?;
    many.reshape((batch, times * rows, times * columns, channels))
}

/// Pictures (batch, colours, rows, columns) as patches with channels last, each colour's rows one after another.
///
/// # Errors
/// Those of the device.
pub fn patches(x: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, colours, rows, columns) = x.dims4()?;
    let (rows, columns) = (rows / patch, columns / patch);
    let parts = x.reshape(vec![batch, colours, rows, patch, columns, patch])?;
    let parts = parts.permute(vec![0, 2, 4, 1, 3, 5])?.contiguous()?;
    parts.reshape((batch, rows, columns, colours * patch * patch))
}

/// The way back from [`patches`], with colours last.
///
/// # Errors
/// Those of the device.
pub fn shuffled(x: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, rows, columns, channels) = x.dims4()?;
    let colours = channels / (patch * patch);
    let parts = x.reshape(vec![batch, rows, columns, colours, patch, patch])?;
    let parts = parts.permute(vec![0, 1, 4, 2, 5, 3])?.contiguous()?;
    parts.reshape((batch, rows * patch, columns * patch, colours))
}
