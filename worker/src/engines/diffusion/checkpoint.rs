//! A checkpoint as the worker announces it: its configuration read and checked, no weights in memory.

use std::path::PathBuf;

use riff_hub::{
    canonical::Digest,
    model::{Cost, Media, ModelSpec},
};

use super::{
    config::{Prediction, ScheduleConfig, Spacing, UnetConfig, VaeConfig},
    flaw::Flaw,
    folder,
    location::{self, Location},
    request::{self, Defaults},
    sampler::Sampler,
    schedule::Training,
    settings::{Precision, Settings},
    single,
    source::{Parts, Source, TextPart},
    weights::Safetensors,
    words::Family,
};

/// Changes whenever the same files and recipe would give another picture.
const VERSION: &str = "riff diffusion 1";
/// Steps and guidance of checkpoints, and of those that were distilled to few steps.
const ORDINARY: (u32, f64) = (25, 7.0);
/// See [`ORDINARY`]; <https://huggingface.co/stabilityai/sdxl-turbo>.
const TURBO: (u32, f64) = (4, 1.0);
/// Prompts that show what a checkpoint does.
const EXAMPLES: [&str; 3] = [
    "a lighthouse at dusk, oil painting",
    "a bowl of ripe figs --no people --cfg 6",
    "seamless moss, seen from above --tile --n 1",
];

/// A checked checkpoint.
pub struct Checkpoint {
    /// What the hub is told.
    pub spec: ModelSpec,
    /// Where its weights are.
    pub source: Source,
    /// Which family it is of.
    pub family: Family,
    /// Whether nothing to push away from is zeros.
    pub empty_is_zero: bool,
    /// Sizes of the network.
    pub unet: UnetConfig,
    /// Sizes of the network between pixels and latents.
    pub vae: VaeConfig,
    /// Its text encoders.
    pub texts: Vec<TextPart>,
    /// How it was trained.
    pub training: Training,
    /// Its LoRAs, by name.
    pub loras: Vec<(String, PathBuf)>,
    /// Numbers in all its networks.
    pub elements: u64,
}

impl Checkpoint {
    /// Reads and checks everything but the weights.
    ///
    /// # Errors
    /// [`Flaw`], naming the file and what is wrong.
    pub fn open(settings: &Settings) -> Result<Self, Flaw> {
        let parts = match location::find(settings)? {
            Location::Folder(folder) => folder::read(&folder, settings)?,
            Location::File(file) => single::read(&file, settings)?,
        };
        let (fingerprint, bytes, elements) = identify(settings, &parts)?;
        let defaults = defaults(settings, &parts.unet, &parts.vae, &parts.scheduler);
        let spec = spec(settings, parts.family, &defaults, fingerprint, bytes);
        let loras = settings.loras.iter().map(|lora| (lora.name(), lora.path.clone())).collect();
        let Parts { source, family, empty_is_zero, unet, vae, texts, training, .. } = parts;
        Ok(Self { spec, source, family, empty_is_zero, unet, vae, texts, training, loras, elements })
    }

    /// Names of its LoRAs.
    pub fn lora_names(&self) -> Vec<String> {
        self.loras.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// A hash of whatever makes results differ, bytes of the weights, and numbers in them.
fn identify(settings: &Settings, parts: &Parts) -> Result<(Digest, u64, u64), Flaw> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(VERSION.as_bytes());
    hasher.update(match settings.precision {
        Precision::Auto => b"auto",
        Precision::F32 => b"f32",
        Precision::F16 => b"f16",
        Precision::Bf16 => b"bf16",
    });
    if let Some(prediction) = settings.prediction {
        hasher.update(format!("{prediction:?}").as_bytes());
    }
    for file in &parts.plain {
        let bytes = std::fs::read(file).map_err(|error| Flaw::Io { file: file.clone(), error })?;
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    let (mut bytes, mut elements) = (0, 0);
    for file in parts.source.files(parts.texts.len())? {
        file.identify(&mut hasher)?;
        bytes += file.bytes;
        elements += file.elements(|name| parts.source.reads(name));
    }
    for lora in &settings.loras {
        hasher.update(lora.name().as_bytes());
        Safetensors::open(&lora.path)?.identify(&mut hasher)?;
    }
    Ok((Digest::of_bytes(hasher.finalize().as_bytes()), bytes, elements))
}

fn defaults(settings: &Settings, unet: &UnetConfig, vae: &VaeConfig, scheduler: &ScheduleConfig) -> Defaults {
    // Checkpoints that were distilled to few steps say so in nothing but how their scheduler is set.
    let turbo = scheduler.timestep_spacing == Some(Spacing::Trailing)
        && scheduler.class.starts_with("Euler")
        && scheduler.prediction_type == Prediction::Noise
        && !scheduler.rescale_betas_zero_snr;
    let turbo = turbo || scheduler.class == "LCMScheduler";
    let (steps, guidance) = if turbo { TURBO } else { ORDINARY };
    let multiple = vae.factor().max(8) as u32;
    Defaults {
        side: ((unet.sample_size * vae.factor()) as u32)
            .next_multiple_of(multiple)
            .clamp(64, settings.max_side),
        max_side: settings.max_side,
        multiple,
        max_count: settings.max_count,
        steps: settings.steps.unwrap_or(steps),
        guidance: settings.guidance_scale.unwrap_or(guidance),
        sampler: settings.sampler.unwrap_or(Sampler::of_class(&scheduler.class)),
        loras: settings.loras.iter().map(super::settings::LoraFile::name).collect(),
    }
}

fn spec(
    settings: &Settings,
    family: Family,
    defaults: &Defaults,
    fingerprint: Digest,
    bytes: u64,
) -> ModelSpec {
    let name = settings.name();
    let title = settings.title.clone().unwrap_or_else(|| name.clone());
    let kind = match family {
        Family::One => "Stable Diffusion",
        Family::Xl => "Stable Diffusion XL",
    };
    let card = format!(
        "{title}: pictures by {kind}, made by the worker itself. It is at its best at {0}×{0} pixels.",
        defaults.side
    );
    let megapixels = f64::from(defaults.side).powi(2) / 1e6;
    ModelSpec {
        card: settings.card.clone().unwrap_or(card),
        license: settings.license.clone(),
        media: Media::Image,
        schema: request::schema(defaults),
        fingerprint,
        // Guesses, until the hub has measured; loading is the reading of a file.
        cost: Cost {
            fixed: 0.1,
            per_megapixel: settings.seconds / megapixels,
            per_token: 0.0,
            load: bytes as f64 / 3e8,
        },
        mature: settings.mature,
        overflow: None,
        examples: EXAMPLES.map(str::to_owned).into(),
        name,
        title,
    }
}
