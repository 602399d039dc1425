//! Convolutions of 3×3 places on a processor, of pictures whose channels lie last, in bands of a few rows: a band stays in the
//! cache of its core from what the kernels cover to the finished result.

use candle_core::{CpuStorage, CustomOp1, Error, Layout, Result, Shape};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, linalg::general_mat_mul};
use rayon::prelude::*;

use super::Edge;

/// Places a side that a kernel covers.
pub const KERNEL: usize = 3;
/// Numbers that the kernels of a band cover, at most: half a megabyte.
const BAND: usize = 1 << 17;

/// What is convolved with, and what follows.
pub struct Kernel {
    /// (9 × from, to), by rows down, columns across, and channels.
    weights: Array2<f32>,
    /// What is added to each channel.
    bias: Vec<f32>,
    /// What each channel's sum is multiplied with where it is below 0.
    pub slopes: Vec<f32>,
}

/// What a [`Kernel`] does with pictures: (batch, rows, columns, from) to (batch, rows / stride, columns / stride, to).
pub struct Banded<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// What lies beyond the border.
    pub edge: Edge,
    /// From one of the places seen to the next.
    pub stride: usize,
}

impl Kernel {
    /// From weights (to, from, 3, 3), one after another, and for each channel of `to` what follows.
    ///
    /// # Errors
    /// [`Error::Msg`] if there are not as many weights as that.
    pub fn new(weights: &[f32], bias: Vec<f32>, slopes: Vec<f32>) -> Result<Self> {
        let (to, places) = (bias.len(), KERNEL * KERNEL);
        let from = weights.len() / (to * places).max(1);
        let weights = ndarray::ArrayView3::from_shape((to, from, places), weights).map_err(Error::wrap)?;
        let weights = weights.permuted_axes([2, 1, 0]).as_standard_layout().into_owned();
        let weights = weights.into_shape_with_order((places * from, to)).map_err(Error::wrap)?;
        Ok(Self { weights, bias, slopes })
    }

    fn finish(&self, made: &mut [f32]) {
        for place in made.chunks_exact_mut(self.bias.len()) {
            for ((value, bias), slope) in place.iter_mut().zip(&self.bias).zip(&self.slopes) {
                let sum = *value + bias;
                *value = if sum < 0.0 { sum * slope } else { sum };
            }
        }
    }
}

impl CustomOp1 for Banded<'_> {
    fn name(&self) -> &'static str {
        "convolution in bands"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, rows, columns, from) = layout.shape().dims4()?;
        let (covered, to) = self.kernel.weights.dim();
        let (start, end) = layout
            .contiguous_offsets()
            .ok_or_else(|| Error::Msg("what is convolved has to lie in one piece".to_owned()))?;
        if covered != KERNEL * KERNEL * from {
            let text = format!("kernels that cover {covered} numbers do not fit {from} channels");
            return Err(Error::Msg(text));
        }
        let pictures = &storage.as_slice::<f32>()?[start..end];
        let (high, wide) = (rows / self.stride, columns / self.stride);
        let mut made = vec![0.0; batch * high * wide * to];
        // As many bands as there are threads at least.
        let band = (BAND / (wide * covered)).min(high.div_ceil(rayon::current_num_threads())).max(1);
        let whole = pictures.chunks_exact(rows * columns * from).zip(made.chunks_exact_mut(high * wide * to));
        let bands = whole.flat_map(|(picture, made)| {
            let bands = made.chunks_mut(band * wide * to).enumerate();
            bands.map(move |(number, made)| (picture, number * band, made))
        });
        let bands: Vec<_> = bands.collect();
        bands.into_par_iter().try_for_each_init(Vec::new, |seen, (picture, top, made)| {
            let places = made.len() / to;
            seen.resize(places * covered, 0.0);
            for (row, seen) in seen.chunks_exact_mut(wide * covered).enumerate() {
                self.cover(seen, picture, (rows, columns, from), (top + row) * self.stride);
            }
            let seen = ArrayView2::from_shape((places, covered), seen).map_err(Error::wrap)?;
            let mut sums = ArrayViewMut2::from_shape((places, to), made).map_err(Error::wrap)?;
            general_mat_mul(1.0, &seen, &self.kernel.weights, 0.0, &mut sums);
            self.kernel.finish(made);
            Ok::<(), Error>(())
        })?;
        Ok((CpuStorage::F32(made), Shape::from((batch, high, wide, to))))
    }
}

impl Banded<'_> {
    /// Lays side by side what the kernels around the places of a row cover.
    fn cover(
        &self,
        seen: &mut [f32],
        picture: &[f32],
        (rows, columns, from): (usize, usize, usize),
        row: usize,
    ) {
        for (number, place) in seen.chunks_exact_mut(KERNEL * KERNEL * from).enumerate() {
            let column = number * self.stride;
            for (down, part) in place.chunks_exact_mut(KERNEL * from).enumerate() {
                let Some(row) = self.edge.beside(row + down, rows) else {
                    part.fill(0.0);
                    continue;
                };
                let line = &picture[row * columns * from..][..columns * from];
                if column > 0 && column + 1 < columns {
                    part.copy_from_slice(&line[(column - 1) * from..][..KERNEL * from]);
                    continue;
                }
                for (across, part) in part.chunks_exact_mut(from).enumerate() {
                    match self.edge.beside(column + across, columns) {
                        Some(column) => part.copy_from_slice(&line[column * from..][..from]),
                        None => part.fill(0.0),
                    }
                }
            }
        }
    }
}

impl Edge {
    /// Which place lies at `after - 1` of `length`; none beyond the border where nothing is.
    fn beside(self, after: usize, length: usize) -> Option<usize> {
        match self {
            Self::Zero => after.checked_sub(1).filter(|place| *place < length),
            Self::Wrap => Some((after + length - 1) % length),
        }
    }
}
