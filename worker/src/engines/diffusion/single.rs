//! A checkpoint as a single file of safetensors, with the names of the first implementations: which one it is, and its sizes,
//! are read from the names and shapes of its tensors. What these do not tell is what every checkpoint of its kind has.

use std::{path::Path, sync::Arc};

use super::{
    config::{PerBlock, Prediction, ScheduleConfig, TextConfig, UnetConfig, VaeConfig},
    family::{Family, Usual},
    flaw::Flaw,
    folder,
    ldm::{self, Names},
    schedule::{Trained, Training},
    settings::Settings,
    source::{NetConfig, Parts, Source, TextPart},
    weights::Safetensors,
};

/// Groups of every norm.
const GROUPS: usize = 32;
/// Heads of attention in the network of version 1, whatever its channels.
const HEADS: usize = 8;
/// Channels of a head in the networks of version 2 and XL, and in all text encoders.
const HEAD: usize = 64;
/// Sizes and places that XL is told of beside the prompt as a whole.
const PLACES: usize = 6;
/// Standard deviation of a norm's biases in the network of version 2, above which it was trained to say the velocity. Known
/// from ComfyUI, as nothing in such a file says it.
const VELOCITY: (&str, f32) = ("output_blocks.11.1.transformer_blocks.0.norm1.bias", 0.09);
/// Prefixes of the text encoders.
const CLIP: &str = "cond_stage_model.transformer.";
const OPEN_CLIP: &str = "cond_stage_model.model.";
const XL_CLIP: &str = "conditioner.embedders.0.transformer.";
const XL_OPEN_CLIP: &str = "conditioner.embedders.1.model.";
/// What a file is expected to be.
const EXPECTED: &str = "a checkpoint of Stable Diffusion 1, 2 or XL with network, autoencoder and text encoders (3 and Flux run from folders in \
     the layout of diffusers)";

/// Which checkpoint a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    One,
    Two,
    Xl,
}

impl Kind {
    fn texts(self) -> Vec<Names> {
        match self {
            Self::One => vec![Names::Clip(CLIP)],
            Self::Two => vec![Names::OpenClip(OPEN_CLIP)],
            Self::Xl => vec![Names::Clip(XL_CLIP), Names::OpenClip(XL_OPEN_CLIP)],
        }
    }
}

/// Reads a file's header, and what else is needed.
///
/// # Errors
/// [`Flaw`], saying what the file is instead, or what is wrong with it.
pub fn read(path: &Path, settings: &Settings) -> Result<Parts, Flaw> {
    let file = Arc::new(Safetensors::open(path)?);
    let kind = kind(&file)?;
    let source = Source::File { file: file.clone(), texts: kind.texts() };
    if let Some(config) = &settings.config {
        let parts = folder::read(config, settings)?;
        if parts.family.flows() || parts.texts.len() != kind.texts().len() {
            let found = format!(
                "{} text encoders of CLIP, and {} is {} with {}",
                kind.texts().len(),
                config.display(),
                parts.family.title(),
                parts.texts.len()
            );
            return Err(unknown(&file, found, "the configuration of a checkpoint of its family"));
        }
        return Ok(Parts { source, ..parts });
    }
    by_shapes(&file, kind, source, settings)
}

