//! Models that Cog packs, wherever they run: what the engines in front of Cog servers (`cog`) and of Replicate's API
//! (`replicate`) share. An OpenAPI document becomes a model, a recipe its inputs, and a prediction's output results.
//!
//! It sends nothing. How files get there and back is each engine's own: [`input::Carry`] and [`output::Fetch`].

pub mod input;
pub mod model;
pub mod openapi;
pub mod output;
pub mod progress;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::is_out_of_memory;
use crate::{engine::EngineError, http};

/// A prediction, in answers and in reports: <https://cog.run/http/>, <https://replicate.com/docs/reference/http>.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct Prediction {
    /// `starting`, `processing`, `succeeded`, `failed`, `canceled` or `aborted`.
    pub status: String,
    /// What it gave, or gave so far.
    pub output: Value,
    /// Why it failed.
    #[serde(deserialize_with = "reason")]
    pub error: Option<String>,
    /// What it printed.
    pub logs: Option<String>,
}

impl Prediction {
    /// Whether nothing follows any more.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "succeeded" | "failed" | "canceled" | "aborted")
    }

    /// The output of one that ended.
    ///
    /// # Errors
    /// Saying why there is none.
    pub fn outcome(self) -> Result<Value, EngineError> {
        let reason = self.error.as_deref().map_or_else(|| "it does not say why".to_owned(), http::quoted);
        match self.status.as_str() {
            "succeeded" => Ok(self.output),
            "canceled" | "aborted" => {
                Err(EngineError::Failed("the prediction was cancelled, and not by this worker".to_owned()))
            }
            "failed" if is_out_of_memory(&reason) => Err(EngineError::OutOfMemory(reason)),
            "failed" => Err(EngineError::Failed(format!("the model failed: {reason}"))),
            other => Err(EngineError::Failed(format!(
                "the prediction ended as {other:?}, where succeeded was expected"
            ))),
        }
    }
}

/// Why a prediction failed, as text: some models have an object there.
fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let reason = Option::<Value>::deserialize(deserializer)?.filter(|reason| !reason.is_null());
    Ok(reason.as_ref().map(output::words))
}
