//! Requests to pictures, side by side or in a batch: from noise, or from a picture with noise on it, in a few steps to a
//! picture, which is then enlarged.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use candle_core::{Error, IndexOp, Result, Tensor};
use image::{RgbImage, imageops, imageops::FilterType};
use rayon::prelude::*;
use riff_hub::pictures;

use super::{
    model::Model,
    network::Moment,
    request::{Request, Shape, TIMES, Words},
};
use crate::{
    engine::{Artifact, EngineError, RunContext},
    engines::{
        neural::{
            Edge, Pass, broken_off, lanes,
            noise::{self, Grain},
            original::Original,
            pixels::{self, Pixels},
            progress::Progress,
        },
        picture,
        upscale::tiles,
    },
};

/// Pixels of a preview's longer side.
const PREVIEW: u32 = 256;
/// Part of a run that enlarging a picture takes, counted in steps.
const ENLARGING: usize = 4;
/// Pixels of the opposite side that are enlarged with a picture that repeats, so that there is no seam.
const WRAPPED: u32 = 8;

type Outcome<T> = std::result::Result<T, EngineError>;

/// A request with where its pictures go.
pub struct Job {
    /// What is asked for.
    pub request: Request,
    /// The picture to begin with, in the size of the results.
    pub original: Option<Pixels>,
    /// Who watches, and whether anybody still wants it.
    pub context: RunContext,
}

/// Draws the results of jobs: on the CPU all pictures of all of them side by side, on a GPU all jobs, each in a batch. Each job
/// has its own outcome; what is wrong with one before it begins is passed on.
///
/// # Errors
/// [`EngineError::Input`] if the prompt is too long, [`EngineError::OutOfMemory`], [`EngineError::Cancelled`], and
/// [`EngineError::Failed`] where the network's numbers are none.
pub fn draw(model: &Model, jobs: &[Outcome<Job>]) -> Vec<Outcome<Vec<Artifact>>> {
    let artists: Vec<Outcome<Artist<'_>>> =
        jobs.iter().map(|job| Artist::new(model, job.as_ref().map_err(Clone::clone)?)).collect();
    let batches: Vec<(&Artist<'_>, Range<usize>)> = artists
        .iter()
        .flatten()
        .flat_map(|artist| artist.batches().into_iter().map(move |batch| (artist, batch)))
        .collect();
    let drawn = match lanes::side_by_side(&batches, |(artist, batch)| artist.artifacts(batch)) {
        Ok(drawn) => drawn,
        Err(error) => return jobs.iter().map(|_| Err(EngineError::Failed(error.to_string()))).collect(),
    };
    let mut drawn = drawn.into_iter();
    let of = |artist: &Outcome<Artist<'_>>| -> Outcome<Vec<Artifact>> {
        let count = artist.as_ref().map_err(Clone::clone)?.batches().len();
        let own: Vec<Outcome<Vec<Artifact>>> = drawn.by_ref().take(count).collect();
        Ok(own.into_iter().collect::<Outcome<Vec<_>>>()?.concat())
    };
    artists.iter().map(of).collect()
}

/// What can be said before anything is drawn.
fn check<'a>(model: &Model, words: impl Iterator<Item = &'a Words>) -> Outcome<()> {
    for Words { text, .. } in words {
        let (kept, over) = model.encoder.ids(text).map_err(|error| EngineError::Failed(error.to_string()))?;
        if over > 0 {
            return Err(EngineError::Input(format!(
                "the prompt is too long: Doodle reads about {} words, and {over} are too many; shorten it",
                kept.len() - 2
            )));
        }
    }
    Ok(())
}

