//! What servers say, as leniently as they differ: <https://platform.openai.com/docs/api-reference/chat-streaming>,
//! <https://platform.openai.com/docs/api-reference/images/object>,
//! <https://platform.openai.com/docs/api-reference/audio/json-object>, and the additions of
//! [llama.cpp](https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md) and
//! [vLLM](https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html).

use serde::Deserialize;
use serde_json::Value;

/// `GET /models`.
#[derive(Debug, Deserialize)]
pub struct Listing {
    /// Ollama says null for none.
    pub data: Option<Vec<Listed>>,
}

/// A model in a [`Listing`].
#[derive(Debug, Clone, Deserialize)]
pub struct Listed {
    /// What requests name it by.
    pub id: String,
    /// llama.cpp: further names.
    aliases: Option<Value>,
    /// vLLM and SGLang: longest conversation with its answer, in tokens.
    max_model_len: Option<Value>,
    /// llama.cpp: `{"input_modalities": ["text", "image"], …}`.
    architecture: Option<Value>,
}

impl Listed {
    /// Whether requests may name it so. Ollama adds `:latest` to names without a tag.
    pub fn is_called(&self, id: &str) -> bool {
        let aliases = self.aliases.as_ref().and_then(Value::as_array).into_iter().flatten();
        self.id == id
            || self.id.strip_suffix(":latest") == Some(id)
            || aliases.into_iter().any(|alias| alias == id)
    }

    /// Tokens that a conversation and its answer may have, where the server says.
    pub fn context(&self) -> Option<u32> {
        self.max_model_len.as_ref()?.as_u64().filter(|tokens| *tokens > 0)?.try_into().ok()
    }

    /// Whether the server says that it looks at pictures.
    pub fn sees(&self) -> bool {
        let modalities = self.architecture.as_ref().and_then(|it| it.get("input_modalities"));
        modalities.and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == "image"))
    }
}

/// `POST /audio/transcriptions`.
#[derive(Debug, Deserialize)]
pub struct Transcript {
    /// What is said.
    pub text: String,
}

/// A part of a streamed answer, or all of one that is not streamed.
#[derive(Debug, Deserialize)]
pub struct Chunk {
    /// Alternatives; one is asked for. The last part has none.
    pub choices: Option<Vec<Choice>>,
    /// Tokens, in the last part.
    pub usage: Option<Usage>,
    /// llama.cpp: what it took, in the last part.
    pub timings: Option<Timings>,
}

/// One of [`Chunk::choices`].
#[derive(Debug, Deserialize)]
pub struct Choice {
    /// What is new; `message` where nothing is streamed.
    #[serde(alias = "message")]
    pub delta: Option<Delta>,
    /// Why it ended.
    pub finish_reason: Option<String>,
}

/// New text.
#[derive(Debug, Deserialize)]
pub struct Delta {
    /// Of the answer.
    pub content: Option<String>,
    /// Of the thoughts before it: llama.cpp, SGLang and older vLLM.
    pub reasoning_content: Option<String>,
    /// The same: Ollama and newer vLLM.
    pub reasoning: Option<String>,
    /// Of why there is no answer.
    pub refusal: Option<String>,
}

/// Tokens of a run.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Usage {
    /// Of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
}

/// What llama.cpp measured.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Timings {
    /// Milliseconds for the tokens of the conversation that were not remembered.
    pub prompt_ms: f64,
    /// Milliseconds for the answer.
    pub predicted_ms: f64,
    /// Tokens of the answer.
    pub predicted_n: f64,
}

/// `POST /images/generations` and `/images/edits`.
#[derive(Debug, Deserialize)]
pub struct Pictures {
    /// One for each picture.
    pub data: Option<Vec<Picture>>,
}

/// A picture: one of the two.
#[derive(Debug, Deserialize)]
pub struct Picture {
    /// Its bytes in base64.
    pub b64_json: Option<String>,
    /// Where it is.
    pub url: Option<String>,
}

/// What a server says is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// For people.
    pub message: String,
    /// For programs; empty where there is none.
    pub code: String,
}

impl Complaint {
    /// Reads `{"error": {"message", "code", "type"}}`, `{"error": "…"}`, `{"object": "error", "message": "…"}` and
    /// FastAPI's `{"detail": …}`. Nothing for a body that complains of nothing.
    pub fn read(body: &Value) -> Option<Self> {
        let error = body.get("error").filter(|error| !error.is_null());
        let of = error.or_else(|| (body.get("object")? == "error").then_some(body));
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let Some(of) = of else {
            return Some(Self { message: text(body.get("detail")?), code: String::new() });
        };
        let message = of.get("message").map_or_else(|| text(of), text);
        let codes = ["code", "type"].map(|key| of.get(key).and_then(Value::as_str).unwrap_or_default());
        Some(Self { message, code: codes.join(" ").trim().to_owned() })
    }
}
