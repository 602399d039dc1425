//! What sections `[[engine]]` share that stand in front of a server: where it is, and what it does not say of its model.
//!
//! Shared keys stand beside those of the kind in the file, and in parts of their own here. A key that no part has is refused
//! as if there were one part: `#[serde(flatten)]` would let it pass.

use std::{fmt, fs, marker::PhantomData, path::PathBuf, sync::Arc, time::Duration};

use reqwest12::{Client, Url};
use riff_hub::{
    canonical::Digest,
    model::{Cost, Media, ModelSpec},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, Visitor, value},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value, json};
use tokio_rustls::rustls::ClientConfig;

use super::keys::{address, expected, longest, seconds, unknown_licence};
use crate::trust;

/// How often a connection is looked at on which an answer is long in coming.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A section of a kind whose own keys are `K`.
#[derive(Debug, Clone)]
pub struct Section<K> {
    /// What its model is.
    pub described: Described,
    /// Where its server is.
    pub endpoint: Endpoint,
    /// The keys of the kind alone.
    pub own: K,
}

/// What a server does not say of its model.
#[derive(Debug, Clone, Deserialize)]
pub struct Described {
    /// What members type behind `--model`.
    pub name: String,
    /// Name for people; the name, if left out.
    #[serde(default)]
    pub title: Option<String>,
    /// What the model is, and what it is not.
    #[serde(default)]
    pub card: String,
    /// SPDX expression of the weights' licence.
    #[serde(default = "unknown_licence")]
    pub license: String,
    /// Whether its results are for adults.
    #[serde(default)]
    pub mature: bool,
    /// Seconds that one run is expected to take, before the hub has measured any.
    #[serde(default = "expected", deserialize_with = "seconds")]
    pub seconds: f64,
}

impl Described {
    /// The model, still without inputs and fingerprint.
    pub fn spec(&self, media: Media) -> ModelSpec {
        ModelSpec {
            name: self.name.clone(),
            title: self.title.clone().unwrap_or_else(|| self.name.clone()),
            card: self.card.clone(),
            license: self.license.clone(),
            media,
            schema: Map::new(),
            fingerprint: Digest::of_bytes(b""),
            cost: Cost { fixed: self.seconds, per_megapixel: 0.0, per_token: 0.0, load: 0.0 },
            mature: self.mature,
            overflow: None,
            examples: Vec::new(),
        }
    }
}

/// A server, and how it is reached.
#[derive(Clone)]
pub struct Endpoint {
    /// Where it is; ends in `/`.
    pub url: Url,
    /// What asks it.
    pub http: Client,
    /// What connections to it that `http` does not make trust.
    pub tls: Arc<ClientConfig>,
    /// Anything that changes when its weights do; results of another version are another model's.
    pub version: String,
    /// After which a run is cancelled.
    pub timeout: Duration,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// The keys of an endpoint, as they are written.
#[derive(Deserialize)]
struct EndpointKeys {
    #[serde(deserialize_with = "address")]
    url: Url,
    /// Authorities that vouch for the server's certificate, beside those that everybody knows: a file in PEM.
    certificate: Option<PathBuf>,
    #[serde(default)]
    version: String,
    #[serde(default = "longest", deserialize_with = "seconds")]
    timeout_seconds: f64,
}

impl TryFrom<EndpointKeys> for Endpoint {
    type Error = String;
    fn try_from(keys: EndpointKeys) -> Result<Self, String> {
        let EndpointKeys { url, certificate, version, timeout_seconds } = keys;
        let tls = match &certificate {
            None => trust::everybody(),
            Some(file) => fs::read(file).map_err(|error| error.to_string()).and_then(|pem| trust::also(&pem)),
        };
        let place = certificate.unwrap_or_default();
        let tls = tls.map_err(|wrong| format!("certificate = {place:?} does not work: {wrong}"))?;
        let http = Client::builder().tcp_keepalive(KEEPALIVE).use_preconfigured_tls(tls.clone()).build();
        let http = http.map_err(|error| format!("no client can be made for {url}: {error}"))?;
        Ok(Self { url, http, tls: Arc::new(tls), version, timeout: Duration::from_secs_f64(timeout_seconds) })
    }
}

impl<K: DeserializeOwned> Section<K> {
    /// The section that has nothing but an address and a name.
    ///
    /// # Errors
    /// If the kind needs more.
    pub fn new(url: &str, name: &str) -> serde_json::Result<Self> {
        serde_json::from_value(json!({"url": url, "name": name}))
    }
}

impl<K> fmt::Display for Section<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.described.name, self.endpoint.url)
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Section<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let known = [names::<EndpointKeys>(), names::<Described>(), names::<K>()].concat();
        let mut keys = Keys::among(deserializer, &known)?;
        let endpoint: EndpointKeys = keys.part()?;
        Ok(Self {
            endpoint: endpoint.try_into().map_err(D::Error::custom)?,
            described: keys.part()?,
            own: keys.part()?,
        })
    }
}

