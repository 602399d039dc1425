//! A `.gguf` file as the worker announces it: its header read and checked, its bytes hashed, no weights in memory.

use std::{
    fs::File,
    io::{BufReader, Seek},
    path::{Path, PathBuf},
};

use candle_core::quantized::gguf_file::{Content, Value};
use riff_hub::{
    canonical::Digest,
    model::{Cost, Media, ModelSpec},
};

use super::{llama::Shape, request, tokens::Tokens};

/// Questions that any model that chats can answer.
const EXAMPLES: [&str; 3] = [
    "Name three colours. --temperature 0",
    "Write a haiku about rain on a tent.",
    "Explain tides to a child in two sentences.",
];

/// Changes whenever the same file and recipe would give another text.
const VERSION: &str = "riff gguf 1";

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is no GGUF file, or one that is damaged.
    #[error("is damaged: {0}")]
    Broken(String),
    /// It ends too early.
    #[error("is truncated: it has {has} bytes, and its weights end at {needs}")]
    Truncated {
        /// Bytes it has.
        has: u64,
        /// Bytes its header speaks of.
        needs: u64,
    },
    /// Something that every such file has is missing.
    #[error("has no {0}")]
    Missing(String),
    /// A kind of model that this engine does not run.
    #[error("has the {what} {found:?}, and this engine can only do {can}")]
    Unsupported {
        /// Of what.
        what: &'static str,
        /// What it has.
        found: String,
        /// What works.
        can: &'static str,
    },
    /// Its bytes are others than at start.
    #[error("has changed since the worker started: start the worker again")]
    Changed,
}

/// A checked file.
pub struct ModelFile {
    /// Where it is.
    pub path: PathBuf,
    /// What the hub is told.
    pub spec: ModelSpec,
    hash: blake3::Hash,
}

impl ModelFile {
    /// Reads the header and hashes the rest.
    pub fn open(path: &Path) -> Result<Self, Flaw> {
        let (_, content) = header(path)?;
        Shape::read(&content)?;
        Tokens::read(&content)?;
        let hash = hash(path)?;
        let spec = spec(path, &content, hash)?;
        Ok(Self { path: path.to_owned(), spec, hash })
    }

    /// Its header and where its weights are read from, once more, after a look whether it is still the same file.
    pub fn reopen(&self) -> Result<(BufReader<File>, Content), Flaw> {
        if hash(&self.path)? != self.hash {
            return Err(Flaw::Changed);
        }
        header(&self.path)
    }
}

fn header(path: &Path) -> Result<(BufReader<File>, Content), Flaw> {
    let mut reader = BufReader::new(File::open(path)?);
    let content = Content::read(&mut reader).map_err(|error| Flaw::Broken(error.to_string()))?;
    let has = reader.seek(std::io::SeekFrom::End(0))?;
    let end = |info: &candle_core::quantized::gguf_file::TensorInfo| {
        let blocks = info.shape.elem_count() / info.ggml_dtype.block_size();
        content.tensor_data_offset + info.offset + (blocks * info.ggml_dtype.type_size()) as u64
    };
    let needs = content.tensor_infos.values().map(end).max().unwrap_or(0);
    if needs > has {
        return Err(Flaw::Truncated { has, needs });
    }
    Ok((reader, content))
}

fn hash(path: &Path) -> Result<blake3::Hash, Flaw> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}

fn spec(path: &Path, content: &Content, hash: blake3::Hash) -> Result<ModelSpec, Flaw> {
    let title = title(path);
    let name = name(&title);
    let bytes = std::fs::metadata(path)?.len() as f64;
    let size =
        text(content, "general.size_label").map_or(String::new(), |label| format!(" of {label} parameters"));
    let context = Shape::read(content)?.context;
    Ok(ModelSpec {
        card: format!(
            "{title}: a language model{size}, run by the worker itself. It remembers a conversation of up to {context} \
             tokens. What it says may be wrong; it knows nothing of today."
        ),
        license: license(text(content, "general.license").unwrap_or("unknown")),
        media: Media::Text,
        schema: request::schema(),
        fingerprint: Digest::of_bytes(format!("{VERSION} {hash}").as_bytes()),
        // Guesses from sizes of files, until the hub has measured.
        cost: Cost { fixed: 0.1, per_megapixel: 0.0, per_token: bytes / 8e9, load: bytes / 3e8 },
        examples: EXAMPLES.map(str::to_owned).into(),
        mature: false,
        overflow: None,
        name,
        title,
    })
}

