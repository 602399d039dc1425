//! A checkpoint as the worker announces it: its configuration read and checked, no weights in memory.

use std::path::PathBuf;

use riff_hub::{
    canonical::Digest,
    model::{Cost, Media, ModelSpec},
};

use super::{
    config::VaeConfig,
    family::{Family, Guidance, Usual},
    flaw::Flaw,
    folder,
    location::{self, Location},
    request::{self, Defaults},
    schedule::Trained,
    settings::{Precision, Settings},
    single,
    source::{NetConfig, Parts, Sentences, Source, TextPart},
    weights::Safetensors,
};

/// Changes whenever the same files and recipe would give another picture.
const VERSION: &str = "riff diffusion 1";

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
    pub net: NetConfig,
    /// Sizes of the network between pixels and latents.
    pub vae: VaeConfig,
    /// Its text encoders of CLIP.
    pub texts: Vec<TextPart>,
    /// Its text encoder of T5, in families that have it.
    pub sentences: Option<Sentences>,
    /// How it was trained.
    pub trained: Trained,
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
        let defaults = defaults(settings, &parts)?;
        let spec = spec(settings, parts.family, &defaults, fingerprint, bytes);
        let loras = settings.loras.iter().map(|lora| (lora.name(), lora.path.clone())).collect();
        let Parts { source, family, empty_is_zero, net, vae, texts, sentences, trained, .. } = parts;
        Ok(Self { spec, source, family, empty_is_zero, net, vae, texts, sentences, trained, loras, elements })
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
    for file in parts.source.files(&parts.networks())? {
        file.identify(&mut hasher)?;
        bytes += file.bytes;
        elements += file.elements(|name| parts.source.reads(&file, name));
    }
    for lora in &settings.loras {
        hasher.update(lora.name().as_bytes());
        Safetensors::open(&lora.path)?.identify(&mut hasher)?;
    }
    Ok((Digest::of_bytes(hasher.finalize().as_bytes()), bytes, elements))
}

fn defaults(settings: &Settings, parts: &Parts) -> Result<Defaults, Flaw> {
    let Usual { steps, guidance, sampler } = parts.usual;
    let factor = parts.vae.factor();
    let multiple = (factor * parts.net.patch()).max(8) as u32;
    let (side, longest) = parts.net.sides(factor);
    let max_side = longest.map_or(settings.max_side, |longest| settings.max_side.min(longest as u32));
    let samplers = parts.family.samplers();
    if let Some(other) = settings.sampler.filter(|sampler| !samplers.contains(sampler)) {
        let known: Vec<_> = samplers.iter().map(|sampler| sampler.name()).collect();
        let (path, family, known) = (settings.path.clone(), parts.family.title(), known.join(", "));
        return Err(Flaw::Sampler { path, family, sampler: other.name(), known });
    }
    Ok(Defaults {
        side: (side as u32).next_multiple_of(multiple).clamp(64, max_side),
        max_side,
        multiple,
        max_count: settings.max_count,
        steps: settings.steps.unwrap_or(steps),
        guidance: settings.guidance_scale.unwrap_or(guidance),
        guided: parts.net.guidance(),
        sampler: settings.sampler.unwrap_or(sampler),
        samplers,
        repeats: parts.family.repeats(),
        loras: settings.loras.iter().map(super::settings::LoraFile::name).collect(),
    })
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
    let card = format!(
        "{title}: pictures by {kind}, made by the worker itself. It is at its best at {0}×{0} pixels.",
        defaults.side,
        kind = family.title()
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
        examples: examples(defaults),
        name,
        title,
    }
}

/// Prompts that show what a checkpoint does.
fn examples(defaults: &Defaults) -> Vec<String> {
    let figs = match defaults.guided {
        Guidance::Push => "a bowl of ripe figs --no people --cfg 6",
        Guidance::Told => "a bowl of ripe figs --cfg 4",
        Guidance::Fixed => "a bowl of ripe figs --n 1",
    };
    let moss = if defaults.repeats {
        "seamless moss, seen from above --tile --n 1"
    } else {
        "moss, seen from above --n 1"
    };
    ["a lighthouse at dusk, oil painting", figs, moss].map(str::to_owned).into()
}