/// What all words mean, as the mean by their weights: at each place of those texts that reach it.
fn meaning(model: &Model, words: &[Words], pass: &Pass) -> Result<Tensor> {
    let mut read = Vec::new();
    for Words { text, weight } in words {
        let states = model.encoder.encode(&model.encoder.ids(text)?.0, pass)?;
        read.push((model.network.read(&states, pass)?, *weight));
    }
    let lengths = read.iter().map(|(states, _)| states.dim(1)).collect::<Result<Vec<_>>>()?;
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let weights = |at: usize| {
        let reaching = read.iter().zip(&lengths).filter(move |(_, length)| at < **length);
        reaching.map(|((_, weight), _)| weight).sum::<f64>()
    };
    let totals: Vec<f32> = (0..longest).map(|at| weights(at) as f32).collect();
    let mut sum: Option<Tensor> = None;
    for ((states, weight), length) in read.iter().zip(&lengths) {
        let states = (states.pad_with_zeros(1, 0, longest - length)? * *weight)?;
        sum = Some(match sum {
            Some(sum) => (sum + states)?,
            None => states,
        });
    }
    let sum = sum.ok_or_else(|| Error::Msg("there are no words to draw".to_owned()))?;
    sum.broadcast_div(&Tensor::from_vec(totals, (1, longest, 1), &model.device)?)
}

/// A job that is being drawn.
struct Artist<'a> {
    model: &'a Model,
    job: &'a Job,
    words: Tensor,
    /// What the words to keep away from mean, or no words at all, for a network that has no guidance built in.
    blank: Option<Tensor>,
    /// The picture to begin with, in the network's size.
    original: Option<Pixels>,
    /// Pixels of each picture in previews.
    look: (u32, u32),
    progress: Mutex<Progress>,
}

impl<'a> Artist<'a> {
    fn new(model: &'a Model, job: &'a Job) -> Outcome<Self> {
        let (request, context) = (&job.request, &job.context);
        let wanted = || !context.cancel.is_cancelled();
        let pass = Pass { edge: request.shape.edge, wanted: &wanted };
        let failed = |error| broken_off(error, context);
        let not = [Words { text: request.not.clone(), weight: 1.0 }];
        check(model, request.words.iter().chain(&not))?;
        let words = meaning(model, &request.words, &pass).map_err(failed)?;
        let blank = (!model.distilled).then(|| meaning(model, &not, &pass)).transpose().map_err(failed)?;
        let (width, height) = request.shape.size;
        let original = job.original.as_ref().map(|original| original.shrunk((width / TIMES, height / TIMES)));
        let count = request.grains.len();
        let most = PREVIEW / pictures::columns(count as u32);
        let look = (most * width / width.max(height), most * height / width.max(height));
        let small = vec![RgbImage::new(look.0, look.1); count];
        let all = count * (steps(&request.shape).len() + ENLARGING);
        let progress = Mutex::new(Progress { done: 0, all, small });
        Ok(Self { model, job, words, blank, original, look, progress })
    }

    /// Results that are drawn at once, by their places.
    fn batches(&self) -> Vec<Range<usize>> {
        let count = self.job.request.grains.len();
        let size = if self.model.device.is_cpu() { 1 } else { count.max(1) };
        (0..count).step_by(size).map(|first| first..(first + size).min(count)).collect()
    }

    /// The results of a batch.
    fn artifacts(&self, batch: &Range<usize>) -> Outcome<Vec<Artifact>> {
        let Job { request, context, .. } = self.job;
        let wanted = || !context.cancel.is_cancelled();
        let pass = Pass { edge: request.shape.edge, wanted: &wanted };
        let shown = |clean: &Tensor| {
            self.tell(batch.start, &pictures_of(clean)?, 1);
            pass.check()
        };
        let made = self.pictures(&request.grains[batch.clone()], &pass, &shown);
        let made = made.map_err(|error| broken_off(error, context))?;
        made.par_iter().zip(batch.clone()).map(|(made, at)| self.artifact(at, made)).collect()
    }

    /// A result from its picture.
    fn artifact(&self, at: usize, made: &RgbImage) -> Outcome<Artifact> {
        let Job { request, original, context } = self.job;
        let mut large = enlarged(self.model, made, request.shape.edge, &|| !context.cancel.is_cancelled())?;
        if let Some(original) = original {
            original.lay(&mut large);
        }
        let artifact = Artifact { media_type: "image/png".into(), bytes: picture::png(&large)? };
        self.tell(at, &[large], ENLARGING);
        Ok(artifact)
    }

