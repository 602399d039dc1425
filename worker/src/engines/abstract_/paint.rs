//! From a latent to pixels: a compositional pattern-producing network (Stanley, Genetic Programming and Evolvable
//! Machines 2007) over the plane, detail by bending its outputs with each other, and a palette in OKLab (Ottosson 2020).
//! A pixel is a function of the latent and its own place alone: no pixel knows how many others there are.

use super::{
    latent::{DIMENSIONS, Latent, axis},
    math::{LANES, Lanes, cos, sin, smooth, squash},
};

/// Inputs of the network: x, y, distance, one, and the plane rolled up in both directions.
const INPUTS: usize = 8;
/// Colours of a palette.
const STOPS: usize = 1_024;

/// What of the plane is shown.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Horizontal centre, in widths of the unzoomed picture.
    pub x: f64,
    /// Vertical centre, in heights of the unzoomed picture.
    pub y: f64,
    /// How much of the plane; 1 is the unzoomed picture.
    pub scale: f64,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Symmetry {
    None,
    Mirror,
    Mandala,
    Kaleidoscope,
}

/// A latent made ready to paint.
pub struct Painter {
    first: [Lanes; INPUTS],
    second: [Lanes; LANES],
    third: [Lanes; LANES],
    symmetry: Symmetry,
    rolled: bool,
    octaves: Vec<Octave>,
    stripes: f32,
    facets: f32,
    grain: f32,
    depth: f32,
    palettes: [Vec<[f32; 3]>; 2],
    gamma: Vec<u8>,
}

struct Octave {
    frequency: f32,
    amount: f32,
    phase: f32,
}

impl Painter {
    /// A painter of the latent; `octaves` of detail from 1 to 12; `rolled` repeats the plane without a seam.
    pub fn new(latent: &Latent, octaves: u32, rolled: bool) -> Self {
        let z = &latent.0;
        let weights = project(z);
        let mut weights = weights.chunks_exact(LANES).map(|row| -> Lanes { std::array::from_fn(|i| row[i]) });
        let mut row = || weights.next().unwrap_or([0.0; LANES]);
        let frequency = libm::exp(0.28 * z[axis::FREQUENCY].clamp(-3.0, 3.0)) as f32;
        let mut first: [Lanes; INPUTS] = std::array::from_fn(|_| row());
        for (input, lanes) in first.iter_mut().enumerate() {
            let scale = match input {
                3 => 1.6,
                0..3 => 2.3 * frequency,
                _ => 1.2 * frequency,
            };
            lanes.iter_mut().for_each(|weight| *weight *= scale);
        }
        let scaled = |lanes: Lanes, scale: f32| lanes.map(|weight| weight * scale);
        let second = std::array::from_fn(|_| scaled(row(), 0.42));
        let third = std::array::from_fn(|_| scaled(row(), 0.5));
        let warp = (0.34 * libm::exp(0.35 * z[axis::WARP].clamp(-3.0, 3.0))) as f32;
        let phases = row();
        Self {
            first,
            second,
            third,
            symmetry: symmetry(z),
            rolled,
            octaves: (0..octaves.min(12)).map(|k| octave(k, warp, phases[k as usize % LANES])).collect(),
            stripes: positive(z[axis::STRIPES]) * 0.42,
            facets: (positive(z[axis::FACETS] - 0.6) * 0.6).min(0.95),
            grain: positive(z[axis::GRAIN] - 0.4).min(1.6) * 0.04,
            depth: (0.12 + 0.03 * z[axis::CONTRAST]).clamp(0.02, 0.25) as f32,
            palettes: [palette(z, axis::HUE, 0.0), palette(z, axis::ACCENT, 0.06)],
            gamma: gamma(),
        }
    }

    /// Paints one row of a view: 3 bytes a pixel, sRGB.
    pub fn row(&self, view: &View, y: u32, pixels: &mut [u8]) {
        let shorter = f64::from(view.width.min(view.height));
        let place = |at: u32, size: u32, centre: f64| {
            // A pixel shows its corner, not its middle: those of a picture are then among those of one twice as fine.
            let from_middle = (2.0 * f64::from(at) - f64::from(size)) / (2.0 * f64::from(size));
            let unrolled = centre - 0.5 + from_middle * view.scale;
            match self.rolled {
                // Taken to one turn here, where there are digits to spare, so that a seam is exact.
                true => unrolled - unrolled.floor(),
                false => unrolled * (f64::from(size) / shorter),
            }
        };
        let py = place(y, view.height, view.y) as f32;
        for (x, pixel) in pixels.chunks_exact_mut(3).enumerate() {
            let px = place(x as u32, view.width, view.x) as f32;
            pixel.copy_from_slice(&self.colour(px, py));
        }
    }

