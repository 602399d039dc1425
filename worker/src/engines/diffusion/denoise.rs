//! The run itself: from noise, or from a picture with noise on it, to latents without any.

use candle_core::{DType, Result, Tensor};

use super::{
    config::Prediction,
    net::{Given, Net},
    sampler::{Past, Sampler, Tools},
    schedule::{Level, Schedule},
};
use crate::engines::neural::Pass;

/// What latents of a pass are made by; one row a result.
pub struct Guide {
    /// Words, (rows, length, size); with guidance those to push away from come first, and there are twice as many rows.
    pub words: Tensor,
    /// The prompts as a whole, alike, for networks that are given them.
    pub pooled: Option<Tensor>,
    /// How far to go from the one towards the other; with 1 or less there is nothing to push away from.
    pub guidance: f64,
    /// The guidance that the network is told, if it is.
    pub told: f64,
}

impl Guide {
    /// Whether there is something to push away from.
    pub fn is_guided(guidance: f64) -> bool {
        guidance > 1.0
    }
}

/// A picture to begin with.
pub struct Original {
    /// Its latents, (1, channels, rows, columns).
    pub latents: Tensor,
    /// 1 where it is painted anew, and 0 where it stays, (1, 1, rows, columns).
    pub mask: Option<Tensor>,
    /// Part of the steps that is taken, 0 to 1.
    pub strength: f64,
}

/// Everything that makes a pass what it is.
pub struct Run<'a> {
    /// The network.
    pub net: &'a Net,
    /// What it says.
    pub prediction: Prediction,
    /// Type of its numbers.
    pub dtype: DType,
    /// How it goes from level to level.
    pub sampler: Sampler,
    /// The levels.
    pub schedule: &'a Schedule,
    /// What it goes by.
    pub guide: &'a Guide,
    /// The picture to begin with.
    pub original: Option<&'a Original>,
    /// What a network for inpainting sees beside the latents: the mask and what lies around it, (1, 5, rows, columns).
    pub beside: Option<&'a Tensor>,
    /// Rows and columns of the pictures in pixels.
    pub size: (usize, usize),
    /// What lies beyond the border, and whether to go on.
    pub pass: &'a Pass<'a>,
}

impl Run<'_> {
    /// Steps that are left out at the beginning.
    pub fn skipped(&self) -> usize {
        let count = self.schedule.levels.len();
        let taken = |original: &Original| (count as f64 * original.strength.clamp(0.0, 1.0)) as usize;
        self.original.map_or(0, |original| count - taken(original).clamp(1, count))
    }

    /// Makes latents, (rows, channels, rows, columns) in single precision. `noise` gives that of a stream, in that shape; `shown` is
    /// told of every step taken with how the latents look without noise.
    ///
    /// # Errors
    /// Those of the network, and a message if its numbers are none.
    pub fn latents(
        &self,
        noise: &mut dyn FnMut(u32) -> Result<Tensor>,
        shown: &mut dyn FnMut(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let first = self.skipped();
        let beginning = noise(0)?;
        let mut latents = match self.original {
            Some(original) if first > 0 || original.mask.is_none() => {
                self.schedule.noised(&original.latents, &beginning, self.schedule.levels[first].sigma)?
            }
            _ => (&beginning * self.schedule.start)?,
        };
        let mut past = Past::new();
        let mut stream = 0;
        for i in first..self.schedule.levels.len() {
            let mut tools = Tools {
                clean: &mut |latents, level| self.clean(latents, level),
                noise: &mut || {
                    stream += 1;
                    noise(stream)
                },
            };
            let step = self.sampler.step(self.schedule, i, &latents, &past, &mut tools)?;
            latents = self.kept(step.next, i, &beginning)?;
            shown(&step.clean)?;
            past.push((step.from, step.clean));
        }
        Ok(latents)
    }

    /// Puts back what lies beside the mask, with the noise of the level that follows step `i`.
    fn kept(&self, latents: Tensor, i: usize, noise: &Tensor) -> Result<Tensor> {
        let next = self.schedule.levels.get(i + 1);
        let latents = match next {
            Some(_) => latents,
            None => self.schedule.seen(&latents, Level { sigma: self.schedule.last, step: 0.0 })?,
        };
        let Some((original, mask)) = self.original.and_then(|one| one.mask.as_ref().map(|mask| (one, mask)))
        else {
            return Ok(latents);
        };
        if self.beside.is_some() {
            return Ok(latents);
        }
        let sigma = next.map_or(0.0, |level| level.sigma);
        let around = self.schedule.noised(&original.latents, noise, sigma)?;
        latents.broadcast_mul(mask)? + around.broadcast_mul(&mask.affine(-1.0, 1.0)?)?
    }

    /// The latents without noise, as the network sees them.
    fn clean(&self, latents: &Tensor, level: Level) -> Result<Tensor> {
        let guided = Guide::is_guided(self.guide.guidance);
        let rows = latents.dim(0)?;
        let mut seen = self.schedule.seen(latents, level)?;
        if let Some(beside) = self.beside {
            let beside = beside.repeat((rows, 1, 1, 1))?;
            seen = Tensor::cat(&[&seen, &beside], 1)?;
        }
        if guided {
            seen = Tensor::cat(&[&seen, &seen], 0)?;
        }
        let given = Given {
            words: &self.guide.words,
            pooled: self.guide.pooled.as_ref(),
            guidance: self.guide.told,
            size: self.size,
        };
        let said = self.net.forward(&seen.to_dtype(self.dtype)?, level.step, &given, self.pass)?;
        let said = said.to_dtype(DType::F32)?;
        let said = match guided {
            true => {
                let (away, towards) = (said.narrow(0, 0, rows)?, said.narrow(0, rows, rows)?);
                (&away + ((towards - &away)? * self.guide.guidance)?)?
            }
            false => said,
        };
        match self.prediction {
            Prediction::Noise | Prediction::Flow => latents - (said * level.sigma)?,
            Prediction::Velocity => {
                let scale = level.scale();
                (latents / (scale * scale))? - (said * (level.sigma / scale))?
            }
            Prediction::Sample => Ok(said),
        }
    }
}
