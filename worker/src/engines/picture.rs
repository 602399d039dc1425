//! Pictures that engines are given.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use riff_hub::{canonical::Digest, model::input, recipe::Recipe};

use crate::engine::{EngineError, RunContext};

/// The picture that a recipe names, where it names one: a PNG, as the hub keeps them.
pub async fn bytes(recipe: &Recipe, context: &RunContext) -> Result<Option<Bytes>, EngineError> {
    let Some(name) = recipe.text(input::IMAGE).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let blob: Digest = name
        .parse()
        .map_err(|error| EngineError::Input(format!("{} cannot be read: {error}", input::IMAGE)))?;
    let bytes = context.files.get(blob).await?;
    match image::guess_format(&bytes) {
        Ok(image::ImageFormat::Png) => Ok(Some(bytes)),
        _ => Err(EngineError::Input(format!("the picture {} is no PNG: choose another", blob.short()))),
    }
}

/// The same as an address that holds it.
pub async fn data_url(recipe: &Recipe, context: &RunContext) -> Result<Option<String>, EngineError> {
    let bytes = bytes(recipe, context).await?;
    Ok(bytes.map(|bytes| format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes))))
}
