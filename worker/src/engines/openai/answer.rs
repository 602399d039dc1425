//! An answer while it grows: text, thoughts, refusals, and how it ended.

use riff_hub::media::MAX_TEXT_BYTES;
use serde_json::Value;

use super::{
    fault::Fault,
    wire::{Chunk, Complaint, Timings, Usage},
};
use crate::{engines::language::Stream, http::quoted};

/// What follows from a part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// There is new text.
    Text,
    /// There are new thoughts, which are not shown.
    Thought,
    /// Nothing new to see.
    Nothing,
    /// Nothing more is wanted: the stream has ended, or a stop string was seen.
    End,
}

/// An answer so far.
pub struct Answer {
    text: Stream,
    bytes: usize,
    thoughts: usize,
    finish: Option<String>,
    /// Parts with text or thoughts: a token or more each.
    pub parts: u32,
    /// Tokens, where the server counts them.
    pub usage: Option<Usage>,
    /// What the server measured, where it does.
    pub timings: Option<Timings>,
}

impl Answer {
    /// An empty one that ends before the first of the stop strings.
    pub fn new(stops: Vec<String>) -> Self {
        let text = Stream::new(stops);
        Self { text, bytes: 0, thoughts: 0, finish: None, parts: 0, usage: None, timings: None }
    }

    /// Takes the data of an event, or the body of an answer that was not streamed.
    pub fn take(&mut self, data: &str) -> Result<Step, Fault> {
        if data.trim() == "[DONE]" {
            return Ok(Step::End);
        }
        let unreadable = |error: serde_json::Error| {
            Fault::Broken(format!("a part of the answer cannot be read ({error}): {}", quoted(data)))
        };
        let value: Value = serde_json::from_str(data).map_err(unreadable)?;
        if let Some(said) = Complaint::read(&value) {
            return Err(Fault::in_stream(&said));
        }
        let chunk: Chunk = serde_json::from_value(value).map_err(unreadable)?;
        self.usage = chunk.usage.or(self.usage);
        self.timings = chunk.timings.or(self.timings);
        let mut step = Step::Nothing;
        for choice in chunk.choices.unwrap_or_default().into_iter().take(1) {
            self.finish = choice.finish_reason.filter(|reason| !reason.is_empty()).or(self.finish.take());
            let Some(delta) = choice.delta else { continue };
            let thought =
                [delta.reasoning_content, delta.reasoning].into_iter().flatten().map(|text| text.len()).max();
            let thought = thought.unwrap_or(0);
            self.thoughts += thought;
            // A refusal is what the model has to say; members read it like any answer.
            let new = [delta.content, delta.refusal].into_iter().flatten().collect::<String>();
            self.bytes += new.len();
            self.text.push(new.as_bytes());
            step = match (new.is_empty(), thought) {
                (false, _) => Step::Text,
                (true, 1..) => Step::Thought,
                (true, 0) => Step::Nothing,
            };
        }
        self.parts += u32::from(matches!(step, Step::Text | Step::Thought));
        if self.bytes > MAX_TEXT_BYTES {
            return Err(Fault::Broken(format!(
                "the answer does not end: it has more than {MAX_TEXT_BYTES} bytes"
            )));
        }
        Ok(if self.text.stopped() { Step::End } else { step })
    }

    /// The text that may be shown.
    pub fn shown(&self) -> &str {
        self.text.shown()
    }

    /// The whole text.
    ///
    /// # Errors
    /// [`Fault`] if it was cut off on its way, held back by the server, or never came.
    pub fn finish(self) -> Result<String, Fault> {
        let finish = self.finish.as_deref();
        if finish.is_none() && !self.text.stopped() {
            return Err(Fault::Broken(
                "the answer was cut off: the model server ended it without a reason".to_owned(),
            ));
        }
        if finish == Some("content_filter") {
            return Err(Fault::Refused(
                "The model server's content filter held the answer back: ask for something else.".to_owned(),
            ));
        }
        let text = self.text.finish();
        if text.is_empty() && self.thoughts > 0 && finish == Some("length") {
            return Err(Fault::Refused(
                "The model thought until the length was used up and did not answer: ask for a longer answer, as in \
                 “--max 2000”."
                    .to_owned(),
            ));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(content: &str, finish: &str) -> String {
        let finish = if finish.is_empty() { Value::Null } else { finish.into() };
        serde_json::json!({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]})
            .to_string()
    }

    fn answer(stops: &[&str], parts: &[String]) -> Result<String, String> {
        let mut answer = Answer::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        for part in parts {
            if answer.take(part).map_err(|fault| format!("{fault:?}"))? == Step::End {
                break;
            }
        }
        answer.finish().map_err(|fault| format!("{fault:?}"))
    }

    #[test]
    fn parts_join_and_a_length_that_is_used_up_is_an_end() {
        let done = "[DONE]".to_owned();
        assert_eq!(answer(&[], &[part("a ", ""), part("fox", ""), part("", "stop"), done]).unwrap(), "a fox");
        assert_eq!(answer(&[], &[part("a ", ""), part("fo", "length")]).unwrap(), "a fo");
    }

    #[test]
    fn a_stop_string_that_the_server_ignores_still_ends_it() {
        assert_eq!(answer(&["END"], &[part("a E", ""), part("ND b", ""), part("never", "")]).unwrap(), "a ");
    }

    #[test]
    fn a_refusal_is_the_answer() {
        let refusal =
            r#"{"choices": [{"delta": {"refusal": "I will not."}, "finish_reason": "stop"}]}"#.to_owned();
        assert_eq!(answer(&[], &[refusal]).unwrap(), "I will not.");
    }

    #[test]
    fn thoughts_are_no_answer() {
        let think = |finish: &str| {
            format!(
                r#"{{"choices": [{{"delta": {{"reasoning": "hm", "reasoning_content": "hm"}}, "finish_reason": {finish}}}]}}"#
            )
        };
        assert_eq!(answer(&[], &[think("null"), part("4", "stop")]).unwrap(), "4");
        let refused = answer(&[], &[think("null"), think("\"length\"")]).unwrap_err();
        assert!(refused.starts_with("Refused") && refused.contains("--max"), "{refused}");
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let cut = answer(&[], &[part("half", "")]).unwrap_err();
        assert!(cut.starts_with("Broken") && cut.contains("cut off"), "{cut}");
        let filtered = answer(&[], &[part("", "content_filter")]).unwrap_err();
        assert!(filtered.starts_with("Refused"), "{filtered}");
        let memory =
            answer(&[], &[r#"{"error": {"message": "CUDA out of memory. Tried…", "code": 500}}"#.to_owned()]);
        assert!(memory.unwrap_err().starts_with("Memory"));
        let vllm = r#"{"object": "error", "message": "maximum context length is 8", "code": 400}"#.to_owned();
        assert!(answer(&[], &[vllm]).unwrap_err().starts_with("TooLong"));
        let garbage = answer(&[], &["<html>".to_owned()]).unwrap_err();
        assert!(garbage.starts_with("Broken") && garbage.contains("<html>"), "{garbage}");
    }
}
