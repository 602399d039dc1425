//! A request to pictures: words are encoded, results go through the network several at a time, and latents become pixels
//! one after another.

use candle_core::{DType, Error, IndexOp, Tensor};
use image::RgbImage;
use riff_hub::pictures;

use super::{
    Result,
    checkpoint::Checkpoint,
    denoise::{Guide, Original, Run},
    family::Guidance,
    memory,
    model::Model,
    request::{Item, Request, Shape},
    schedule::Schedule,
    words::Condition,
};
use crate::{
    engine::{Artifact, EngineError, RunContext},
    engines::{
        neural::{
            Pass, broken_off, noise,
            pixels::{self, Pixels},
            progress::Progress,
        },
        picture,
    },
};

/// Pixels of a preview's longer side.
const PREVIEW: u32 = 256;
/// Part of a run that the decoding of a picture takes, counted in steps.
const DECODING: usize = 2;

/// Paints the results of a request.
///
/// # Errors
/// [`EngineError::Input`], [`EngineError::OutOfMemory`], [`EngineError::Cancelled`], and [`EngineError::Failed`] where the
/// model's numbers are none.
pub fn paint(
    model: &Model,
    request: &Request,
    original: Option<&Pixels>,
    context: &RunContext,
) -> Result<Vec<Artifact>, EngineError> {
    check(model, request)?;
    let wanted = || !context.cancel.is_cancelled();
    let pass = Pass { edge: request.shape.edge, wanted: &wanted };
    let painter = Painter::new(model, request, original, context, &pass);
    let pictures = painter.and_then(Painter::pictures).map_err(|error| broken_off(error, context))?;
    let artifact =
        |made: &RgbImage| Ok(Artifact { media_type: "image/png".into(), bytes: picture::png(made)? });
    pictures.iter().map(artifact).collect()
}

/// What can be said before anything is done.
fn check(model: &Model, request: &Request) -> Result<(), EngineError> {
    for item in &request.items {
        let words = [&item.positive, &item.negative];
        words.into_iter().try_for_each(|words| model.texts.check(words)).map_err(EngineError::Input)?;
    }
    let Shape { size: (width, height), .. } = request.shape;
    let Checkpoint { net, vae, sentences, .. } = &*model.checkpoint;
    let sides = if Guide::is_guided(push(model, &request.shape)) { 2 } else { 1 };
    let rows = (model.batch.min(request.items.len()) * sides) as u64;
    let words = sentences.as_ref().map_or(0, |sentences| sentences.length) as u64;
    let needs = memory::of_run(net, vae, words, rows, u64::from(width) * u64::from(height));
    match model.device.is_cpu() {
        true => {
            let what = format!("a picture of {width}×{height} pixels");
            model.memory.check(needs, &what, "ask for a smaller one, or for fewer at once")
        }
        false => Ok(()),
    }
}

/// How far results are pushed from what must not be there.
fn push(model: &Model, shape: &Shape) -> f64 {
    match model.checkpoint.net.guidance() {
        Guidance::Push => shape.guidance,
        Guidance::Told | Guidance::Fixed => 1.0,
    }
}

struct Painter<'a> {
    model: &'a Model,
    request: &'a Request,
    schedule: Schedule,
    pixels: Option<&'a Pixels>,
    original: Option<Original>,
    beside: Option<Tensor>,
    context: &'a RunContext,
    pass: &'a Pass<'a>,
    progress: Progress,
}

impl<'a> Painter<'a> {
    fn new(
        model: &'a Model,
        request: &'a Request,
        pixels: Option<&'a Pixels>,
        context: &'a RunContext,
        pass: &'a Pass<'a>,
    ) -> Result<Self> {
        let Shape { steps, sampler, size: (width, height), .. } = request.shape;
        let place = model.checkpoint.vae.factor() * model.checkpoint.net.patch();
        let places = (width as usize / place) * (height as usize / place);
        let schedule = model.checkpoint.trained.schedule(sampler, steps, places);
        let mut painter = Self {
            model,
            request,
            schedule,
            pixels,
            original: None,
            beside: None,
            context,
            pass,
            progress: Progress::default(),
        };
        pass.check()?;
        painter.original = painter.original()?;
        painter.beside = painter.beside()?;
        Ok(painter)
    }

    fn pictures(mut self) -> Result<Vec<RgbImage>> {
        let count = self.request.items.len();
        let passes = count.div_ceil(self.model.batch);
        let skipped = self.run(&Guide { words: none()?, pooled: None, guidance: 1.0, told: 1.0 }).skipped();
        self.progress.all = passes * (self.schedule.levels.len() - skipped) + count * DECODING;
        let mut pictures = Vec::new();
        let request = self.request;
        for items in request.items.chunks(self.model.batch) {
            let latents = self.latents(items)?;
            for row in 0..items.len() {
                pictures.push(self.decode(&latents.i(row..=row)?)?);
                self.progress.done += DECODING;
                self.show(&[]);
            }
        }
        Ok(pictures)
    }

