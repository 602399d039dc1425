//! The engines, one module each, and the registry that names them: those that are always there, and those of a section
//! `[[engine]]` of the settings each, which stand in front of a server or run weights that it names.

pub mod a1111;
pub mod abstract_;
mod catalogue;
pub mod cog;
pub mod comfyui;
#[cfg(feature = "candle")]
pub mod diffusion;
#[cfg(feature = "candle")]
pub mod doodle;
#[cfg(feature = "candle")]
pub mod gguf;
#[cfg(feature = "candle")]
mod gpu;
mod inputs;
mod keys;
mod language;
mod moves;
#[cfg(feature = "candle")]
mod neural;
pub mod openai;
mod picture;
mod predictor;
pub mod replicate;
pub mod section;
mod set;
mod sound;
#[cfg(feature = "candle")]
pub mod upscale;

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Deserializer, de::Error};

pub use self::set::{Condition, Engines};
use crate::engine::{Engine, EngineError};

/// Makes [`Kind`] from lines `Variant => module`, with `#[cfg(…)]` before what not every build has. Each module has
/// `Settings` (the keys of its section) and `fn engine(Settings) -> Arc<dyn Engine>`, and its settings are shown (`Display`)
/// as what they stand in front of, or run.
macro_rules! registry {
    ($($(#[doc = $doc:literal])* $(#[cfg($build:meta)])? $kind:ident => $module:ident,)*) => {
        /// What a section `[[engine]]` is of: its key `kind`, and the keys of that kind.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(tag = "kind", rename_all = "lowercase")]
        pub enum Kind {
            $($(#[doc = $doc])* $(#[cfg($build)])? $kind($module::Settings),)*
        }

        impl Kind {
            fn name(&self) -> String {
                match self {
                    $($(#[cfg($build)])? Self::$kind(settings) => format!("{} {settings}", stringify!($module)),)*
                }
            }

            fn open(self) -> Arc<dyn Engine> {
                match self {
                    $($(#[cfg($build)])? Self::$kind(settings) => $module::engine(settings),)*
                }
            }
        }
    };
}

registry! {
    /// A server with the API of AUTOMATIC1111's web UI: that, Forge, SD.Next.
    A1111 => a1111,
    /// A Cog container or server.
    Cog => cog,
    /// A workflow on a ComfyUI server.
    ComfyUi => comfyui,
    /// A checkpoint of Stable Diffusion.
    #[cfg(feature = "candle")]
    Diffusion => diffusion,
    /// A server with the API of OpenAI: vLLM, llama.cpp, Ollama and others.
    OpenAi => openai,
    /// Models at Replicate, as overflow.
    Replicate => replicate,
}

/// One section `[[engine]]`.
#[derive(Debug, Clone, Deserialize)]
pub struct Configured {
    /// How many of its jobs run at once, beside those of other engines. Without it, it takes turns with the others.
    #[serde(default, deserialize_with = "concurrent")]
    pub concurrent: Option<u32>,
    /// The rest of the keys.
    #[serde(flatten)]
    pub kind: Kind,
}

/// Most jobs that an engine runs at once.
const MOST_CONCURRENT: u32 = 256;

fn concurrent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    match u32::deserialize(deserializer)? {
        jobs @ 1..=MOST_CONCURRENT => Ok(Some(jobs)),
        jobs => Err(D::Error::custom(format!(
            "concurrent = {jobs} does not work: write how many jobs the server runs at once, from 1 to {MOST_CONCURRENT}"
        ))),
    }
}

/// Where engines find what they need.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Folder with weights; every `.gguf` in it is a language model, every `.param` with its `.bin` an upscaler, and
    /// `doodle-1-of-….safetensors` doodle.
    pub weights: PathBuf,
    /// The sections `[[engine]]` of the settings.
    pub configured: Vec<Configured>,
}

/// Makes an engine.
pub type Maker = Box<dyn Fn() -> Arc<dyn Engine> + Send + Sync>;

/// An engine that can be made, and made anew after it crashed.
pub(crate) struct Source {
    /// For the log.
    pub name: String,
    /// How many of its jobs run at once, where it does not take turns with the others.
    pub concurrent: Option<u32>,
    /// Makes it.
    pub open: Maker,
}

impl Source {
    fn built_in(name: &str, open: impl Fn() -> Arc<dyn Engine> + Send + Sync + 'static) -> Self {
        Self { name: name.to_owned(), concurrent: None, open: Box::new(open) }
    }

    fn configured(section: Configured) -> Self {
        let Configured { concurrent, kind } = section;
        Self { name: kind.name(), concurrent, open: Box::new(move || kind.clone().open()) }
    }
}

impl Sources {
    /// A folder with weights, and no servers.
    pub fn weights(folder: impl Into<PathBuf>) -> Self {
        Self { weights: folder.into(), configured: Vec::new() }
    }

    /// The engines in this process, and then those of the settings.
    fn open(self) -> Vec<Source> {
        let built_in = vec![
            Source::built_in("abstract", abstract_::engine),
            #[cfg(feature = "candle")]
            Source::built_in("gguf", {
                let weights = self.weights.clone();
                move || gguf::engine(&weights)
            }),
            #[cfg(feature = "candle")]
            Source::built_in("upscale", {
                let weights = self.weights.clone();
                move || upscale::engine(&weights)
            }),
            #[cfg(feature = "candle")]
            Source::built_in("doodle", move || doodle::engine(&self.weights)),
        ];
        built_in.into_iter().chain(self.configured.into_iter().map(Source::configured)).collect()
    }
}

/// Does work that blocks. An engine that panics at it has crashed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| EngineError::Crashed(error.to_string()))?
}

/// Whether an error is that of CUDA, PyTorch, JAX or the system when memory runs out.
pub(crate) fn is_out_of_memory(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    [
        "out of memory",
        "out_of_memory",
        "outofmemory",
        "resource_exhausted",
        "memoryerror",
        "cannot allocate memory",
    ]
    .iter()
    .any(|sign| reason.contains(sign))
}
