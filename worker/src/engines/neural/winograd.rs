//! Convolutions of 3×3 places on a processor, of pictures whose channels lie last, by minimal filtering: a square of results is made
//! of products of what its surroundings and the kernel become in another basis, which are fewer than those of each result by itself
//! (Winograd; for networks <https://arxiv.org/abs/1509.09308>).

use candle_core::{Error, Result};
use ndarray::{Array3, ArrayView3, ArrayViewMut3, Axis, linalg::general_mat_mul};
use rayon::prelude::*;

use super::{Edge, Pass, layers::PRODUCTS};

/// Places a side that a kernel covers.
pub const KERNEL: usize = 3;
/// Numbers of a band's surroundings in their basis, at most: a megabyte, which stays in the cache of a core.
const BAND: usize = 1 << 18;
/// Squares of a band, at least: what a kernel becomes is read for all of them at once.
const LEAST: usize = 128;
/// Channels that kernels are read for side by side.
const BLOCK: usize = 16;
/// Pairs of channels up to which larger squares are faster: with more of them, pictures have few places, so that what a kernel becomes
/// is read for few squares.
const FEW: usize = 90_000;

/// How squares of results are made, as matrices of rows one after another.
#[derive(Debug)]
struct Squares {
    /// Results of a side.
    side: usize,
    /// What surroundings of `side + 2` places become.
    seen: &'static [f32],
    /// What a kernel of 3 places becomes.
    kernel: &'static [f32],
    /// What the products become: `side` results.
    made: &'static [f32],
}

/// Each result by itself, of its 9 products.
const ONE: Squares = Squares {
    side: 1,
    #[rustfmt::skip]
    seen: &[
        1.0, 0.0, 0.0,
        0.0, 1.0, 0.0,
        0.0, 0.0, 1.0,
    ],
    #[rustfmt::skip]
    kernel: &[
        1.0, 0.0, 0.0,
        0.0, 1.0, 0.0,
        0.0, 0.0, 1.0,
    ],
    made: &[1.0, 1.0, 1.0],
};

/// 16 products for 4 results, in place of 36.
const TWO: Squares = Squares {
    side: 2,
    #[rustfmt::skip]
    seen: &[
        1.0,  0.0, -1.0,  0.0,
        0.0,  1.0,  1.0,  0.0,
        0.0, -1.0,  1.0,  0.0,
        0.0,  1.0,  0.0, -1.0,
    ],
    #[rustfmt::skip]
    kernel: &[
        1.0,  0.0, 0.0,
        0.5,  0.5, 0.5,
        0.5, -0.5, 0.5,
        0.0,  0.0, 1.0,
    ],
    #[rustfmt::skip]
    made: &[
        1.0, 1.0,  1.0,  0.0,
        0.0, 1.0, -1.0, -1.0,
    ],
};

/// 36 products for 16 results, in place of 144. Surroundings cost more.
const FOUR: Squares = Squares {
    side: 4,
    #[rustfmt::skip]
    seen: &[
        4.0,  0.0, -5.0,  0.0, 1.0, 0.0,
        0.0, -4.0, -4.0,  1.0, 1.0, 0.0,
        0.0,  4.0, -4.0, -1.0, 1.0, 0.0,
        0.0, -2.0, -1.0,  2.0, 1.0, 0.0,
        0.0,  2.0, -1.0, -2.0, 1.0, 0.0,
        0.0,  4.0,  0.0, -5.0, 0.0, 1.0,
    ],
    #[rustfmt::skip]
    kernel: &[
        1.0 / 4.0,   0.0,         0.0,
        -1.0 / 6.0,  -1.0 / 6.0,  -1.0 / 6.0,
        -1.0 / 6.0,  1.0 / 6.0,   -1.0 / 6.0,
        1.0 / 24.0,  1.0 / 12.0,  1.0 / 6.0,
        1.0 / 24.0,  -1.0 / 12.0, 1.0 / 6.0,
        0.0,         0.0,         1.0,
    ],
    #[rustfmt::skip]
    made: &[
        1.0, 1.0,  1.0, 1.0,  1.0, 0.0,
        0.0, 1.0, -1.0, 2.0, -2.0, 0.0,
        0.0, 1.0,  1.0, 4.0,  4.0, 0.0,
        0.0, 1.0, -1.0, 8.0, -8.0, 1.0,
    ],
};

