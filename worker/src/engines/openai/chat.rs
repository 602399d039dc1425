//! A conversation with a language model: <https://platform.openai.com/docs/api-reference/chat/create>.

use std::time::{Duration, Instant};

use riff_hub::{model::input, recipe::Recipe};
use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, Step},
    api::{Api, kind},
    cost::Measured,
    events::Events,
    fault::Fault,
    models::Served,
};
use crate::{
    engine::{EngineError, RunContext, Update},
    engines::{
        language::{DEFAULT_TEMPERATURE, DEFAULT_TOP_P, Question, TEMPERATURE, TOP_P, Turn},
        picture,
    },
};

/// Most stop strings that the API takes. The answer is cut at all of them here, too.
const MAX_STOPS: usize = 4;
/// Largest answer that is not streamed, in bytes.
const MAX_WHOLE: usize = 8 * 1_024 * 1_024;

/// Answers a recipe; gives the text and what it took. Where the conversation is too long for the model, the older half of
/// what was said before is forgotten, as often as it takes.
pub async fn answer(
    api: &Api,
    served: &Served,
    recipe: &Recipe,
    context: &RunContext,
) -> Result<(String, Option<Measured>), EngineError> {
    let mut question = Question::read(recipe, served.max_tokens)?;
    question.stops.retain(|stop| !stop.is_empty());
    let picture = picture::bytes(recipe, input::IMAGE, context).await?;
    let picture = picture.map(|bytes| picture::data_url(&bytes, "image/png"));
    loop {
        let body = body(served, recipe, &question, picture.as_deref());
        match attempt(api, &body, &question, context).await {
            Err(Fault::TooLong(_)) if question.forget() => {}
            outcome => return Ok(outcome?),
        }
    }
}

async fn attempt(
    api: &Api,
    body: &Value,
    question: &Question,
    context: &RunContext,
) -> Result<(String, Option<Measured>), Fault> {
    let started = Instant::now();
    let response = api.post("chat/completions", body).await?;
    let mut answer = Answer::new(question.stops.clone());
    let kind = kind(&response);
    if kind.starts_with("application/json") {
        let whole: Value = api.json(response, MAX_WHOLE).await?;
        answer.take(&whole.to_string())?;
        let measured = Measured::of(&answer, started.elapsed(), Duration::ZERO);
        return Ok((answer.finish()?, measured));
    }
    if !kind.starts_with("text/event-stream") {
        return Err(Fault::Down(format!(
            "the model server answers with {kind} where a stream of events was asked for: is `url` the address of the \
             API? It mostly ends in /v1"
        )));
    }
    let mut events = Events::new(api.bytes(response));
    let mut first = None;
    while let Some(data) = events.next().await? {
        let step = answer.take(&data)?;
        if matches!(step, Step::Text | Step::Thought) {
            first.get_or_insert_with(|| started.elapsed());
            tell(context, &answer, &step, question.max_tokens);
        }
        if step == Step::End {
            break;
        }
    }
    let before = first.unwrap_or_default();
    let measured = Measured::of(&answer, before, started.elapsed().saturating_sub(before));
    Ok((answer.finish()?, measured))
}

fn tell(context: &RunContext, answer: &Answer, step: &Step, most: u32) {
    let done = (answer.parts as f32 / most as f32).min(1.0);
    (context.updates)(match step {
        Step::Text => Update::Text { done, text: answer.shown().to_owned() },
        _ => Update::Progress { done, preview: None },
    });
}

fn body(served: &Served, recipe: &Recipe, question: &Question, picture: Option<&str>) -> Value {
    let mut body: Map<String, Value> = served.extra.clone();
    let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    set("model", served.id.as_str().into());
    set("messages", messages(&question.turns, picture));
    set("stream", true.into());
    set("stream_options", json!({"include_usage": true}));
    set("max_tokens", question.max_tokens.into());
    if served.spec.takes("seed") {
        // llama.cpp takes the highest seed for none.
        set("seed", (recipe.seed() % u32::MAX).into());
    }
    for (name, default) in [(TEMPERATURE, DEFAULT_TEMPERATURE), (TOP_P, DEFAULT_TOP_P)] {
        if served.spec.takes(name) {
            set(name, recipe.number(name).unwrap_or(default).into());
        }
    }
    if !question.stops.is_empty() {
        set("stop", json!(question.stops.iter().take(MAX_STOPS).collect::<Vec<_>>()));
    }
    Value::Object(body)
}

/// The turns; a picture goes with the last.
fn messages(turns: &[Turn], picture: Option<&str>) -> Value {
    let mut messages = json!(turns);
    if let (Some(url), Some(last)) = (picture, messages.as_array_mut().and_then(|all| all.last_mut())) {
        let text = last["content"].take();
        last["content"] =
            json!([{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]);
    }
    messages
}
