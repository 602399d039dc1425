//! The latent: one vector that holds everything a picture is made of. Prompts push it, seeds scatter it, variations walk
//! it on the sphere between two seeds, blends mix it.

use riff_hub::prompt::Prompt;

use super::words::{self, Effect};

/// Coordinates of a latent.
pub const DIMENSIONS: usize = 64;

/// Coordinates with a meaning; those from [`FREE`] on only weigh the network.
pub mod axis {
    pub const HUE: (usize, usize) = (0, 1);
    pub const ACCENT: (usize, usize) = (2, 3);
    pub const LIGHT: usize = 4;
    pub const CONTRAST: usize = 5;
    pub const CHROMA: usize = 6;
    pub const SPREAD: usize = 7;
    pub const FREQUENCY: usize = 8;
    pub const WARP: usize = 9;
    pub const MIRROR: usize = 10;
    pub const MANDALA: usize = 11;
    pub const KALEIDOSCOPE: usize = 12;
    pub const STRIPES: usize = 13;
    pub const FACETS: usize = 14;
    pub const GRAIN: usize = 15;
}
/// The first coordinate without a meaning.
pub const FREE: usize = 16;

/// A picture's latent.
#[derive(Debug, Clone, PartialEq)]
pub struct Latent(pub [f64; DIMENSIONS]);

/// How far one table word's hue pulls, against a seed's scatter of about 1.
const HUE_PULL: f64 = 3.6;
/// How far a word that is not in the table pulls in all.
const HASH_PULL: f64 = 0.55;
/// How much of a seed's scatter stays on axes with a meaning, so that words are heard over it.
const SEED_SHARE: f64 = 0.7;

/// Normal deviates from a key: sums of twelve uniform ones less 6 (Irwin–Hall), so that no function of the platform
/// takes part.
fn scatter(key: &[u8]) -> [f64; DIMENSIONS] {
    let mut reader = blake3::Hasher::new_derive_key("riff abstract latent 1").update(key).finalize_xof();
    std::array::from_fn(|_| {
        let mut bytes = [0_u8; 24];
        reader.fill(&mut bytes);
        let sum: u32 =
            bytes.chunks_exact(2).map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]]))).sum();
        f64::from(sum) / 65_536.0 - 6.0
    })
}

impl Latent {
    /// Where a seed puts a picture before any words.
    pub fn of_seed(seed: u32) -> Self {
        let mut scattered = scatter(&seed.to_le_bytes());
        scattered[axis::LIGHT..FREE].iter_mut().for_each(|value| *value *= SEED_SHARE);
        Self(scattered)
    }

    /// Where words push, all of them together.
    pub fn of_words(prompt: &Prompt) -> Self {
        let mut sum = [0.0; DIMENSIONS];
        for part in prompt.parts() {
            let lowered = part.text.to_lowercase();
            let words = lowered.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            for word in words {
                add(&mut sum, &push_of(word), part.weight);
            }
        }
        Self(sum)
    }

    /// `self + other · factor`.
    pub fn plus(mut self, other: &Self, factor: f64) -> Self {
        add(&mut self.0, &other.0, factor);
        self
    }

    /// `self · factor`.
    pub fn times(mut self, factor: f64) -> Self {
        self.0.iter_mut().for_each(|value| *value *= factor);
        self
    }

    /// The Euclidean length.
    pub fn length(&self) -> f64 {
        libm::sqrt(dot(&self.0, &self.0))
    }

    /// Spherical interpolation towards `other` (Shoemake, SIGGRAPH 1985): `amount` 0 is `self`, 1 is `other`.
    pub fn towards(&self, other: &Self, amount: f64) -> Self {
        if amount == 0.0 {
            return self.clone();
        }
        let norms = self.length() * other.length();
        let angle = libm::acos((dot(&self.0, &other.0) / norms.max(1e-12)).clamp(-1.0, 1.0));
        if angle < 1e-6 {
            return self.clone().times(1.0 - amount).plus(other, amount);
        }
        let part = |share: f64| libm::sin(share * angle) / libm::sin(angle);
        self.clone().times(part(1.0 - amount)).plus(other, part(amount))
    }
}

fn dot(a: &[f64; DIMENSIONS], b: &[f64; DIMENSIONS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64; DIMENSIONS], more: &[f64; DIMENSIONS], factor: f64) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more * factor;
    }
}

fn push_of(word: &str) -> [f64; DIMENSIONS] {
    let mut push = scatter(word.as_bytes()).map(|value| value * HASH_PULL);
    let Some(effects) = words::effects(word) else {
        // Symmetry is never an accident of a word's hash.
        push[axis::MIRROR..=axis::KALEIDOSCOPE].fill(0.0);
        return push;
    };
    push[..FREE].fill(0.0);
    for effect in effects {
        apply(&mut push, *effect);
    }
    push
}

fn apply(push: &mut [f64; DIMENSIONS], effect: Effect) {
    let mut hue = |(x, y): (usize, usize), turns: f32, pull: f64| {
        let angle = f64::from(turns) * std::f64::consts::TAU;
        push[x] += pull * libm::cos(angle);
        push[y] += pull * libm::sin(angle);
    };
    let (at, amount) = match effect {
        Effect::Hue(turns) => {
            hue(axis::HUE, turns, HUE_PULL);
            // A neighbour on the circle: a second hue left to chance is seldom in harmony.
            return hue(axis::ACCENT, turns + 0.06, 0.4 * HUE_PULL);
        }
        Effect::Accent(turns) => return hue(axis::ACCENT, turns, HUE_PULL),
        Effect::Light(amount) => (axis::LIGHT, amount),
        Effect::Contrast(amount) => (axis::CONTRAST, amount),
        Effect::Chroma(amount) => (axis::CHROMA, amount),
        Effect::Spread(amount) => (axis::SPREAD, amount),
        Effect::Frequency(amount) => (axis::FREQUENCY, amount),
        Effect::Warp(amount) => (axis::WARP, amount),
        Effect::Mirror(amount) => (axis::MIRROR, amount),
        Effect::Mandala(amount) => (axis::MANDALA, amount),
        Effect::Kaleidoscope(amount) => (axis::KALEIDOSCOPE, amount),
        Effect::Stripes(amount) => (axis::STRIPES, amount),
        Effect::Facets(amount) => (axis::FACETS, amount),
        Effect::Grain(amount) => (axis::GRAIN, amount),
    };
    push[at] += f64::from(amount);
}
