//! A request to pictures, one after another: from noise, or from a picture with noise on it, in a few steps to a picture, which
//! is then enlarged.

use candle_core::{Error, IndexOp, Result, Tensor};
use image::{RgbImage, imageops, imageops::FilterType};
use riff_hub::pictures;

use super::{
    model::Model,
    network::Moment,
    request::{Request, Words},
};
use crate::{
    engine::{Artifact, EngineError, RunContext},
    engines::{
        neural::{
            Edge, Pass, broken_off,
            noise::{self, Grain},
            pixels::{self, Pixels},
            progress::Progress,
        },
        picture,
        upscale::tiles,
    },
};

/// How many times as many pixels a side the results have as the network draws.
pub const TIMES: u32 = 4;
/// Pixels of a preview's longer side.
const PREVIEW: u32 = 256;
/// Part of a run that enlarging a picture takes, counted in steps.
const ENLARGING: usize = 4;
/// Pixels of the opposite side that are enlarged with a picture that repeats, so that there is no seam.
const WRAPPED: u32 = 8;

/// Draws the results of a request. `original` is in their size.
///
/// # Errors
/// [`EngineError::Input`] if the prompt is too long, [`EngineError::OutOfMemory`], [`EngineError::Cancelled`], and
/// [`EngineError::Failed`] where the network's numbers are none.
pub fn draw(
    model: &Model,
    request: &Request,
    original: Option<&Pixels>,
    context: &RunContext,
) -> std::result::Result<Vec<Artifact>, EngineError> {
    let wanted = || !context.cancel.is_cancelled();
    let pass = Pass { edge: request.shape.edge, wanted: &wanted };
    let failed = |error| broken_off(error, context);
    check(model, &request.words)?;
    let words = meaning(model, &request.words, &pass).map_err(failed)?;
    let wordless = Words { text: String::new(), weight: 1.0 };
    let blank = (!model.distilled).then(|| meaning(model, &[wordless], &pass)).transpose().map_err(failed)?;
    let small = original.map(|original| original.shrunk(model.network.size() as u32));
    let artist = Artist { model, request, words, blank, original: small.as_ref(), pass: &pass };
    let count = request.grains.len();
    let mut progress = Progress { all: count * (artist.steps().len() + ENLARGING), ..Progress::default() };
    let side = PREVIEW / pictures::columns(count as u32);
    let preview = |made: &RgbImage| imageops::resize(made, side, side, FilterType::Triangle);
    let mut artifacts = Vec::new();
    for grain in &request.grains {
        let mut shown = |clean: &Tensor| {
            progress.done += 1;
            progress.tell(context, &[preview(&pixels::picture(&clean.i(0)?)?)], count);
            pass.check()
        };
        let made = artist.picture(grain, &mut shown).map_err(failed)?;
        let mut large = enlarged(model, &made, request.shape.edge, &wanted)?;
        if let Some(original) = original {
            original.lay(&mut large);
        }
        progress.done += ENLARGING;
        progress.small.push(preview(&large));
        progress.tell(context, &[], count);
        artifacts.push(Artifact { media_type: "image/png".into(), bytes: picture::png(&large)? });
    }
    Ok(artifacts)
}

/// What can be said before anything is drawn.
fn check(model: &Model, words: &[Words]) -> std::result::Result<(), EngineError> {
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

struct Artist<'a> {
    model: &'a Model,
    request: &'a Request,
    words: Tensor,
    /// What no words at all mean, for a network that has no guidance built in.
    blank: Option<Tensor>,
    /// In the network's size.
    original: Option<&'a Pixels>,
    pass: &'a Pass<'a>,
}

impl Artist<'_> {
    /// The steps that are taken: with a picture to begin with, those of its strength.
    fn steps(&self) -> std::ops::Range<usize> {
        let all = self.request.shape.steps;
        let taken = self
            .request
            .shape
            .original
            .as_ref()
            .map_or(all, |original| ((all as f64 * original.strength).round() as usize).clamp(1, all));
        all - taken..all
    }

    /// Rectified flow: <https://arxiv.org/abs/2209.03003>. `shown` is told of each step with how the picture looks without noise.
    fn picture(&self, grain: &Grain, shown: &mut dyn FnMut(&Tensor) -> Result<()>) -> Result<RgbImage> {
        let (size, device) = (self.model.network.size(), &self.model.device);
        let noise = noise::rows(&[grain], 0, (3, size, size), device)?;
        let original = self.original.map(|original| original.tensor(device)).transpose()?;
        let mask = self.original.map(|original| original.latent_mask(1, device)).transpose()?.flatten();
        let shape = &self.request.shape;
        let step = 1.0 / shape.steps as f64;
        // On the line between noise and picture.
        let between = |picture: &Tensor, time: f64| (&noise * (1.0 - time))? + (picture * time)?;
        let steps = self.steps();
        let mut x = match &original {
            Some(original) => between(original, steps.start as f64 * step)?,
            None => noise.clone(),
        };
        for at in steps {
            let time = at as f64 * step;
            let moment = Moment { time, step, guidance: shape.guidance };
            let network = &self.model.network;
            let velocity = match &self.blank {
                Some(blank) => network.guided(&x, moment, &self.words, blank, self.pass)?,
                None => network.velocity(&x, moment, &self.words, self.pass)?,
            };
            let clean = (&x + (&velocity * (1.0 - time))?)?.clamp(-1.0, 1.0)?;
            x = (x + (velocity * step)?)?;
            if let Some((original, mask)) = original.as_ref().zip(mask.as_ref()) {
                let around = between(original, time + step)?;
                x = (x.broadcast_mul(mask)? + around.broadcast_mul(&mask.affine(-1.0, 1.0)?)?)?;
            }
            shown(&clean)?;
        }
        pixels::picture(&x.i(0)?)
    }
}

/// A picture [`TIMES`] as large a side.
fn enlarged(
    model: &Model,
    made: &RgbImage,
    edge: Edge,
    wanted: &dyn Fn() -> bool,
) -> std::result::Result<RgbImage, EngineError> {
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
