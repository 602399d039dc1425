//! Keys that sections `[[engine]]` of several kinds have, and what may stand behind them.

use reqwest::Url;
use serde::{Deserialize, Deserializer, de::Error};

/// An address of plain HTTP; what it gives ends in `/`, so that paths are added to it.
pub fn url(text: &str) -> Option<Url> {
    let url: Url = format!("{}/", text.trim_end_matches('/')).parse().ok()?;
    (url.scheme() == "http" && url.has_host()).then_some(url)
}

/// `url`: where a server is.
pub fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    url(&text).ok_or_else(|| {
        D::Error::custom(format!("url = {text:?} does not work: write it like \"http://127.0.0.1:5000\" (plain HTTP: reach a server elsewhere through a tunnel)"))
    })
}

/// A time in seconds.
pub fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    match (0.001..=86_400.0).contains(&seconds) {
        true => Ok(seconds),
        false => Err(D::Error::custom(format!("{seconds} is not a number of seconds from 0.001 to 86400"))),
    }
}

/// `license` of weights about which nothing is known.
pub fn unknown_licence() -> String {
    "LicenseRef-unknown".to_owned()
}
