//! Pictures that recipes name, and pictures that engines make.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use image::{
    ExtendedColorType, ImageEncoder, RgbImage,
    codecs::{jpeg::JpegEncoder, png},
};
use riff_hub::{canonical::Digest, recipe::Recipe};

use crate::engine::{EngineError, RunContext};

/// JPEG quality of previews, of 100.
const PREVIEW_QUALITY: u8 = 80;

/// The picture that an input of a recipe names, where it names one: a PNG, as the hub keeps them.
///
/// # Errors
/// [`EngineError::Input`] if it is none, and those of [`crate::engine::Files::get`].
pub async fn bytes(recipe: &Recipe, name: &str, context: &RunContext) -> Result<Option<Bytes>, EngineError> {
    let Some(blob) = recipe.text(name).filter(|blob| !blob.is_empty()) else {
        return Ok(None);
    };
    let blob: Digest =
        blob.parse().map_err(|error| EngineError::Input(format!("{name} cannot be read: {error}")))?;
    let bytes = context.files.get(blob).await?;
    match image::guess_format(&bytes) {
        Ok(image::ImageFormat::Png) => Ok(Some(bytes)),
        _ => Err(EngineError::Input(format!("the picture {} is no PNG: choose another", blob.short()))),
    }
}

/// The same as an address that holds it.
///
/// # Errors
/// As [`bytes`].
pub async fn data_url(
    recipe: &Recipe,
    name: &str,
    context: &RunContext,
) -> Result<Option<String>, EngineError> {
    let bytes = bytes(recipe, name, context).await?;
    Ok(bytes.map(|bytes| format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes))))
}

/// A picture as PNG, packed fast.
///
/// # Errors
/// [`EngineError::Failed`] if it has no pixels.
pub fn png(picture: &RgbImage) -> Result<Bytes, EngineError> {
    let mut bytes = Vec::new();
    png::PngEncoder::new_with_quality(&mut bytes, png::CompressionType::Fast, png::FilterType::Sub)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .map_err(|error| EngineError::Failed(error.to_string()))?;
    Ok(bytes.into())
}

/// Pictures of one size as one JPEG: a single one, or two in a row.
pub fn sheet(pictures: &[RgbImage]) -> Option<Bytes> {
    let (width, height) = pictures.first()?.dimensions();
    let columns = sheet_columns(pictures.len());
    let rows = (pictures.len() as u32).div_ceil(columns);
    let mut sheet = RgbImage::new(width * columns, height * rows);
    for (i, picture) in pictures.iter().enumerate() {
        let (column, row) = (i as u32 % columns, i as u32 / columns);
        image::imageops::replace(&mut sheet, picture, i64::from(column * width), i64::from(row * height));
    }
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, PREVIEW_QUALITY).encode_image(&sheet).ok()?;
    Some(bytes.into())
}

/// How many pictures stand side by side in a [`sheet`] of so many.
pub fn sheet_columns(pictures: usize) -> u32 {
    if pictures > 1 { 2 } else { 1 }
}
