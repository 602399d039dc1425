//! Pictures on their way: those that recipes name, and results and previews that servers give or engines make.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use image::{ExtendedColorType, ImageEncoder, ImageFormat, RgbImage, codecs::png};
use riff_hub::{
    canonical::Digest,
    media,
    pictures::{self, Format},
    recipe::Recipe,
};

use crate::engine::{Artifact, EngineError, Files, RunContext};

/// Most pixels of a preview's side.
const PREVIEW_SIDE: u32 = 256;
/// JPEG quality of previews, of 100.
const PREVIEW_QUALITY: u8 = 80;

/// What a recipe names as a file.
///
/// # Errors
/// [`EngineError::Input`] if that is no name of one.
pub fn blob(name: &str) -> Result<Digest, EngineError> {
    name.parse().map_err(|_| EngineError::Input(format!("{name:?} is not the name of a file")))
}

/// The picture with a name: a PNG, as the hub keeps them.
///
/// # Errors
/// What [`blob`] and [`Files::get`] say; [`EngineError::Input`] if it is no PNG.
pub async fn named(name: &str, files: &dyn Files) -> Result<Bytes, EngineError> {
    let blob = blob(name)?;
    let bytes = files.get(blob).await?;
    match image::guess_format(&bytes) {
        Ok(ImageFormat::Png) => Ok(bytes),
        _ => Err(EngineError::Input(format!("the picture {} is no PNG: choose another", blob.short()))),
    }
}

/// The picture that an input of a recipe names, where it names one.
///
/// # Errors
/// As [`named`].
pub async fn bytes(recipe: &Recipe, name: &str, context: &RunContext) -> Result<Option<Bytes>, EngineError> {
    match recipe.text(name).filter(|blob| !blob.is_empty()) {
        Some(blob) => named(blob, &*context.files).await.map(Some),
        None => Ok(None),
    }
}

/// An address that holds a file itself.
pub fn data_url(bytes: &[u8], media_type: &str) -> String {
    format!("data:{media_type};base64,{}", BASE64_STANDARD.encode(bytes))
}

/// A result that the hub will take: a picture that can be decoded.
///
/// # Errors
/// What is wrong with it, in words that follow "it is none: ".
pub async fn checked(bytes: Bytes) -> Result<Artifact, String> {
    let check = move || {
        media::decode(&bytes).map_err(|error| error.to_string())?;
        let media_type = media::type_of(&bytes).unwrap_or("image/png");
        Ok(Artifact { media_type: media_type.into(), bytes })
    };
    tokio::task::spawn_blocking(check).await.map_err(|error| error.to_string())?
}

/// What a server shows of a picture on its way, as the hub wants it: a JPEG of at most [`PREVIEW_SIDE`] pixels a side.
/// Nothing if it is no picture.
pub async fn preview(bytes: Bytes) -> Option<Bytes> {
    let make = move || {
        let picture = media::decode(&bytes).ok()?;
        let small = picture.width().max(picture.height()) <= PREVIEW_SIDE;
        if small && image::guess_format(&bytes).ok() == Some(ImageFormat::Jpeg) {
            return Some(bytes);
        }
        let picture = if small { picture } else { picture.thumbnail(PREVIEW_SIDE, PREVIEW_SIDE) };
        jpeg(&picture.to_rgb8())
    };
    tokio::task::spawn_blocking(make).await.ok().flatten()
}

/// Pictures of one size as the JPEG of a preview: edge to edge, as [`pictures::sheet`] lays them.
pub fn sheet(made: &[RgbImage]) -> Option<Bytes> {
    jpeg(&pictures::sheet(made).ok()?)
}

fn jpeg(picture: &RgbImage) -> Option<Bytes> {
    pictures::encode(picture, Format::Jpeg(PREVIEW_QUALITY)).ok().map(Bytes::from)
}

/// A picture as PNG, packed fast, and always the same: its bytes are part of what an engine gives for a recipe.
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
