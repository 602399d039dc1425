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
    /// SDE-DPM-Solver++(2M) of the same paper: noise is added at each step.
    Dpmpp2mSde,
    /// The same over the levels of Karras.
    Dpmpp2mSdeKarras,
    /// The linear multistep method of Adams and Bashforth, of up to four steps.
    Lms,
    /// UniPC of order 2 with B₂(h): <https://arxiv.org/abs/2302.04867>.
    UniPc,
    /// Multistep consistency sampling, for checkpoints and LoRAs that were distilled for it:
    /// <https://arxiv.org/abs/2310.04378>.
    Lcm,
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
    /// The latents that the step went from: those that it was given, or what they were corrected to.
    pub from: Tensor,
    /// The latents without noise, as the network saw them.
    pub clean: Tensor,
}

/// The steps of a run so far, the last one at the end: latents that a step went from, and how the network saw them without
/// noise.
pub type Past = Vec<(Tensor, Tensor)>;

impl Sampler {
    /// Every sampler, as members type it.
    pub const ALL: [(&'static str, Self); 11] = [
        ("ddim", Self::Ddim),
        ("euler", Self::Euler),
        ("euler_a", Self::EulerAncestral),
        ("heun", Self::Heun),
        ("dpmpp_2m", Self::Dpmpp2m),
        ("dpmpp_2m_karras", Self::Dpmpp2mKarras),
        ("dpmpp_2m_sde", Self::Dpmpp2mSde),
        ("dpmpp_2m_sde_karras", Self::Dpmpp2mSdeKarras),
        ("lms", Self::Lms),
        ("unipc", Self::UniPc),
        ("lcm", Self::Lcm),
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
            "LMSDiscreteScheduler" => Self::Lms,
            "UniPCMultistepScheduler" => Self::UniPc,
            "LCMScheduler" => Self::Lcm,
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
        matches!(self, Self::Euler | Self::EulerAncestral | Self::Heun | Self::Lms)
    }

    /// Whether it works where noise takes the place of latents. For these its steps are the same arithmetic: a latent's change
    /// with σ is its distance to the clean one over σ in both.
    pub fn flows(self) -> bool {
        matches!(self, Self::Euler | Self::Heun | Self::Dpmpp2m)
    }

    /// Takes step `i` of a schedule.
    ///
    /// # Errors
    /// Those of the tools.
    pub fn step(
        self,
        schedule: &Schedule,
        i: usize,
        latents: &Tensor,
        past: &Past,
        tools: &mut Tools,
    ) -> Result<Step> {
        let level = schedule.levels[i];
        let next = schedule.levels.get(i + 1);
        let (from, to) = (level.sigma, next.map_or(schedule.last, |level| level.sigma));
        let clean = (tools.clean)(latents, level)?;
        let solver = Solver { schedule, i, past };
        if self == Self::UniPc {
            let corrected = solver.correct(latents, &clean)?;
            return Ok(Step { next: solver.predict(&corrected, &clean, to)?, from: corrected, clean });
        }
        if self == Self::Lcm {
            let seen = consistent(latents, &clean, level)?;
            let next = match next {
                Some(_) => (&seen + ((tools.noise)()? * to)?)?,
                None => seen.clone(),
            };
            return Ok(Step { next, from: latents.clone(), clean: seen });
        }
        let next = self.next(&solver, (latents, &clean), (from, to), next, tools)?;
        Ok(Step { next, from: latents.clone(), clean })
    }

    /// The latents at the next level, σ `to`, by those at σ `from` and the clean ones.
    fn next(
        self,
        solver: &Solver,
        (latents, clean): (&Tensor, &Tensor),
        (from, to): (f64, f64),
        next: Option<&Level>,
        tools: &mut Tools,
    ) -> Result<Tensor> {
        let noise = || (latents - clean)? / from;
        match (self, next) {
            (Self::EulerAncestral, _) => {
                let up = to.min((to * to * (from * from - to * to).max(0.0) / (from * from)).sqrt());
                let down = (to * to - up * up).max(0.0).sqrt();
                match up > 0.0 {
                    true => towards(clean, &noise()?, down)? + ((tools.noise)()? * up)?,
                    false => towards(clean, &noise()?, down),
                }
            }
            (Self::Heun, Some(next)) => {
                let guess = towards(clean, &noise()?, to)?;
                let seen = (tools.clean)(&guess, *next)?;
                let second = ((guess - seen)? / to)?;
                latents + (((noise()? + second)? * 0.5)? * (to - from))?
            }
            (Self::Dpmpp2m | Self::Dpmpp2mKarras, Some(_)) => {
                (latents * (to / from))? + (solver.ahead(clean, to)? * (1.0 - to / from))?
            }
            (Self::Dpmpp2mSde | Self::Dpmpp2mSdeKarras, Some(_)) => {
                let left = (to / from).powi(2);
                let moved = ((latents * left)? + (solver.ahead(clean, to)? * (1.0 - left))?)?;
                moved + ((tools.noise)()? * (to * (1.0 - left).sqrt()))?
            }
            (Self::Lms, _) => solver.adams(latents, clean, to),
            _ => towards(clean, &noise()?, to),
        }
    }
}

/// The straight line from a noisy latent to the clean one, at a level.
fn towards(clean: &Tensor, noise: &Tensor, sigma: f64) -> Result<Tensor> {
    clean + (noise * sigma)?
}

/// What a consistency model makes of a latent: the clean one, and with less noise more of the latent itself, by the
/// boundary conditions that these models are trained with.
fn consistent(latents: &Tensor, clean: &Tensor, level: Level) -> Result<Tensor> {
    const DEVIATION: f64 = 0.5;
    const PER_STEP: f64 = 10.0;
    let time = level.step * PER_STEP;
    let all = time * time + DEVIATION * DEVIATION;
    let (kept, made) = (DEVIATION * DEVIATION / all, time / all.sqrt());
    (clean * made)? + (latents * (kept / level.scale()))?
}

/// What methods that look back go by.
struct Solver<'a> {
    schedule: &'a Schedule,
    i: usize,
    past: &'a Past,
}

