//! A conversation as the tokens that a model was trained on, by the chat template in its file.
//!
//! Templates see placeholders where members' words go, so that no template can take words for its own marks; what
//! comes out is split at the placeholders and only the template's own text is searched for special tokens.

use candle_core::quantized::gguf_file::Content;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;

use super::{
    file::{Flaw, text},
    tokens::{Piece, Tokens},
};
use crate::{
    engine::EngineError,
    engines::language::{Role, Turn},
};

/// What a template is shown of a [`Turn`].
#[derive(Serialize)]
struct Shown {
    role: Role,
    content: String,
}

/// What most models without a template of their own were trained on.
const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
                      {% endfor %}<|im_start|>assistant\n";
const TEMPLATE: &str = "chat";
/// Private characters around a placeholder's number.
const OPEN: char = '\u{f0000}';
const CLOSE: char = '\u{f0001}';

/// A template.
pub struct Chat {
    templates: Environment<'static>,
}

impl Chat {
    /// The template of a file, or ChatML where it has none.
    pub fn read(content: &Content) -> Result<Self, Flaw> {
        let source = text(content, "tokenizer.chat_template").unwrap_or(CHATML).to_owned();
        let mut templates = Environment::new();
        templates.set_trim_blocks(true);
        templates.set_lstrip_blocks(true);
        templates.add_function("raise_exception", |reason: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason))
        });
        templates
            .add_template_owned(TEMPLATE, source)
            .map_err(|error| Flaw::Broken(format!("its chat template: {error}")))?;
        Ok(Self { templates })
    }

    /// The tokens of a conversation's end, as much of it as fits: the oldest turns are dropped first, never what the
    /// system says and never the last turn.
    ///
    /// # Errors
    /// [`EngineError::Input`] if the last turn alone is too long.
    pub fn fit(&self, tokens: &Tokens, turns: &[Turn], room: usize) -> Result<Vec<u32>, EngineError> {
        let mut kept = turns.to_vec();
        loop {
            let ids = self.encode(tokens, &kept)?;
            if ids.len() <= room {
                return Ok(ids);
            }
            let oldest = usize::from(kept.first().is_some_and(|turn| turn.role == Role::System));
            let spoken = kept.len() - oldest;
            if spoken <= 1 {
                return Err(EngineError::Input(format!(
                    "The prompt is too long: it has {} tokens, and this model takes {room} beside the answer. \
                     Shorten it, or ask for a shorter answer.",
                    ids.len()
                )));
            }
            // A question goes with its answer: models are not trained on conversations that begin with an answer.
            let answered = kept.get(oldest + 1).is_some_and(|turn| turn.role == Role::Assistant);
            kept.drain(oldest..oldest + if answered && spoken > 2 { 2 } else { 1 });
        }
    }

    fn encode(&self, tokens: &Tokens, turns: &[Turn]) -> Result<Vec<u32>, EngineError> {
        let failed =
            |error: String| EngineError::Failed(format!("the conversation cannot be written: {error}"));
        let rendered = self.render(turns).map_err(|error| failed(error.to_string()))?;
        tokens.encode(&pieces(tokens, turns, &rendered)).map_err(failed)
    }

    fn render(&self, turns: &[Turn]) -> Result<String, Error> {
        let messages: Vec<Shown> = turns
            .iter()
            .enumerate()
            .map(|(i, turn)| Shown { role: turn.role, content: format!("{OPEN}{i}{CLOSE}") })
            .collect();
        let template = self.templates.get_template(TEMPLATE)?;
        // Templates that begin with the first token name it; the tokenizer adds it where the file says so.
        template
            .render(context! { messages, add_generation_prompt => true, bos_token => "", eos_token => "" })
    }
}

/// A rendered template with words in their places. Neighbouring texts are one, because that is how a model was trained.
fn pieces(tokens: &Tokens, turns: &[Turn], rendered: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = rendered;
    while let Some(next) = rest.chars().next() {
        if let Some((id, length)) = tokens.special_at(rest) {
            pieces.push(Piece::Special(id));
            rest = &rest[length..];
        } else if let Some((turn, after)) = placeholder(rest, turns) {
            append(&mut pieces, &turn.content);
            rest = after;
        } else {
            append(&mut pieces, &rest[..next.len_utf8()]);
            rest = &rest[next.len_utf8()..];
        }
    }
    pieces
}

fn placeholder<'a, 'b>(text: &'a str, turns: &'b [Turn]) -> Option<(&'b Turn, &'a str)> {
    let (number, after) = text.strip_prefix(OPEN)?.split_once(CLOSE)?;
    Some((turns.get(number.parse::<usize>().ok()?)?, after))
}

fn append(pieces: &mut Vec<Piece>, more: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(text)) => text.push_str(more),
        _ => pieces.push(Piece::Text(more.to_owned())),
    }
}
