//! A job: one execution of a recipe, and the states it goes through.

use serde::{Deserialize, Serialize};

use crate::{canonical::Digest, recipe::RecipeId, safety::Finding, seam::Millis};

/// Where a job stands.
///
/// ```text
/// queued ─▶ leased ─▶ running ─▶ succeeded
///   ▲ │        │         │
///   │ │        └────┬────┤  (lease lost or attempt failed: back to queued, or failed after the last attempt)
///   └─┼─────────────┘    ├─▶ failed
///     ├─▶ expired        └─▶ cancelled (from every state that is not final)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for a worker. Goes to leased, cancelled or expired.
    Queued,
    /// A worker has it and has not reported yet. Goes to running, succeeded, failed, cancelled, or back to queued, also
    /// when the worker gives it back.
    Leased,
    /// A worker reports on it. Goes to succeeded, failed, cancelled, or back to queued when its lease is lost.
    Running,
    /// Final: outputs are stored, cost settled, posts recorded.
    Succeeded,
    /// Final: its last attempt failed, or the failure was one that another attempt would repeat. Refunded.
    Failed,
    /// Final: the member or a moderator cancelled it. Refunded.
    Cancelled,
    /// Final: nobody served it in time. Refunded.
    Expired,
}

impl State {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Leased | Self::Running)
    }

    /// Whether a worker holds it.
    pub fn is_held(self) -> bool {
        matches!(self, Self::Leased | Self::Running)
    }

    /// The word for it, as stored and as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl TryFrom<String> for State {
    type Error = serde_json::Error;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        serde_json::from_value(word.into())
    }
}

/// Priority lanes: a lower one is served first whatever the tags say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Before everything else.
    Turbo = 0,
    /// The ordinary lane.
    Fast = 1,
    /// When nothing else waits.
    Relaxed = 2,
}

impl Lane {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Turbo => "turbo",
            Self::Fast => "fast",
            Self::Relaxed => "relaxed",
        }
    }
}

/// A job as the store knows it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Job {
    /// ULID.
    pub id: String,
    /// What it runs.
    #[sqlx(try_from = "String")]
    pub recipe: RecipeId,
    /// The model version that runs it.
    #[sqlx(try_from = "String")]
    pub model: Digest,
    /// Who asked.
    pub member: String,
    /// Where.
    pub channel: String,
    /// Where it stands.
    #[sqlx(try_from = "String")]
    pub state: State,
    /// Priority lane, see [`Lane`].
    pub lane: i64,
    /// Start tag of start-time fair queueing.
    pub start_tag: i64,
    /// Finish tag.
    pub finish_tag: i64,
    /// Expected cost, in milliseconds of the device.
    pub estimate_ms: i64,
    /// Leases so far; the fence against late results.
    pub attempt: i64,
    /// How many of them were given back unused.
    pub returned: i64,
    /// Not leased before then (back-off).
    pub not_before: Millis,
    /// Given up if nobody leased it by then.
    pub expires_at: Millis,
    /// The worker that holds or held it.
    pub worker: Option<String>,
    /// When its lease is lost without a report.
    pub lease_until: Option<Millis>,
    /// When it was enqueued.
    pub created_at: Millis,
    /// When it was last leased.
    pub leased_at: Option<Millis>,
    /// When it reached a final state.
    pub finished_at: Option<Millis>,
    /// Measured cost, in milliseconds of the device.
    pub cost_ms: Option<i64>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Shown to its member alone: asked for privately, or taken down by a moderator.
    pub private: bool,
    /// The surface's own note on how to answer; nothing here reads it.
    pub reply: Option<String>,
}

impl Job {
    /// Attempts at it so far.
    pub fn tries(&self) -> i64 {
        self.attempt - self.returned
    }
}

/// One stored result of a job.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Output {
    /// Which result, from 0.
    pub idx: i64,
    /// Its blob.
    #[sqlx(try_from = "String")]
    pub blob: Digest,
    /// Media type of the blob.
    pub media_type: String,
    /// Size of the blob.
    pub bytes: i64,
    /// Width in pixels, for pictures.
    pub width: Option<i64>,
    /// Height in pixels, for pictures.
    pub height: Option<i64>,
    /// What the safety classifier saw, a JSON list of [`Finding`]; nothing where none looked.
    pub safety: Option<String>,
}

impl Output {
    /// What the safety classifier saw.
    pub fn findings(&self) -> Vec<Finding> {
        self.safety.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}
