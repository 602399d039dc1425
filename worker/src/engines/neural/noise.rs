//! Noise by seed: the same numbers on every machine, alone or in a batch.
//!
//! Number `n` of stream `s` of a seed is made as follows. BLAKE3 in its extendable form, over the ASCII text
//! `riff diffusion noise 1`, the seed and `s` (each as 4 bytes, little-endian), gives bytes; 8 of them, as two little-endian
//! numbers `a` and `b`, make a pair by Box and Muller: with u = (a + 1) / 2³² and v = b / 2³², these are √(-2 ln u) cos 2πv
//! and √(-2 ln u) sin 2πv, in double precision, rounded to single. Stream 0 is the noise that a run begins with, stream `i`
//! the one that is added at its `i`-th step.

use candle_core::{DType, Device, Result, Tensor};

use crate::engines::moves::{Source, Walk};

/// What sets these numbers apart from all others, and changes with how they are made.
const TAG: &[u8] = b"riff diffusion noise 1";

/// Where the noise of one result comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Grain {
    own: Walk,
    blended: Vec<(Walk, f64)>,
}

impl Grain {
    /// That of a walk between seeds, with those of other results mixed in.
    pub fn new(own: Walk, sources: &[Source]) -> Self {
        let of = |source: &Source| (source.walk(), source.weight.max(0.0));
        Self { own, blended: sources.iter().map(of).collect() }
    }

    /// `count` numbers of a stream, with mean 0 and standard deviation 1.
    pub fn draw(&self, stream: u32, count: usize) -> Vec<f32> {
        let mut drawn = walk(&self.own, stream, count);
        let mut squares = 1.0;
        for (theirs, weight) in &self.blended {
            squares += weight * weight;
            add(&mut drawn, 1.0, &walk(theirs, stream, count), *weight);
        }
        // A mean has less noise than what it is of.
        let back = 1.0 / libm::sqrt(squares);
        drawn.iter_mut().for_each(|number| *number = (f64::from(*number) * back) as f32);
        drawn
    }
}

/// Noise of several results, one row each.
pub fn rows(grains: &[&Grain], stream: u32, shape: (usize, usize, usize), device: &Device) -> Result<Tensor> {
    let (channels, rows, columns) = shape;
    let numbers: Vec<f32> =
        grains.iter().flat_map(|grain| grain.draw(stream, channels * rows * columns)).collect();
    let tensor = Tensor::from_vec(numbers, (grains.len(), channels, rows, columns), &Device::Cpu)?;
    tensor.to_dtype(DType::F32)?.to_device(device)
}

/// Each step turns towards another seed's noise, by the strength's part of a right angle: the result is noise again.
fn walk(walk: &Walk, stream: u32, count: usize) -> Vec<f32> {
    let mut drawn = of_seed(walk.seed, stream, count);
    for (towards, strength) in &walk.steps {
        let angle = strength.clamp(0.0, 1.0) * std::f64::consts::FRAC_PI_2;
        add(&mut drawn, libm::cos(angle), &of_seed(*towards, stream, count), libm::sin(angle));
    }
    drawn
}

fn add(to: &mut [f32], part: f64, other: &[f32], weight: f64) {
    for (number, other) in to.iter_mut().zip(other) {
        *number = (f64::from(*number) * part + f64::from(*other) * weight) as f32;
    }
}

fn of_seed(seed: u32, stream: u32, count: usize) -> Vec<f32> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(TAG).update(&seed.to_le_bytes()).update(&stream.to_le_bytes());
    let mut bytes = vec![0; count.div_ceil(2) * 8];
    hasher.finalize_xof().fill(&mut bytes);
    let mut numbers: Vec<f32> = bytes.chunks_exact(8).flat_map(pair).collect();
    numbers.truncate(count);
    numbers
}

fn pair(bytes: &[u8]) -> [f32; 2] {
    let number = |at: usize| {
        let four = bytes[at..at + 4].iter().rev();
        four.fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
    };
    const ALL: f64 = 4_294_967_296.0;
    let u = (f64::from(number(0)) + 1.0) / ALL;
    let angle = std::f64::consts::TAU * f64::from(number(4)) / ALL;
    let radius = libm::sqrt(-2.0 * libm::log(u));
    [(radius * libm::cos(angle)) as f32, (radius * libm::sin(angle)) as f32]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grain(seed: u32, steps: &[(u32, f64)]) -> Grain {
        Grain::new(Walk { seed, steps: steps.to_vec() }, &[])
    }

    fn moments(numbers: &[f32]) -> (f64, f64) {
        let count = numbers.len() as f64;
        let mean = numbers.iter().map(|n| f64::from(*n)).sum::<f64>() / count;
        let variance = numbers.iter().map(|n| (f64::from(*n) - mean).powi(2)).sum::<f64>() / count;
        (mean, variance.sqrt())
    }

    #[test]
    fn numbers_are_those_that_are_documented() {
        // By Python: blake3(b"riff diffusion noise 1" + pack("<II", 7, 0)).digest(16), then as above in its `math`.
        let expected = [0.178_996_46, -0.770_981_97, -1.796_533_6, -0.238_491_4];
        assert_eq!(grain(7, &[]).draw(0, 4), expected);
        assert_eq!(grain(7, &[]).draw(0, 3), expected[..3]);
    }

    #[test]
    fn noise_stays_noise_whatever_is_mixed() {
        let source =
            |seed, weight| Source { prompt: "a".parse().unwrap(), seed, variations: Vec::new(), weight };
        let blended = Grain::new(
            Walk { seed: 1, steps: vec![(9, 0.45), (10, 0.2)] },
            &[source(2, 1.0), source(3, 0.4)],
        );
        for grain in [grain(1, &[]), grain(1, &[(9, 0.2)]), blended] {
            let (mean, deviation) = moments(&grain.draw(0, 100_000));
            assert!(mean.abs() < 0.01 && (deviation - 1.0).abs() < 0.01, "{mean} {deviation}");
        }
    }

    #[test]
    fn streams_seeds_and_steps_differ_and_strength_decides_how_much() {
        let apart = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / a.len() as f64
        };
        let own = grain(1, &[]).draw(0, 10_000);
        assert!(apart(&own, &grain(2, &[]).draw(0, 10_000)) > 1.0);
        assert!(apart(&own, &grain(1, &[]).draw(1, 10_000)) > 1.0);
        assert_eq!(own, grain(1, &[(5, 0.0)]).draw(0, 10_000));
        let (subtle, strong) =
            (grain(1, &[(5, 0.2)]).draw(0, 10_000), grain(1, &[(5, 0.45)]).draw(0, 10_000));
        assert!(apart(&own, &subtle) < apart(&own, &strong));
    }
}
