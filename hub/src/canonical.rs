//! Canonical JSON (RFC 8785) and the BLAKE3 ids made from it: the one way a thing gets its name here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A 256-bit BLAKE3 hash, written as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Text that was expected to be a [`Digest`] and is not.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an id: expected 64 hexadecimal digits")]
pub struct BadDigest(String);

impl Digest {
    /// The hash of raw bytes: how blobs are named.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash of a value's canonical JSON: how recipes and model versions are named.
    ///
    /// # Panics
    /// If the value cannot be written as JSON (a map with keys that are not strings, a NaN).
    pub fn of_json(value: &impl Serialize) -> Self {
        Self::of_bytes(to_string(value).as_bytes())
    }

    /// The hash itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash that was made before.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first 12 digits: enough for people, never for look-ups that must be exact.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

/// A value's canonical JSON by RFC 8785: keys sorted, shortest numbers, no white space.
///
/// # Panics
/// If the value cannot be written as JSON.
pub fn to_string(value: &impl Serialize) -> String {
    serde_json_canonicalizer::to_string(value).expect("the domain's types are valid JSON")
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = BadDigest;
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| BadDigest(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;
    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}