/// The description of a model beside keys of one kind, `K`.
#[derive(Debug, Clone)]
pub struct Entry<K> {
    /// What it is.
    pub described: Described,
    /// The keys of the kind alone.
    pub own: K,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Entry<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = Keys::among(deserializer, &[names::<Described>(), names::<K>()].concat())?;
        Ok(Self { described: keys.part()?, own: keys.part()? })
    }
}

/// Keys that belong to several parts.
struct Keys(Map<String, Value>);

impl Keys {
    /// Those of a section, which may have the known ones alone.
    fn among<'de, D: Deserializer<'de>>(deserializer: D, known: &[&str]) -> Result<Self, D::Error> {
        let keys = Map::deserialize(deserializer)?;
        match keys.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(D::Error::custom(format!(
                "unknown field: found `{key}`, expected one of `{}`",
                known.join("`, `")
            ))),
            None => Ok(Self(keys)),
        }
    }

    /// Takes out the part that a structure has names for.
    fn part<T: DeserializeOwned, E: Error>(&mut self) -> Result<T, E> {
        let taken = names::<T>().iter().filter_map(|name| self.0.remove_entry(*name)).collect();
        serde_json::from_value(Value::Object(taken)).map_err(E::custom)
    }
}

/// The keys that a structure is read from.
fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // It fails once it has said which they are.
    let _ = T::deserialize(Asked { names: &mut names, life: PhantomData });
    names
}

/// Gives nothing but an error, and keeps what it was asked for.
struct Asked<'a, 'de> {
    names: &'a mut &'static [&'static str],
    life: PhantomData<&'de ()>,
}

impl<'de> Deserializer<'de> for Asked<'_, 'de> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("it is asked for its keys alone"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.names = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Own {
        #[serde(rename = "tint")]
        colour: String,
        #[serde(default)]
        depth: u8,
    }

    fn read(more: Value) -> Result<Section<Own>, String> {
        let mut keys = json!({"url": "https://a:1/b", "name": "x", "tint": "red"});
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(keys).map_err(|error| error.to_string())
    }

    #[test]
    fn each_part_gets_its_keys() {
        let section = read(json!({"depth": 3, "seconds": 2.5, "timeout_seconds": 60})).unwrap();
        assert_eq!((section.own.colour.as_str(), section.own.depth), ("red", 3));
        assert_eq!((section.described.seconds, section.endpoint.timeout.as_secs()), (2.5, 60));
        assert_eq!(section.to_string(), "x at https://a:1/b/");
    }

    #[test]
    fn keys_of_no_part_are_refused_with_those_of_all() {
        let refused = read(json!({"colour": "blue"})).unwrap_err();
        assert!(refused.contains("found `colour`, expected one of `url`"), "{refused}");
        assert!(refused.contains("`license`") && refused.contains("`tint`"), "{refused}");
        let beside =
            serde_json::from_value::<Entry<Own>>(json!({"name": "x", "tint": "red", "url": "http://a"}));
        assert!(beside.unwrap_err().to_string().contains("found `url`"));
    }
}