    /// The colour of a point of the plane.
    fn colour(&self, x: f32, y: f32) -> [u8; 3] {
        let mut f = self.network(self.inputs(x, y));
        for octave in &self.octaves {
            let bent = |a: f32, b: f32| octave.amount * sin(octave.frequency * (a + 0.5 * b) + octave.phase);
            f = [
                f[0] + bent(f[1], f[2]),
                f[1] + bent(f[2], f[3]),
                f[2] + bent(f[3], f[0]),
                f[3] + bent(f[0], f[1]),
            ];
        }
        let lines = self.stripes * sin(9.0 * f[1] + 4.0 * f[2]);
        let unrest = self.grain * sin(61.0 * f[2]) * sin(53.0 * f[3] + 31.0 * f[0]);
        let t = self.facet(0.5 + 0.5 * squash(1.15 * f[0] + lines)) + unrest;
        let mix = smooth(0.5 + 0.7 * f[2]);
        let shade = self.depth * squash(1.3 * f[3]) + 0.5 * unrest;
        let (a, b) = (self.stop(0, t), self.stop(1, 1.0 - t));
        let lab: [f32; 3] = std::array::from_fn(|i| a[i] + (b[i] - a[i]) * mix);
        self.bytes([(lab[0] + shade).clamp(0.02, 0.99), lab[1], lab[2]])
    }

    fn inputs(&self, x: f32, y: f32) -> [f32; INPUTS] {
        if self.rolled {
            let (x, y) = (x * std::f32::consts::TAU, y * std::f32::consts::TAU);
            return [0.0, 0.0, 0.0, 1.0, sin(x), cos(x), sin(y), cos(y)];
        }
        let (x, y) = fold(self.symmetry, x, y);
        let near = 1.0 / (1.0 + 3.0 * (x * x + y * y));
        [x, y, near, 1.0, 0.0, 0.0, 0.0, 0.0]
    }

    fn network(&self, inputs: [f32; INPUTS]) -> [f32; 4] {
        let waves = layer(&self.first, &inputs).map(sin);
        let bumps = layer(&self.second, &waves).map(squash);
        let out = layer(&self.third, &bumps);
        // Sixteen outputs in four groups: two of a group add, two multiply.
        std::array::from_fn(|i| {
            squash(out[4 * i] + out[4 * i + 1] * sin(2.0 * out[4 * i + 2])) + 0.2 * sin(3.0 * out[4 * i + 3])
        })
    }

    /// Pulls values towards the middle of five steps.
    fn facet(&self, t: f32) -> f32 {
        let steps = t * 5.0;
        let whole = steps.floor();
        let within = steps - whole;
        let edge = smooth((within - 0.5) * 8.0 + 0.5);
        t + ((whole + edge) / 5.0 - t) * self.facets
    }

    fn stop(&self, palette: usize, t: f32) -> [f32; 3] {
        let at = (t.clamp(0.0, 1.0) * (STOPS - 1) as f32) as usize;
        self.palettes[palette][at]
    }

    fn bytes(&self, [lightness, a, b]: [f32; 3]) -> [u8; 3] {
        let cube = |x: f32| x * x * x;
        let l = cube(lightness + 0.396_337_78 * a + 0.215_803_76 * b);
        let m = cube(lightness - 0.105_561_346 * a - 0.063_854_17 * b);
        let s = cube(lightness - 0.089_484_18 * a - 1.291_485_5 * b);
        let linear = [
            4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
            -1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s,
            -0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s,
        ];
        linear.map(|value| self.gamma[(value.clamp(0.0, 1.0) * (GAMMA - 1) as f32 + 0.5) as usize])
    }
}

fn layer<const N: usize>(weights: &[Lanes; N], inputs: &[f32; N]) -> Lanes {
    let mut sums = [0.0; LANES];
    for (weights, input) in weights.iter().zip(inputs) {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += weight * input;
        }
    }
    sums
}