impl Squares {
    /// Places of a side that a square's results see.
    const fn around(&self) -> usize {
        self.side + KERNEL - 1
    }

    /// Products for a square, of each pair of channels.
    const fn products(&self) -> usize {
        self.around() * self.around()
    }

    /// The rows of what surroundings become.
    fn seen(&self) -> impl Iterator<Item = &'static [f32]> {
        self.seen.chunks_exact(self.around())
    }

    /// What a kernel (3, 3) becomes.
    fn based<'a>(&self, kernel: &[f32], into: impl Iterator<Item = &'a mut f32>) {
        let rows = self.kernel.chunks_exact(KERNEL);
        // One way after the other.
        let lines = rows.clone().map(|times| {
            let down = |across| (0..KERNEL).map(|down| times[down] * kernel[down * KERNEL + across]).sum();
            [down(0), down(1), down(2)]
        });
        let made = lines.flat_map(|line: [f32; KERNEL]| {
            rows.clone().map(move |times| times.iter().zip(line).map(|(times, number)| times * number).sum())
        });
        into.zip(made).for_each(|(into, made)| *into = made);
    }

    /// The rows of what products become.
    fn made(&self) -> impl Iterator<Item = &'static [f32]> {
        self.made.chunks_exact(self.around())
    }
}

/// What is convolved with, and what follows.
pub struct Kernel {
    squares: &'static Squares,
    /// In their basis: (products, from, to).
    weights: Array3<f32>,
    /// What is added to each channel.
    bias: Vec<f32>,
    /// What each channel's sum is multiplied with where it is below 0.
    pub slopes: Vec<f32>,
}

impl Kernel {
    /// From weights (to, from, 3, 3), one after another, and for each channel of `to` what follows.
    ///
    /// # Errors
    /// If there are not as many weights as that.
    pub fn new(weights: &[f32], bias: Vec<f32>, slopes: Vec<f32>) -> Result<Self> {
        let pairs = weights.len() / (KERNEL * KERNEL);
        Self::in_squares(if pairs > FEW { &TWO } else { &FOUR }, weights, bias, slopes)
    }

    /// The same with each result by itself, which loses nothing, and takes no more memory than the weights. More results at a time lose
    /// half a digit or, larger squares, one and a half.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn exact(weights: &[f32], bias: Vec<f32>, slopes: Vec<f32>) -> Result<Self> {
        Self::in_squares(&ONE, weights, bias, slopes)
    }

    fn in_squares(
        squares: &'static Squares,
        weights: &[f32],
        bias: Vec<f32>,
        slopes: Vec<f32>,
    ) -> Result<Self> {
        let to = bias.len();
        let from = weights.len() / (to * KERNEL * KERNEL).max(1);
        if weights.is_empty() || weights.len() != to * from * KERNEL * KERNEL {
            let text = format!("{} weights are not those of kernels to {to} channels", weights.len());
            return Err(Error::Msg(text));
        }
        let mut based = Array3::zeros((squares.products(), from, to));
        let blocks: Vec<_> = based.axis_chunks_iter_mut(Axis(1), BLOCK).enumerate().collect();
        blocks.into_par_iter().for_each(|(block, mut based)| {
            for to in 0..to {
                let kernels =
                    weights[(to * from + block * BLOCK) * KERNEL * KERNEL..].chunks_exact(KERNEL * KERNEL);
                let mut based = based.index_axis_mut(Axis(2), to);
                for (kernel, mut based) in kernels.zip(based.axis_iter_mut(Axis(1))) {
                    squares.based(kernel, based.iter_mut());
                }
            }
        });
        Ok(Self { squares, weights: based, bias, slopes })
    }

    /// Pictures (batch, rows, columns, channels) to (batch, rows, columns, to), one after another.
    ///
    /// # Errors
    /// If they have other channels, and that of `pass`.
    pub fn convolve(
        &self,
        pictures: &[f32],
        (rows, columns, channels): (usize, usize, usize),
        pass: &Pass,
    ) -> Result<Vec<f32>> {
        let (products, from, to) = self.weights.dim();
        let whole = rows * columns * channels;
        if channels != from || !pictures.len().is_multiple_of(whole.max(1)) {
            return Err(Error::Msg(format!("a kernel of {from} channels does not fit {channels}")));
        }
        let mut made = vec![0.0; pictures.len() / whole.max(1) * rows * columns * to];
        let (side, edge) = (self.squares.side, pass.edge);
        let squares = (BAND / (products * from.max(to))).max(LEAST);
        // In rows of results.
        let band = (squares / columns.div_ceil(side)).max(1) * side;
        let mut bands: Vec<_> = pictures
            .chunks_exact(whole)
            .zip(made.chunks_exact_mut(rows * columns * to))
            .flat_map(|(numbers, made)| {
                let bands = made.chunks_mut(band * columns * to).enumerate();
                bands.map(move |(number, made)| {
                    (Picture { numbers, rows, columns, edge }, number * band, made)
                })
            })
            .collect();
        let at_once = (PRODUCTS / (squares * products * from * to)).max(rayon::current_num_threads());
        for bands in bands.chunks_mut(at_once) {
            pass.check()?;
            bands.par_iter_mut().try_for_each_init(Room::default, |room, (picture, top, made)| {
                self.band(room, *picture, *top, made)
            })?;
        }
        Ok(made)
    }
}

