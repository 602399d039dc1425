//! Where a checkpoint's weights are, and what its configuration says: the same whether it is a folder or a single file.

use std::{path::PathBuf, sync::Arc};

use super::{
    config::{ScheduleConfig, TextConfig, UnetConfig, VaeConfig},
    flaw::Flaw,
    ldm::{self, Names},
    lora::{Network, Patches},
    schedule::Training,
    weights::{self, Safetensors, Weights},
    words::Family,
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

/// What there is to know of a checkpoint without its weights.
pub struct Parts {
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
    /// Its scheduler.
    pub scheduler: ScheduleConfig,
    /// How it was trained.
    pub training: Training,
    /// Small files, every byte of which counts.
    pub plain: Vec<PathBuf>,
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
                };
                Ok(Weights::within(file.clone(), names, patches))
            }
        }
    }

    /// Every file of weights, opened.
    ///
    /// # Errors
    /// As [`Self::weights`].
    pub fn files(&self, texts: usize) -> Result<Vec<Arc<Safetensors>>, Flaw> {
        if let Self::File { file, .. } = self {
            return Ok(vec![file.clone()]);
        }
        let mut paths = self.paths(Network::Unet(0))?;
        paths.extend(self.paths(Network::Vae)?);
        for text in 0..texts {
            paths.extend(self.paths(Network::TextOf(text))?);
        }
        paths.iter().map(|path| Safetensors::open(path).map(Arc::new)).collect()
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
                    Network::Vae => ("vae".to_owned(), NETWORK),
                    Network::Text | Network::TextOf(0) => ("text_encoder".to_owned(), TEXT),
                    Network::TextOf(index) => (format!("text_encoder_{}", index + 1), TEXT),
                };
                weights::files(&folder.join(part), stem, variant.as_deref())
            }
        }
    }
}
