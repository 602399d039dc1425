//! The language engine, once: load time, time to the first word, words a second, memory. `benches/language.py`
//! measures llama.cpp on the same file.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use anyhow::Context;
use riff_hub::recipe::Recipe;
use riff_worker::{
    engine::{RunContext, Update},
    engines::{Engines, Sources},
};
use serde_json::json;

const PROMPT: &str = "Tell me a long story about a fox.";
const TOKENS: u32 = 200;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engines = Engines::open(Sources::weights("weights"));
    engines.discover().await;
    let spec = engines.models().into_iter().find(|spec| spec.name == "smollm2-135m-instruct");
    let spec = spec.context("no weights: run ./test once, it fetches them")?;
    let engine = engines.of(spec.digest()).context("the model has no engine")?;
    let begun = Instant::now();
    engine.load(spec.digest()).await?;
    println!("load {:.0} ms", begun.elapsed().as_secs_f64() * 1_000.0);

    let settings = json!({"seed": 1, "temperature": 0.0, "max_tokens": TOKENS});
    let mut params = std::collections::BTreeMap::new();
    params.extend(settings.as_object().cloned().unwrap_or_default());
    riff_hub::schema::fill_defaults(&mut params, &spec);
    let recipe = Recipe { riff: 1, model: spec.digest(), prompt: PROMPT.parse()?, params, origin: None };
    for _ in 0..3 {
        let begun = Instant::now();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = seen.clone();
        let updates = Arc::new(move |update| {
            if let (Update::Text { .. }, Ok(mut list)) = (update, list.lock()) {
                list.push(begun.elapsed());
            }
        });
        engine.run(&recipe, &RunContext { updates, ..RunContext::default() }).await?;
        let took = begun.elapsed();
        let first = seen.lock().ok().and_then(|list| list.first().copied()).context("nothing was said")?;
        let rate = f64::from(TOKENS - 1) / (took - first).as_secs_f64();
        println!("first word {:.0} ms, {rate:.1} tokens/s", first.as_secs_f64() * 1_000.0);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    print!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}
