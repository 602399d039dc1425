//! Files of safetensors (<https://huggingface.co/docs/safetensors>), read tensor by tensor: what a network asks for is
//! checked for its shape, has the LoRAs merged in, and goes to the device; nothing else is kept in memory.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{DType, Device, Error, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Result,
    flaw::Flaw,
    ldm::{Names, Place},
    lora::Patches,
};

/// Longest header, in bytes, as the format sets it.
const MAX_HEADER: u64 = 100_000_000;
/// Pieces of a file that tell it from others of the same layout, and bytes of each.
const SAMPLES: (u64, usize) = (64, 64 * 1_024);

/// Where a tensor lies in its file.
#[derive(Debug, Clone, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// One file: its header read and checked, its tensors where they were.
pub struct Safetensors {
    /// Which.
    pub path: PathBuf,
    /// What its header says beside its tensors.
    pub metadata: HashMap<String, String>,
    file: Mutex<File>,
    entries: HashMap<String, Entry>,
    /// Names of the tensors that were asked for.
    read: Mutex<HashSet<String>>,
    /// Where the tensors begin.
    base: u64,
    /// Bytes in all.
    pub bytes: u64,
}

impl Safetensors {
    /// Reads a header, and checks that the file is as long as that says.
    ///
    /// # Errors
    /// [`Flaw::Io`], [`Flaw::Broken`] and [`Flaw::Truncated`].
    pub fn open(path: &Path) -> Result<Self, Flaw> {
        let io = |error| Flaw::Io { file: path.to_owned(), error };
        let broken = |why: String| Flaw::Broken { file: path.to_owned(), why };
        let mut file = File::open(path).map_err(io)?;
        let has = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        let truncated = |needs| Flaw::Truncated { file: path.to_owned(), has, needs };
        file.read_exact(&mut length).map_err(|_| truncated(8))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(broken("it is no file of safetensors".to_owned()));
        }
        if 8 + length > has {
            return Err(truncated(8 + length));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(io)?;
        let header: Map<String, Value> =
            serde_json::from_slice(&header).map_err(|error| broken(error.to_string()))?;
        let said = header.get("__metadata__").and_then(Value::as_object).into_iter().flatten();
        let metadata =
            said.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
        let entries = tensors
            .map(|(name, value)| Ok((name, serde_json::from_value(value)?)))
            .collect::<Result<HashMap<String, Entry>, serde_json::Error>>()
            .map_err(|error| broken(error.to_string()))?;
        let base = 8 + length;
        let end = entries.values().map(|entry| entry.data_offsets.1).max().unwrap_or(0);
        match base.checked_add(end) {
            Some(needs) if needs == has => {}
            needs => return Err(truncated(needs.unwrap_or(u64::MAX))),
        }
        let (path, file) = (path.to_owned(), Mutex::new(file));
        Ok(Self { path, metadata, file, entries, read: Mutex::default(), base, bytes: has })
    }

    /// The tensors' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// A tensor's shape, where the file has the tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Those among the names that nobody has asked for since the file was opened, in order.
    pub fn unread(&self, among: impl Fn(&str) -> bool) -> Vec<&str> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left: Vec<&str> = self.names().filter(|name| among(name) && !read.contains(*name)).collect();
        left.sort_unstable();
        left
    }

    /// Numbers in all tensors among the names.
    pub fn elements(&self, among: impl Fn(&str) -> bool) -> u64 {
        let among = self.entries.iter().filter(|(name, _)| among(name));
        among.map(|(_, entry)| entry.shape.iter().product::<usize>() as u64).sum()
    }

    /// A tensor in its own type, or in one of 16 bits where that has 8, on the CPU.
    ///
    /// # Errors
    /// [`Error::Msg`] naming the file and what is wrong.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let entry = self.entries.get(name).ok_or_else(|| self.error(&format!("has no tensor {name}")))?;
        let dtype = match entry.dtype.as_str() {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            "F64" => DType::F64,
            "I64" => DType::I64,
            "U8" => DType::U8,
            "F8_E4M3" => DType::F8E4M3,
            other => {
                let expected = "expected F32, F16, BF16 or F8_E4M3";
                return Err(self.error(&format!("has {name} as {other}: {expected}")));
            }
        };
        let (from, to) = entry.data_offsets;
        let needs = entry.shape.iter().try_fold(dtype.size_in_bytes(), |all, side| all.checked_mul(*side));
        if to.checked_sub(from) != needs.map(|needs| needs as u64) {
            return Err(self.error(&format!("is damaged: {name} has not as many bytes as its shape needs")));
        }
        let mut bytes = vec![0; (to - from) as usize];
        self.bytes_at(self.base + from, &mut bytes)?;
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, &entry.shape, &Device::Cpu)?;
        match dtype {
            // Nothing is reckoned in these; all of them are numbers of the other type too.
            DType::F8E4M3 => tensor.to_dtype(DType::BF16),
            _ => Ok(tensor),
        }
    }

    fn bytes_at(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(bytes));
        read.map_err(|error| self.error(&format!("cannot be read: {error}")))
    }

    /// Feeds what tells this file from others: its length, and pieces from all over it, the header among them.
    pub fn identify(&self, hasher: &mut blake3::Hasher) -> Result<()> {
        hasher.update(&self.bytes.to_le_bytes());
        let (pieces, length) = SAMPLES;
        let whole = self.bytes <= pieces * length as u64;
        let pieces = if whole { self.bytes.div_ceil(length as u64) } else { pieces };
        for piece in 0..pieces {
            let last = self.bytes.saturating_sub(length as u64);
            let from = if whole { piece * length as u64 } else { last * piece / (pieces - 1) };
            let mut bytes = vec![0; length.min((self.bytes - from) as usize)];
            self.bytes_at(from, &mut bytes)?;
            hasher.update(&bytes);
        }
        Ok(())
    }

    fn error(&self, what: &str) -> Error {
        Error::Msg(format!("{} {what}", self.path.display()))
    }
}