/// What follows from the tensors alone.
fn by_shapes(file: &Safetensors, kind: Kind, source: Source, settings: &Settings) -> Result<Parts, Flaw> {
    let sizes = Sizes { file };
    let tokenizer = settings.tokenizer.clone().unwrap_or_else(|| file.path.with_file_name("tokenizer"));
    let [vocab, merges] = ["vocab.json", "merges.txt"].map(|name| tokenizer.join(name));
    if !vocab.is_file() || !merges.is_file() {
        return Err(Flaw::NoTokenizer(tokenizer));
    }
    let names = kind.texts();
    let texts = names.iter().map(|names| {
        let pad = if matches!(names, Names::Clip(_)) { "<|endoftext|>" } else { "!" };
        Ok(TextPart { config: sizes.text(names, kind)?, tokenizer: tokenizer.clone(), pad: Some(pad) })
    });
    let texts: Vec<TextPart> = texts.collect::<Result<_, Flaw>>()?;
    let scheduler = scheduler(file, kind, settings)?;
    let mut unet = sizes.unet(kind, texts.last().map_or(0, |text| text.config.hidden_size))?;
    unet.sample_size = match (kind, scheduler.prediction_type) {
        (Kind::Xl, _) => 128,
        (Kind::Two, Prediction::Velocity) => 96,
        _ => 64,
    };
    unet.check(&file.path)?;
    let family = if kind == Kind::Xl { Family::Xl } else { Family::One };
    let trained = Trained::OnTop(Training::new(&scheduler, &file.path)?);
    let vae = sizes.vae(kind)?;
    let (empty_is_zero, plain) = (kind == Kind::Xl, vec![vocab, merges]);
    let usual = Usual::of_unet(&unet, &scheduler);
    let net = NetConfig::Unet(unet);
    Ok(Parts { source, family, empty_is_zero, net, vae, texts, sentences: None, usual, trained, plain })
}

fn unknown(file: &Safetensors, found: String, expected: &'static str) -> Flaw {
    Flaw::Unknown { file: file.path.clone(), found, expected }
}

fn kind(file: &Safetensors) -> Result<Kind, Flaw> {
    let has = |name: &str| file.shape(name).is_some();
    let any = |part: &str| file.names().any(|name| name.starts_with(part));
    if !has(&format!("{}input_blocks.0.0.weight", ldm::UNET)) {
        let others = [
            ("model.diffusion_model.joint_blocks.", "a network of Stable Diffusion 3"),
            ("model.diffusion_model.double_blocks.", "a network of Flux"),
            ("double_blocks.", "a network of Flux alone"),
            ("joint_blocks.", "a network of Stable Diffusion 3 alone"),
            ("lora_", "a LoRA"),
            ("control_model.", "a ControlNet"),
            ("input_blocks.", "a network alone"),
            ("down_blocks.", "a network alone, in the names of diffusers"),
            ("encoder.", "an autoencoder alone"),
            ("emb_params", "an embedding"),
        ];
        let known = others.iter().find(|(prefix, _)| any(prefix)).map(|(_, what)| (*what).to_owned());
        let first = file.names().min().map(|name| format!("tensors such as {name}"));
        let found = known.or(first).unwrap_or_else(|| "no tensors".to_owned());
        return Err(unknown(file, found, EXPECTED));
    }
    if !has(&format!("{}decoder.conv_in.weight", ldm::VAE)) {
        return Err(unknown(file, format!("no autoencoder (no tensors {}…)", ldm::VAE), EXPECTED));
    }
    match (any(XL_CLIP), any(XL_OPEN_CLIP), any(OPEN_CLIP), any(CLIP)) {
        (true, true, ..) => Ok(Kind::Xl),
        (_, _, true, _) => Ok(Kind::Two),
        (_, _, _, true) => Ok(Kind::One),
        _ if any("conditioner.embedders.0.model.") => {
            Err(unknown(file, "the text encoder of XL's refiner".to_owned(), EXPECTED))
        }
        _ => Err(unknown(file, "no text encoder that is known".to_owned(), EXPECTED)),
    }
}

/// What the published configurations of each kind say, and of the prediction what the file says.
fn scheduler(file: &Safetensors, kind: Kind, settings: &Settings) -> Result<ScheduleConfig, Flaw> {
    let zero_snr = file.shape("ztsnr").is_some();
    let prediction = match settings.prediction {
        Some(prediction) => prediction,
        None => prediction(file, kind)?,
    };
    Ok(ScheduleConfig {
        class: if kind == Kind::Xl { "EulerDiscreteScheduler" } else { "PNDMScheduler" }.to_owned(),
        num_train_timesteps: 1_000,
        beta_start: 0.000_85,
        beta_end: 0.012,
        beta_schedule: "scaled_linear".to_owned(),
        prediction_type: prediction,
        timestep_spacing: match kind {
            _ if zero_snr => Some(super::config::Spacing::Trailing),
            Kind::Xl => Some(super::config::Spacing::Leading),
            _ => None,
        },
        steps_offset: 1,
        set_alpha_to_one: Some(false),
        rescale_betas_zero_snr: zero_snr,
    })
}