    /// Tells how pictures look after `done` more steps, from one place on.
    fn tell(&self, first: usize, made: &[RgbImage], done: usize) {
        let look = |made| imageops::resize(made, self.look.0, self.look.1, FilterType::Triangle);
        let looks: Vec<RgbImage> = made.iter().map(look).collect();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.done += done * looks.len();
        for (at, look) in (first..).zip(looks) {
            progress.small[at] = look;
        }
        let count = progress.small.len();
        progress.tell(&self.job.context, &[], count);
    }

    /// Rectified flow: <https://arxiv.org/abs/2209.03003>. `shown` is told of each step with how the pictures look without noise.
    fn pictures(
        &self,
        grains: &[Grain],
        pass: &Pass,
        shown: &dyn Fn(&Tensor) -> Result<()>,
    ) -> Result<Vec<RgbImage>> {
        let (shape, device) = (&self.job.request.shape, &self.model.device);
        let (width, height) = shape.size;
        let grains: Vec<_> = grains.iter().collect();
        let noise =
            noise::rows(&grains, 0, (3, (height / TIMES) as usize, (width / TIMES) as usize), device)?;
        let original = self.original.as_ref().map(|original| original.tensor(device)).transpose()?;
        let mask =
            self.original.as_ref().map(|original| original.latent_mask(1, device)).transpose()?.flatten();
        let step = 1.0 / shape.steps as f64;
        // On the line between noise and picture.
        let between =
            |picture: &Tensor, time: f64| (&noise * (1.0 - time))?.broadcast_add(&(picture * time)?);
        let steps = steps(shape);
        let mut x = match &original {
            Some(original) => between(original, steps.start as f64 * step)?,
            None => noise.clone(),
        };
        for at in steps {
            let time = at as f64 * step;
            let moment = Moment { time, step, guidance: shape.guidance };
            let network = &self.model.network;
            let velocity = match &self.blank {
                Some(blank) => network.guided(&x, moment, &self.words, blank, pass)?,
                None => network.velocity(&x, moment, &self.words, pass)?,
            };
            let clean = (&x + (&velocity * (1.0 - time))?)?.clamp(-1.0, 1.0)?;
            x = (x + (velocity * step)?)?;
            if let Some((original, mask)) = original.as_ref().zip(mask.as_ref()) {
                let around = between(original, time + step)?;
                x = (x.broadcast_mul(mask)? + around.broadcast_mul(&mask.affine(-1.0, 1.0)?)?)?;
            }
            shown(&clean)?;
        }
        pictures_of(&x)
    }
}

/// The pictures of a batch.
fn pictures_of(pixels: &Tensor) -> Result<Vec<RgbImage>> {
    (0..pixels.dim(0)?).map(|row| pixels::picture(&pixels.i(row)?)).collect()
}

/// The steps that are taken: with a picture to begin with, those of its strength.
fn steps(shape: &Shape) -> std::ops::Range<usize> {
    let all = shape.steps;
    let of = |original: &Original| ((all as f64 * original.strength).round() as usize).clamp(1, all);
    all - shape.original.as_ref().map_or(all, of)..all
}

/// A picture [`TIMES`] as large a side.
fn enlarged(model: &Model, made: &RgbImage, edge: Edge, wanted: &dyn Fn() -> bool) -> Outcome<RgbImage> {
    let (width, height) = made.dimensions();
    let around = if edge == Edge::Wrap { WRAPPED } else { 0 };
    let seen = RgbImage::from_fn(width + 2 * around, height + 2 * around, |x, y| {
        *made.get_pixel((x + width - around) % width, (y + height - around) % height)
    });
    let large = match &model.upscaler {
        Some(network) => tiles::enlarge(network, &seen, wanted, &|_| {})?,
        None => imageops::resize(&seen, seen.width() * TIMES, seen.height() * TIMES, FilterType::Lanczos3),
    };
    let cut = around * TIMES;
    Ok(imageops::crop_imm(&large, cut, cut, width * TIMES, height * TIMES).to_image())
}
