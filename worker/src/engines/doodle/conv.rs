//! Convolutions of pictures whose channels lie last, (batch, rows, columns, channels): what a kernel covers is laid side by side, so
//! that one large matrix product does the rest. On a processor that is faster than with channels first.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::engines::neural::{Edge, Pass};

/// Side of a kernel that sees more than one place.
const KERNEL: usize = 3;

/// A convolution without a bias, of 3×3 places, or of one.
pub struct Conv {
    /// (covered × from, to).
    weight: Tensor,
    kernel: usize,
}

impl Conv {
    /// Reads one of 3×3 places.
    ///
    /// # Errors
    /// Candle's, naming the tensor that is missing or has another shape.
    pub fn new(from: usize, to: usize, vb: VarBuilder) -> Result<Self> {
        Self::of(KERNEL, from, to, vb)
    }

    /// Reads one of single places.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_one(from: usize, to: usize, vb: VarBuilder) -> Result<Self> {
        Self::of(1, from, to, vb)
    }

    fn of(kernel: usize, from: usize, to: usize, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get((to, from, kernel, kernel), "weight")?;
        let weight = weight.permute((2, 3, 1, 0))?.reshape((kernel * kernel * from, to))?;
        Ok(Self { weight, kernel })
    }

    /// (batch, rows, columns, from) to (batch, rows, columns, to).
    ///
    /// # Errors
    /// Those of the device, and that of `pass`.
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        pass.check()?;
        if self.kernel == 1 {
            return self.product(x);
        }
        let (_, rows, columns, _) = x.dims4()?;
        let around = around(x, pass.edge)?;
        let seen =
            each(|down, across| around.narrow(1, down, rows)?.narrow(2, across, columns)?.contiguous())?;
        self.product(&Tensor::cat(&seen, 3)?)
    }

    /// The same of every second row and column, to (batch, rows / 2, columns / 2, to).
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn halve(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        pass.check()?;
        let (batch, rows, columns, from) = x.dims4()?;
        let (rows, columns) = (rows / 2, columns / 2);
        let around = around(x, pass.edge)?.reshape(vec![batch, rows + 1, 2, columns + 1, 2, from])?;
        let seen = each(|down, across| {
            let part = around.narrow(1, down / 2, rows)?.narrow(2, down % 2, 1)?;
            let part = part.narrow(3, across / 2, columns)?.narrow(4, across % 2, 1)?;
            part.contiguous()?.reshape((batch, rows, columns, from))
        })?;
        self.product(&Tensor::cat(&seen, 3)?)
    }

    fn product(&self, seen: &Tensor) -> Result<Tensor> {
        let (batch, rows, columns, covered) = seen.dims4()?;
        let made = seen.reshape((batch * rows * columns, covered))?.matmul(&self.weight)?;
        made.reshape((batch, rows, columns, self.weight.dim(1)?))
    }
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

/// Each place as two by two.
///
/// # Errors
/// Those of the device.
pub fn doubled(x: &Tensor) -> Result<Tensor> {
    let (batch, rows, columns, channels) = x.dims4()?;
    let all = batch * rows;
    let twice = x.reshape((all, 1, columns, 1, channels))?.broadcast_as((all, 2, columns, 2, channels))?;
    twice.contiguous()?.reshape((batch, 2 * rows, 2 * columns, channels))
}

/// Pictures (batch, colours, rows, columns) as patches with channels last, each colour's rows one after another.
///
/// # Errors
/// Those of the device.
pub fn patches(x: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, colours, rows, columns) = x.dims4()?;
    let (rows, columns) = (rows / patch, columns / patch);
    let parts =
        x.reshape(vec![batch, colours, rows, patch, columns, patch])?.permute(vec![0, 2, 4, 1, 3, 5])?;
    parts.contiguous()?.reshape((batch, rows, columns, colours * patch * patch))
}

/// The way back from [`patches`].
///
/// # Errors
/// Those of the device.
pub fn picture(x: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, rows, columns, channels) = x.dims4()?;
    let colours = channels / (patch * patch);
    let parts =
        x.reshape(vec![batch, rows, columns, colours, patch, patch])?.permute(vec![0, 3, 1, 4, 2, 5])?;
    parts.contiguous()?.reshape((batch, colours, rows * patch, columns * patch))
}
