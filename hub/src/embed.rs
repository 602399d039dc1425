//! Recipes inside PNG files: the `parameters` text that AUTOMATIC1111's web UI writes and Civitai reads, and Riff's own
//! `riff` text with the exact recipe. A PNG made here, dropped on a page here, opens as a fork.

use std::io::Cursor;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::{
    media::{BadMedia, MAX_BYTES},
    model::{ModelSpec, input},
    pictures,
    recipe::Recipe,
};

/// Keyword of AUTOMATIC1111's text chunk.
const PARAMETERS: &str = "parameters";
/// Keyword of Riff's text chunk.
const RIFF: &str = "riff";
/// Most bytes of text that are read from a file.
const MAX_TEXT: usize = 1_024 * 1_024;

/// What Riff's text chunk says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedded {
    /// The recipe.
    pub recipe: Recipe,
    /// Which of its results the picture is.
    pub index: u32,
    /// The model's name, for a hub that does not know the digest.
    pub model: String,
}

/// What a PNG was found to carry.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Riff's own recipe.
    Recipe(Box<Embedded>),
    /// A line of the prompt grammar, made from AUTOMATIC1111's text.
    Line(String),
}

/// Encodes a result as PNG with its recipe in it.
pub fn write_png(
    pixels: &RgbImage,
    recipe: &Recipe,
    index: u32,
    spec: &ModelSpec,
) -> Result<Vec<u8>, BadMedia> {
    let embedded = Embedded { recipe: recipe.clone(), index, model: spec.name.clone() };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixels.width(), pixels.height());
    encoder.set_color(png::ColorType::Rgb);
    pictures::set_speed(&mut encoder);
    let parameters = parameters(recipe, index, spec);
    let written = (|| {
        // Readers look for a plain chunk first; only text beyond Latin-1 needs the international one, as Pillow does it.
        match parameters.chars().all(|c| c as u32 <= 0xff) {
            true => encoder.add_text_chunk(PARAMETERS.to_owned(), parameters)?,
            false => encoder.add_itxt_chunk(PARAMETERS.to_owned(), parameters)?,
        }
        encoder.add_itxt_chunk(RIFF.to_owned(), crate::canonical::to_string(&embedded))?;
        let mut writer = encoder.write_header()?;
        writer.write_image_data(pixels)?;
        writer.finish()
    })();
    written.map_err(|error| BadMedia::Unreadable(error.to_string()))?;
    Ok(bytes)
}

/// The settings as AUTOMATIC1111 writes them: prompt, negative prompt, then `Name: value` pairs.
fn parameters(recipe: &Recipe, index: u32, spec: &ModelSpec) -> String {
    let mut text = recipe.prompt.to_string();
    if let Some(negative) = recipe.text(input::NEGATIVE_PROMPT).filter(|text| !text.is_empty()) {
        text.push_str(&format!("\nNegative prompt: {negative}"));
    }
    let mut pairs = Vec::new();
    for (name, label) in [("steps", "Steps"), ("sampler", "Sampler"), ("guidance_scale", "CFG scale")] {
        match recipe.params.get(name) {
            Some(serde_json::Value::String(value)) => pairs.push(format!("{label}: {value}")),
            Some(value) => pairs.push(format!("{label}: {value}")),
            None => {}
        }
    }
    pairs.push(format!("Seed: {}", recipe.seed().wrapping_add(index)));
    if let Some((width, height)) = recipe.size() {
        pairs.push(format!("Size: {width}x{height}"));
    }
    pairs.push(format!("Model hash: {}", spec.digest().short()));
    pairs.push(format!("Model: {}", spec.name));
    format!("{text}\n{}", pairs.join(", "))
}

/// Reads what a PNG carries, without decoding its pixels.
///
/// # Errors
/// [`BadMedia`] if it is no PNG, or carries no recipe.
pub fn read(bytes: &[u8]) -> Result<Found, BadMedia> {
    if bytes.len() > MAX_BYTES {
        return Err(BadMedia::TooLarge { bytes: bytes.len(), limit: MAX_BYTES });
    }
    let texts = texts(bytes)?;
    let text = |keyword: &str| texts.iter().find(|(key, _)| key == keyword).map(|(_, text)| text.as_str());
    if let Some(embedded) = text(RIFF).and_then(|text| serde_json::from_str(text).ok()) {
        return Ok(Found::Recipe(Box::new(embedded)));
    }
    text(PARAMETERS).map(|text| Found::Line(line_of(text))).ok_or(BadMedia::NoRecipe)
}

fn texts(bytes: &[u8]) -> Result<Vec<(String, String)>, BadMedia> {
    let limits = png::Limits { bytes: MAX_TEXT };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(false);
    let reader = decoder.read_info().map_err(|error| BadMedia::Unreadable(error.to_string()))?;
    let info = reader.info();
    let plain = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
    let international =
        info.utf8_text.iter().filter_map(|chunk| Some((chunk.keyword.clone(), chunk.get_text().ok()?)));
    Ok(international.chain(plain).collect())
}

/// A line of the prompt grammar from AUTOMATIC1111's text.
fn line_of(parameters: &str) -> String {
    let (body, settings) = match parameters.rfind("\nSteps: ") {
        Some(at) => (&parameters[..at], &parameters[at + 1..]),
        None => (parameters, ""),
    };
    let (prompt, negative) = body.split_once("\nNegative prompt:").unwrap_or((body, ""));
    let mut line = format!("/imagine {}", crate::prompt::escape_words(prompt.trim()));
    for pair in settings.split(", ") {
        let Some((label, value)) = pair.split_once(": ") else {
            continue;
        };
        let digits = value.chars().all(|c| c.is_ascii_digit() || c == '.');
        match (label, value.split_once('x')) {
            ("Steps", _) if digits => line.push_str(&format!(" --steps {value}")),
            ("CFG scale", _) if digits => line.push_str(&format!(" --cfg {value}")),
            ("Seed", _) if digits => line.push_str(&format!(" --seed {value}")),
            ("Size", Some((width, height))) => line.push_str(&format!(" --width {width} --height {height}")),
            _ => {}
        }
    }
    if !negative.trim().is_empty() {
        line.push_str(&format!(" --no {}", crate::prompt::escape_words(negative.trim())));
    }
    line
}
