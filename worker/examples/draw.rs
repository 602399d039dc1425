//! Draws a prompt with doodle or a checkpoint of Stable Diffusion, and says how long it takes and how much memory:
//! `cargo run --release --example draw -- weights "a blue cat" 4 cat`, with the folder of the weights, the prompt, how many
//! pictures, and how their files begin. Other inputs follow as `steps=20`.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Instant,
};

use anyhow::Context;
use riff_hub::{recipe::Recipe, schema::fill_defaults};
use riff_worker::{
    engine::{Engine, RunContext},
    engines::{diffusion, doodle},
};
use serde_json::{Value, json};

/// The engine of what a folder has: a checkpoint in the layout of diffusers, or doodle.
fn engine(folder: &str) -> anyhow::Result<Arc<dyn Engine>> {
    match Path::new(folder).join("model_index.json").exists() {
        true => Ok(diffusion::engine(serde_json::from_value(json!({"path": folder}))?)),
        false => Ok(doodle::engine(folder.as_ref())),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, prompt, count, stem, rest @ ..] = arguments.as_slice() else {
        anyhow::bail!(
            "give the folder of the weights, a prompt, how many pictures, and how their files begin"
        );
    };
    let engine = engine(folder)?;
    let spec =
        engine.discover().await?.pop().with_context(|| format!("no doodle: {:?}", engine.left_out()))?;
    let params = json!({"seed": 7, "count": count.parse::<u32>()?});
    let mut params: std::collections::BTreeMap<_, _> =
        params.as_object().cloned().unwrap_or_default().into_iter().collect();
    for input in rest {
        let (name, value) = input.split_once('=').with_context(|| format!("{input} is no NAME=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        params.insert(name.to_owned(), value);
    }
    fill_defaults(&mut params, &spec);
    let recipe =
        Recipe { riff: Recipe::FORMAT, model: spec.digest(), prompt: prompt.parse()?, params, origin: None };
    let started = Instant::now();
    engine.load(spec.digest()).await?;
    println!("loaded in {:.2} s", started.elapsed().as_secs_f64());
    for _ in 0..3 {
        let (tell, told) = mpsc::channel();
        let updates = Arc::new(move |_| _ = tell.send(Instant::now()));
        let started = Instant::now();
        let made = engine.run(&recipe, &RunContext { updates, ..RunContext::default() }).await?;
        let drawn = started.elapsed();
        // The last update is of the finished picture.
        let steps = told.try_iter().collect::<Vec<_>>();
        let last = steps.iter().rev().nth(1).map_or(drawn, |last| *last - started);
        println!("drawn in {:.2} s, the last step after {:.2} s", drawn.as_secs_f64(), last.as_secs_f64());
        for (number, artifact) in made.iter().enumerate() {
            std::fs::write(format!("{stem}-{}.png", number + 1), &artifact.bytes)?;
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!(
        "{}",
        status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("peak memory is not told here")
    );
    Ok(())
}
