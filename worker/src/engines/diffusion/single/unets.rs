//! Single files of Stable Diffusion 1, 2 and XL.

use std::sync::Arc;

use super::{
    EXPECTED, rest,
    sizes::{GROUPS, HEAD, Sizes},
    tokenizer, unknown,
};
use crate::engines::diffusion::{
    config::{PerBlock, Prediction, ScheduleConfig, Spacing, UnetConfig, VaeConfig},
    family::{Family, Usual},
    flaw::Flaw,
    folder,
    ldm::{NET, Names, VAE},
    schedule::{Trained, Training},
    settings::Settings,
    source::{Held, NetConfig, Parts, Source, TextPart},
    weights::Safetensors,
};

/// Heads of attention in the network of version 1, whatever its channels.
const HEADS: usize = 8;
/// Sizes and places that XL is told of beside the prompt as a whole.
const PLACES: usize = 6;
/// Standard deviation of a norm's biases in the network of version 2, above which it was trained to say the velocity. Known
/// from ComfyUI, as nothing in such a file says it.
pub const VELOCITY: (&str, f32) = ("output_blocks.11.1.transformer_blocks.0.norm1.bias", 0.09);
/// What latents are multiplied with.
const SCALE: f64 = 0.182_15;
const XL_SCALE: f64 = 0.130_25;
/// Prefixes of the text encoders.
pub const CLIP: &str = "cond_stage_model.transformer.";
pub const OPEN_CLIP: &str = "cond_stage_model.model.";
pub const XL_CLIP: &str = "conditioner.embedders.0.transformer.";
pub const XL_OPEN_CLIP: &str = "conditioner.embedders.1.model.";

/// Which checkpoint a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    One,
    Two,
    Xl,
}

impl Kind {
    fn of(file: &Safetensors) -> Result<Self, Flaw> {
        let any = |part: &str| file.names().any(|name| name.starts_with(part));
        match (any(XL_CLIP), any(XL_OPEN_CLIP), any(OPEN_CLIP), any(CLIP)) {
            (true, true, ..) => Ok(Self::Xl),
            (_, _, true, _) => Ok(Self::Two),
            (_, _, _, true) => Ok(Self::One),
            _ if any("conditioner.embedders.0.model.") => {
                Err(unknown(file, "the text encoder of XL's refiner".to_owned(), EXPECTED))
            }
            _ => Err(unknown(file, "no text encoder that is known".to_owned(), EXPECTED)),
        }
    }

    fn texts(self) -> Vec<Names> {
        match self {
            Self::One => vec![Names::Clip(CLIP)],
            Self::Two => vec![Names::OpenClip(OPEN_CLIP)],
            Self::Xl => vec![Names::Clip(XL_CLIP), Names::OpenClip(XL_OPEN_CLIP)],
        }
    }

    fn family(self) -> Family {
        match self {
            Self::One | Self::Two => Family::One,
            Self::Xl => Family::Xl,
        }
    }
}

/// Reads what a file's header says, and what else is needed.
///
/// # Errors
/// [`Flaw`], saying what is wrong with it.
pub fn read(file: &Arc<Safetensors>, settings: &Settings) -> Result<Parts, Flaw> {
    let kind = Kind::of(file)?;
    let vae = Sizes { file }.vae_names(VAE);
    if vae.is_none() && settings.config.is_none() {
        return Err(unknown(file, format!("no autoencoder (no tensors {VAE}…)"), EXPECTED));
    }
    let source = |layers| {
        let texts = kind.texts().into_iter().map(Some).collect();
        let held = Held { net: Names::Unet { layers }, vae: vae.clone(), texts, t5: None };
        Source::File { file: file.clone(), held, rest: rest(settings) }
    };
    let Some(config) = &settings.config else {
        return by_shapes(file, kind, source, settings);
    };
    let parts = folder::read(config, settings)?;
    match &parts.net {
        NetConfig::Unet(net) if parts.texts.len() == kind.texts().len() => {
            Ok(Parts { source: source(net.layers_per_block), ..parts })
        }
        _ => {
            let found = format!(
                "{} text encoders of CLIP, and {} is {} with {}",
                kind.texts().len(),
                config.display(),
                parts.family.title(),
                parts.texts.len()
            );
            Err(unknown(file, found, "the configuration of a checkpoint of its family"))
        }
    }
}

/// What follows from the tensors alone.
fn by_shapes(
    file: &Safetensors,
    kind: Kind,
    source: impl Fn(usize) -> Source,
    settings: &Settings,
) -> Result<Parts, Flaw> {
    let sizes = Sizes { file };
    let (tokenizer, plain) = tokenizer(file, settings)?;
    let family = kind.family();
    let texts = kind.texts().into_iter().enumerate().map(|(number, names)| {
        let (act, pad) = match names {
            Names::Clip(_) => ("quick_gelu", "<|endoftext|>"),
            _ => ("gelu", "!"),
        };
        let mut config = sizes.text(&names, act)?;
        if kind == Kind::Two {
            // It goes by the words before the last layer, after the norm: the last one is left out.
            config.num_hidden_layers = config.num_hidden_layers.saturating_sub(1);
        }
        Ok(TextPart { config, tokenizer: tokenizer.clone(), pad: Some(pad), whole: family.whole(number) })
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
    let trained = Trained::OnTop(Training::new(&scheduler, &file.path)?);
    let vae = sizes.vae(VAE, (if kind == Kind::Xl { XL_SCALE } else { SCALE }, None))?;
    let vae = VaeConfig { use_quant_conv: true, use_post_quant_conv: true, ..vae };
    let (source, empty_is_zero) = (source(unet.layers_per_block), kind == Kind::Xl);
    let usual = Usual::of_unet(&unet, &scheduler);
    let net = NetConfig::Unet(unet);
    Ok(Parts { source, family, empty_is_zero, net, vae, texts, sentences: None, usual, trained, plain })
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
            _ if zero_snr => Some(Spacing::Trailing),
            Kind::Xl => Some(Spacing::Leading),
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
    let name = format!("{NET}{}", VELOCITY.0);
    if kind != Kind::Two || file.shape(&name).is_none() {
        return Ok(Prediction::Noise);
    }
    let biases = file.tensor(&name)?.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
    let count = biases.len().max(1) as f32;
    let mean = biases.iter().sum::<f32>() / count;
    let variance = biases.iter().map(|bias| (bias - mean).powi(2)).sum::<f32>() / count;
    Ok(if variance.sqrt() > VELOCITY.1 { Prediction::Velocity } else { Prediction::Noise })
}

impl Sizes<'_> {
    fn unet(&self, kind: Kind, pooled: usize) -> Result<UnetConfig, Flaw> {
        let name = |rest: &str| format!("{NET}{rest}");
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
        let name = |rest: &str| format!("{NET}{rest}");
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
}
