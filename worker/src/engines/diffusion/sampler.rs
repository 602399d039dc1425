//! How a run goes from one noise level to the next.

use candle_core::{Result, Tensor};

use super::schedule::{Level, Schedule};
use crate::engines::diffusion::config::Spacing;

/// A sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// <https://arxiv.org/abs/2010.02502>, without chance (η = 0).
    Ddim,
    /// Algorithm 2 of <https://arxiv.org/abs/2206.00364>, without correction.
    Euler,
    /// The same with noise added after each step.
    EulerAncestral,
    /// Algorithm 2 of <https://arxiv.org/abs/2206.00364>: two looks a step.
    Heun,
    /// DPM-Solver++(2M), algorithm 2 of <https://arxiv.org/abs/2211.01095>.
    Dpmpp2m,
    /// The same over the levels of Karras.
    Dpmpp2mKarras,
}

/// What a sampler is given to work with.
pub struct Tools<'a> {
    /// The latent without noise, as the network sees it, by a noisy one and its level.
    pub clean: &'a mut dyn FnMut(&Tensor, Level) -> Result<Tensor>,
    /// Noise of the latents' shape that no step has had before.
    pub noise: &'a mut dyn FnMut() -> Result<Tensor>,
}

/// A step taken.
pub struct Step {
    /// The latents at the next level.
    pub next: Tensor,
    /// The latents without noise, as the network saw them.
    pub clean: Tensor,
}

impl Sampler {
    /// Every sampler, as members type it.
    pub const ALL: [(&'static str, Self); 6] = [
        ("ddim", Self::Ddim),
        ("euler", Self::Euler),
        ("euler_a", Self::EulerAncestral),
        ("heun", Self::Heun),
        ("dpmpp_2m", Self::Dpmpp2m),
        ("dpmpp_2m_karras", Self::Dpmpp2mKarras),
    ];

    /// The one of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, sampler)| *sampler)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, sampler)| *sampler == self).map_or("", |(name, _)| name)
    }

    /// The one that a checkpoint's scheduler stands for; DPM-Solver++ for those that have no counterpart here.
    pub fn of_class(class: &str) -> Self {
        match class {
            "DDIMScheduler" => Self::Ddim,
            "EulerDiscreteScheduler" => Self::Euler,
            "EulerAncestralDiscreteScheduler" => Self::EulerAncestral,
            "HeunDiscreteScheduler" => Self::Heun,
            _ => Self::Dpmpp2m,
        }
    }

    /// How steps are spread where the checkpoint does not say.
    pub(super) fn spacing(self) -> Spacing {
        match self {
            Self::Ddim => Spacing::Leading,
            _ => Spacing::Linspace,
        }
    }

    /// Whether it was described in σ; the others were in the scale of training, in which a run begins with noise alone.
    pub(super) fn works_in_sigma(self) -> bool {
        matches!(self, Self::Euler | Self::EulerAncestral | Self::Heun)
    }

    /// Takes step `i` of a schedule. `before` is what the step before saw without noise.
    ///
    /// # Errors
    /// Those of the tools.
    pub fn step(
        self,
        schedule: &Schedule,
        i: usize,
        latents: &Tensor,
        before: Option<&Tensor>,
        tools: &mut Tools,
    ) -> Result<Step> {
        let level = schedule.levels[i];
        let next = schedule.levels.get(i + 1);
        let (from, to) = (level.sigma, next.map_or(schedule.last, |level| level.sigma));
        let clean = (tools.clean)(latents, level)?;
        let noise = ((latents - &clean)? / from)?;
        let next = match (self, next) {
            (Self::EulerAncestral, _) => {
                let up = to.min((to * to * (from * from - to * to).max(0.0) / (from * from)).sqrt());
                let down = (to * to - up * up).max(0.0).sqrt();
                match up > 0.0 {
                    true => towards(&clean, &noise, down)? + ((tools.noise)()? * up)?,
                    false => towards(&clean, &noise, down),
                }
            }
            (Self::Heun, Some(next)) => {
                let guess = towards(&clean, &noise, to)?;
                let seen = (tools.clean)(&guess, *next)?;
                let second = ((guess - seen)? / to)?;
                latents + (((noise + second)? * 0.5)? * (to - from))?
            }
            (Self::Dpmpp2m | Self::Dpmpp2mKarras, Some(_)) if before.is_some() && i > 0 => {
                let earlier = schedule.levels[i - 1].sigma;
                let (length, last) = ((from / to).ln(), (earlier / from).ln());
                let half = length / (2.0 * last);
                let seen = match before {
                    Some(before) => ((&clean * (1.0 + half))? - (before * half)?)?,
                    None => clean.clone(),
                };
                (latents * (to / from))? + (seen * (1.0 - to / from))?
            }
            _ => towards(&clean, &noise, to),
        };
        Ok(Step { next: next?, clean })
    }
}

/// The straight line from a noisy latent to the clean one, at a level.
fn towards(clean: &Tensor, noise: &Tensor, sigma: f64) -> Result<Tensor> {
    clean + (noise * sigma)?
}