/// The file's name without its ending and without the quantisation.
fn title(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    match stem.rfind(['.', '-']) {
        Some(at) if at > 0 && is_quantisation(&stem[at + 1..]) => stem[..at].to_owned(),
        _ => stem,
    }
}

/// `Q4_1`, `IQ3_XS`, `Q4_K_M`, `F16`, `bf16`, …
fn is_quantisation(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    let word = word.strip_prefix("UD-").unwrap_or(&word);
    let numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    matches!(word, "F16" | "F32" | "BF16" | "FP16")
        || word
            .strip_prefix("IQ")
            .or(word.strip_prefix('Q'))
            .or(word.strip_prefix("TQ"))
            .is_some_and(numbered)
}

/// A name that members can type.
fn name(title: &str) -> String {
    let typed = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') => c,
        _ => '-',
    };
    let name: String = title.chars().map(typed).take(64).collect();
    name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Files write licences as model hubs do; the hub wants SPDX.
fn license(written: &str) -> String {
    match written.to_ascii_lowercase().as_str() {
        "apache-2.0" => "Apache-2.0".to_owned(),
        "mit" => "MIT".to_owned(),
        "cc0-1.0" => "CC0-1.0".to_owned(),
        other => format!("LicenseRef-{}", name(other)),
    }
}

fn value<'a>(content: &'a Content, key: &str) -> Result<&'a Value, Flaw> {
    content.metadata.get(key).ok_or_else(|| Flaw::Missing(key.to_owned()))
}

fn items<'a>(content: &'a Content, key: &str) -> Result<&'a [Value], Flaw> {
    match value(content, key)? {
        Value::Array(items) => Ok(items),
        _ => Err(Flaw::Broken(format!("{key} is no list"))),
    }
}

/// A text of the header.
pub fn text<'a>(content: &'a Content, key: &str) -> Result<&'a str, Flaw> {
    match value(content, key)? {
        Value::String(text) => Ok(text),
        _ => Err(Flaw::Broken(format!("{key} is no text"))),
    }
}

/// A list of texts.
pub fn texts(content: &Content, key: &str) -> Result<Vec<String>, Flaw> {
    let read = |item: &Value| match item {
        Value::String(text) => Ok(text.clone()),
        _ => Err(Flaw::Broken(format!("{key} is no list of texts"))),
    };
    items(content, key)?.iter().map(read).collect()
}

/// A whole number, 0 or more.
pub fn whole(content: &Content, key: &str) -> Result<u64, Flaw> {
    whole_of(value(content, key)?).ok_or_else(|| Flaw::Broken(format!("{key} is no whole number")))
}

/// A list of whole numbers.
pub fn wholes(content: &Content, key: &str) -> Result<Vec<u64>, Flaw> {
    let read =
        |item| whole_of(item).ok_or_else(|| Flaw::Broken(format!("{key} is no list of whole numbers")));
    items(content, key)?.iter().map(read).collect()
}

fn whole_of(value: &Value) -> Option<u64> {
    match value {
        Value::U8(number) => Some(u64::from(*number)),
        Value::U16(number) => Some(u64::from(*number)),
        Value::U32(number) => Some(u64::from(*number)),
        Value::U64(number) => Some(*number),
        Value::I8(number) => u64::try_from(*number).ok(),
        Value::I16(number) => u64::try_from(*number).ok(),
        Value::I32(number) => u64::try_from(*number).ok(),
        Value::I64(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// A number.
pub fn number(content: &Content, key: &str) -> Result<f64, Flaw> {
    match value(content, key)? {
        Value::F32(number) => Ok(f64::from(*number)),
        Value::F64(number) => Ok(*number),
        other => whole_of(other)
            .map(|number| number as f64)
            .ok_or_else(|| Flaw::Broken(format!("{key} is no number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        let of = |file: &str| name(&title(Path::new(file)));
        assert_eq!(of("w/SmolLM2-135M-Instruct.Q4_1.gguf"), "smollm2-135m-instruct");
        assert_eq!(of("SmolLM2-360M-Instruct-Q4_K_M.gguf"), "smollm2-360m-instruct");
        assert_eq!(of("tiny model-f16.gguf"), "tiny-model");
        assert_eq!(of("plain.gguf"), "plain");
    }
}
