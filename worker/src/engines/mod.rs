//! The engines, one module each, and the registry that names them: those in this process, which are always there, and
//! those in front of a server, each from a section `[[engine]]` of the settings.

pub mod a1111;
pub mod abstract_;
pub mod cog;
pub mod comfyui;
#[cfg(feature = "candle")]
pub mod gguf;
mod inputs;
mod keys;
mod language;
pub mod openai;
mod picture;
mod set;

use std::{path::PathBuf, sync::Arc};

use serde::Deserialize;

pub use self::set::Engines;
use crate::engine::Engine;

/// Makes [`Configured`] from lines `Variant => module`. Each module has `Settings` (the keys of its section) and
/// `fn engine(Settings) -> Arc<dyn Engine>`, and its settings are shown (`Display`) as what they stand in front of.
macro_rules! registry {
    ($($(#[$doc:meta])* $kind:ident => $module:ident,)*) => {
        /// One section `[[engine]]`: its key `kind`, and the keys of that kind.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(tag = "kind", rename_all = "lowercase")]
        pub enum Configured {
            $($(#[$doc])* $kind($module::Settings),)*
        }

        impl Configured {
            fn open(self) -> (String, Arc<dyn Engine>) {
                match self {
                    $(Self::$kind(settings) => {
                        (format!("{} {settings}", stringify!($module)), $module::engine(settings))
                    })*
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
