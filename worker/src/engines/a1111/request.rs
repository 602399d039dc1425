//! A recipe as a request, and an answer as pictures.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use riff_hub::{model::input, recipe::Recipe};
use serde_json::{Map, Value, json};

use super::{
    model::{LORAS, Model, NONE, Task},
    settings::Settings,
};
use crate::{
    engine::{Artifact, EngineError, Files},
    engines::picture,
};

/// What a request is made of; the settings may not set it.
pub const OURS: [&str; 20] = [
    "prompt",
    "negative_prompt",
    "seed",
    "steps",
    "cfg_scale",
    "width",
    "height",
    "sampler_name",
    "sampler_index",
    "scheduler",
    "n_iter",
    "batch_size",
    "init_images",
    "mask",
    "denoising_strength",
    "force_task_id",
    "send_images",
    "save_images",
    "infotext",
    "script_name",
];
/// Most pictures that an answer may have; what is beyond is nobody's wish.
const MAX_PICTURES: usize = 64;

/// How much of what is no picture a message repeats, in characters.
const QUOTED: usize = 60;

/// What to ask for, and where.
pub struct Request {
    /// The call.
    pub path: &'static str,
    /// Its body.
    pub body: Value,
}

/// The request for a recipe, as a task with a name.
///
/// # Errors
/// [`EngineError::Input`] for pictures that are needed and not there, and for a checkpoint that is not.
pub async fn of(
    recipe: &Recipe,
    model: &Model,
    settings: &Settings,
    task: &str,
    files: &dyn Files,
) -> Result<Request, EngineError> {
    let image = base64_of(recipe, input::IMAGE, files).await?;
    if model.task == Task::Upscale {
        return upscale(recipe, image);
    }
    let mut body = settings.own.extra.clone();
    words_and_numbers(recipe, &mut body);
    checkpoint(recipe, model, &mut body)?;
    body.insert("force_task_id".to_owned(), task.into());
    let mask = base64_of(recipe, "mask", files).await?;
    let path = match (image, mask) {
        (None, None) => "sdapi/v1/txt2img",
        (None, Some(_)) => {
            return Err(EngineError::Input(
                "a mask needs a picture that it is of: give one with --image".to_owned(),
            ));
        }
        (Some(image), mask) => {
            body.insert("init_images".to_owned(), json!([image]));
            body.insert("denoising_strength".to_owned(), json!(recipe.number("strength")));
            // Sides that do not fit are cut off, not squeezed.
            body.entry("resize_mode").or_insert(json!(1));
            if let Some(mask) = mask {
                body.insert("mask".to_owned(), mask.into());
                // The masked part begins as what is there.
                body.entry("inpainting_fill").or_insert(json!(1));
            }
            "sdapi/v1/img2img"
        }
    };
    Ok(Request { path, body: body.into() })
}

fn upscale(recipe: &Recipe, image: Option<String>) -> Result<Request, EngineError> {
    let needed = || EngineError::Input("the model needs a picture: give one with --image".to_owned());
    let body = json!({"image": image.ok_or_else(needed)?, "resize_mode": 0,
                      "upscaling_resize": recipe.number("scale"), "upscaler_1": recipe.text("upscaler")});
    Ok(Request { path: "sdapi/v1/extra-single-image", body })
}

fn words_and_numbers(recipe: &Recipe, body: &mut Map<String, Value>) {
    let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    let mut prompt = recipe.prompt.text();
    for (name, weight) in LORAS {
        if let Some(lora) = recipe.text(name).filter(|lora| *lora != NONE) {
            prompt.push_str(&format!(" <lora:{lora}:{}>", recipe.number(weight).unwrap_or(1.0)));
        }
    }
    set("prompt", prompt.into());
    set("negative_prompt", recipe.text(input::NEGATIVE_PROMPT).unwrap_or_default().into());
    set("seed", recipe.seed().into());
    for (key, value) in [
        ("steps", "steps"),
        ("cfg_scale", "guidance"),
        ("width", input::WIDTH),
        ("height", input::HEIGHT),
        ("sampler_name", "sampler"),
        ("scheduler", "scheduler"),
    ] {
        if let Some(value) = recipe.params.get(value) {
            set(key, value.clone());
        }
    }
    // One after the other, and not as one batch: then picture i is the same to the byte as one with seed + i.
    set("n_iter", recipe.count().into());
    set("batch_size", 1.into());
    set("send_images", true.into());
    set("save_images", false.into());
}

