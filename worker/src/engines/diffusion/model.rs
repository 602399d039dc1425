//! A checkpoint in memory.

use std::{path::PathBuf, sync::Arc};

use candle_core::{DType, Device, Tensor, utils::cuda_is_available};
use candle_nn::VarBuilder;

use super::{
    checkpoint::Checkpoint,
    flaw::Flaw,
    lora::{Lora, Network, Patches},
    memory::Memory,
    net::{Flux, Net, T5, TextEncoder, Three, Unet, Vae},
    pieces::{self, Pieces},
    settings::{Place, Settings},
    source::NetConfig,
    tokens::Tokens,
    words::{Sentences, Texts},
};
use crate::{engine::EngineError, engines::gpu};

/// The networks of a checkpoint, with LoRAs merged in.
pub struct Model {
    /// What it was read from.
    pub checkpoint: Arc<Checkpoint>,
    /// Its text encoders.
    pub texts: Texts,
    /// Its network.
    pub net: Net,
    /// Its network between pixels and latents.
    pub vae: Vae,
    /// What it runs on.
    pub device: Device,
    /// Type of the network's numbers.
    pub dtype: DType,
    /// Type of the other network's numbers.
    pub vae_dtype: DType,
    /// Results that go through the network at once.
    pub batch: usize,
    /// The memory that may be taken.
    pub memory: Memory,
}

impl Model {
    /// Reads a checkpoint's weights.
    ///
    /// # Errors
    /// [`EngineError::Weights`] naming the file and what is wrong, [`EngineError::OutOfMemory`] where they do not fit.
    pub fn load(
        checkpoint: Arc<Checkpoint>,
        settings: &Settings,
        chosen: &[(String, f64)],
    ) -> Result<Self, EngineError> {
        let device = device(settings.device)?;
        let dtype = settings.precision.dtype(&device, checkpoint.family.half());
        let memory = Memory { limit: settings.memory_gb.map(|gigabytes| (gigabytes * 1e9) as u64) };
        if device.is_cpu() {
            let needs = checkpoint.elements * dtype.size_in_bytes() as u64;
            memory.check(needs, "the checkpoint", "use a smaller one, or set precision = \"bf16\"")?;
        }
        let networks =
            Networks { checkpoint: &checkpoint, loras: loras(&checkpoint, chosen)?, device: &device };
        // Half precision overflows in the autoencoder of many checkpoints, XL's first of all.
        let vae_dtype = if checkpoint.vae.force_upcast { DType::F32 } else { dtype };
        let (texts, net, vae) = networks.read(dtype, vae_dtype)?;
        checkpoint.source.all_used()?;
        for lora in networks.loras.iter() {
            lora.all_used()?;
        }
        let batch = settings.batch as usize;
        Ok(Self { texts, net, vae, device, dtype, vae_dtype, batch, memory, checkpoint })
    }
}

fn loras(checkpoint: &Checkpoint, chosen: &[(String, f64)]) -> Result<Arc<Vec<Lora>>, Flaw> {
    let paths = chosen.iter().filter_map(|(name, strength)| {
        let (_, path) = checkpoint.loras.iter().find(|(known, _)| known == name)?;
        Some((path, *strength))
    });
    let opened = paths.map(|(path, strength)| Lora::open(path, strength));
    opened.collect::<Result<_, Flaw>>().map(Arc::new)
}

struct Networks<'a> {
    checkpoint: &'a Checkpoint,
    loras: Arc<Vec<Lora>>,
    device: &'a Device,
}

impl Networks<'_> {
    fn read(&self, dtype: DType, vae_dtype: DType) -> Result<(Texts, Net, Vae), Flaw> {
        let checkpoint = self.checkpoint;
        let net = self.weights(checkpoint.net.network(), dtype)?;
        let vae = self.weights(Network::Vae, vae_dtype)?;
        let count = checkpoint.texts.len();
        let encoders = (0..count)
            .map(|i| self.text(i, if count > 1 { Network::TextOf(i) } else { Network::Text }, dtype));
        let texts = Texts {
            encoders: encoders.collect::<Result<_, Flaw>>()?,
            sentences: self.sentences(dtype)?,
            family: checkpoint.family,
            empty_is_zero: checkpoint.empty_is_zero,
        };
        let net = match &checkpoint.net {
            NetConfig::Unet(config) => Net::Unet(Box::new(Unet::new(config, net)?)),
            NetConfig::Three(config) => Net::Three(Box::new(Three::new(config, net)?)),
            NetConfig::Flux(config) => Net::Flux(Box::new(Flux::new(config, net)?)),
        };
        Ok((texts, net, Vae::new(&checkpoint.vae, vae)?))
    }

    fn weights(&self, network: Network, dtype: DType) -> Result<VarBuilder<'static>, Flaw> {
        let patches = Patches::new(self.loras.clone(), network);
        let weights = self.checkpoint.source.weights(network, patches)?;
        Ok(weights.builder(dtype, self.device))
    }

    fn text(&self, i: usize, network: Network, dtype: DType) -> Result<(Tokens, TextEncoder), Flaw> {
        let part = &self.checkpoint.texts[i];
        let tokens = Tokens::open(&part.tokenizer, part.pad, part.config.max_position_embeddings)?;
        if tokens.vocabulary() > part.config.vocab_size {
            return Err(too_many_words(part.tokenizer.join("vocab.json"), part.config.vocab_size));
        }
        Ok((tokens, TextEncoder::new(&part.config, part.whole, self.weights(network, dtype)?)?))
    }

    fn sentences(&self, dtype: DType) -> Result<Option<Sentences>, Flaw> {
        let Some(part) = &self.checkpoint.sentences else {
            return Ok(None);
        };
        let Some((config, tokenizer)) = &part.t5 else {
            let zeros = Tensor::zeros((1, part.length, part.size), dtype, self.device)?;
            return Ok(Some(Sentences::Zeros(zeros)));
        };
        let pieces = Pieces::open(tokenizer, part.length)?;
        if pieces.vocabulary() > config.vocab_size {
            return Err(too_many_words(tokenizer.join(pieces::FILE), config.vocab_size));
        }
        // The numbers of T5 are larger than this half precision goes.
        let own = if dtype == DType::F16 { DType::BF16 } else { dtype };
        let weights = self.weights(Network::Sentences(self.checkpoint.texts.len()), own)?;
        Ok(Some(Sentences::T5(Box::new((pieces, T5::new(config, dtype, weights)?)))))
    }
}

fn too_many_words(file: PathBuf, known: usize) -> Flaw {
    Flaw::Broken { file, why: format!("it has more words than its text encoder, which knows {known}") }
}

fn device(place: Place) -> Result<Device, EngineError> {
    let unusable = |number: usize| {
        move |error| EngineError::Unavailable(format!("the GPU {number} cannot be used: {error}"))
    };
    match place {
        Place::Cpu => Ok(Device::Cpu),
        Place::Found => gpu::found().map_err(unusable(0)),
        Place::Cuda(_) if !cuda_is_available() => Err(EngineError::Unavailable(
            "this worker was built without CUDA: build it with --features cuda, or set device = \"cpu\""
                .to_owned(),
        )),
        Place::Cuda(number) => gpu::numbered(number).map_err(unusable(number)),
    }
}
