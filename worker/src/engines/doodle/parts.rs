//! Weights in parts, with large matrices as bytes: what `models/doodle/checkpoint.py` writes.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Result, Tensor};

use crate::engines::diffusion::weights::Safetensors;

/// What the name of a tensor's scales ends with.
const SCALE: &str = ".scale";
/// The byte that stands for 0.
const ZERO: f64 = 128.0;

/// The parts `NAME-1-of-N.safetensors` and so on in a folder; none if there is none.
///
/// # Errors
/// With a sentence, if some of them are missing.
pub fn find(folder: &Path, name: &str) -> std::result::Result<Vec<PathBuf>, String> {
    let count = |path: &Path| -> Option<usize> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".safetensors")?;
        let (number, count) = stem.strip_prefix(name)?.strip_prefix('-')?.split_once("-of-")?;
        number.parse::<usize>().ok()?;
        count.parse().ok()
    };
    let listed = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path());
    let mut parts: Vec<PathBuf> = listed.filter(|path| count(path).is_some()).collect();
    parts.sort();
    match parts.first() {
        Some(first) if count(first) != Some(parts.len()) => {
            Err(format!("{}: of its parts {} are there", first.display(), parts.len()))
        }
        _ => Ok(parts),
    }
}

/// All tensors of some parts.
///
/// # Errors
/// With a sentence that names the part.
pub fn tensors(parts: &[PathBuf]) -> std::result::Result<HashMap<String, Tensor>, String> {
    let mut tensors = HashMap::new();
    for path in parts {
        let part = Safetensors::open(path).map_err(|flaw| flaw.to_string())?;
        for name in part.names().filter(|name| !name.ends_with(SCALE)) {
            tensors.insert(name.to_owned(), unpacked(&part, name).map_err(|error| error.to_string())?);
        }
    }
    Ok(tensors)
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
