//! Settings of `riff-worker`: `config/worker.toml` holds every one with its default; a file, variables and arguments change
//! them. The hub's process reads its own sections `[[engine]]` and reports what is wrong with them in the same way.

use std::path::{Path, PathBuf};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

use crate::engines::{Configured, Sources};

/// The defaults, as they are documented.
pub const DEFAULTS: &str = include_str!("../../config/worker.toml");

/// What an operator can set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config/worker.toml documents each where operators read it")]
pub struct Settings {
    pub hub: String,
    pub token: Token,
    pub weights: PathBuf,
    pub log: String,
    #[serde(default, rename = "engine")]
    pub engines: Vec<Configured>,
}

/// What the command line says; it wins over everything else.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Chosen {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
}

/// The worker's token; never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// The token itself.
    pub fn expose(&self) -> &str {
        self.0.trim()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Why settings are refused: one line for each thing that is wrong, with its file and key.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// The file is not there.
    #[error("the settings file {0} is not there: check --config")]
    NoFile(String),
    /// There is no token.
    #[error(
        "there is no token: make one with `riff token create --worker NAME`, and set RIFF_TOKEN or `token`"
    )]
    NoToken,
    /// Something in it is wrong.
    #[error("the settings are refused:\n{0}\nconfig/worker.toml has every setting with its default")]
    Wrong(String),
}

impl Settings {
    /// Reads defaults, the file where one is named, the variables `RIFF_HUB`, `RIFF_TOKEN`, `RIFF_WEIGHTS` and `RIFF_LOG`, and the command line.
    ///
    /// # Errors
    /// [`BadSettings`] naming the file, the key, and what was expected.
    pub fn load(file: Option<&Path>, chosen: &Chosen) -> Result<Self, BadSettings> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(BadSettings::NoFile(file.display().to_string()));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed("RIFF_").only(&["hub", "token", "weights", "log"]);
        let figment = figment.merge(environment).merge(Serialized::defaults(chosen));
        let settings: Self = figment.extract().map_err(|errors| BadSettings::Wrong(error_lines(errors)))?;
        match settings.token.expose() {
            "" => Err(BadSettings::NoToken),
            _ => Ok(settings),
        }
    }

    /// What the engines need.
    pub fn sources(&self) -> Sources {
        Sources { weights: self.weights.clone(), configured: self.engines.clone() }
    }
}

/// What is wrong with settings, a line each: where it is, which key, and what was expected.
pub fn error_lines(errors: figment::Error) -> String {
    let lines: Vec<String> = errors.into_iter().map(|error| format!("  {}", error_line(&error))).collect();
    lines.join("\n")
}

fn error_line(error: &figment::Error) -> String {
    let place = match error.metadata.as_ref() {
        Some(metadata) => match metadata.source.as_ref() {
            Some(source) => format!("{} ({source})", metadata.name),
            None => metadata.name.to_string(),
        },
        None => "settings".to_owned(),
    };
    let key = error.path.join(".");
    match key.is_empty() {
        true => format!("{place}: {}", error.kind),
        false => format!("{place}: {key}: {}", error.kind),
    }
}