impl Solver<'_> {
    /// σ so many steps ago.
    fn sigma(&self, ago: usize) -> f64 {
        self.schedule.levels[self.i - ago].sigma
    }

    /// The clean latent halfway to `to`, by its change since the step before.
    fn ahead(&self, clean: &Tensor, to: f64) -> Result<Tensor> {
        let Some((_, before)) = self.past.last() else {
            return Ok(clean.clone());
        };
        let length = self.schedule.length(self.sigma(0), to);
        let last = self.schedule.length(self.sigma(1), self.sigma(0));
        let half = length / (2.0 * last);
        (clean * (1.0 + half))? - (before * half)?
    }

    /// Steps of UniPC look one step back, but for the first and the last.
    fn order(&self, ago: usize) -> usize {
        let taken = self.past.len() - ago;
        let left = self.schedule.levels.len() - (self.i - ago);
        2.min(left).min(taken + 1)
    }

    /// What UniPC makes of the latents at level `to`: in its words, the predictor.
    fn predict(&self, latents: &Tensor, clean: &Tensor, to: f64) -> Result<Tensor> {
        let from = self.sigma(0);
        let seen = match self.order(0) {
            1 => clean.clone(),
            _ => self.ahead(clean, to)?,
        };
        (latents * (to / from))? + (seen * (1.0 - to / from))?
    }

    /// What the last step would have made of its latents, had it known what the network says here: the corrector.
    fn correct(&self, latents: &Tensor, clean: &Tensor) -> Result<Tensor> {
        let Some((start, before)) = self.past.last() else {
            return Ok(latents.clone());
        };
        let (from, to) = (self.sigma(1), self.sigma(0));
        let length = (from / to).ln();
        let b = (-length).exp_m1();
        let change = (clean - before)?;
        let change = match self.past.len().checked_sub(2).map(|at| &self.past[at].1) {
            Some(earlier) if self.order(1) > 1 => {
                let ratio = -(self.sigma(2) / from).ln() / length;
                let (one, two) = {
                    let first = b / -length - 1.0;
                    (first / b, 2.0 * (first / -length - 0.5) / b)
                };
                let back = (one - two) / (1.0 - ratio);
                ((earlier - before)? * (back / ratio))? + (change * (one - back))?
            }
            _ => change * 0.5,
        };
        (start * (to / from))? - ((before + change?)? * b)?
    }

    /// The integral of a polynomial through the noise of up to four steps.
    fn adams(&self, latents: &Tensor, clean: &Tensor, to: f64) -> Result<Tensor> {
        const MOST: usize = 4;
        let order = MOST.min(self.past.len() + 1);
        let mut next = latents.clone();
        for ago in 0..order {
            let (latents, clean) = match ago {
                0 => (latents, clean),
                _ => {
                    let (latents, clean) = &self.past[self.past.len() - ago];
                    (latents, clean)
                }
            };
            let noise = ((latents - clean)? / self.sigma(ago))?;
            next = (next + (noise * self.share(ago, order, to))?)?;
        }
        Ok(next)
    }

    /// How much the noise of a step counts among `order` of them: the integral of Lagrange's polynomial up to `to`, by two
    /// points of Gauss, which is exact for polynomials of degree 3.
    fn share(&self, ago: usize, order: usize, to: f64) -> f64 {
        let own = self.sigma(ago);
        let others: Vec<f64> =
            (0..order).filter(|other| *other != ago).map(|other| self.sigma(other)).collect();
        let at = |sigma: f64| others.iter().map(|other| (sigma - other) / (own - other)).product::<f64>();
        let (middle, half) = ((self.sigma(0) + to) / 2.0, (to - self.sigma(0)) / 2.0);
        let aside = half / 3_f64.sqrt();
        half * (at(middle - aside) + at(middle + aside))
    }
}
