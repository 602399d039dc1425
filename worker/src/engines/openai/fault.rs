//! What can go wrong with a server, and what that means for the job.

use reqwest12::StatusCode;

use super::wire::Complaint;
use crate::{engine::EngineError, http::quoted};

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nobody is there, or not in time, or not ready, or lets nobody in.
    #[error("{0}")]
    Down(String),
    /// The conversation and its answer have more tokens than the model takes.
    #[error("{0}")]
    TooLong(String),
    /// The server will not do what the recipe asks.
    #[error("{0}")]
    Refused(String),
    /// The device is too small.
    #[error("{0}")]
    Memory(String),
    /// What came is not what was asked for.
    #[error("{0}")]
    Broken(String),
}

impl Fault {
    /// What an answer without success means.
    pub fn of_status(status: StatusCode, said: Option<Complaint>) -> Self {
        let words = match &said {
            Some(said) => format!("the model server answers {status}: {}", quoted(&said.message)),
            None => format!("the model server answers {status} and does not say why"),
        };
        match status.as_u16() {
            // Not quoted: some servers repeat the key.
            401 | 403 => Self::Down(format!(
                "the model server answers {status}: it wants another key; set api_key or api_key_env of its section"
            )),
            404 | 405 | 408 | 429 | 502..=504 => Self::Down(words),
            400 | 413 | 422 | 500 => match said {
                Some(said) => Self::of_complaint(&said, words, status.is_client_error()),
                None if status.is_client_error() => Self::Refused(words),
                None => Self::Broken(words),
            },
            _ => Self::Broken(words),
        }
    }

    /// What a complaint in the middle of an answer means.
    pub fn in_stream(said: &Complaint) -> Self {
        let words = format!("the model server broke off: {}", quoted(&said.message));
        Self::of_complaint(said, words, false)
    }

    fn of_complaint(said: &Complaint, words: String, ours: bool) -> Self {
        let message = said.message.to_lowercase();
        let has =
            |signs: &[&str]| signs.iter().any(|sign| message.contains(sign) || said.code.contains(sign));
        // vLLM and OpenAI say "maximum context length", llama.cpp "available context size", LM Studio "context window".
        let long =
            ["context_length", "exceed_context_size", "context length", "context size", "context window"];
        if has(&["out of memory", "outofmemory", "failed to allocate"]) {
            Self::Memory(words)
        } else if has(&long) {
            Self::TooLong(words)
        } else if ours {
            Self::Refused(words)
        } else {
            Self::Broken(words)
        }
    }
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Down(words) => Self::Unavailable(words),
            Fault::TooLong(words) => Self::Input(format!(
                "The prompt is too long for this model: shorten it, or ask for a shorter answer ({words})"
            )),
            Fault::Refused(words) => Self::Input(words),
            Fault::Memory(words) => Self::OutOfMemory(words),
            Fault::Broken(words) => Self::Failed(words),
        }
    }
}
