//! What Riff costs in front of a Cog server: predictions a second through the engine and straight from the server, in turns.
//! `cargo run --release --example cog -- http://127.0.0.1:5000 200 '{"prompt": "a fox", "seed": 1}'`

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context;
use riff_hub::recipe::Recipe;
use riff_worker::{
    engine::{Engine, RunContext},
    engines::cog::{CogEngine, Settings},
};
use serde_json::{Map, Value, json};

/// How often both are measured.
const ROUNDS: u32 = 5;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, runs, inputs] = arguments.as_slice() else {
        anyhow::bail!("give the address of a Cog server, a number of predictions, and inputs as JSON");
    };
    let url: reqwest::Url = format!("{}/", url.trim_end_matches('/')).parse()?;
    let runs: u32 = runs.parse()?;
    let inputs: Map<String, Value> = serde_json::from_str(inputs)?;
    let engine = CogEngine::new(Settings::new(url.as_str(), "cog")?);
    let spec = engine.discover().await?.pop().context("the server has no model")?;
    let mut params: BTreeMap<String, Value> = inputs.clone().into_iter().collect();
    let prompt = params.remove("prompt").and_then(|prompt| prompt.as_str().map(str::to_owned));
    let prompt = prompt.unwrap_or_else(|| "a fox".to_owned()).parse()?;
    riff_hub::schema::fill_defaults(&mut params, &spec);
    let recipe = Recipe { riff: Recipe::FORMAT, model: spec.digest(), prompt, params, origin: None };
    let http = reqwest::Client::new();
    for round in 0..ROUNDS {
        let begun = Instant::now();
        for run in 0..runs {
            let place = url.join(&format!("predictions/direct-{round}-{run}"))?;
            directly(&http, place, &inputs).await?;
        }
        let direct = f64::from(runs) / begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        for run in 0..runs {
            let context = RunContext { job: format!("riff-{round}-{run}"), ..RunContext::default() };
            engine.run(&recipe, &context).await?;
        }
        let riff = f64::from(runs) / begun.elapsed().as_secs_f64();
        println!("direct {direct:.1}/s, engine {riff:.1}/s, ratio {:.3}", riff / direct);
    }
    Ok(())
}

/// The server answers a moment before it has room for the next prediction.
async fn directly(
    http: &reqwest::Client,
    place: reqwest::Url,
    inputs: &Map<String, Value>,
) -> anyhow::Result<()> {
    loop {
        let answer = http.put(place.clone()).json(&json!({"input": inputs})).send().await?;
        if answer.status() != reqwest::StatusCode::CONFLICT {
            answer.error_for_status()?.bytes().await?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}
