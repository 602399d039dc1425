//! Keys that sections `[[engine]]` of several kinds have, and what is said of values that do not fit.

use reqwest12::Url;
use serde::{Deserialize, Deserializer, de::Error};

/// An address of HTTP, with TLS or without; what it gives ends in `/`, so that paths are added to it.
pub fn url(text: &str) -> Option<Url> {
    let url: Url = format!("{}/", text.trim_end_matches('/')).parse().ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// `url`: where a server is.
pub fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    url(&text).ok_or_else(|| {
        D::Error::custom(format!("url = {text:?} does not work: write it like \"http://127.0.0.1:5000\""))
    })
}

/// Pictures of one run, 1 to 16.
pub fn outputs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(deserializer)?;
    match count {
        1..=16 => Ok(count),
        _ => Err(D::Error::custom(format!("outputs = {count} does not work: write a number from 1 to 16"))),
    }
}

/// A number of seconds, up to a day.
pub fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    match (0.001..=86_400.0).contains(&seconds) {
        true => Ok(seconds),
        false => Err(D::Error::custom(format!("{seconds} is not a number of seconds from 0.001 to 86400"))),
    }
}

/// Whether a text is a SHA-256 in hexadecimal: the digest of a container, and the id of a version at Replicate.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The licence of weights that nothing is said of.
pub fn unknown_licence() -> String {
    "LicenseRef-unknown".to_owned()
}

/// Pictures of one run where nothing is said of it.
pub fn one() -> u32 {
    1
}

/// Seconds of one run where nothing is said of it.
pub fn expected() -> f64 {
    10.0
}

/// Seconds after which a run is cancelled where nothing is said of it.
pub fn longest() -> f64 {
    3_600.0
}
