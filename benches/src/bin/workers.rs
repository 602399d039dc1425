//! What Riff costs around an engine: jobs a second through the whole of it (queue, hub over HTTP, worker, uploads, posts)
//! divided by those of the same engine driven directly, in one run; and what running jobs together gains.
//!
//! `cargo build --release -p riff-bot && cargo run --release -p riff-benches --bin workers [NAME...]`

#[path = "../../../worker/tests/conformance/support.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "made for tests, which end where they cannot go on")]
mod cog_server;
#[path = "../../../worker/tests/openai/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "made for tests, which end where they cannot go on")]
mod llama_server;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use async_trait::async_trait;
use riff_benches::{BINARY, unlimited};
use riff_hub::{canonical::Digest, model::ModelSpec, recipe::Recipe};
use riff_tests::Riff;
use riff_worker::{
    client::Client,
    engine::{Artifact, Engine, EngineError, RunContext},
    engines::{Engines, abstract_, cog, gguf, openai},
    runner,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Rounds of each; the first jobs of a round are not counted.
const ROUNDS: usize = 3;
const WARM_UP: usize = 8;

/// An engine under measurement.
struct Subject {
    name: &'static str,
    engine: Arc<dyn Engine>,
    /// Inputs of each job, beside its seed.
    inputs: Value,
    /// The same as flags.
    flags: &'static str,
    jobs: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|one| one == name);
    println!("| engine | job | directly | through Riff | ratio |\n|---|---|---|---|---|");
    if wanted("abstract") {
        let inputs = json!({"count": 1, "width": 512, "height": 512});
        let (engine, flags) = (abstract_::engine(), "--n 1 --width 512 --height 512");
        compare(Subject { name: "abstract", engine, inputs, flags, jobs: 60 }).await?;
    }
    if wanted("cog") {
        let server = cog_server::Cog::start("image").await;
        let engine = cog::engine(cog::Settings::new(server.url().as_str(), "image")?);
        let inputs = json!({"num_inference_steps": 1, "pause": 0.05});
        compare(Subject { name: "image", engine, inputs, flags: "--steps 1 --pause 0.05", jobs: 100 })
            .await?;
    }
    if wanted("llama") {
        let server = llama_server::Llama::start();
        let settings = json!({"url": server.url, "name": "llama", "extra": {"cache_prompt": false}});
        let engine = openai::engine(serde_json::from_value(settings)?);
        let inputs = json!({"max_tokens": 16, "temperature": 0.0});
        compare(Subject {
            name: "llama",
            engine,
            inputs,
            flags: "--max-tokens 16 --temperature 0",
            jobs: 30,
        })
        .await?;
    }
    if wanted("together") {
        together().await?;
    }
    Ok(())
}

async fn compare(subject: Subject) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        let direct = directly(&subject).await?;
        let riff = through(&subject).await?;
        let ms = 1_000.0 / direct;
        println!("| {} | {ms:.0} ms | {direct:.2}/s | {riff:.2}/s | {:.3} |", subject.name, riff / direct);
    }
    Ok(())
}

/// Jobs a second of the engine by itself, one after the other.
async fn directly(subject: &Subject) -> anyhow::Result<f64> {
    let spec = spec(subject).await?;
    subject.engine.load(spec.digest()).await?;
    let mut begun = Instant::now();
    for seed in 0..WARM_UP + subject.jobs {
        if seed == WARM_UP {
            begun = Instant::now();
        }
        let mut params = std::collections::BTreeMap::new();
        params.extend(subject.inputs.as_object().cloned().unwrap_or_default());
        params.insert("seed".to_owned(), json!(seed));
        riff_hub::schema::fill_defaults(&mut params, &spec);
        let recipe = Recipe { riff: 1, model: spec.digest(), prompt: "a fox".parse()?, params, origin: None };
        let job = format!("direct-{}-{seed}", subject.name);
        subject.engine.run(&recipe, &RunContext { job, ..RunContext::default() }).await?;
    }
    Ok(subject.jobs as f64 / begun.elapsed().as_secs_f64())
}