/// A checkpoint that the server does not have would be another's picture without a word.
fn checkpoint(recipe: &Recipe, model: &Model, body: &mut Map<String, Value>) -> Result<(), EngineError> {
    let Some(name) = recipe.text("checkpoint") else { return Ok(()) };
    let found = model.checkpoints.iter().find(|checkpoint| checkpoint.model_name == name);
    let found = found.ok_or_else(|| EngineError::Input(format!("the server has no checkpoint {name:?}")))?;
    let settings = body.entry("override_settings").or_insert_with(|| json!({}));
    settings["sd_model_checkpoint"] = found.title.as_str().into();
    // Else the server would load the one before again after each run.
    body.insert("override_settings_restore_afterwards".to_owned(), false.into());
    Ok(())
}

async fn base64_of(recipe: &Recipe, name: &str, files: &dyn Files) -> Result<Option<String>, EngineError> {
    match recipe.text(name).filter(|name| !name.is_empty()) {
        Some(name) => Ok(Some(BASE64_STANDARD.encode(picture::named(name, files).await?))),
        None => Ok(None),
    }
}

/// The pictures of an answer.
///
/// # Errors
/// [`EngineError`] if there are fewer than the recipe asks for, far more, or if they are none; or if they were painted
/// with another checkpoint.
pub async fn pictures(answer: &Value, recipe: &Recipe, model: &Model) -> Result<Vec<Artifact>, EngineError> {
    let info: Value =
        answer["info"].as_str().and_then(|info| serde_json::from_str(info).ok()).unwrap_or_default();
    check_checkpoint(&info, recipe, model)?;
    let (all, first) = match &answer["images"] {
        // A grid of all comes before the first where the server's settings want one.
        Value::Array(images) => (images.clone(), info["index_of_first_image"].as_u64().unwrap_or(0) as usize),
        _ => (vec![answer["image"].clone()], 0),
    };
    let wanted = recipe.count() as usize;
    if all.len() > MAX_PICTURES {
        return Err(EngineError::Input(format!(
            "the server gave {} pictures where {wanted} were asked for",
            all.len()
        )));
    }
    let images: Vec<&str> = all.iter().skip(first).filter_map(Value::as_str).take(wanted).collect();
    if images.len() < wanted {
        return Err(EngineError::Failed(format!(
            "the server gave {} pictures where {wanted} were asked for; somebody may have interrupted it",
            images.len()
        )));
    }
    let mut artifacts = Vec::with_capacity(wanted);
    for (index, image) in images.into_iter().enumerate() {
        let wrong = |what: String| EngineError::Failed(format!("result {} is no picture: {what}", index + 1));
        artifacts.push(picture::checked(decode(image).map_err(wrong)?).await.map_err(wrong)?);
    }
    Ok(artifacts)
}

/// The bytes of base64, with or without the head of a data URL before it.
pub fn decode(image: &str) -> Result<bytes::Bytes, String> {
    let data =
        if image.starts_with("data:") { image.split_once(',').map_or("", |(_, data)| data) } else { image };
    let bytes = BASE64_STANDARD.decode(data.trim());
    bytes.map(Into::into).map_err(|error| {
        let begin: String = image.chars().take(QUOTED).collect();
        format!("{begin:?} is no base64 ({error})")
    })
}

fn check_checkpoint(info: &Value, recipe: &Recipe, model: &Model) -> Result<(), EngineError> {
    let wanted = model
        .checkpoints
        .iter()
        .find(|checkpoint| Some(checkpoint.model_name.as_str()) == recipe.text("checkpoint"));
    let (Some(hash), Some(used)) =
        (wanted.and_then(|wanted| wanted.hash.as_deref()), info["sd_model_hash"].as_str())
    else {
        return Ok(());
    };
    match used.is_empty() || hash.starts_with(used) || used.starts_with(hash) {
        true => Ok(()),
        false => Err(EngineError::Failed(format!(
            "the server painted with the checkpoint {:?} and not with that which was asked for",
            info["sd_model_name"].as_str().unwrap_or(used)
        ))),
    }
}
