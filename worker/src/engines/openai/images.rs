//! Pictures from words, and from a picture and words: <https://platform.openai.com/docs/api-reference/images>.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use reqwest12::multipart::{Form, Part};
use riff_hub::{media, model::input, recipe::Recipe};
use serde_json::{Map, Value};

use super::{
    api::Api,
    fault::Fault,
    models::{SIZE, Served},
    wire::{Picture, Pictures},
};
use crate::{
    engine::{Artifact, EngineError, RunContext, Update},
    engines::picture,
};

/// Largest answer for one picture, in bytes: the largest that the hub takes, in base64.
const MAX_ANSWER: usize = media::MAX_BYTES / 3 * 4 + 64 * 1_024;

/// Makes the pictures of a recipe. Where they have seeds, they are made one by one, so that each has its own; else those
/// that a server leaves out are asked for again.
pub async fn paint(
    api: &Api,
    served: &Served,
    recipe: &Recipe,
    context: &RunContext,
) -> Result<Vec<Artifact>, EngineError> {
    let count = recipe.count().max(1);
    let original = picture::bytes(recipe, input::IMAGE, context).await?;
    let mut made = Vec::new();
    while made.len() < count as usize {
        let missing = count - made.len() as u32;
        let seed = served.spec.takes(input::SEED).then(|| recipe.seed().wrapping_add(made.len() as u32));
        let wanted = if seed.is_some() { 1 } else { missing };
        let fields = fields(served, recipe, wanted, seed);
        let pictures = ask(api, fields, original.clone(), wanted).await?;
        if pictures.len() > wanted as usize {
            tracing::warn!(
                asked = wanted,
                came = pictures.len(),
                "the model server gives more pictures than asked"
            );
        }
        for picture in pictures.into_iter().take(wanted as usize) {
            made.push(artifact(fetch(api, picture).await?).await?);
            (context.updates)(Update::Progress { done: made.len() as f32 / count as f32, preview: None });
        }
    }
    Ok(made)
}

async fn ask(
    api: &Api,
    fields: Map<String, Value>,
    original: Option<Bytes>,
    wanted: u32,
) -> Result<Vec<Picture>, Fault> {
    let response = match original {
        None => api.post("images/generations", &Value::Object(fields)).await?,
        Some(original) => api.post_form("images/edits", form(fields, original)?).await?,
    };
    let pictures: Pictures = api.json(response, MAX_ANSWER * wanted as usize).await?;
    match pictures.data.unwrap_or_default() {
        none if none.is_empty() => {
            Err(Fault::Broken("the model server answers without a picture".to_owned()))
        }
        some => Ok(some),
    }
}

fn fields(served: &Served, recipe: &Recipe, wanted: u32, seed: Option<u32>) -> Map<String, Value> {
    let mut fields = served.extra.clone();
    let mut set = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    set("model", served.id.as_str().into());
    set("prompt", recipe.prompt.text().into());
    set("n", wanted.into());
    let size = recipe.size().map(|(width, height)| format!("{width}x{height}"));
    if let Some(size) = size.or_else(|| recipe.text(SIZE).map(str::to_owned)) {
        set("size", size.into());
    }
    if let Some(seed) = seed {
        set("seed", seed.into());
    }
    if let Some(not) = recipe.text(input::NEGATIVE_PROMPT).filter(|not| !not.is_empty()) {
        set("negative_prompt", not.into());
    }
    fields
}

fn form(fields: Map<String, Value>, original: Bytes) -> Result<Form, Fault> {
    let length = original.len() as u64;
    let part = Part::stream_with_length(original, length).file_name("image.png").mime_str("image/png");
    let part = part.map_err(|error| Fault::Broken(format!("the picture cannot be sent: {error}")))?;
    let texts = fields.into_iter().map(|(name, value)| match value {
        Value::String(text) => (name, text),
        value => (name, value.to_string()),
    });
    Ok(texts.fold(Form::new().part("image", part), |form, (name, text)| form.text(name, text)))
}

async fn fetch(api: &Api, picture: Picture) -> Result<Bytes, Fault> {
    let inline = |text: &str| {
        BASE64_STANDARD.decode(text.trim()).map(Bytes::from).map_err(|error| {
            Fault::Broken(format!("the model server gives a picture that is no base64: {error}"))
        })
    };
    match (picture.b64_json, picture.url) {
        (Some(text), _) => inline(&text),
        (None, Some(url)) if url.starts_with("data:") => {
            inline(url.split_once(',').map_or("", |(_, text)| text))
        }
        (None, Some(url)) => api.download(&url, media::MAX_BYTES).await,
        (None, None) => {
            Err(Fault::Broken("the model server gives a picture with neither b64_json nor url".to_owned()))
        }
    }
}

/// A picture that the hub will take.
async fn artifact(bytes: Bytes) -> Result<Artifact, Fault> {
    let broken = |why| Fault::Broken(format!("the model server gives a picture that is none: {why}"));
    picture::checked(bytes).await.map_err(broken)
}
