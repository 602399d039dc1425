//! The files that doodle needs, and what they become in memory.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use riff_hub::canonical::Digest;

use super::{
    network::{Doodle, Shape},
    parts,
    text::Encoder,
};
use crate::{
    engine::EngineError,
    engines::{
        diffusion::weights::Safetensors,
        gpu,
        upscale::network::{self, Network},
    },
};

/// Changes whenever the same recipe would give other bytes.
const VERSION: &str = "riff doodle 3";
/// What the network's parts begin with.
const NETWORK: &str = "doodle";
/// What the text encoder's parts begin with.
pub const ENCODER: &str = "minilm-l6-v2";
/// Its vocabulary.
pub const VOCABULARY: &str = "minilm-l6-v2.txt";
/// What enlarges the pictures, where it is there.
const UPSCALER: &str = "realesr-animevideov3-x4.param";

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Files {
    /// The network's weights, in parts.
    network: Vec<PathBuf>,
    /// The text encoder's.
    encoder: Vec<PathBuf>,
    folder: PathBuf,
    /// What the weights say of the network.
    pub header: Header,
    /// Says which files these are.
    pub fingerprint: Digest,
    /// Bytes that have to be read.
    pub bytes: u64,
}

impl Files {
    /// Looks through a folder. `None` if doodle is not there.
    ///
    /// # Errors
    /// With a sentence, if something of it is missing.
    pub fn find(folder: &Path) -> Result<Option<Self>, String> {
        let network = parts::find(folder, NETWORK)?;
        let Some(first) = network.first() else {
            return Ok(None);
        };
        let encoder = parts::find(folder, ENCODER)?;
        if encoder.is_empty() {
            return Err(format!(
                "{}: {ENCODER}-1-of-2.safetensors and what follows are missing",
                folder.display()
            ));
        }
        let header =
            Safetensors::open(first).map_err(|flaw| flaw.to_string()).and_then(|part| Header::of(&part))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(VERSION.as_bytes());
        let mut bytes = 0;
        for path in network.iter().chain(&encoder).chain([&folder.join(VOCABULARY)]) {
            let mut hash = |path: &Path| -> std::io::Result<u64> {
                hasher.update_reader(std::fs::File::open(path)?)?;
                Ok(std::fs::metadata(path)?.len())
            };
            bytes += hash(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        // A picture of the upscaler is another than one without it.
        hasher.update(&[u8::from(folder.join(UPSCALER).exists())]);
        let fingerprint = Digest::of_bytes(hasher.finalize().as_bytes());
        Ok(Some(Self { network, encoder, folder: folder.to_owned(), header, fingerprint, bytes }))
    }
}

/// What every part says of the network.
#[derive(Debug, Clone)]
pub struct Header {
    /// Its sizes.
    pub shape: Shape,
    /// Whether it learned to draw in few steps of one evaluation each, with guidance built in.
    pub distilled: bool,
    /// The things that it knows, where they are few enough to be named.
    pub things: Vec<String>,
}

impl Header {
    fn of(part: &Safetensors) -> Result<Self, String> {
        let flaw = |why: String| format!("{} cannot be used: {why}", part.path.display());
        let said = |key: &str| {
            part.metadata.get(key).ok_or_else(|| flaw(format!("its header does not say its {key}")))
        };
        let things = part.metadata.get("things").map_or("[]", String::as_str);
        Ok(Self {
            shape: serde_json::from_str(said("shape")?)
                .map_err(|error| flaw(format!("its shape: {error}")))?,
            distilled: said("stage")? == "distil",
            things: serde_json::from_str(things).map_err(|error| flaw(format!("its things: {error}")))?,
        })
    }
}

/// Doodle in memory.
pub struct Model {
    /// The network.
    pub network: Doodle,
    /// Whether guidance is built in.
    pub distilled: bool,
    /// What reads the words.
    pub encoder: Encoder,
    /// What enlarges the pictures.
    pub upscaler: Option<Network>,
    /// Where they are.
    pub device: Device,
}

impl Model {
    /// Reads the files.
    ///
    /// # Errors
    /// [`EngineError::Weights`] naming the one that cannot be used.
    pub fn load(files: &Files) -> Result<Self, EngineError> {
        let device = gpu::found().map_err(|error| EngineError::Weights(error.to_string()))?;
        let encoder = Encoder::open(&files.encoder, &files.folder.join(VOCABULARY), &device);
        let upscaler = files.folder.join(UPSCALER);
        let upscaler = upscaler.exists().then(|| network::open(&upscaler)).transpose();
        Ok(Self {
            network: read(&files.network, &device).map_err(EngineError::Weights)?,
            distilled: files.header.distilled,
            encoder: encoder.map_err(EngineError::Weights)?,
            upscaler: upscaler.map_err(EngineError::Weights)?,
            device,
        })
    }
}

/// The network of parts that `models/doodle/checkpoint.py` wrote.
///
/// # Errors
/// With a sentence that names the part.
pub fn read(parts: &[PathBuf], device: &Device) -> Result<Doodle, String> {
    let first = parts.first().ok_or_else(|| "there are no weights".to_owned())?;
    let header = Header::of(&Safetensors::open(first).map_err(|flaw| flaw.to_string())?)?;
    Doodle::new(&header.shape, VarBuilder::from_tensors(parts::tensors(parts)?, DType::F32, device))
        .map_err(|error| format!("{} cannot be used: {error}", first.display()))
}
