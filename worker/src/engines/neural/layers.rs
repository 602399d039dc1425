//! Convolutions that wrap around where they are asked to, products of matrices piece by piece, and the embedding of numbers as
//! waves.

use candle_core::{DType, Device, Error, Result, Tensor};
use candle_nn::VarBuilder;

use super::{
    Edge, Pass,
    conv::{Order, convolved},
    winograd::{KERNEL, Kernel},
};

/// Most bytes of a convolution's columns or of an attention's scores at once. On the CPU, a piece of that size takes less
/// than the 100 ms within which a run has to notice that it is cancelled.
pub fn piece(device: &Device) -> usize {
    match device.is_cpu() {
        true => 16 << 20,
        false => 512 << 20,
    }
}

/// Most multiply-adds of matrix products at once on the CPU, for the same reason.
pub const PRODUCTS: usize = 1 << 31;

/// Pieces put together again along one side.
pub fn whole(pieces: &[Tensor], side: usize) -> Result<Tensor> {
    match pieces {
        [only] => Ok(only.clone()),
        pieces => Tensor::cat(pieces, side),
    }
}

/// What `f` makes of tensors of equal length, (batch, length, …), so many places at a time that a run can end in between.
/// `cost` is the multiply-adds that one place takes.
///
/// # Errors
/// Those of `f`, and that of [`Pass::check`].
pub fn by_places<const I: usize, const O: usize>(
    inputs: [&Tensor; I],
    cost: usize,
    pass: &Pass,
    f: impl Fn([Tensor; I]) -> Result<[Tensor; O]>,
) -> Result<[Tensor; O]> {
    let (batch, length) = (inputs[0].dim(0)?, inputs[0].dim(1)?);
    let places = match inputs[0].device().is_cpu() {
        true => (PRODUCTS / (batch * cost).max(1)).max(1),
        false => length.max(1),
    };
    let mut pieces: [Vec<Tensor>; O] = std::array::from_fn(|_| Vec::new());
    for first in (0..length).step_by(places) {
        pass.check()?;
        let mut part = inputs.map(Tensor::clone);
        for x in &mut part {
            *x = x.narrow(1, first, places.min(length - first))?.contiguous()?;
        }
        for (list, made) in pieces.iter_mut().zip(f(part)?) {
            list.push(made);
        }
    }
    let made: Vec<Tensor> = pieces.iter().map(|list| whole(list, 1)).collect::<Result<_>>()?;
    made.try_into().map_err(|_| Error::Msg("pieces of a product are missing".to_owned()))
}

/// A convolution over rows and columns, as wide at its border as within.
pub struct Conv(How);

enum How {
    /// Of 3×3 places, in single precision on a processor.
    Squares(Kernel),
    Plain(Plain),
}

impl Conv {
    /// Reads one with a square kernel.
    pub fn new(from: usize, to: usize, kernel: usize, stride: usize, vb: VarBuilder) -> Result<Self> {
        if (kernel, stride, vb.dtype()) != (KERNEL, 1, DType::F32) || !vb.device().is_cpu() {
            return Ok(Self(How::Plain(Plain::new(from, to, kernel, stride, vb)?)));
        }
        let weight: Vec<f32> = vb.get((to, from, kernel, kernel), "weight")?.flatten_all()?.to_vec1()?;
        let bias = vb.get(to, "bias")?.to_vec1()?;
        Ok(Self(How::Squares(Kernel::exact(&weight, bias, vec![1.0; to])?)))
    }

    /// (batch, from, rows, columns) to (batch, to, rows / stride, columns / stride).
    pub fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        match &self.0 {
            How::Squares(kernel) => convolved(x, kernel, pass, Order::ChannelsFirst),
            How::Plain(plain) => plain.forward(x, pass),
        }
    }
}

/// The same with any kernel, stride and numbers, on any device.
pub struct Plain {
    weight: Tensor,
    /// Shaped (1, channels, 1, 1).
    bias: Tensor,
    stride: usize,
}

impl Plain {
    /// As [`Conv::new`].
    pub fn new(from: usize, to: usize, kernel: usize, stride: usize, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get((to, from, kernel, kernel), "weight")?;
        let bias = vb.get(to, "bias")?.reshape((1, to, 1, 1))?;
        Ok(Self { weight, bias, stride })
    }

    fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let around = self.weight.dim(2)? / 2;
        let x = match pass.edge {
            _ if around == 0 => x.clone(),
            Edge::Wrap => wrap(&wrap(x, 2, around)?, 3, around)?,
            Edge::Zero => x.pad_with_zeros(2, around, around)?.pad_with_zeros(3, around, around)?,
        };
        self.within(&x, pass)
    }

    /// As [`Conv::forward`] without anything around `x`: what is there is the border.
    pub fn within(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let (batch, from, rows, columns) = x.dims4()?;
        let kernel = self.weight.dim(2)?;
        let made = (rows - kernel) / self.stride + 1;
        let row = batch * from * kernel * kernel * columns / self.stride * x.dtype().size_in_bytes();
        let band = (piece(x.device()) / row.max(1)).max(1);
        let mut bands = Vec::new();
        for first in (0..made).step_by(band) {
            pass.check()?;
            let count = band.min(made - first);
            let needs = (count - 1) * self.stride + kernel;
            let part = x.narrow(2, first * self.stride, needs)?;
            bands.push(part.conv2d(&self.weight, 0, self.stride, 1, 1)?.broadcast_add(&self.bias)?);
        }
        whole(&bands, 2)
    }
}

fn wrap(x: &Tensor, side: usize, around: usize) -> Result<Tensor> {
    let length = x.dim(side)?;
    if length < around {
        return x.pad_with_same(side, around, around);
    }
    Tensor::cat(&[&x.narrow(side, length - around, around)?, x, &x.narrow(side, 0, around)?], side)
}

/// Numbers as cosines and sines of `size / 2` frequencies, (numbers, size): section 3.5 of <https://arxiv.org/abs/1706.03762>,
/// cosines first.
pub fn waves(numbers: &[f64], size: usize, shift: f64, device: &Device) -> Result<Tensor> {
    let half = size / 2;
    let frequency = |i: usize| libm::exp(-libm::log(10_000.0) * i as f64 / (half as f64 - shift));
    let of = |number: &f64| {
        let angles: Vec<f64> = (0..half).map(|i| number * frequency(i)).collect();
        let cosines = angles.iter().map(|angle| libm::cos(*angle) as f32);
        cosines.chain(angles.iter().map(|angle| libm::sin(*angle) as f32)).collect::<Vec<f32>>()
    };
    let all: Vec<f32> = numbers.iter().flat_map(of).collect();
    Tensor::from_vec(all, (numbers.len(), 2 * half), &Device::Cpu)?.to_dtype(DType::F32)?.to_device(device)
}