/// The files of one network; of a variant (`fp16` and the like) where one is named, and else those without, or in half
/// precision where there is nothing else.
///
/// # Errors
/// [`Flaw::NoWeights`], [`Flaw::Io`] and [`Flaw::Broken`].
pub fn files(folder: &Path, stem: &'static str, variant: Option<&str>) -> Result<Vec<PathBuf>, Flaw> {
    let variants = match variant {
        Some(variant) => vec![Some(variant)],
        None => vec![None, Some("fp16")],
    };
    for variant in variants {
        if let Some(files) = files_of(folder, stem, variant)? {
            return Ok(files);
        }
    }
    let pickled = ["bin", "fp16.bin"].iter().any(|end| {
        folder.join(format!("{stem}.{end}")).is_file()
            || folder.join(format!("pytorch_model.{end}")).is_file()
    });
    let hint = match pickled {
        true => {
            ": files of pickle (.bin) are not read, as they can run code; get the checkpoint with safetensors"
        }
        false => "",
    };
    let stem = variant.map_or(stem.to_owned(), |variant| format!("{stem}.{variant}"));
    Err(Flaw::NoWeights { folder: folder.to_owned(), stem, hint })
}

/// Those of a variant: one file, or several that an index names. Names are those that diffusers and transformers write:
/// <https://huggingface.co/docs/diffusers/using-diffusers/loading#checkpoint-variants>.
fn files_of(folder: &Path, stem: &str, variant: Option<&str>) -> Result<Option<Vec<PathBuf>>, Flaw> {
    let (indices, file) = match variant {
        None => (vec![format!("{stem}.safetensors.index.json")], format!("{stem}.safetensors")),
        Some(variant) => (
            vec![
                format!("{stem}.safetensors.index.{variant}.json"),
                format!("{stem}.{variant}.safetensors.index.json"),
            ],
            format!("{stem}.{variant}.safetensors"),
        ),
    };
    if let Some(index) = indices.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
        return shards(folder, &index).map(Some);
    }
    let file = folder.join(file);
    Ok(file.is_file().then(|| vec![file]))
}

fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, Flaw> {
    #[derive(Deserialize)]
    struct Shards {
        weight_map: HashMap<String, String>,
    }
    let shards: Shards = super::config::read(index)?;
    let mut names: Vec<String> = shards.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    match names.iter().find(|name| Path::new(name).components().count() != 1) {
        None => Ok(names.into_iter().map(|name| folder.join(name)).collect()),
        Some(name) => {
            let why = format!("it names {name:?}, which is no file beside it");
            Err(Flaw::Broken { file: index.to_owned(), why })
        }
    }
}

/// The weights of one network, with LoRAs.
pub struct Weights {
    files: Vec<Arc<Safetensors>>,
    names: Names,
    patches: Patches,
}

impl Weights {
    /// Opens the files of a network, which have its own names.
    ///
    /// # Errors
    /// Those of [`Safetensors::open`].
    pub fn open(files: &[PathBuf], patches: Patches) -> Result<Self, Flaw> {
        let open = |path: &PathBuf| Safetensors::open(path).map(Arc::new);
        Ok(Self { files: files.iter().map(open).collect::<Result<_, Flaw>>()?, names: Names::Own, patches })
    }

    /// Those of a network that lies with others in a file.
    pub fn within(file: Arc<Safetensors>, names: Names, patches: Patches) -> Self {
        Self { files: vec![file], names, patches }
    }

    /// A builder of networks from these weights.
    pub fn builder(self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self), dtype, device.clone())
    }

    fn find(&self, name: &str) -> Option<(&Safetensors, Place)> {
        self.names.places(name).into_iter().find_map(|place| {
            let file = self.files.iter().find(|file| file.shape(&place.name).is_some())?;
            Some((&**file, place))
        })
    }
}

impl SimpleBackend for Weights {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() == &shape {
            return Ok(tensor);
        }
        let (found, wanted) = (tensor.dims(), shape.dims());
        let what = format!("has {name} with the shape {found:?}, and its configuration asks for {wanted:?}");
        Err(self.find(name).map_or_else(|| Error::Msg(what.clone()), |(file, _)| file.error(&what)))
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let Some((file, place)) = self.find(name) else {
            let first = self.files.first().ok_or_else(|| Error::Msg("there are no weights".to_owned()))?;
            let named =
                self.names.places(name).into_iter().next().map_or(name.to_owned(), |place| place.name);
            return Err(first.error(&format!("has no tensor {named}")));
        };
        let tensor = place.part.of(file.tensor(&place.name)?)?;
        let tensor = self.patches.apply(name, tensor)?;
        tensor.to_dtype(dtype)?.to_device(device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_8_bits_are_what_their_format_says() {
        // <https://arxiv.org/abs/2209.05433>, table 1: E4M3 goes to 448, and its smallest number is 2⁻⁹.
        let bytes = [0x00, 0x01, 0x38, 0x40, 0x44, 0x7e, 0xb8, 0x08];
        let expected = [0.0, 2_f32.powi(-9), 1.0, 2.0, 3.0, 448.0, -1.0, 2_f32.powi(-6)];
        let header = r#"{"x":{"dtype":"F8_E4M3","shape":[2,4],"data_offsets":[0,8]}}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(&path, [&length[..], header.as_bytes(), &bytes[..]].concat()).unwrap();
        let tensor = Safetensors::open(&path).unwrap().tensor("x").unwrap().to_dtype(DType::F32).unwrap();
        assert_eq!(tensor.dims(), [2, 4]);
        assert_eq!(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected);
    }
}
