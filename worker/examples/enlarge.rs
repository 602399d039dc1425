//! Enlarges a picture with an upscaler among the weights: `cargo run --release --example enlarge -- small.png 2 large.png`.
//! The last word may name the model; without it, the first is taken.

use std::{sync::Arc, time::Instant};

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use riff_hub::{canonical::Digest, recipe::Recipe};
use riff_worker::{
    engine::{EngineError, Files, RunContext},
    engines::upscale,
};
use serde_json::json;

/// The one picture there is.
struct Only(Bytes);

#[async_trait]
impl Files for Only {
    async fn get(&self, _blob: Digest) -> Result<Bytes, EngineError> {
        Ok(self.0.clone())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [small, times, large, rest @ ..] = arguments.as_slice() else {
        anyhow::bail!("give a PNG, how many times larger it gets (2 or 4), and the file to write");
    };
    let engine = upscale::engine("weights".as_ref());
    let models = engine.discover().await?;
    let spec = models.iter().find(|spec| rest.first().is_none_or(|name| *name == spec.name));
    let spec = spec.context("there is no such upscaler in weights/")?;
    let picture = Bytes::from(std::fs::read(small)?);
    let params = json!({"image": Digest::of_bytes(&picture).to_string(), "upscale": times.parse::<u32>()?});
    let recipe = Recipe {
        riff: Recipe::FORMAT,
        model: spec.digest(),
        prompt: "a picture".parse()?,
        params: params.as_object().cloned().unwrap_or_default().into_iter().collect(),
        origin: None,
    };
    engine.load(spec.digest()).await?;
    let started = Instant::now();
    let context = RunContext { files: Arc::new(Only(picture)), ..RunContext::default() };
    let made = engine.run(&recipe, &context).await?.pop().context("there is no result")?;
    println!("{}: {:?}", spec.name, started.elapsed());
    Ok(std::fs::write(large, made.bytes)?)
}
