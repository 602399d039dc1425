//! A streamed answer as events, within limits: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::pin::Pin;

use bytes::Bytes;
use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures::{Stream, StreamExt};

use super::fault::Fault;

/// Longest line of a stream, in bytes.
const MAX_LINE: usize = 1_024 * 1_024;
/// Longest stream, in bytes. A token takes some 300 bytes on its way: these are about 200,000 tokens.
const MAX_STREAM: usize = 64 * 1_024 * 1_024;

/// The events of an answer.
pub struct Events(Pin<Box<dyn Stream<Item = Result<Event, EventStreamError<Fault>>> + Send>>);

impl Events {
    /// Reads bytes as they come. Comments, which servers send to show that they are alive, are left out.
    pub fn new(bytes: impl Stream<Item = Result<Bytes, Fault>> + Send + 'static) -> Self {
        let mut meter = Meter::default();
        let metered = bytes.map(move |chunk| chunk.and_then(|bytes| meter.pass(bytes)));
        Self(Box::pin(metered.eventsource()))
    }

    /// The data of the next event; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<String>, Fault> {
        match self.0.next().await {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event.data)),
            Some(Err(EventStreamError::Transport(fault))) => Err(fault),
            Some(Err(EventStreamError::Utf8(error))) => {
                Err(Fault::Broken(format!("the answer is not UTF-8: {error}")))
            }
            Some(Err(EventStreamError::Parser(_))) => {
                Err(Fault::Broken("the answer is no stream of events".to_owned()))
            }
        }
    }
}

/// Counts what passes.
#[derive(Default)]
struct Meter {
    all: usize,
    line: usize,
}

impl Meter {
    fn pass(&mut self, bytes: Bytes) -> Result<Bytes, Fault> {
        self.all += bytes.len();
        self.line = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => bytes.len() - end - 1,
            None => self.line + bytes.len(),
        };
        match (self.all > MAX_STREAM, self.line > MAX_LINE) {
            (true, _) => Err(endless(MAX_STREAM, "bytes in all")),
            (_, true) => Err(endless(MAX_LINE, "bytes in a line")),
            _ => Ok(bytes),
        }
    }
}

fn endless(limit: usize, what: &str) -> Fault {
    Fault::Broken(format!("the answer does not end: it has more than {limit} {what}"))
}