/// By what the metadata say (<https://github.com/Stability-AI/ModelSpec>), by the tensor that trainers mark velocity with, and
/// for version 2, of which both were published, by [`VELOCITY`].
fn prediction(file: &Safetensors, kind: Kind) -> Result<Prediction, Flaw> {
    match file.metadata.get("modelspec.prediction_type").map(String::as_str) {
        Some("epsilon") => return Ok(Prediction::Noise),
        Some("v") => return Ok(Prediction::Velocity),
        _ if file.shape("v_pred").is_some() => return Ok(Prediction::Velocity),
        Some(other) => {
            return Err(unknown(file, format!("the prediction {other:?}"), "epsilon or v"));
        }
        None => {}
    }
    let name = format!("{}{}", ldm::UNET, VELOCITY.0);
    if kind != Kind::Two || file.shape(&name).is_none() {
        return Ok(Prediction::Noise);
    }
    let biases = file.tensor(&name)?.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
    let count = biases.len().max(1) as f32;
    let mean = biases.iter().sum::<f32>() / count;
    let variance = biases.iter().map(|bias| (bias - mean).powi(2)).sum::<f32>() / count;
    Ok(if variance.sqrt() > VELOCITY.1 { Prediction::Velocity } else { Prediction::Noise })
}

/// Sizes by shapes.
struct Sizes<'a> {
    file: &'a Safetensors,
}

