//! Which noise levels a run passes through, by the checkpoint's scheduler and the sampler.
//!
//! A level is σ, the noise's standard deviation over the latent's: <https://arxiv.org/abs/2206.00364>. Everything is said in it;
//! what the network is given is divided by √(σ² + 1), which is the scale that these checkpoints were trained in. In families
//! that flow ([`super::flow`]), σ is the noise's part instead, and the network is given latents as they are.

use candle_core::Tensor;

use super::{
    config::{Prediction, ScheduleConfig, Spacing},
    flaw::Flaw,
    flow::Flow,
    sampler::Sampler,
};

/// ρ of the levels of Karras: equation 5 of <https://arxiv.org/abs/2206.00364>.
const RHO: f64 = 7.0;
/// Steps of training that latent consistency models are distilled at: section 4.3 of <https://arxiv.org/abs/2310.04378>.
const DISTILLED: usize = 50;
/// The share of signal at the last step of training where it was trained down to nothing, so that σ is a number.
const LEAST_SIGNAL: f64 = 1.0 / 16_777_216.0;

/// A noise level, and the step of training that had it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Standard deviation of the noise over that of the latent.
    pub sigma: f64,
    /// Step of training; between two where the levels are.
    pub step: f64,
}

impl Level {
    /// What a latent with noise on top of it is divided by before the network sees it.
    pub fn scale(&self) -> f64 {
        (self.sigma * self.sigma + 1.0).sqrt()
    }
}

/// How a checkpoint was trained: σ of every step, growing.
#[derive(Debug, Clone)]
pub struct Training {
    sigmas: Vec<f64>,
    spacing: Option<Spacing>,
    offset: usize,
    ends_clean: bool,
    /// What the network says.
    pub prediction: Prediction,
}

/// How noise gets into a latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noising {
    /// On top of it: x + σε.
    OnTop,
    /// In the place of it: (1 - σ)x + σε.
    Instead,
}

/// How a checkpoint was trained.
#[derive(Debug, Clone)]
pub enum Trained {
    /// With noise on top of latents.
    OnTop(Training),
    /// With noise in the place of latents.
    Instead(Flow),
}

impl Trained {
    /// The levels of a run of `count` steps, for a picture that the network sees as so many places.
    pub fn schedule(&self, sampler: Sampler, count: usize, places: usize) -> Schedule {
        match self {
            Self::OnTop(training) => training.schedule(sampler, count),
            Self::Instead(flow) => flow.schedule(count, places),
        }
    }

    /// What the network says.
    pub fn prediction(&self) -> Prediction {
        match self {
            Self::OnTop(training) => training.prediction,
            Self::Instead(_) => Prediction::Flow,
        }
    }
}

/// The levels of one run.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Falling; the network is asked at each.
    pub levels: Vec<Level>,
    /// σ behind the last.
    pub last: f64,
    /// What noise is multiplied with to begin a run from nothing.
    pub start: f64,
    /// How noise gets into latents.
    pub noising: Noising,
}

impl Schedule {
    /// Latents, (1, …), with noise, (rows, …), at σ.
    pub fn noised(&self, latents: &Tensor, noise: &Tensor, sigma: f64) -> candle_core::Result<Tensor> {
        let noise = (noise * sigma)?;
        match self.noising {
            Noising::OnTop => noise.broadcast_add(latents),
            Noising::Instead => noise.broadcast_add(&(latents * (1.0 - sigma))?),
        }
    }

    /// Noisy latents as the network sees them.
    pub fn seen(&self, latents: &Tensor, level: Level) -> candle_core::Result<Tensor> {
        match self.noising {
            Noising::OnTop => latents / level.scale(),
            Noising::Instead => Ok(latents.clone()),
        }
    }

    /// How far it is from σ to a lower one, by the logarithm of signal over noise; without end from noise alone.
    pub fn length(&self, from: f64, to: f64) -> f64 {
        match self.noising {
            Noising::OnTop => (from / to).ln(),
            Noising::Instead => (from / to * (1.0 - to) / (1.0 - from)).ln(),
        }
    }
}

impl Training {
    /// Reads a scheduler's configuration.
    ///
    /// # Errors
    /// [`Flaw::Unsupported`] and [`Flaw::Broken`].
    pub fn new(config: &ScheduleConfig, file: &std::path::Path) -> Result<Self, Flaw> {
        let (count, from, to) = (config.num_train_timesteps, config.beta_start, config.beta_end);
        if !((1_000..=100_000).contains(&count) && 0.0 < from && from <= to && to < 1.0) {
            let why = "expected 1000 to 100000 steps, and 0 < beta_start ≤ beta_end < 1".to_owned();
            return Err(Flaw::Broken { file: file.to_owned(), why });
        }
        let between = |i: usize| i as f64 / (count - 1) as f64;
        let beta: Box<dyn Fn(usize) -> f64> = match config.beta_schedule.as_str() {
            "linear" => Box::new(|i| from + (to - from) * between(i)),
            "scaled_linear" => Box::new(|i| {
                let root = from.sqrt() + (to.sqrt() - from.sqrt()) * between(i);
                root * root
            }),
            other => {
                let (file, found) = (file.to_owned(), other.to_owned());
                return Err(Flaw::Unsupported {
                    file,
                    what: "beta_schedule",
                    found,
                    can: "linear and scaled_linear",
                });
            }
        };
        let mut signal = 1.0;
        let signals: Vec<f64> = (0..count)
            .map(|i| {
                signal *= 1.0 - beta(i);
                signal
            })
            .collect();
        let signals = if config.rescale_betas_zero_snr { to_nothing(&signals) } else { signals };
        Ok(Self {
            sigmas: signals.iter().map(|signal| ((1.0 - signal) / signal).sqrt()).collect(),
            spacing: config.timestep_spacing,
            offset: config.steps_offset,
            ends_clean: config.set_alpha_to_one.unwrap_or(true),
            prediction: config.prediction_type,
        })
    }

