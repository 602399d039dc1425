//! Where a checkpoint's weights are, and what its configuration says: the same whether it is a folder, a single file, or a
//! single file with a folder for what it lacks.

use std::{path::PathBuf, sync::Arc};

use super::{
    config::{TextConfig, UnetConfig, VaeConfig},
    family::{Family, Guidance, Usual},
    flaw::Flaw,
    ldm::Names,
    lora::{Network, Patches},
    net::Whole,
    schedule::Trained,
    transformers::{FLUX_SIDE, FluxConfig, PACKED, T5Config, ThreeConfig},
    weights::{self, Safetensors, Weights},
};

/// The usual name of a network's weights, and of a text encoder's.
pub const NETWORK: &str = "diffusion_pytorch_model";
/// See [`NETWORK`].
pub const TEXT: &str = "model";
/// Tokens in the place of which Stable Diffusion 3 has zeros in diffusers, where it goes without T5.
const ZEROS: usize = 77;
/// Tokens of T5 that Stable Diffusion 3 reads in diffusers, and Flux.1 dev and schnell in the first implementation.
const SENTENCES: (usize, usize, usize) = (256, 512, 256);

/// A text encoder of a checkpoint.
pub struct TextPart {
    /// Its sizes.
    pub config: TextConfig,
    /// The folder of its tokenizer.
    pub tokenizer: PathBuf,
    /// What fills its windows, where the tokenizer's folder does not say.
    pub pad: Option<&'static str>,
    /// What stands for a text as a whole.
    pub whole: Whole,
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

impl Sentences {
    /// Those that a network was trained with, where it was.
    pub fn of(net: &NetConfig, t5: Option<(T5Config, PathBuf)>) -> Option<Self> {
        let (length, size) = match net {
            NetConfig::Unet(_) => return None,
            NetConfig::Three(config) if t5.is_none() => (ZEROS, config.joint_attention_dim),
            NetConfig::Three(config) => (SENTENCES.0, config.joint_attention_dim),
            NetConfig::Flux(config) if config.guidance_embeds => (SENTENCES.1, config.joint_attention_dim),
            NetConfig::Flux(config) => (SENTENCES.2, config.joint_attention_dim),
        };
        Some(Self { t5, length, size })
    }
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
            Self::Three(config) => Network::Three(config.num_layers),
            Self::Flux(_) => Network::Flux,
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
    Folder(Folder),
    /// In one file, which may lack some.
    File {
        /// The file.
        file: Arc<Safetensors>,
        /// What it has.
        held: Held,
        /// Where the rest is.
        rest: Option<Folder>,
    },
}

/// A folder in the layout of diffusers.
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// Which of several sets of weights.
    pub variant: Option<String>,
}

/// The networks in a single file, by the names of their weights.
pub struct Held {
    /// The one that is asked at every step.
    pub net: Names,
    /// The one between pixels and latents.
    pub vae: Option<Names>,
    /// The text encoders of CLIP.
    pub texts: Vec<Option<Names>>,
    /// The text encoder of T5.
    pub t5: Option<Names>,
}

impl Folder {
    fn files(&self, network: Network) -> Result<Vec<PathBuf>, Flaw> {
        let (part, stem) = match network {
            Network::Unet(_) => ("unet".to_owned(), NETWORK),
            Network::Three(_) | Network::Flux => ("transformer".to_owned(), NETWORK),
            Network::Vae => ("vae".to_owned(), NETWORK),
            Network::Text | Network::TextOf(0) => ("text_encoder".to_owned(), TEXT),
            Network::TextOf(index) | Network::Sentences(index) => {
                (format!("text_encoder_{}", index + 1), TEXT)
            }
        };
        weights::files(&self.path.join(part), stem, self.variant.as_deref())
    }
}

impl Held {
    fn names(&self, network: Network) -> Option<&Names> {
        match network {
            Network::Unet(_) | Network::Three(_) | Network::Flux => Some(&self.net),
            Network::Vae => self.vae.as_ref(),
            Network::Text => self.texts.first()?.as_ref(),
            Network::TextOf(index) => self.texts.get(index)?.as_ref(),
            Network::Sentences(_) => self.t5.as_ref(),
        }
    }

    fn has(&self, tensor: &str) -> bool {
        let texts = self.texts.iter().flatten();
        let mut all = [&self.net].into_iter().chain(&self.vae).chain(&self.t5).chain(texts);
        all.any(|names| names.own(tensor))
    }
}

impl Source {
    /// The weights of a network.
    ///
    /// # Errors
    /// Those of [`Safetensors::open`], [`Flaw::NoWeights`] and [`Flaw::Neither`].
    pub fn weights(&self, network: Network, patches: Patches) -> Result<Weights, Flaw> {
        match self.held(network) {
            Some((file, names)) => Ok(Weights::within(file.clone(), names.clone(), patches)),
            None => Weights::open(&self.paths(network)?, patches),
        }
    }

    /// Every file of weights, opened.
    ///
    /// # Errors
    /// As [`Self::weights`].
    pub fn files(&self, networks: &[Network]) -> Result<Vec<Arc<Safetensors>>, Flaw> {
        let mut files = match self {
            Self::Folder(_) => Vec::new(),
            Self::File { file, .. } => vec![file.clone()],
        };
        for network in networks.iter().filter(|network| self.held(**network).is_none()) {
            for path in self.paths(*network)? {
                files.push(Arc::new(Safetensors::open(&path)?));
            }
        }
        Ok(files)
    }

    /// Whether any network asks for a tensor of that name in one of its files: single files have others too, such as means over
    /// the training.
    pub fn reads(&self, file: &Safetensors, name: &str) -> bool {
        match self {
            Self::File { file: single, held, .. } if single.path == file.path => held.has(name),
            _ => true,
        }
    }

    /// Whether the network has asked for every weight that a single file has for it.
    ///
    /// # Errors
    /// [`Flaw::Unknown`] naming one that has no place.
    pub fn all_used(&self) -> Result<(), Flaw> {
        let Self::File { file, held, .. } = self else {
            return Ok(());
        };
        let left = file.unread(|name| held.net.own(name));
        match left.first() {
            None => Ok(()),
            Some(first) => Err(Flaw::Unknown {
                file: file.path.clone(),
                found: format!("{} tensors, such as {first}, that have no place in it", left.len()),
                expected: "a checkpoint without parts of other methods",
            }),
        }
    }

    /// The single file, where a network is in it, and the names of its weights there.
    fn held(&self, network: Network) -> Option<(&Arc<Safetensors>, &Names)> {
        match self {
            Self::Folder(_) => None,
            Self::File { file, held, .. } => Some((file, held.names(network)?)),
        }
    }

    /// The files of a network that is in no single file.
    fn paths(&self, network: Network) -> Result<Vec<PathBuf>, Flaw> {
        match self {
            Self::Folder(folder) => folder.files(network),
            Self::File { file, rest, .. } => {
                let file = file.path.clone();
                let part = match network {
                    Network::Vae => "autoencoder",
                    Network::Sentences(_) => "text encoder of T5",
                    _ => "text encoder of CLIP",
                };
                match rest.as_ref().map(|rest| rest.files(network)) {
                    Some(files) => files.map_err(|flaw| Flaw::Neither { file, part, rest: Box::new(flaw) }),
                    None => {
                        let (found, expected) = (format!("no {part}"), "a folder in config that has one");
                        Err(Flaw::Unknown { file, found, expected })
                    }
                }
            }
        }
    }
}
