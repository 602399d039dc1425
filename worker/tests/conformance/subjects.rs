//! The engines under test, with inputs that show what they can do.

use std::{path::PathBuf, sync::Arc};

use figment::{
    Figment,
    providers::{Format, Toml},
};
use riff_worker::engines::{abstract_, cog, diffusion, gguf, openai};
use serde_json::{Value, json};

use crate::{llama::Llama, suite::Subject, support::Cog};

pub async fn abstract_() -> Subject {
    Subject {
        engine: abstract_::engine(),
        model: "abstract",
        quick: json!({"count": 1, "width": 64, "height": 64}),
        long: json!({"count": 4, "width": 512, "height": 512}),
        bad: json!({"width": "wide"}),
    }
}

pub async fn gguf() -> Subject {
    let ours = || concat!(env!("CARGO_MANIFEST_DIR"), "/../weights").into();
    let weights: PathBuf = std::env::var_os("RIFF_WEIGHTS").map_or_else(ours, PathBuf::from);
    assert!(weights.is_dir(), "{} is missing: run ./test once, it fetches the weights", weights.display());
    Subject {
        engine: gguf::engine(&weights),
        model: "smollm2-135m-instruct",
        quick: json!({"max_tokens": 6, "temperature": 1.5}),
        long: json!({"max_tokens": 64}),
        bad: json!({"history": "none"}),
    }
}

fn in_front_of(server: &'static Cog, quick: Value, long: Value, bad: Value) -> Subject {
    let engine = Arc::new(cog::CogEngine::new(server.settings()));
    Subject { engine, model: server.name(), quick, long, bad }
}

pub async fn cog_pictures() -> Subject {
    in_front_of(
        Cog::shared("image").await,
        json!({"num_inference_steps": 1}),
        json!({"num_inference_steps": 20, "pause": 0.1}),
        json!({"style": "loud"}),
    )
}

pub async fn cog_list() -> Subject {
    in_front_of(
        Cog::shared("several").await,
        json!({"count": 1}),
        json!({"count": 4, "pause": 0.5}),
        json!({"seed": -1}),
    )
}

pub async fn cog_text() -> Subject {
    in_front_of(
        Cog::shared("text").await,
        json!({"max_tokens": 8, "pause": 0}),
        json!({"max_tokens": 40, "pause": 0.05}),
        json!({"max_tokens": 0}),
    )
}

pub async fn cog_stream() -> Subject {
    in_front_of(
        Cog::shared("stream").await,
        json!({"max_tokens": 8, "pause": 0}),
        json!({"max_tokens": 40, "pause": 0.05}),
        json!({"max_tokens": 0}),
    )
}

pub async fn openai() -> Subject {
    // llama.cpp gives the same bytes again only where it does not remember what it was asked before.
    let section = format!("url = \"{}\"\nextra = {{cache_prompt = false}}", Llama::shared().url);
    Subject {
        engine: openai::engine(Figment::from(Toml::string(&section)).extract().unwrap()),
        model: "smollm2-135m-instruct",
        quick: json!({"max_tokens": 6, "temperature": 1.5}),
        long: json!({"max_tokens": 64}),
        bad: json!({"history": "none"}),
    }
}

/// A tiny checkpoint of the tests of that engine.
fn checkpoint(name: &'static str) -> Subject {
    let folder = format!("{}/tests/diffusion/tiny/{name}", env!("CARGO_MANIFEST_DIR"));
    let section = format!("path = {folder:?}\ndevice = \"cpu\"");
    Subject {
        engine: diffusion::engine(Figment::from(Toml::string(&section)).extract().unwrap()),
        model: name,
        quick: json!({"count": 1, "width": 64, "height": 64, "steps": 3}),
        long: json!({"count": 4, "width": 256, "height": 256, "steps": 20}),
        bad: json!({"sampler": "magic"}),
    }
}

pub async fn diffusion() -> Subject {
    checkpoint("sd15")
}

pub async fn diffusion_xl() -> Subject {
    checkpoint("sdxl")
}