/// What is convolved: (rows, columns, from), one after another.
#[derive(Clone, Copy)]
struct Picture<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    /// What lies beyond its border.
    edge: Edge,
}

/// What a band's surroundings are in their basis, (squares, products, from), and the products, (squares, products, to).
#[derive(Default)]
struct Room {
    seen: Vec<f32>,
    sums: Vec<f32>,
}

impl Kernel {
    /// The results of some rows from `top` on, (rows, columns, to). Where a picture is a single band, its parts are shared out.
    fn band(&self, room: &mut Room, picture: Picture, top: usize, made: &mut [f32]) -> Result<()> {
        let Kernel { squares, weights, .. } = self;
        let (products, from, to) = weights.dim();
        let wide = picture.columns.div_ceil(squares.side);
        let line = squares.side * picture.columns * to;
        let count = made.len().div_ceil(line) * wide;
        room.seen.resize(count * products * from, 0.0);
        room.sums.resize(count * products * to, 0.0);
        let rows = room.seen.par_chunks_exact_mut(wide * products * from).enumerate();
        rows.for_each_init(Vec::new, |lines, (row, seen)| {
            self.see(lines, picture, top + row * squares.side, seen);
        });
        let seen = ArrayView3::from_shape((count, products, from), &room.seen).map_err(Error::wrap)?;
        let mut sums =
            ArrayViewMut3::from_shape((count, products, to), &mut room.sums).map_err(Error::wrap)?;
        let each = seen.axis_iter(Axis(1)).zip(weights.outer_iter()).zip(sums.axis_iter_mut(Axis(1)));
        let each: Vec<_> = each.collect();
        each.into_par_iter().for_each(|((seen, weights), mut sums)| {
            general_mat_mul(1.0, &seen, &weights, 0.0, &mut sums);
        });
        let rows = room.sums.par_chunks_exact(wide * products * to).zip(made.par_chunks_mut(line));
        rows.for_each_init(Vec::new, |lines, (sums, made)| self.make(lines, sums, picture.columns, made));
        Ok(())
    }

    /// What the surroundings of a row of squares are in their basis, (squares, products, from); `top` is the first row of results.
    fn see(&self, lines: &mut Vec<f32>, picture: Picture, top: usize, seen: &mut [f32]) {
        let (squares, from) = (self.squares, self.weights.dim().1);
        let (around, length) = (squares.around(), picture.columns * from);
        let wide = (seen.len() / (squares.products() * from) * squares.side + KERNEL - 1) * from;
        lines.clear();
        lines.resize(around * wide, 0.0);
        for (line, times) in lines.chunks_exact_mut(wide).zip(squares.seen()) {
            let rows = times.iter().enumerate().filter_map(|(down, times)| {
                let row = picture.edge.beside(top + down, picture.rows)?;
                Some((*times, &picture.numbers[row * length..][..length]))
            });
            add(&mut line[from..][..length], rows);
            if picture.edge == Edge::Wrap {
                line.copy_within(length..length + from, 0);
                line.copy_within(from..2 * from, from + length);
            }
        }
        for (square, seen) in seen.chunks_exact_mut(squares.products() * from).enumerate() {
            for (line, seen) in lines.chunks_exact(wide).zip(seen.chunks_exact_mut(around * from)) {
                let places = line[square * squares.side * from..].chunks_exact(from);
                for (seen, times) in seen.chunks_exact_mut(from).zip(squares.seen()) {
                    seen.fill(0.0);
                    add(seen, times.iter().copied().zip(places.clone()));
                }
            }
        }
    }