async fn spec(subject: &Subject) -> anyhow::Result<ModelSpec> {
    let specs = subject.engine.discover().await?;
    let named = |spec: &ModelSpec| spec.name == subject.name;
    specs.into_iter().find(named).with_context(|| format!("{} is not served", subject.name))
}

/// Jobs a second through a hub of its own and a worker in this process, with all of them in the queue.
async fn through(subject: &Subject) -> anyhow::Result<f64> {
    let mut riff = Riff::new(BINARY)?;
    unlimited(&mut riff).start().await.context("cargo build --release -p riff-bot makes the hub")?;
    let token = riff.cli(&["token", "create", "--worker", "bench"]).await?;
    let client = Client::new(riff.url(), &token)?;
    let engines = Engines::of_list(vec![(subject.name.to_owned(), subject.engine.clone())]);
    let program = riff.program("robot").await?;
    // The hub learns of the model from the worker, so the queue is filled while another one waits in its place.
    let _known = riff.worker_of("placeholder", vec![spec(subject).await?]).await?;
    let ask = if spec(subject).await?.media == riff_hub::model::Media::Text { "/ask " } else { "" };
    let mut jobs = Vec::new();
    for seed in 0..WARM_UP + subject.jobs {
        let line = format!("{ask}a fox --model {} {} --seed {seed}", subject.name, subject.flags);
        jobs.push(program.job(&line).await?);
    }
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let worker = tokio::spawn(async move { runner::run(&client, &engines, &stopped).await });
    program.ended(&jobs[WARM_UP - 1]).await?;
    let begun = Instant::now();
    let last = tokio::time::timeout(Duration::from_secs(170), ended(&program, &jobs)).await??;
    let took = begun.elapsed();
    anyhow::ensure!(last == "succeeded", "the last job {last}");
    stop.cancel();
    worker.await??;
    Ok(subject.jobs as f64 / took.as_secs_f64())
}

/// Waits for all jobs; gives the last one's state.
async fn ended(program: &riff_tests::Program, jobs: &[String]) -> anyhow::Result<String> {
    let last = program.ended(jobs.last().context("there are jobs")?).await?;
    for job in jobs {
        program.ended(job).await?;
    }
    Ok(last["state"].as_str().unwrap_or_default().to_owned())
}

/// The engine `gguf` with and without answers that grow together.
async fn together() -> anyhow::Result<()> {
    let weights = riff_tests::process::weights();
    for _ in 0..ROUNDS {
        let mut rates = Vec::new();
        for alone in [true, false] {
            let engine = gguf::engine(&weights);
            let engine: Arc<dyn Engine> = if alone { Arc::new(Alone(engine)) } else { engine };
            let subject = Subject {
                name: "smollm2-135m-instruct",
                engine,
                inputs: Value::Null,
                flags: "--max-tokens 32 --temperature 1",
                jobs: 40,
            };
            rates.push(through(&subject).await?);
        }
        println!(
            "| gguf | off {:.2}/s | on {:.2}/s | on / off {:.2} |",
            rates[0],
            rates[1],
            rates[1] / rates[0]
        );
    }
    Ok(())
}

/// An engine that runs each job alone.
struct Alone(Arc<dyn Engine>);

#[async_trait]
impl Engine for Alone {
    async fn discover(&self) -> Result<Vec<ModelSpec>, EngineError> {
        self.0.discover().await
    }

    fn loaded(&self, model: Digest) -> bool {
        self.0.loaded(model)
    }

    async fn load(&self, model: Digest) -> Result<(), EngineError> {
        self.0.load(model).await
    }

    async fn run(&self, recipe: &Recipe, context: &RunContext) -> Result<Vec<Artifact>, EngineError> {
        self.0.run(recipe, context).await
    }
}
