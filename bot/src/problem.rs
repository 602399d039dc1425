//! Refusals as `application/problem+json` (RFC 9457).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use riff_hub::{admission::Refusal, blobs::BlobError, hub::WorkError, media::BadMedia, store::StoreError};
use serde_json::json;

/// A refusal on its way to a program.
#[derive(Debug)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Short stable name, the end of `type`.
    pub code: &'static str,
    /// The sentence.
    pub detail: String,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem without a time to retry.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("/problems/{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Refused"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::TooFast { .. } | Refusal::ChannelTooFast { .. } | Refusal::TooManyWaiting { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Refusal::Quota { .. } => StatusCode::PAYMENT_REQUIRED,
            Refusal::NotYours { .. }
            | Refusal::Restricted { .. }
            | Refusal::PausedChannel { .. }
            | Refusal::ClosedChannel { .. }
            | Refusal::PausedModel { .. }
            | Refusal::MatureModel { .. }
            | Refusal::FlaggedPicture { .. } => StatusCode::FORBIDDEN,
            Refusal::TooLate { .. } => StatusCode::CONFLICT,
            Refusal::Missing(_) => StatusCode::NOT_FOUND,
            Refusal::Unavailable(_) | Refusal::Overloaded { .. } | Refusal::CommunityOverloaded { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self { status, code: refusal.code(), detail: refusal.to_string(), retry_after: refusal.retry_after() }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<WorkError> for Problem {
    fn from(error: WorkError) -> Self {
        let detail = error.to_string();
        let (status, code) = match &error {
            WorkError::Protocol(_) => (StatusCode::BAD_REQUEST, "protocol"),
            WorkError::Spec { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad-model"),
            WorkError::Unknown(_) => (StatusCode::CONFLICT, "unknown-worker"),
            WorkError::Media { source: BadMedia::TooLarge { .. }, .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too-large")
            }
            WorkError::Media { .. } | WorkError::TooMany { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "bad-output")
            }
            WorkError::Store(StoreError::LeaseLost { .. }) => (StatusCode::CONFLICT, "lease-lost"),
            WorkError::Store(StoreError::Missing(_)) => (StatusCode::UNPROCESSABLE_ENTITY, "missing"),
            WorkError::Store(_) | WorkError::Blobs(_) => {
                tracing::error!(%error, "a worker's call failed");
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
        };
        Self::new(status, code, detail)
    }
}
