//! What can go wrong with the API, what that means for the job, and whether it can have cost anything.

use std::time::Duration;

use reqwest12::{StatusCode, header::HeaderMap, header::RETRY_AFTER};
use serde::Deserialize;

use crate::{
    engine::EngineError,
    http::{innermost, quoted},
};

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Too many calls; the API says when to call again, or does not.
    #[error("{words}")]
    Throttled {
        /// How long to wait.
        after: Option<Duration>,
        /// What it says.
        words: String,
    },
    /// The account has no money, or lets nobody in: nothing will go better by itself soon.
    #[error("{0}")]
    Account(String),
    /// There is no such thing, for this account.
    #[error("{0}")]
    Missing(String),
    /// The model will not do what the recipe asks.
    #[error("{0}")]
    Refused(String),
    /// Nobody was reached, or they were not ready.
    #[error("{0}")]
    Down(String),
    /// It is not known whether the call did anything: the answer is missing, or makes no sense.
    #[error("{0}")]
    Unclear(String),
}

/// What the API says of a call that it refuses: <https://replicate.com/docs/reference/http>.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Complaint {
    title: String,
    detail: String,
    invalid_fields: Vec<Invalid>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Invalid {
    field: String,
    description: String,
}

impl Complaint {
    /// What it says of the model's inputs, in words.
    fn of_inputs(&self) -> Option<String> {
        let plain = |field: &str| field.trim_start_matches("input.").to_owned();
        let fields =
            self.invalid_fields.iter().map(|field| format!("{}: {}", plain(&field.field), field.description));
        let fields: Vec<String> = fields.collect();
        if !fields.is_empty() {
            return Some(fields.join("; "));
        }
        let lines = self.detail.lines().map(|line| line.trim_start_matches(['-', ' ']));
        let lines: Vec<String> = lines.filter(|line| line.starts_with("input")).map(plain).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    fn words(&self) -> String {
        let words = match self.title.is_empty() {
            true => self.detail.clone(),
            false => format!("{}: {}", self.title, self.detail),
        };
        quoted(if words.trim().is_empty() { "it does not say why" } else { &words })
    }
}

impl Fault {
    /// What an answer without success means.
    pub fn of_status(status: StatusCode, headers: &HeaderMap, said: &Complaint) -> Self {
        let words = format!("Replicate's API answers {status}: {}", said.words());
        match status.as_u16() {
            // Not quoted: it may repeat the token.
            401 | 403 => Self::Account(format!(
                "Replicate's API answers {status}: set the variable that token_env names to a token that may run the model"
            )),
            402 => Self::Account(format!("the account at Replicate has no credit, buy some there: {words}")),
            404 | 410 => Self::Missing(words),
            429 => Self::Throttled { after: retry_after(headers), words },
            400 | 422 => match said.of_inputs() {
                Some(fields) => Self::Refused(format!("the model refuses its inputs: {}", quoted(&fields))),
                None if status == StatusCode::UNPROCESSABLE_ENTITY => Self::Missing(words),
                None => Self::Refused(words),
            },
            413 => Self::Refused(words),
            503 => Self::Down(words),
            _ => Self::Unclear(words),
        }
    }

    /// What a call means that has no answer.
    pub fn of_call(error: &reqwest12::Error) -> Self {
        match error.is_connect() {
            true => Self::Down(format!("Replicate's API cannot be reached: {}", innermost(error))),
            false if error.is_timeout() => Self::Unclear("Replicate's API did not answer in time".to_owned()),
            false => Self::Unclear(format!("Replicate's API went away: {}", innermost(error))),
        }
    }

    /// Whether it may have begun what it was asked for.
    pub fn may_have_begun(&self) -> bool {
        matches!(self, Self::Unclear(_))
    }
}

/// The seconds of a `Retry-After`. Dates are left out: the API has none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(words) => Self::Input(words),
            Fault::Unclear(words) => Self::Failed(words),
            Fault::Throttled { words, .. }
            | Fault::Account(words)
            | Fault::Missing(words)
            | Fault::Down(words) => Self::Unavailable(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> Fault {
        let status = StatusCode::from_u16(status).unwrap();
        Fault::of_status(status, &HeaderMap::new(), &serde_json::from_str(body).unwrap())
    }

    #[test]
    fn what_is_wrong_with_inputs_is_told_in_plain_words() {
        let fields = r#"{"title": "Input validation failed", "detail": "- input.width: Must be less than or equal to 1440\n", "status": 422,
            "invalid_fields": [{"type": "number_lte", "field": "input.width", "description": "Must be less than or equal to 1440"}]}"#;
        let plain = "the model refuses its inputs: width: Must be less than or equal to 1440";
        assert_eq!(said(422, fields).to_string(), plain);
        let lines = r#"{"detail": "- input.width: Must be less than or equal to 1440\n- input: prompt is required\n"}"#;
        assert_eq!(said(422, lines).to_string(), format!("{plain}; input: prompt is required"));
        let version = r#"{"title": "Invalid version or not permitted", "detail": "The specified version does not exist"}"#;
        assert!(matches!(said(422, version), Fault::Missing(_)), "no member can help that");
    }

    #[test]
    fn only_what_cannot_have_begun_is_free() {
        for status in [400, 401, 402, 403, 404, 413, 422, 429, 503] {
            assert!(!said(status, "{}").may_have_begun(), "{status}");
        }
        for status in [500, 502, 504, 302] {
            assert!(said(status, "{}").may_have_begun(), "{status}");
        }
    }
}
