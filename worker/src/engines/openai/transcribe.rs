//! Speech to text: <https://platform.openai.com/docs/api-reference/audio/createTranscription>.

use reqwest12::multipart::{Form, Part};
use riff_hub::{model::input, recipe::Recipe};
use serde_json::{Map, Value, json};

use super::{api::Api, fault::Fault, models::Served, wire::Transcript};
use crate::{
    engine::{EngineError, RunContext, Update},
    engines::sound,
};

/// The input with words that come before the sound, or that are spelt in a way of their own.
pub const HINT: &str = "hint";
/// The input with the language that is spoken.
pub const LANGUAGE: &str = "language";
/// Largest answer, in bytes: the words, and with some servers when each was said.
const MAX_ANSWER: usize = 16 << 20;

/// The inputs of a model that transcribes.
pub fn inputs() -> Map<String, Value> {
    let inputs = json!({
        input::AUDIO: {"type": "string", "title": "Sound", "description": "The sound with the speech.", "x-media": "audio",
                       "x-required": true, "default": "", "x-order": 1},
        LANGUAGE: {"type": "string", "title": "Language", "description": "What is spoken, such as en; found out, if left out.",
                   "maxLength": 16, "default": "", "x-order": 2},
        HINT: {"type": "string", "title": "Hint", "description": "Names and words as they are spelt, or what came before.",
               "maxLength": 1_000, "default": "", "x-order": 3},
        "temperature": {"type": "number", "title": "Temperature", "description": "How freely it guesses.", "minimum": 0,
                        "maximum": 1, "default": 0, "x-order": 4},
    });
    inputs.as_object().cloned().unwrap_or_default()
}

/// Writes down what is said in the sound that a recipe names. What the prompt says goes to nobody: the API has no place for
/// a question.
pub async fn write(
    api: &Api,
    served: &Served,
    recipe: &Recipe,
    context: &RunContext,
) -> Result<String, EngineError> {
    let named = sound::named(recipe, input::AUDIO, context).await?;
    let (bytes, container) = named.ok_or_else(|| {
        EngineError::Input("the model needs a sound: give one with --audio, or use /transcribe".to_owned())
    })?;
    let length = bytes.len() as u64;
    let file = Part::stream_with_length(bytes, length).file_name(format!("sound.{}", container.extension()));
    let file = file.mime_str(container.media_type());
    let file = file.map_err(|error| Fault::Broken(format!("the sound cannot be sent: {error}")))?;
    let fields = fields(served, recipe);
    let form = fields.into_iter().fold(Form::new(), |form, (name, text)| form.text(name, text));
    let response = api.post_form("audio/transcriptions", form.part("file", file)).await?;
    let transcript: Transcript = api.json(response, MAX_ANSWER).await?;
    let text = transcript.text.trim().to_owned();
    if text.is_empty() {
        return Err(EngineError::Input("nothing is said in the sound, as far as the model hears".to_owned()));
    }
    (context.updates)(Update::Text { done: 1.0, text: text.clone() });
    Ok(text)
}

fn fields(served: &Served, recipe: &Recipe) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = served
        .extra
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    fields.push(("model".to_owned(), served.id.clone()));
    fields.push(("response_format".to_owned(), "json".to_owned()));
    for (input, field) in [(LANGUAGE, "language"), (HINT, "prompt")] {
        if let Some(text) = recipe.text(input).filter(|text| !text.is_empty()) {
            fields.push((field.to_owned(), text.to_owned()));
        }
    }
    if let Some(temperature) = recipe.params.get("temperature").and_then(Value::as_f64) {
        fields.push(("temperature".to_owned(), temperature.to_string()));
    }
    fields
}
