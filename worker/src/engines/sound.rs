//! Sounds on their way: those that recipes name, and results that servers give.

use bytes::Bytes;
use riff_hub::{recipe::Recipe, sound::Container};

use super::picture;
use crate::engine::{Artifact, EngineError, RunContext};

/// The sound that an input of a recipe names, where it names one, and what kind of file it is.
///
/// # Errors
/// What [`crate::engine::Files::get`] says; [`EngineError::Input`] if it is no sound.
pub async fn named(
    recipe: &Recipe,
    name: &str,
    context: &RunContext,
) -> Result<Option<(Bytes, Container)>, EngineError> {
    let Some(blob) = recipe.text(name).filter(|blob| !blob.is_empty()) else {
        return Ok(None);
    };
    let blob = picture::blob(blob)?;
    let bytes = context.files.get(blob).await?;
    match Container::of(&bytes) {
        Some(container) => Ok(Some((bytes, container))),
        None => Err(EngineError::Input(format!(
            "the file {} is no sound: a WAV, MP3, Ogg or FLAC was expected",
            blob.short()
        ))),
    }
}

/// A result that the hub will look at: a file that says that it is sound.
///
/// # Errors
/// What is wrong with it, in words that follow "it is none: ".
pub fn checked(bytes: Bytes) -> Result<Artifact, String> {
    match Container::of(&bytes) {
        Some(container) => Ok(Artifact { media_type: container.media_type().into(), bytes }),
        None => Err(format!("{} bytes, where a WAV, MP3, Ogg or FLAC was expected", bytes.len())),
    }
}
