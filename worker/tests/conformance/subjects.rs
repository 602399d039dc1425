//! The engines under test, with inputs that show what they can do.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use figment::{
    Figment,
    providers::{Format, Toml},
};
use riff_hub::{canonical::Digest, model::Media};
use riff_worker::engines::{abstract_, cog, diffusion, gguf, openai, replicate, upscale};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    a1111, comfyui, doodle_files,
    llama::Llama,
    replicate::Replicate,
    suite::{self, Subject},
    support::Cog,
};

pub async fn abstract_() -> Subject {
    Subject {
        engine: abstract_::engine(),
        model: "abstract",
        quick: json!({"count": 1, "width": 64, "height": 64}),
        long: json!({"count": 4, "width": 512, "height": 512}),
        bad: json!({"width": "wide"}),
    }
}

fn weights() -> PathBuf {
    let ours = || concat!(env!("CARGO_MANIFEST_DIR"), "/../weights").into();
    let weights: PathBuf = std::env::var_os("RIFF_WEIGHTS").map_or_else(ours, PathBuf::from);
    assert!(weights.is_dir(), "{} is missing: run ./test once, it fetches the weights", weights.display());
    weights
}

pub async fn gguf() -> Subject {
    Subject {
        engine: gguf::engine(&weights()),
        model: "smollm2-135m-instruct",
        quick: json!({"max_tokens": 6, "temperature": 1.5}),
        long: json!({"max_tokens": 64}),
        bad: json!({"history": "none"}),
    }
}

pub async fn upscale() -> Subject {
    let image = Digest::of_bytes(&suite::picture()).to_string();
    Subject {
        engine: upscale::engine(&weights()),
        model: "realesr-animevideov3",
        quick: json!({"image": image}),
        long: json!({"image": image, "upscale": 4}),
        bad: json!({"image": ""}),
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

/// Sound, which the section says that its files are.
pub async fn cog_sound() -> Subject {
    let server = Cog::shared("tone").await;
    let mut settings = server.settings();
    settings.own.media = Some(Media::Audio);
    Subject {
        engine: cog::engine(settings),
        model: server.name(),
        quick: json!({"steps": 1}),
        long: json!({"steps": 20, "pause": 0.1}),
        bad: json!({"steps": 0}),
    }
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

/// Text whose end the server reports.
pub async fn cog_background() -> Subject {
    let server = Cog::shared("text").await;
    let mut settings = server.settings();
    settings.own.prefer = cog::Prefer::RespondAsync;
    Subject { engine: cog::engine(settings), ..cog_text().await }
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

/// The real server, where `RIFF_COMFYUI` has the address of one with the node of `comfyui/painter.py`.
pub async fn comfyui_workflow() -> Subject {
    let url = match std::env::var("RIFF_COMFYUI") {
        Ok(url) => url,
        Err(_) => comfyui::Fake::start().await.url,
    };
    Subject {
        engine: Arc::new(comfyui::engine(&url, "pictures", "")),
        model: "painter",
        quick: json!({"steps": 1}),
        long: json!({"steps": 30, "pause": 0.1}),
        bad: json!({"steps": 0}),
    }
}

pub async fn a1111_painter() -> Subject {
    let url = a1111::Fake::start().await.url;
    Subject {
        engine: Arc::new(a1111::engine(&url, "")),
        model: "sd",
        quick: json!({"steps": 1, "width": 64, "height": 64}),
        long: json!({"steps": 150, "width": 64, "height": 64}),
        bad: json!({"sampler": "loud"}),
    }
}

/// A model of a service with Replicate's API, free of charge. The token is a variable that cargo sets for every test.
pub async fn replicate(model: &'static str, quick: Value, long: Value, bad: Value) -> Subject {
    let server = Replicate::start(env!("CARGO_PKG_NAME")).await;
    let ledger = concat!(env!("CARGO_TARGET_TMPDIR"), "/replicate");
    let section = format!(
        "url = {:?}\ntoken_env = \"CARGO_PKG_NAME\"\nmonthly_usd = 0.0\nledger = {ledger:?}\n[[models]]\n\
         id = \"acme/{model}\"\nname = {model:?}\nusd_per_run = 0.0",
        server.url
    );
    let engine = replicate::engine(Figment::from(Toml::string(&section)).extract().unwrap());
    Subject { engine, model, quick, long, bad }
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

pub async fn diffusion_three() -> Subject {
    checkpoint("sd35")
}

pub async fn diffusion_flux() -> Subject {
    checkpoint("dev")
}

/// A network of random weights, with the encoder that `./test` fetches.
pub async fn doodle() -> Subject {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    Subject {
        engine: doodle_files::engine(FOLDER.get_or_init(doodle_files::folder)),
        model: "doodle",
        quick: json!({"count": 1}),
        long: json!({"count": 4}),
        bad: json!({"guidance_scale": 9}),
    }
}
