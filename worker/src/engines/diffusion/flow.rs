//! The levels of families that flow: noise takes the place of the latent as it grows, and σ is its part, from 0 to 1.
//! <https://arxiv.org/abs/2210.02747>, <https://arxiv.org/abs/2403.03206>.

use std::path::Path;

use serde::Deserialize;

use super::{
    family::{Family, Guidance},
    flaw::Flaw,
    schedule::{Level, Noising, Schedule},
};

/// Shift of the published checkpoints of Stable Diffusion 3 and 3.5, and of Flux.1 schnell.
const THREE_SHIFT: f64 = 3.0;
const SCHNELL_SHIFT: f64 = 1.0;

/// `scheduler/scheduler_config.json` of a `FlowMatchEulerDiscreteScheduler`:
/// <https://huggingface.co/docs/diffusers/api/schedulers/flow_match_euler_discrete>.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs, reason = "the names are those of diffusers, which documents them")]
pub struct FlowConfig {
    #[serde(rename = "_class_name", default)]
    pub class: String,
    #[serde(default = "steps")]
    pub num_train_timesteps: usize,
    #[serde(default = "one")]
    pub shift: f64,
    #[serde(default)]
    pub use_dynamic_shifting: bool,
    #[serde(default = "base_shift")]
    pub base_shift: f64,
    #[serde(default = "max_shift")]
    pub max_shift: f64,
    #[serde(default = "base_length")]
    pub base_image_seq_len: usize,
    #[serde(default = "max_length")]
    pub max_image_seq_len: usize,
    #[serde(default)]
    pub time_shift_type: Option<String>,
    #[serde(default)]
    pub shift_terminal: Option<f64>,
    #[serde(default)]
    pub invert_sigmas: bool,
    #[serde(default)]
    pub use_karras_sigmas: Option<bool>,
    #[serde(default)]
    pub use_exponential_sigmas: Option<bool>,
    #[serde(default)]
    pub use_beta_sigmas: Option<bool>,
    #[serde(default)]
    pub stochastic_sampling: Option<bool>,
}

/// How levels of a checkpoint lie.
#[derive(Debug, Clone)]
pub struct Flow {
    count: f64,
    shift: Shift,
    spread: Spread,
}

/// Towards noise, so that larger pictures, which noise spoils less, get as much of it.
#[derive(Debug, Clone, Copy)]
enum Shift {
    /// Alike for all sizes: equation 23 of <https://arxiv.org/abs/2403.03206>.
    Fixed(f64),
    /// By the places of a picture, on a line through these two points: places and the logarithm of the shift.
    ByPlaces([(f64, f64); 2]),
}

/// How levels are spread before they are shifted.
#[derive(Debug, Clone, Copy)]
enum Spread {
    /// Down to this one.
    To(f64),
    /// In equal steps, the last of which ends at 0.
    Even,
}

impl Flow {
    /// Reads a scheduler's configuration.
    ///
    /// # Errors
    /// [`Flaw::Unsupported`] and [`Flaw::Broken`].
    pub fn new(config: &FlowConfig, family: Family, file: &Path) -> Result<Self, Flaw> {
        config.check(file)?;
        let shift = match config.use_dynamic_shifting {
            false => Shift::Fixed(config.shift),
            true => Shift::ByPlaces([
                (config.base_image_seq_len as f64, config.base_shift),
                (config.max_image_seq_len as f64, config.max_shift),
            ]),
        };
        Ok(Self::of(config.num_train_timesteps as f64, shift, family))
    }

    /// As the published checkpoints of a family have it, of which those of Flux differ by guidance.
    pub fn published(family: Family, guidance: Guidance) -> Self {
        let shift = match (family, guidance) {
            (Family::Flux, Guidance::Told) => {
                Shift::ByPlaces([(base_length() as f64, base_shift()), (max_length() as f64, max_shift())])
            }
            (Family::Flux, _) => Shift::Fixed(SCHNELL_SHIFT),
            _ => Shift::Fixed(THREE_SHIFT),
        };
        Self::of(steps() as f64, shift, family)
    }

    fn of(count: f64, shift: Shift, family: Family) -> Self {
        let spread = match (family, shift) {
            (Family::Flux, _) => Spread::Even,
            // diffusers shifts the lowest level of training, and later once more with all others.
            (_, Shift::Fixed(shift)) => Spread::To(shifted(1.0 / count, shift)),
            (_, Shift::ByPlaces(_)) => Spread::To(1.0 / count),
        };
        Self { count, shift, spread }
    }

    /// The levels of a run of `count` steps, for a picture of so many places.
    pub fn schedule(&self, count: usize, places: usize) -> Schedule {
        let shift = match self.shift {
            Shift::Fixed(shift) => shift,
            Shift::ByPlaces([(low, of_low), (high, of_high)]) => {
                let slope = (of_high - of_low) / (high - low);
                libm::exp(of_low + slope * (places as f64 - low))
            }
        };
        let lowest = match self.spread {
            Spread::To(lowest) => lowest,
            Spread::Even => 1.0 / count as f64,
        };
        let level = |i: usize| {
            let part = i as f64 / (count.max(2) - 1) as f64;
            let sigma = shifted(1.0 + part * (lowest - 1.0), shift);
            Level { sigma, step: sigma * self.count }
        };
        Schedule { levels: (0..count).map(level).collect(), last: 0.0, start: 1.0, noising: Noising::Instead }
    }
}

impl FlowConfig {
    fn check(&self, file: &Path) -> Result<(), Flaw> {
        let unsupported = |what, found: String| {
            let can = "FlowMatchEulerDiscreteScheduler with a fixed shift, or one by the size of pictures";
            Err(Flaw::Unsupported { file: file.to_owned(), what, found, can })
        };
        if self.class != "FlowMatchEulerDiscreteScheduler" {
            return unsupported("scheduler", self.class.clone());
        }
        if let Some(other) = self.time_shift_type.as_deref().filter(|kind| *kind != "exponential") {
            return unsupported("time_shift_type", other.to_owned());
        }
        if let Some(end) = self.shift_terminal {
            return unsupported("shift_terminal", end.to_string());
        }
        for (key, set) in [
            ("invert_sigmas", Some(self.invert_sigmas)),
            ("use_karras_sigmas", self.use_karras_sigmas),
            ("use_exponential_sigmas", self.use_exponential_sigmas),
            ("use_beta_sigmas", self.use_beta_sigmas),
            ("stochastic_sampling", self.stochastic_sampling),
        ] {
            if set == Some(true) {
                return unsupported(key, "true".to_owned());
            }
        }
        let lengths = self.base_image_seq_len < self.max_image_seq_len;
        if !(self.shift > 0.0 && lengths && (1_000..=100_000).contains(&self.num_train_timesteps)) {
            let why = "expected shift > 0, base_image_seq_len < max_image_seq_len, and 1000 to 100000 steps";
            return Err(Flaw::Broken { file: file.to_owned(), why: why.to_owned() });
        }
        Ok(())
    }
}

fn shifted(sigma: f64, shift: f64) -> f64 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}

fn steps() -> usize {
    1_000
}

fn one() -> f64 {
    1.0
}

fn base_shift() -> f64 {
    0.5
}

fn max_shift() -> f64 {
    1.15
}

fn base_length() -> usize {
    256
}

fn max_length() -> usize {
    4_096
}
