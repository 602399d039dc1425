//! Checkpoints to run and to break, and recipes for them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use figment::{
    Figment,
    providers::{Format, Toml},
};
use image::RgbImage;
use riff_hub::{model::ModelSpec, recipe::Recipe, schema::fill_defaults};
use riff_worker::{
    engine::{Artifact, Engine, EngineError, RunContext, Update},
    engines::diffusion,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::files::Shelf;

/// A tiny checkpoint of the repository.
pub fn tiny(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/diffusion/tiny", name].iter().collect()
}

/// A copy of one, to be broken.
pub fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&tiny(name), folder.path());
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    for item in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

/// Every file below a folder.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    items.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

/// A section `[[engine]]` for a folder, with more keys.
pub fn section(folder: &Path, more: &str) -> String {
    format!("path = {folder:?}\ndevice = \"cpu\"\n{more}")
}

/// An engine with one model.
pub struct Subject {
    pub engine: Arc<dyn Engine>,
    pub spec: ModelSpec,
    pub shelf: Vec<Bytes>,
}

impl Subject {
    pub async fn tiny(name: &str) -> Self {
        Self::open(&tiny(name), "").await.unwrap()
    }

    pub async fn open(folder: &Path, more: &str) -> Result<Self, EngineError> {
        let settings = Figment::from(Toml::string(&section(folder, more))).extract().unwrap();
        let engine = diffusion::engine(settings);
        let [spec] = engine.discover().await?.try_into().unwrap();
        Ok(Self { engine, spec, shelf: Vec::new() })
    }

    pub fn recipe(&self, prompt: &str, inputs: &Value) -> Recipe {
        let mut params = BTreeMap::new();
        for set in [json!({"seed": 7, "count": 1, "steps": 3, "width": 64, "height": 64}), inputs.clone()] {
            params.extend(set.as_object().unwrap().clone());
        }
        fill_defaults(&mut params, &self.spec);
        let prompt = prompt.parse().unwrap();
        Recipe { riff: Recipe::FORMAT, model: self.spec.digest(), prompt, params, origin: None }
    }

    pub fn context(&self) -> RunContext {
        RunContext { files: Arc::new(Shelf(self.shelf.clone())), ..RunContext::default() }
    }

    pub async fn run(&self, prompt: &str, inputs: &Value) -> Result<Vec<Artifact>, EngineError> {
        let recipe = self.recipe(prompt, inputs);
        self.engine.load(self.spec.digest()).await?;
        self.engine.run(&recipe, &self.context()).await
    }

    pub async fn pictures(&self, prompt: &str, inputs: &Value) -> Vec<RgbImage> {
        self.run(prompt, inputs).await.unwrap().iter().map(|made| decode(&made.bytes)).collect()
    }

    pub async fn picture(&self, prompt: &str, inputs: &Value) -> RgbImage {
        self.pictures(prompt, inputs).await.remove(0)
    }

    /// What a run says when it fails.
    pub async fn fails(&self, prompt: &str, inputs: &Value) -> EngineError {
        self.run(prompt, inputs).await.unwrap_err()
    }
}

/// Part done, and a preview.
pub type Told = (f32, Option<Bytes>);

/// A context that writes down what it is told.
pub fn watched(context: RunContext) -> (RunContext, Arc<Mutex<Vec<Told>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = seen.clone();
    let updates = Arc::new(move |update| {
        if let Update::Progress { done, preview } = update {
            list.lock().unwrap().push((done, preview));
        }
    });
    (RunContext { updates, ..context }, seen)
}

pub fn decode(bytes: &Bytes) -> RgbImage {
    image::load_from_memory(bytes).unwrap().to_rgb8()
}

/// A picture as the hub has them.
pub fn encode(picture: &image::DynamicImage) -> Bytes {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner().into()
}

/// Mean difference of two pictures' colours, 0 to 255.
pub fn apart(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: u64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.as_raw().len() as f64
}
