//! Answering: a prompt is taken in, and the answer grows word by word. Several answers grow together, each as it would
//! alone: what costs most, reading the weights, is done once for all of them.

use super::{Language, failed, llama::Memory, request::Request};
use crate::{
    engine::{EngineError, RunContext, Update},
    engines::language::Stream,
};

/// Tokens of a prompt that are taken in at once.
const CHUNK: usize = 32;

/// An answer that grows.
struct Answer<'a> {
    /// Its place among those that grow together.
    place: usize,
    request: &'a Request,
    context: &'a RunContext,
    memory: Memory,
    logits: Vec<f32>,
    stream: Stream,
    shown: usize,
    position: usize,
    /// Most tokens.
    most: usize,
}

/// Answers requests, each with its own outcome.
pub(super) fn all(language: &Language, runs: &[(Request, RunContext)]) -> Vec<Result<String, EngineError>> {
    let mut outcomes: Vec<Result<String, EngineError>> =
        runs.iter().map(|_| Err(EngineError::Cancelled)).collect();
    let mut growing = Vec::new();
    for (place, (request, context)) in runs.iter().enumerate() {
        match Answer::begin(language, place, request, context) {
            Ok(answer) => growing.push(answer),
            Err(error) => outcomes[place] = Err(error),
        }
    }
    while !growing.is_empty() {
        let mut next = Vec::new();
        for mut answer in growing.drain(..) {
            match answer.step(language) {
                Some(token) if !answer.context.cancel.is_cancelled() => next.push((answer, token)),
                Some(_) => {}
                None => outcomes[answer.place] = Ok(answer.stream.finish()),
            }
        }
        match grow(language, &mut next) {
            Ok(()) => growing = next.into_iter().map(|(answer, _)| answer).collect(),
            Err(error) => next.iter().for_each(|(answer, _)| outcomes[answer.place] = Err(error.clone())),
        }
    }
    outcomes
}

/// Takes in the next token of each answer.
fn grow(language: &Language, next: &mut [(Answer<'_>, u32)]) -> Result<(), EngineError> {
    if next.is_empty() {
        return Ok(());
    }
    let contexts: Vec<&RunContext> = next.iter().map(|(answer, _)| answer.context).collect();
    let wanted = || contexts.iter().any(|context| !context.cancel.is_cancelled());
    let mut parts: Vec<(&[u32], &mut Memory)> =
        next.iter_mut().map(|(answer, token)| (std::slice::from_ref(&*token), &mut answer.memory)).collect();
    let logits =
        language.llama.forward(&mut parts, &wanted).map_err(failed)?.ok_or(EngineError::Cancelled)?;
    for ((answer, _), logits) in next.iter_mut().zip(logits) {
        answer.logits = logits;
    }
    Ok(())
}

impl<'a> Answer<'a> {
    /// Takes in the prompt.
    fn begin(
        language: &Language,
        place: usize,
        request: &'a Request,
        context: &'a RunContext,
    ) -> Result<Self, EngineError> {
        let capacity = language.llama.shape.context;
        let most = request.max_tokens.min(capacity / 2);
        let prompt = language.chat.fit(&language.tokens, &request.turns, capacity - most)?;
        let mut memory = language.llama.memory();
        let mut logits = Vec::new();
        let wanted = || !context.cancel.is_cancelled();
        for chunk in prompt.chunks(CHUNK) {
            let after = language.llama.forward(&mut [(chunk, &mut memory)], &wanted).map_err(failed)?;
            logits = after.ok_or(EngineError::Cancelled)?.remove(0);
        }
        let stream = Stream::new(request.stops.clone());
        Ok(Self { place, request, context, memory, logits, stream, shown: 0, position: 0, most })
    }

    /// Chooses the next token and shows it; `None` at the end.
    fn step(&mut self, language: &Language) -> Option<u32> {
        if self.position == self.most {
            return None;
        }
        let token = self.request.sampler.choose(&self.logits, self.position as u32);
        if language.tokens.ends(token) {
            return None;
        }
        self.stream.push(language.tokens.bytes(token));
        self.position += 1;
        let text = self.stream.shown();
        if text.len() > self.shown {
            self.shown = text.len();
            let done = self.position as f32 / self.most as f32;
            (self.context.updates)(Update::Text { done, text: text.to_owned() });
        }
        (!self.stream.stopped() && self.position < self.most).then_some(token)
    }
}