    fn latents(&mut self, items: &[Item]) -> Result<Tensor> {
        let guide = self.guide(items)?;
        let (rows, columns) = self.latent_size();
        let grains: Vec<_> = items.iter().map(|item| &item.grain).collect();
        let shape = (self.model.checkpoint.vae.latent_channels, rows, columns);
        let device = &self.model.device;
        let mut noise = |stream| noise::rows(&grains, stream, shape, device);
        let rough = self.model.checkpoint.family.rough();
        let longer = PREVIEW / pictures::columns(self.request.items.len() as u32);
        let mut small = Vec::new();
        let mut progress = std::mem::take(&mut self.progress);
        let latents = {
            let this = &*self;
            let mut shown = |clean: &Tensor| {
                small = rough.pictures(clean, longer)?;
                progress.done += 1;
                progress.tell(this.context, &small, this.request.items.len());
                this.pass.check()
            };
            this.run(&guide).latents(&mut noise, &mut shown)
        };
        progress.small.extend(small);
        self.progress = progress;
        latents
    }

    fn run<'b>(&'b self, guide: &'b Guide) -> Run<'b> {
        let Shape { size: (width, height), sampler, .. } = self.request.shape;
        Run {
            net: &self.model.net,
            prediction: self.model.checkpoint.trained.prediction(),
            dtype: self.model.dtype,
            sampler,
            schedule: &self.schedule,
            guide,
            original: self.original.as_ref(),
            beside: self.beside.as_ref(),
            size: (height as usize, width as usize),
            pass: self.pass,
        }
    }

    /// What the results go by, those to push away from first.
    fn guide(&self, items: &[Item]) -> Result<Guide> {
        let guidance = push(self.model, &self.request.shape);
        let texts = &self.model.texts;
        let mut conditions = Vec::new();
        if Guide::is_guided(guidance) {
            for item in items {
                conditions.push(texts.encode_negative(&item.negative, self.pass)?);
            }
        }
        for item in items {
            conditions.push(texts.encode(&item.positive, self.pass)?);
        }
        texts.even(&mut conditions, self.pass)?;
        let words: Vec<Tensor> = conditions.iter().map(Condition::all).collect::<Result<_>>()?;
        let pooled: Option<Vec<Tensor>> = conditions.iter().map(|one| one.pooled.clone()).collect();
        Ok(Guide {
            words: Tensor::cat(&words, 0)?,
            pooled: pooled.map(|pooled| Tensor::cat(&pooled, 0)).transpose()?,
            guidance,
            told: self.request.shape.guidance,
        })
    }

    fn latent_size(&self) -> (usize, usize) {
        let factor = self.model.checkpoint.vae.factor();
        let (width, height) = self.request.shape.size;
        (height as usize / factor, width as usize / factor)
    }

    fn original(&self) -> Result<Option<Original>> {
        let Some((pixels, named)) = self.pixels.zip(self.request.shape.original.as_ref()) else {
            return Ok(None);
        };
        let device = &self.model.device;
        Ok(Some(Original {
            latents: self.encode(&pixels.tensor(device)?)?,
            mask: pixels.latent_mask(self.model.checkpoint.vae.factor(), device)?,
            strength: named.strength,
        }))
    }

    /// What a network for inpainting sees beside the latents. Without a mask everything is painted anew.
    fn beside(&self) -> Result<Option<Tensor>> {
        if !self.model.checkpoint.net.sees_beside() {
            return Ok(None);
        }
        let device = &self.model.device;
        let around = match self.pixels {
            Some(pixels) => pixels.around(device)?,
            None => pixels::grey(self.request.shape.size, device)?,
        };
        let mask = self.original.as_ref().and_then(|original| original.mask.clone());
        let (rows, columns) = self.latent_size();
        let mask = match mask {
            Some(mask) => mask,
            None => Tensor::ones((1, 1, rows, columns), DType::F32, device)?,
        };
        Tensor::cat(&[&mask, &self.encode(&around)?], 1).map(Some)
    }

    fn encode(&self, pixels: &Tensor) -> Result<Tensor> {
        let latents = self.model.vae.encode(&pixels.to_dtype(self.model.vae_dtype)?, self.pass)?;
        latents.to_dtype(DType::F32)
    }

    fn decode(&self, latents: &Tensor) -> Result<RgbImage> {
        let pixels = self.model.vae.decode(&latents.to_dtype(self.model.vae_dtype)?, self.pass)?;
        let mut made = pixels::picture(&pixels.i(0)?)?;
        if let Some(original) = self.pixels {
            original.lay(&mut made);
        }
        Ok(made)
    }

    fn show(&self, current: &[RgbImage]) {
        self.progress.tell(self.context, current, self.request.items.len());
    }
}

fn none() -> Result<Tensor, Error> {
    Tensor::zeros((1, 1, 1), DType::F32, &candle_core::Device::Cpu)
}
