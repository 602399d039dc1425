//! What is wrong with a checkpoint on disk.

use std::{io, path::PathBuf};

use crate::{engine::EngineError, engines::is_out_of_memory};

/// Why a folder or a file of weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It cannot be read.
    #[error("{} cannot be read: {error}", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no `model_index.json`.
    #[error(
        "{} has no model_index.json: expected a checkpoint in the layout of diffusers, with the folders unet or transformer, \
         vae, text_encoder, tokenizer and scheduler, or a single file of safetensors", .0.display()
    )]
    NoCheckpoint(PathBuf),
    /// A repository that is not in the cache.
    #[error(
        "{} is no file or folder, and the revision {revision:?} of a repository of that name is not in {}: get it with hf download \
         {}, or set download = true", path.display(), cache.display(), path.display()
    )]
    NotInCache {
        /// What was named.
        path: PathBuf,
        /// Which revision of it.
        revision: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// A folder without weights in the format that is read.
    #[error("{} has no {stem}.safetensors{hint}", folder.display())]
    NoWeights {
        /// Which.
        folder: PathBuf,
        /// The usual name, without ending.
        stem: String,
        /// What to do.
        hint: &'static str,
    },
    /// It ends too early, or goes on too long.
    #[error("{} is truncated or damaged: it has {has} bytes, and its header speaks of {needs}: download it again", file.display())]
    Truncated {
        /// Which.
        file: PathBuf,
        /// Bytes it has.
        has: u64,
        /// Bytes its header speaks of.
        needs: u64,
    },
    /// Its content is not what its name says.
    #[error("{} is damaged: {why}", file.display())]
    Broken {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// A kind of checkpoint that this engine does not run.
    #[error("{} has the {what} {found:?}, and this engine runs {can}", file.display())]
    Unsupported {
        /// Which.
        file: PathBuf,
        /// Of what.
        what: &'static str,
        /// What it has.
        found: String,
        /// What works.
        can: &'static str,
    },
    /// Its pipeline goes without a text encoder that the network needs.
    #[error("{} has no {encoder}, by its model_index.json: get the checkpoint with all of its text encoders", folder.display())]
    NoEncoder {
        /// Which.
        folder: PathBuf,
        /// Its name.
        encoder: String,
    },
    /// A sampler was set that does not work with its family.
    #[error("{}: sampler = {sampler:?} does not work with {family}: expected one of {known}", path.display())]
    Sampler {
        /// What was named.
        path: PathBuf,
        /// Its family.
        family: &'static str,
        /// The sampler.
        sampler: &'static str,
        /// Those that work.
        known: String,
    },
    /// A prediction was set for a family that has only one.
    #[error("{}: prediction is for Stable Diffusion 1, 2 and XL: leave it out", .0.display())]
    Prediction(PathBuf),
    /// A single file of something else.
    #[error("{} has {found}: expected {expected}", file.display())]
    Unknown {
        /// Which.
        file: PathBuf,
        /// What it has.
        found: String,
        /// What works.
        expected: &'static str,
    },
    /// A single file that lacks parts, without a folder that has them.
    #[error(
        "{} has no {parts}: name in config a folder of {family} in the layout of diffusers, whose parts serve where the file has \
         none; get one with hf download {example}", file.display()
    )]
    Lacks {
        /// Which.
        file: PathBuf,
        /// What it lacks.
        parts: String,
        /// Its family.
        family: &'static str,
        /// A repository with such a folder.
        example: &'static str,
    },
    /// A single file that lacks a part, and a folder that was to have it.
    #[error("{} has no {part}, and {rest}: get that folder with its weights", file.display())]
    Neither {
        /// Which.
        file: PathBuf,
        /// What it lacks.
        part: &'static str,
        /// What is wrong with the folder.
        rest: Box<Flaw>,
    },
    /// A single file, which has no tokenizer, without one beside it.
    #[error(
        "{} has no vocab.json or no merges.txt: a single file needs the tokenizer of CLIP beside it; get it with hf download \
         openai/clip-vit-large-patch14 vocab.json merges.txt, and name its folder in tokenizer", .0.display()
    )]
    NoTokenizer(PathBuf),
    /// A LoRA for another kind of model.
    #[error("{} does not fit this checkpoint: {why}", file.display())]
    Lora {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// Its bytes are others than those that were announced.
    #[error("{} has changed since it was announced: it is announced again within 30 s", .0.display())]
    Changed(PathBuf),
    /// The network does not fit its weights.
    #[error("{0}")]
    Network(#[from] candle_core::Error),
}

impl From<Flaw> for EngineError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Network(error) if is_out_of_memory(&error.to_string()) => {
                Self::OutOfMemory(error.to_string())
            }
            flaw => Self::Weights(flaw.to_string()),
        }
    }
}