/// Weights of the network: the latent through a fixed random matrix.
fn project(z: &[f64; DIMENSIONS]) -> Vec<f32> {
    const ROWS: usize = (INPUTS + 2 * LANES + 1) * LANES;
    let mut reader = blake3::Hasher::new_derive_key("riff abstract projection 1").finalize_xof();
    let spread = 1.0 / libm::sqrt(DIMENSIONS as f64);
    (0..ROWS)
        .map(|_| {
            let mut bytes = [0_u8; DIMENSIONS * 4];
            reader.fill(&mut bytes);
            let entries = bytes.chunks_exact(4).map(|four| {
                let uniform = |low: u8, high: u8| f64::from(u16::from_le_bytes([low, high])) / 65_536.0 - 0.5;
                // A triangular deviate of variance 1.
                (uniform(four[0], four[1]) + uniform(four[2], four[3])) * 2.449_489_742_783_178
            });
            let sum: f64 = entries.zip(z).map(|(entry, value)| entry * value.clamp(-3.5, 3.5)).sum();
            (sum * spread) as f32
        })
        .collect()
}

fn positive(value: f64) -> f32 {
    value.clamp(0.0, 4.0) as f32
}

/// Symmetry comes from words, or now and then from a seed.
fn symmetry(z: &[f64; DIMENSIONS]) -> Symmetry {
    let offers = [
        (1.9, Symmetry::None),
        (z[axis::MIRROR], Symmetry::Mirror),
        (z[axis::MANDALA], Symmetry::Mandala),
        (z[axis::KALEIDOSCOPE], Symmetry::Kaleidoscope),
    ];
    let best = offers.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(Symmetry::None, |(_, symmetry)| symmetry)
}

/// Maps a point into the part of the plane that a symmetry repeats.
fn fold(symmetry: Symmetry, x: f32, y: f32) -> (f32, f32) {
    match symmetry {
        Symmetry::None => (x, y),
        Symmetry::Mirror => (x.abs(), y),
        Symmetry::Mandala => {
            let (x, y) = (x.abs(), y.abs());
            reflect(x.max(y), x.min(y), 0.382_683_43, 0.923_879_5)
        }
        Symmetry::Kaleidoscope => {
            let (x, y) = reflect(x, y.abs(), 0.866_025_4, 0.5);
            reflect(x, y.abs(), 0.5, 0.866_025_4)
        }
    }
}

/// Reflects points beyond the line through the origin at an angle of which sine and cosine are given.
fn reflect(x: f32, y: f32, sine: f32, cosine: f32) -> (f32, f32) {
    let beyond = (y * cosine - x * sine).max(0.0);
    (x + 2.0 * beyond * sine, y - 2.0 * beyond * cosine)
}

fn octave(k: u32, warp: f32, phase: f32) -> Octave {
    let (mut frequency, mut amount) = (1.7_f32, warp);
    for _ in 0..k {
        frequency *= 1.55;
        amount *= 0.56;
    }
    Octave { frequency, amount, phase: 3.0 * phase }
}

/// Dark to light around a hue.
fn palette(z: &[f64; DIMENSIONS], (x, y): (usize, usize), lighter: f64) -> Vec<[f32; 3]> {
    let hue = libm::atan2(z[y], z[x]);
    let chroma = (0.13 + 0.035 * z[axis::CHROMA]).clamp(0.0, 0.28);
    let middle = (0.58 + 0.1 * z[axis::LIGHT] + lighter).clamp(0.2, 0.86);
    let reach = (0.3 + 0.06 * z[axis::CONTRAST]).clamp(0.08, 0.48);
    let spread = 0.4 + 0.45 * z[axis::SPREAD].clamp(-1.0, 5.0);
    (0..STOPS)
        .map(|stop| {
            let t = stop as f64 / (STOPS - 1) as f64;
            let lightness = (middle + reach * (2.0 * t - 1.0)).clamp(0.06, 0.97);
            // Very dark and very light colours have little room for chroma.
            let room = 4.0 * lightness * (1.0 - lightness);
            let angle = hue + spread * (t - 0.5) * 2.0;
            let chroma = chroma * libm::sqrt(room);
            [lightness as f32, (chroma * libm::cos(angle)) as f32, (chroma * libm::sin(angle)) as f32]
        })
        .collect()
}

/// Entries of the transfer table.
const GAMMA: usize = 8_192;

/// The transfer function of sRGB (IEC 61966-2-1) from linear light to a byte.
fn gamma() -> Vec<u8> {
    (0..GAMMA)
        .map(|i| {
            let linear = i as f64 / (GAMMA - 1) as f64;
            let encoded = match linear <= 0.003_130_8 {
                true => 12.92 * linear,
                false => 1.055 * libm::pow(linear, 1.0 / 2.4) - 0.055,
            };
            (encoded * 255.0 + 0.5) as u8
        })
        .collect()
}
