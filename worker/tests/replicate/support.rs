//! An engine in front of a service, and runs on it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use figment::{
    Figment,
    providers::{Format, Toml},
};
use riff_hub::{
    model::ModelSpec,
    recipe::Recipe,
    schema::{check_spec, fill_defaults, validate},
    seam::{Manual, Seam},
};
use riff_worker::{
    engine::{Artifact, Engine, EngineError, RunContext, Update},
    engines::replicate::{ReplicateEngine, Settings},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{files::Shelf, replicate_models::MODELS, server::Replicate};

/// A variable that cargo sets for every test, and so the token here.
pub const VARIABLE: &str = "CARGO_PKG_NAME";

/// A service, an account there with a ledger, and a clock.
pub struct Account {
    pub server: Replicate,
    pub folder: TempDir,
    pub clock: Arc<Manual>,
}

impl Account {
    pub async fn open() -> Self {
        let server = Replicate::start(&std::env::var(VARIABLE).unwrap()).await;
        Self { server, folder: TempDir::new().unwrap(), clock: Arc::new(Manual::new(7)) }
    }

    /// Settings with all models, each with these keys.
    pub fn settings(&self, monthly_usd: f64, model: &str) -> Settings {
        self.settings_at(&self.server.url, monthly_usd, model)
    }

    pub fn settings_at(&self, url: &str, monthly_usd: f64, model: &str) -> Settings {
        let ledger = self.folder.path().join("spent").display().to_string();
        let mut toml = format!(
            "url = {url:?}\ntoken_env = {VARIABLE:?}\nmonthly_usd = {monthly_usd:?}\nledger = {ledger:?}\n"
        );
        for known in &MODELS {
            toml += &format!("[[models]]\nid = {:?}\nname = {:?}\n{model}\n", known.path(), known.name);
        }
        Figment::from(Toml::string(&toml)).extract().unwrap()
    }

    /// An engine whose every run costs a cent, with a dollar to spend.
    pub fn engine(&self) -> ReplicateEngine {
        self.engine_with(1.0, "usd_per_run = 0.01")
    }

    pub fn engine_with(&self, monthly_usd: f64, model: &str) -> ReplicateEngine {
        ReplicateEngine::new(self.settings(monthly_usd, model), self.clock.clone() as Arc<dyn Seam>)
    }

    /// Millionths of a dollar that the ledger counts, over all months.
    pub fn counted(&self) -> u64 {
        let mut runs = HashMap::new();
        for month in std::fs::read_dir(self.folder.path().join("spent")).into_iter().flatten() {
            let text = std::fs::read_to_string(month.unwrap().path()).unwrap();
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                runs.insert(line["run"].to_string(), line["usd_millionths"].as_u64().unwrap());
            }
        }
        runs.values().sum()
    }
}

/// What the hub is told of a model.
pub async fn spec(engine: &ReplicateEngine, name: &str) -> ModelSpec {
    let specs = engine.discover().await.unwrap();
    let spec = specs.into_iter().find(|spec| spec.name == name).expect("it is served");
    check_spec(&spec).unwrap();
    spec
}

pub fn recipe(spec: &ModelSpec, prompt: &str, inputs: Value) -> Recipe {
    let mut params: BTreeMap<String, Value> = inputs.as_object().unwrap().clone().into_iter().collect();
    fill_defaults(&mut params, spec);
    if spec.takes("seed") {
        params.entry("seed".to_owned()).or_insert(json!(7));
    }
    validate(&params, spec).unwrap();
    Recipe { riff: 1, model: spec.digest(), prompt: prompt.parse().unwrap(), params, origin: None }
}

pub async fn run(
    engine: &ReplicateEngine,
    model: &str,
    prompt: &str,
    inputs: Value,
) -> Result<Vec<Artifact>, EngineError> {
    let spec = spec(engine, model).await;
    engine.run(&recipe(&spec, prompt, inputs), &RunContext::default()).await
}

/// A run of a model of text or of one that fails.
pub async fn ask(engine: &ReplicateEngine, model: &str, prompt: &str) -> Result<String, EngineError> {
    let made = run(engine, model, prompt, json!({})).await?;
    Ok(String::from_utf8(made[0].bytes.to_vec()).unwrap())
}

/// A run with pictures, and all texts that it shows.
pub fn watched(files: Vec<Bytes>) -> (RunContext, Arc<Mutex<Vec<String>>>) {
    let texts = Arc::new(Mutex::new(Vec::new()));
    let list = texts.clone();
    let updates = Arc::new(move |update| {
        if let Update::Text { text, .. } = update {
            list.lock().unwrap().push(text);
        }
    });
    (RunContext { updates, files: Arc::new(Shelf(files)), ..RunContext::default() }, texts)
}