    /// The results of a row of squares, (rows, columns, to), of the products.
    fn make(&self, lines: &mut Vec<f32>, sums: &[f32], columns: usize, made: &mut [f32]) {
        let Kernel { squares, bias, slopes, .. } = self;
        let (around, to) = (squares.around(), bias.len());
        let wide = sums.len() / squares.products() * squares.side;
        lines.clear();
        lines.resize(around * wide, 0.0);
        for (square, sums) in sums.chunks_exact(squares.products() * to).enumerate() {
            for (line, sums) in lines.chunks_exact_mut(wide).zip(sums.chunks_exact(around * to)) {
                let line = line[square * squares.side * to..].chunks_exact_mut(to);
                for (made, times) in line.zip(squares.made()) {
                    add(made, times.iter().copied().zip(sums.chunks_exact(to)));
                }
            }
        }
        for (made, times) in made.chunks_exact_mut(columns * to).zip(squares.made()) {
            add(made, times.iter().copied().zip(lines.chunks_exact(wide)));
            for place in made.chunks_exact_mut(to) {
                for ((value, bias), slope) in place.iter_mut().zip(bias).zip(slopes) {
                    let sum = *value + bias;
                    *value = if sum < 0.0 { sum * slope } else { sum };
                }
            }
        }
    }
}

/// Adds each of some rows, times a number.
fn add<'a>(to: &mut [f32], rows: impl Iterator<Item = (f32, &'a [f32])>) {
    for (times, row) in rows.filter(|(times, _)| *times != 0.0) {
        for (sum, number) in to.iter_mut().zip(row) {
            *sum += times * number;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(edge: Edge) -> Pass<'static> {
        Pass { edge, wanted: &|| true }
    }

    /// Numbers from -1 to 1, always the same.
    fn numbers(count: usize) -> Vec<f32> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_result_is_the_sum_of_what_its_kernel_covers() {
        for (rows, columns, from, to) in
            [(1, 1, 1, 1), (2, 3, 4, 3), (7, 9, 5, 6), (16, 12, 3, 8), (65, 70, 16, 2)]
        {
            let (weights, pictures) = (numbers(to * from * 9), numbers(2 * rows * columns * from));
            let (bias, slopes) = (numbers(to), numbers(to));
            for (squares, edge) in [&ONE, &TWO, &FOUR]
                .into_iter()
                .flat_map(|squares| [(squares, Edge::Zero), (squares, Edge::Wrap)])
            {
                let kernel = Kernel::in_squares(squares, &weights, bias.clone(), slopes.clone()).unwrap();
                let made = kernel.convolve(&pictures, (rows, columns, from), &pass(edge)).unwrap();
                assert_eq!(made.len(), 2 * rows * columns * to);
                for (at, made) in made.iter().enumerate() {
                    let (channel, column, row) = (at % to, at / to % columns, at / to / columns % rows);
                    let picture = &pictures[at / to / columns / rows * rows * columns * from..];
                    let mut sum = f64::from(bias[channel]);
                    for place in 0..9 {
                        let beside =
                            (edge.beside(row + place / 3, rows), edge.beside(column + place % 3, columns));
                        let (Some(row), Some(column)) = beside else { continue };
                        for input in 0..from {
                            let seen = picture[(row * columns + column) * from + input];
                            sum += f64::from(seen) * f64::from(weights[(channel * from + input) * 9 + place]);
                        }
                    }
                    let wanted = if sum < 0.0 { sum * f64::from(slopes[channel]) } else { sum };
                    let away = (f64::from(*made) - wanted).abs();
                    assert!(away < 1e-4, "{rows}x{columns}, {edge:?}, squares of {}: {away}", squares.side);
                }
            }
        }
    }

    #[test]
    fn pictures_of_other_channels_are_refused() {
        let kernel = Kernel::new(&numbers(4 * 3 * 9), vec![0.0; 4], vec![1.0; 4]).unwrap();
        assert!(kernel.convolve(&numbers(8 * 8 * 6), (8, 8, 6), &pass(Edge::Zero)).is_err());
        assert!(Kernel::new(&numbers(10), vec![0.0; 4], vec![1.0; 4]).is_err());
    }
}
