//! The files that doodle needs, and what they become in memory.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use riff_hub::canonical::Digest;

use super::{
    network::{Doodle, Shape},
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
const VERSION: &str = "riff doodle 2";
/// The text encoder's weights.
pub const ENCODER: &str = "minilm-l6-v2.safetensors";
/// Its vocabulary.
pub const VOCABULARY: &str = "minilm-l6-v2.txt";
/// What enlarges the pictures, where it is there.
const UPSCALER: &str = "realesr-animevideov3-x4.param";

/// What the name of a tensor's scales ends with.
const SCALE: &str = ".scale";
/// The byte that stands for 0.
const ZERO: f64 = 128.0;

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Files {
    /// The network's weights, in parts.
    parts: Vec<PathBuf>,
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
    pub fn find(folder: &Path) -> std::result::Result<Option<Self>, String> {
        let parts = parts(folder);
        let Some(first) = parts.first() else {
            return Ok(None);
        };
        let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let count =
            name.trim_end_matches(".safetensors").rsplit('-').next().and_then(|count| count.parse().ok());
        if count != Some(parts.len()) {
            return Err(format!("{}: of its parts {} are there", first.display(), parts.len()));
        }
        let header =
            Safetensors::open(first).map_err(|flaw| flaw.to_string()).and_then(|part| Header::of(&part))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(VERSION.as_bytes());
        let mut bytes = 0;
        for path in parts.iter().cloned().chain([ENCODER, VOCABULARY].map(|name| folder.join(name))) {
            let mut hash = |path: &Path| -> std::io::Result<u64> {
                hasher.update_reader(std::fs::File::open(path)?)?;
                Ok(std::fs::metadata(path)?.len())
            };
            bytes += hash(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        // A picture of the upscaler is another than one without it.
        hasher.update(&[u8::from(folder.join(UPSCALER).exists())]);
        let fingerprint = Digest::of_bytes(hasher.finalize().as_bytes());
        Ok(Some(Self { parts, folder: folder.to_owned(), header, fingerprint, bytes }))
    }
}

/// The parts of the network's weights, by name.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let is_part = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("doodle-") && name.ends_with(".safetensors")
    };
    let listed = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path());
    let mut parts: Vec<PathBuf> = listed.filter(is_part).collect();
    parts.sort();
    parts
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
    fn of(part: &Safetensors) -> std::result::Result<Self, String> {
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
    pub fn load(files: &Files) -> std::result::Result<Self, EngineError> {
        let device = gpu::found().map_err(|error| EngineError::Weights(error.to_string()))?;
        let encoder = Encoder::open(&files.folder.join(ENCODER), &files.folder.join(VOCABULARY), &device)
            .map_err(|error| EngineError::Weights(error.to_string()))?;
        let upscaler = files.folder.join(UPSCALER);
        let upscaler = upscaler.exists().then(|| network::open(&upscaler)).transpose();
        Ok(Self {
            network: read(&files.parts, &device).map_err(EngineError::Weights)?,
            distilled: files.header.distilled,
            encoder,
            upscaler: upscaler.map_err(EngineError::Weights)?,
            device,
        })
    }
}

/// The network of parts that `models/doodle/checkpoint.py` wrote.
///
/// # Errors
/// With a sentence that names the part.
pub fn read(parts: &[PathBuf], device: &Device) -> std::result::Result<Doodle, String> {
    let mut tensors = HashMap::new();
    let mut shape = None;
    for path in parts {
        let part = Safetensors::open(path).map_err(|flaw| flaw.to_string())?;
        shape = Some(Header::of(&part)?.shape);
        for name in part.names().filter(|name| !name.ends_with(SCALE)) {
            tensors.insert(name.to_owned(), unpacked(&part, name).map_err(|error| error.to_string())?);
        }
    }
    let shape = shape.ok_or_else(|| "there are no weights".to_owned())?;
    Doodle::new(&shape, VarBuilder::from_tensors(tensors, DType::F32, device))
        .map_err(|error| format!("{} cannot be used: {error}", parts[0].display()))
}

/// A tensor, which may be kept as bytes with a scale for each row.
fn unpacked(part: &Safetensors, name: &str) -> Result<Tensor> {
    let kept = part.tensor(name)?;
    if kept.dtype() != DType::U8 {
        return Ok(kept);
    }
    let mut rows = vec![1; kept.rank()];
    rows[0] = kept.dim(0)?;
    let scale = part.tensor(&format!("{name}{SCALE}"))?.reshape(rows)?;
    (kept.to_dtype(DType::F32)? - ZERO)?.broadcast_mul(&scale)
}