impl Sizes<'_> {
    fn side(&self, name: &str, side: usize) -> Result<usize, Flaw> {
        let found = self.file.shape(name).and_then(|shape| shape.get(side)).copied();
        found.ok_or_else(|| unknown(self.file, format!("no tensor {name} of the usual rank"), EXPECTED))
    }

    fn has(&self, name: &str) -> bool {
        self.file.shape(name).is_some()
    }

    /// How many of a list there are.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|i| self.has(&name(*i))).count()
    }

    fn unet(&self, kind: Kind, pooled: usize) -> Result<UnetConfig, Flaw> {
        let name = |rest: &str| format!("{}{rest}", ldm::UNET);
        let depth =
            |place: &str| self.count(|i| name(&format!("{place}.transformer_blocks.{i}.norm1.weight")));
        let mut blocks: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
        for i in 1.. {
            let resnet = name(&format!("input_blocks.{i}.0.in_layers.2.weight"));
            if let (true, Some(block)) = (self.has(&resnet), blocks.last_mut()) {
                block.push((self.side(&resnet, 0)?, depth(&format!("input_blocks.{i}.1"))));
            } else if self.has(&name(&format!("input_blocks.{i}.0.op.weight"))) {
                blocks.push(Vec::new());
            } else {
                break;
            }
        }
        let middle = depth("middle_block.1");
        let layers = blocks[0].len();
        let even = |block: &Vec<(usize, usize)>| {
            block.len() == layers && block.first().is_some_and(|first| block.iter().all(|one| one == first))
        };
        let last = blocks.last().and_then(|block| block.first()).map_or(0, |(_, depth)| *depth);
        if !blocks.iter().all(even) || middle == 0 || (last != 0 && last != middle) {
            let found =
                format!("blocks of layers (channels, attention) {blocks:?} with {middle} in the middle");
            return Err(unknown(self.file, found, "layers that are alike within each block"));
        }
        let (channels, depths): (Vec<usize>, Vec<usize>) = blocks.iter().map(|block| block[0]).unzip();
        self.network(kind, pooled, (channels, layers), (depths, middle))
    }

    /// The configuration of a network with these blocks: channels of each and layers of all, and how much attention each
    /// layer has, with that of the middle.
    fn network(
        &self,
        kind: Kind,
        pooled: usize,
        (channels, layers): (Vec<usize>, usize),
        (depths, middle): (Vec<usize>, usize),
    ) -> Result<UnetConfig, Flaw> {
        let name = |rest: &str| format!("{}{rest}", ldm::UNET);
        let heads = |channels: &usize| if kind == Kind::One { HEADS } else { (channels / HEAD).max(1) };
        let types = |with: &str, without: &str| {
            depths.iter().map(|depth| if *depth > 0 { with } else { without }.to_owned()).collect::<Vec<_>>()
        };
        let told = match self.has(&name("label_emb.0.0.weight")) {
            true => Some(self.side(&name("label_emb.0.0.weight"), 1)?),
            false => None,
        };
        let middle_name = |rest: &str| name(&format!("middle_block.1.{rest}"));
        let projection = middle_name("proj_in.weight");
        Ok(UnetConfig {
            sample_size: 0,
            in_channels: self.side(&name("input_blocks.0.0.weight"), 1)?,
            out_channels: self.side(&name("out.2.weight"), 0)?,
            down_block_types: types("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types: types("CrossAttnUpBlock2D", "UpBlock2D").into_iter().rev().collect(),
            attention_head_dim: PerBlock::Each(channels.iter().map(heads).collect()),
            // The middle goes by the last block's.
            transformer_layers_per_block: PerBlock::Each(
                depths.iter().map(|depth| if *depth > 0 { *depth } else { middle }).collect(),
            ),
            block_out_channels: channels,
            layers_per_block: layers,
            norm_num_groups: GROUPS,
            norm_eps: 1e-5,
            cross_attention_dim: self.side(&middle_name("transformer_blocks.0.attn2.to_k.weight"), 1)?,
            num_attention_heads: None,
            use_linear_projection: self.file.shape(&projection).is_some_and(|shape| shape.len() == 2),
            addition_embed_type: told.map(|_| "text_time".to_owned()),
            addition_time_embed_dim: told.map(|told| told.saturating_sub(pooled) / PLACES),
            projection_class_embeddings_input_dim: told,
            class_embed_type: None,
            time_cond_proj_dim: None,
            freq_shift: 0.0,
        })
    }

    fn vae(&self, kind: Kind) -> Result<VaeConfig, Flaw> {
        let name = |rest: &str| format!("{}{rest}", ldm::VAE);
        let conv = |i: usize, j: usize| name(&format!("encoder.down.{i}.block.{j}.conv1.weight"));
        let blocks = self.count(|i| conv(i, 0));
        let channels = (0..blocks).map(|i| self.side(&conv(i, 0), 0)).collect::<Result<_, Flaw>>()?;
        Ok(VaeConfig {
            block_out_channels: channels,
            layers_per_block: self.count(|j| conv(0, j)),
            latent_channels: self.side(&name("post_quant_conv.weight"), 1)?,
            norm_num_groups: GROUPS,
            scaling_factor: if kind == Kind::Xl { 0.130_25 } else { 0.182_15 },
            shift_factor: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            force_upcast: true,
        })
    }

    fn text(&self, names: &Names, kind: Kind) -> Result<TextConfig, Flaw> {
        // Places of a weight, the first that is there.
        let place = |weight: &str| {
            let places = names.places(weight);
            places.into_iter().map(|place| place.name).find(|name| self.has(name)).unwrap_or_default()
        };
        let words = place("text_model.embeddings.token_embedding.weight");
        let widen = place("text_model.encoder.layers.0.mlp.fc1.weight");
        let layers = self.count(|i| place(&format!("text_model.encoder.layers.{i}.mlp.fc1.weight")));
        let hidden_size = self.side(&words, 1)?;
        let projection = place("text_projection.weight");
        Ok(TextConfig {
            vocab_size: self.side(&words, 0)?,
            hidden_size,
            intermediate_size: self.side(&widen, 0)?,
            // Version 2 goes by the words before the last layer, after the norm: the last one is left out.
            num_hidden_layers: if kind == Kind::Two { layers.saturating_sub(1) } else { layers },
            num_attention_heads: (hidden_size / HEAD).max(1),
            max_position_embeddings: self
                .side(&place("text_model.embeddings.position_embedding.weight"), 0)?,
            hidden_act: if matches!(names, Names::Clip(_)) { "quick_gelu" } else { "gelu" }.to_owned(),
            layer_norm_eps: 1e-5,
            projection_dim: self.file.shape(&projection).and_then(|shape| shape.get(1)).copied(),
        })
    }
}

#[cfg(test)]
mod tests;