    /// The levels of a run of `count` steps.
    pub fn schedule(&self, sampler: Sampler, count: usize) -> Schedule {
        let spacing = self.spacing.unwrap_or(sampler.spacing());
        let steps = match sampler {
            Sampler::Ddim => self.whole_steps(spacing, count),
            Sampler::Dpmpp2m | Sampler::Dpmpp2mSde | Sampler::UniPc => self.inner_steps(spacing, count),
            Sampler::Euler | Sampler::EulerAncestral | Sampler::Heun | Sampler::Lms => {
                self.steps(spacing, count)
            }
            Sampler::Lcm => self.distilled_steps(count),
            Sampler::Dpmpp2mKarras | Sampler::Dpmpp2mSdeKarras => Vec::new(),
        };
        let levels: Vec<Level> = match sampler {
            Sampler::Dpmpp2mKarras | Sampler::Dpmpp2mSdeKarras => self.karras(count),
            _ => steps.into_iter().map(|step| Level { sigma: self.sigma(step), step }).collect(),
        };
        let highest = levels.first().copied().unwrap_or(Level { sigma: 1.0, step: 0.0 });
        let bare = sampler.works_in_sigma() && spacing != Spacing::Leading;
        Schedule {
            last: match sampler {
                Sampler::Ddim if !self.ends_clean => self.sigmas[0],
                _ => 0.0,
            },
            start: if bare { highest.sigma } else { highest.scale() },
            noising: Noising::OnTop,
            levels,
        }
    }

    fn count(&self) -> f64 {
        self.sigmas.len() as f64
    }

    /// Evenly spread steps, falling.
    fn steps(&self, spacing: Spacing, count: usize) -> Vec<f64> {
        let last = self.count() - 1.0;
        let of = |i: usize| match spacing {
            Spacing::Linspace if count == 1 => last,
            Spacing::Linspace => last - last * i as f64 / (count - 1) as f64,
            Spacing::Leading => {
                let ratio = self.sigmas.len() / count;
                ((count - 1 - i) * ratio + self.offset) as f64
            }
            Spacing::Trailing => round(self.count() - i as f64 * self.count() / count as f64) - 1.0,
        };
        (0..count).map(|i| of(i).clamp(0.0, last)).collect()
    }

    fn whole_steps(&self, spacing: Spacing, count: usize) -> Vec<f64> {
        self.steps(spacing, count).into_iter().map(round).collect()
    }

    /// Those of DPM-Solver: one more is spread, and the lowest is left out.
    fn inner_steps(&self, spacing: Spacing, count: usize) -> Vec<f64> {
        match spacing {
            Spacing::Trailing => self.steps(spacing, count),
            _ => {
                let mut steps = self.whole_steps(spacing, count + 1);
                steps.truncate(count);
                steps
            }
        }
    }

    /// Those among the steps that latent consistency models are distilled at, which are [`DISTILLED`], or more if so many are
    /// asked for.
    fn distilled_steps(&self, count: usize) -> Vec<f64> {
        let all = DISTILLED.max(count);
        let apart = self.sigmas.len() / all;
        (0..count).map(|i| ((all - i * all / count) * apart - 1) as f64).collect()
    }

    /// Levels that lie closer where there is little noise.
    fn karras(&self, count: usize) -> Vec<Level> {
        let (lowest, highest) = (self.sigmas[0], self.sigmas[self.sigmas.len() - 1]);
        let (low, high) = (lowest.powf(1.0 / RHO), highest.powf(1.0 / RHO));
        let part = |i: usize| i as f64 / (count.max(2) - 1) as f64;
        let sigma = |i: usize| (high + part(i) * (low - high)).powf(RHO);
        (0..count).map(|i| Level { sigma: sigma(i), step: round(self.step(sigma(i))) }).collect()
    }

    /// σ at a step, between two of them too.
    fn sigma(&self, step: f64) -> f64 {
        let below = (step.floor() as usize).min(self.sigmas.len() - 1);
        let above = (below + 1).min(self.sigmas.len() - 1);
        let part = step - below as f64;
        self.sigmas[below] * (1.0 - part) + self.sigmas[above] * part
    }

    /// The step that has a σ, by its logarithm.
    fn step(&self, sigma: f64) -> f64 {
        let below =
            self.sigmas.partition_point(|one| *one <= sigma).saturating_sub(1).min(self.sigmas.len() - 2);
        let (low, high) = (self.sigmas[below].ln(), self.sigmas[below + 1].ln());
        below as f64 + ((sigma.ln() - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// As numpy rounds, whose halves go to even numbers.
fn round(number: f64) -> f64 {
    number.round_ties_even()
}

/// Signals stretched so that the last is (almost) none: algorithm 1 of <https://arxiv.org/abs/2305.08891>.
fn to_nothing(signals: &[f64]) -> Vec<f64> {
    let roots: Vec<f64> = signals.iter().map(|signal| signal.sqrt()).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let stretched = roots.iter().map(|root| (root - last) * first / (first - last));
    stretched.map(|root| (root * root).max(LEAST_SIGNAL)).collect()
}
