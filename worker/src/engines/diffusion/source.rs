//! Where a checkpoint's weights are, and what its configuration says: the same whether it is a folder or a single file.

use std::{path::PathBuf, sync::Arc};

use super::{
    config::{TextConfig, UnetConfig, VaeConfig},
    family::{Family, Guidance, Usual},
    flaw::Flaw,
    ldm::{self, Names},
    lora::{Network, Patches},
    schedule::Trained,
    transformers::{FLUX_SIDE, FluxConfig, PACKED, T5Config, ThreeConfig},
    weights::{self, Safetensors, Weights},
};

/// The usual name of a network's weights, and of a text encoder's.
pub const NETWORK: &str = "diffusion_pytorch_model";
/// See [`NETWORK`].
pub const TEXT: &str = "model";

/// A text encoder of a checkpoint.
pub struct TextPart {
    /// Its sizes.
    pub config: TextConfig,
    /// The folder of its tokenizer.
    pub tokenizer: PathBuf,
    /// What fills its windows, where the tokenizer's folder does not say.
    pub pad: Option<&'static str>,
}

/// The text encoder that reads whole sentences.
pub struct Sentences {
    /// Its sizes, and the folder of its tokenizer; none, where a checkpoint goes without it.
    pub t5: Option<(T5Config, PathBuf)>,
    /// Tokens that it reads.
    pub length: usize,
    /// Numbers of a word.
    pub size: usize,
}

/// Sizes of the network that is asked at every step.
pub enum NetConfig {
    /// Of 1, 2 and XL.
    Unet(UnetConfig),
    /// Of Stable Diffusion 3.
    Three(ThreeConfig),
    /// Of Flux.
    Flux(FluxConfig),
}

impl NetConfig {
    /// Latents of a side of what the network sees as one place.
    pub fn patch(&self) -> usize {
        match self {
            Self::Unet(_) => 1,
            Self::Three(config) => config.patch_size,
            Self::Flux(_) => PACKED,
        }
    }

    /// Pixels of a side that it is at its best at, and of the longest that it can make, by those of a latent.
    pub fn sides(&self, factor: usize) -> (usize, Option<usize>) {
        match self {
            Self::Unet(config) => (config.sample_size * factor, None),
            Self::Three(config) => {
                let longest = config.pos_embed_max_size * config.patch_size * factor;
                (config.sample_size * factor, Some(longest))
            }
            Self::Flux(_) => (FLUX_SIDE, None),
        }
    }

    /// What guidance is to it.
    pub fn guidance(&self) -> Guidance {
        match self {
            Self::Unet(config) if config.time_cond_proj_dim.is_some() => Guidance::Told,
            Self::Unet(_) | Self::Three(_) => Guidance::Push,
            Self::Flux(config) if config.guidance_embeds => Guidance::Told,
            Self::Flux(_) => Guidance::Fixed,
        }
    }

    /// Whether it sees a mask and what lies around it beside the latents.
    pub fn sees_beside(&self) -> bool {
        matches!(self, Self::Unet(config) if config.in_channels != config.out_channels)
    }

    /// Which network that is.
    pub fn network(&self) -> Network {
        match self {
            Self::Unet(config) => Network::Unet(config.layers_per_block),
            Self::Three(_) | Self::Flux(_) => Network::Transformer,
        }
    }
}

/// What there is to know of a checkpoint without its weights.
pub struct Parts {
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
    /// What counts where nobody chooses.
    pub usual: Usual,
    /// How it was trained.
    pub trained: Trained,
    /// Small files, every byte of which counts.
    pub plain: Vec<PathBuf>,
}

impl Parts {
    /// All its networks.
    pub fn networks(&self) -> Vec<Network> {
        let count = self.texts.len();
        let mut networks = vec![self.net.network(), Network::Vae];
        networks.extend((0..count).map(Network::TextOf));
        if self.sentences.as_ref().is_some_and(|sentences| sentences.t5.is_some()) {
            networks.push(Network::Sentences(count));
        }
        networks
    }
}

/// Where weights are.
pub enum Source {
    /// In the layout of diffusers.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Which of several sets of weights.
        variant: Option<String>,
    },
    /// All in one file.
    File {
        /// The file.
        file: Arc<Safetensors>,
        /// Names of its text encoders' weights.
        texts: Vec<Names>,
    },
}

impl Source {
    /// The weights of a network.
    ///
    /// # Errors
    /// Those of [`Safetensors::open`], and [`Flaw::NoWeights`].
    pub fn weights(&self, network: Network, vae: &VaeConfig, patches: Patches) -> Result<Weights, Flaw> {
        match self {
            Self::Folder { .. } => Weights::open(&self.paths(network)?, patches),
            Self::File { file, texts } => {
                let names = match network {
                    Network::Unet(layers) => Names::Unet { layers },
                    Network::Vae => Names::Vae { blocks: vae.block_out_channels.len() },
                    Network::Text => texts[0].clone(),
                    Network::TextOf(index) => texts[index].clone(),
                    // No single file has these.
                    Network::Transformer | Network::Sentences(_) => Names::Own,
                };
                Ok(Weights::within(file.clone(), names, patches))
            }
        }
    }

    /// Every file of weights, opened.
    ///
    /// # Errors
    /// As [`Self::weights`].
    pub fn files(&self, networks: &[Network]) -> Result<Vec<Arc<Safetensors>>, Flaw> {
        if let Self::File { file, .. } = self {
            return Ok(vec![file.clone()]);
        }
        let paths = networks.iter().map(|network| self.paths(*network)).collect::<Result<Vec<_>, Flaw>>()?;
        paths.iter().flatten().map(|path| Safetensors::open(path).map(Arc::new)).collect()
    }

    /// Whether any network asks for a tensor of that name: single files have others too, such as means over the training.
    pub fn reads(&self, name: &str) -> bool {
        match self {
            Self::Folder { .. } => true,
            Self::File { .. } => ldm::PREFIXES.iter().any(|prefix| name.starts_with(prefix)),
        }
    }

    /// Whether the network has asked for every weight that a single file has for it.
    ///
    /// # Errors
    /// [`Flaw::Unknown`] naming one that has no place.
    pub fn all_used(&self) -> Result<(), Flaw> {
        let Self::File { file, .. } = self else {
            return Ok(());
        };
        let left = file.unread(|name| name.starts_with(ldm::UNET));
        match left.first() {
            None => Ok(()),
            Some(first) => Err(Flaw::Unknown {
                file: file.path.clone(),
                found: format!("{} tensors, such as {first}, that have no place in it", left.len()),
                expected: "a checkpoint without parts of other methods",
            }),
        }
    }

    fn paths(&self, network: Network) -> Result<Vec<PathBuf>, Flaw> {
        match self {
            Self::File { file, .. } => Ok(vec![file.path.clone()]),
            Self::Folder { folder, variant } => {
                let (part, stem) = match network {
                    Network::Unet(_) => ("unet".to_owned(), NETWORK),
                    Network::Transformer => ("transformer".to_owned(), NETWORK),
                    Network::Vae => ("vae".to_owned(), NETWORK),
                    Network::Text | Network::TextOf(0) => ("text_encoder".to_owned(), TEXT),
                    Network::TextOf(index) | Network::Sentences(index) => {
                        (format!("text_encoder_{}", index + 1), TEXT)
                    }
                };
                weights::files(&folder.join(part), stem, variant.as_deref())
            }
        }
    }
}
