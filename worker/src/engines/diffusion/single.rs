//! A checkpoint as a single file of safetensors, with the names of the first implementations: which one it is, and its sizes,
//! are read from the names and shapes of its tensors. What these do not tell is what every checkpoint of its kind has, or what
//! a folder in the layout of diffusers says, which has the parts that the file lacks.

mod flows;
mod sizes;
mod unets;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    flaw::Flaw,
    ldm::NET,
    settings::Settings,
    source::{Folder, Parts},
    weights::Safetensors,
};

/// What a file is expected to be.
const EXPECTED: &str = "a checkpoint of Stable Diffusion 1, 2 or XL with network, autoencoder and text encoders, or of Stable \
     Diffusion 3 or Flux.1, with the names of the first implementations";
/// How tensors end that only say what others mean, in files that were made smaller by bitsandbytes or by ComfyUI.
const SCALES: [&str; 3] = [".absmax", ".scale_weight", "scaled_fp8"];

/// Reads a file's header, and what else is needed.
///
/// # Errors
/// [`Flaw`], saying what the file is instead, or what is wrong with it.
pub fn read(path: &Path, settings: &Settings) -> Result<Parts, Flaw> {
    let file = Arc::new(Safetensors::open(path)?);
    if let Some(scale) = file.names().find(|name| SCALES.iter().any(|end| name.ends_with(end))) {
        let found = format!("numbers with scales of their own, such as {scale}");
        return Err(unknown(&file, found, "plain numbers: F32, F16, BF16 or F8_E4M3"));
    }
    if let Some(net) = flows::Net::of(&file) {
        return net.read(&file, settings);
    }
    if file.shape(&format!("{NET}input_blocks.0.0.weight")).is_some() {
        return unets::read(&file, settings);
    }
    Err(unknown(&file, other(&file), EXPECTED))
}

/// What a file of something else is.
fn other(file: &Safetensors) -> String {
    let others = [
        ("control_model.", "a ControlNet"),
        ("input_blocks.", "a network alone"),
        ("down_blocks.", "a network alone, in the names of diffusers"),
        ("transformer_blocks.", "a network alone, in the names of diffusers"),
        ("encoder.", "an autoencoder alone"),
        ("emb_params", "an embedding"),
    ];
    let any = |prefix: &str| file.names().any(|name| name.starts_with(prefix));
    if file.names().any(|name| name.contains("lora")) {
        return "a LoRA".to_owned();
    }
    let known = others.iter().find(|(prefix, _)| any(prefix)).map(|(_, what)| (*what).to_owned());
    let first = || file.names().min().map(|name| format!("tensors such as {name}"));
    known.or_else(first).unwrap_or_else(|| "no tensors".to_owned())
}

fn unknown(file: &Safetensors, found: String, expected: &'static str) -> Flaw {
    Flaw::Unknown { file: file.path.clone(), found, expected }
}

/// The folder that has what a file lacks.
fn rest(settings: &Settings) -> Option<Folder> {
    let variant = settings.variant.clone();
    settings.config.clone().map(|path| Folder { path, variant })
}

/// The folder of the tokenizer of CLIP, and its files.
fn tokenizer(file: &Safetensors, settings: &Settings) -> Result<(PathBuf, Vec<PathBuf>), Flaw> {
    let folder = settings.tokenizer.clone().unwrap_or_else(|| file.path.with_file_name("tokenizer"));
    let files = ["vocab.json", "merges.txt"].map(|name| folder.join(name));
    match files.iter().all(|file| file.is_file()) {
        true => Ok((folder, files.into())),
        false => Err(Flaw::NoTokenizer(folder)),
    }
}

#[cfg(test)]
mod tests;
