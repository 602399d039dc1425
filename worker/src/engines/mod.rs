//! The engines, one module each, and the registry that names them: those that are always there, and those of a section
//! `[[engine]]` of the settings each, which stand in front of a server or run weights that it names.

pub mod abstract_;
pub mod cog;
#[cfg(feature = "candle")]
pub mod diffusion;
#[cfg(feature = "candle")]
pub mod gguf;
mod language;
mod moves;
pub mod openai;
mod picture;
mod set;

use std::{path::PathBuf, sync::Arc};

use serde::Deserialize;

pub use self::set::Engines;
use crate::engine::Engine;

/// Makes [`Configured`] from lines `Variant => module`, with `#[cfg(…)]` before what not every build has. Each module has `Settings` (the keys of its section) and
/// `fn engine(Settings) -> Arc<dyn Engine>`, and its settings are shown (`Display`) as what they stand in front of.
macro_rules! registry {
    ($($(#[doc = $doc:literal])* $(#[cfg($build:meta)])? $kind:ident => $module:ident,)*) => {
        /// One section `[[engine]]`: its key `kind`, and the keys of that kind.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(tag = "kind", rename_all = "lowercase")]
        pub enum Configured {
            $($(#[doc = $doc])* $(#[cfg($build)])? $kind($module::Settings),)*
        }

        impl Configured {
            fn open(self) -> (String, Arc<dyn Engine>) {
                match self {
                    $($(#[cfg($build)])? Self::$kind(settings) => {
                        (format!("{} {settings}", stringify!($module)), $module::engine(settings))
                    })*
                }
            }
        }
    };
}

registry! {
    /// A Cog container or server.
    Cog => cog,
    /// A checkpoint of Stable Diffusion.
    #[cfg(feature = "candle")]
    Diffusion => diffusion,
    /// A server with the API of OpenAI: vLLM, llama.cpp, Ollama and others.
    OpenAi => openai,
}

/// Where engines find what they need.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Folder with weights; every `.gguf` in it is a language model.
    pub weights: PathBuf,
    /// The sections `[[engine]]` of the settings.
    pub configured: Vec<Configured>,
}

impl Sources {
    /// A folder with weights, and no servers.
    pub fn weights(folder: impl Into<PathBuf>) -> Self {
        Self { weights: folder.into(), configured: Vec::new() }
    }

    /// The engines in this process, and then those of the settings, each with a name for the log.
    fn open(self) -> Vec<(String, Arc<dyn Engine>)> {
        let built_in = vec![
            ("abstract".to_owned(), abstract_::engine()),
            #[cfg(feature = "candle")]
            ("gguf".to_owned(), gguf::engine(&self.weights)),
        ];
        built_in.into_iter().chain(self.configured.into_iter().map(Configured::open)).collect()
    }
}
