//! What operators and members are told when something is wrong.

use std::{fs, path::Path};

use bytes::Bytes;
use riff_hub::canonical::Digest;
use riff_worker::engine::EngineError;
use serde_json::{Value, json};

use crate::{
    files::png,
    support::{Subject, copy, tiny},
};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

/// What is said of a copy of a checkpoint, broken in some way, at the latest when it is loaded.
pub async fn said_of(name: &str, damage: impl FnOnce(&Path)) -> String {
    let folder = copy(name);
    damage(folder.path());
    let ended = match Subject::open(folder.path(), "name = \"x\"").await {
        Ok(subject) => subject.engine.load(subject.spec.digest()).await,
        Err(error) => Err(error),
    };
    let error = ended.unwrap_err();
    assert!(matches!(error, EngineError::Weights(_)), "{error:?}");
    error.to_string()
}

pub fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

/// Writes another header in front of a file's tensors.
fn edit_header(file: &Path, change: impl FnOnce(&mut Value)) {
    let bytes = fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = header.to_string();
    let mut edited = (header.len() as u64).to_le_bytes().to_vec();
    edited.extend(header.as_bytes());
    edited.extend(&bytes[8 + length..]);
    fs::write(file, edited).unwrap();
}

#[tokio::test]
async fn files_that_are_missing_are_named() {
    for (file, expected) in [
        ("model_index.json", "has no model_index.json: expected a checkpoint in the layout of diffusers"),
        (UNET, "has no diffusion_pytorch_model.safetensors"),
        ("text_encoder/model.safetensors", "has no model.safetensors"),
        ("vae/config.json", "vae/config.json cannot be read"),
        ("tokenizer/merges.txt", "merges.txt cannot be read"),
        ("scheduler/scheduler_config.json", "scheduler_config.json cannot be read"),
    ] {
        let said = said_of("sd15", |folder| fs::remove_file(folder.join(file)).unwrap()).await;
        assert!(said.contains(expected), "{file}: {said}");
    }
    let said = said_of("sd15", |folder| {
        fs::rename(folder.join(UNET), folder.join("unet/diffusion_pytorch_model.bin")).unwrap();
    });
    assert!(said.await.contains("pickle"), "files that can run code are not read");
    let said = Subject::open(Path::new("/nowhere"), "").await.err().unwrap().to_string();
    assert!(said.contains("/nowhere has no model_index.json"), "{said}");
}

#[tokio::test]
async fn damaged_weights_are_named() {
    let said = said_of("sd15", |folder| {
        let bytes = fs::read(folder.join(UNET)).unwrap();
        fs::write(folder.join(UNET), &bytes[..bytes.len() - 1_000]).unwrap();
    });
    let said = said.await;
    assert!(said.contains("is truncated or damaged: it has") && said.contains("download it again"), "{said}");
    let said = said_of("sd15", |folder| fs::write(folder.join(UNET), b"<html>not found</html>").unwrap());
    assert!(said.await.contains("is no file of safetensors"));
    let said = said_of("sd15", |folder| fs::write(folder.join(UNET), b"").unwrap());
    assert!(said.await.contains("is truncated"));
    let said = said_of("sd15", |folder| {
        edit_header(&folder.join(UNET), |header| {
            let header = header.as_object_mut().unwrap();
            header.remove("conv_in.weight").unwrap();
        });
    });
    let said = said.await;
    assert!(said.contains("has no tensor conv_in.weight") && said.contains(UNET), "{said}");
    let said = said_of("sd15", |folder| {
        edit_header(&folder.join(UNET), |header| header["conv_in.weight"]["dtype"] = json!("F8_E5M2"));
    });
    assert!(said.await.contains("expected F32, F16, BF16 or F8_E4M3"));
}

#[tokio::test]
async fn configurations_that_do_not_fit_are_named() {
    let said = said_of("sd15", |folder| {
        edit(&folder.join("unet/config.json"), |config| config["block_out_channels"] = json!([8, 8, 8]));
    });
    let said = said.await;
    assert!(said.contains("with the shape [4, 4, 3, 3]") && said.contains("asks for [8, 4, 3, 3]"), "{said}");
    for (file, key, value, expected) in [
        (
            "model_index.json",
            "_class_name",
            json!("PixArtSigmaPipeline"),
            "the pipeline \"PixArtSigmaPipeline\"",
        ),
        (
            "unet/config.json",
            "down_block_types",
            json!(["KDown", "DownBlock2D", "DownBlock2D"]),
            "block \"KDown\"",
        ),
        ("unet/config.json", "in_channels", json!(7), "in_channels and out_channels"),
        ("unet/config.json", "norm_num_groups", json!(3), "norm_num_groups"),
        ("unet/config.json", "layers_per_block", json!("two"), "is damaged"),
        ("text_encoder/config.json", "hidden_act", json!("relu"), "relu"),
        ("text_encoder/config.json", "vocab_size", json!(5), "more words than its text encoder"),
        ("scheduler/scheduler_config.json", "beta_schedule", json!("exp"), "beta_schedule \"exp\""),
        ("scheduler/scheduler_config.json", "beta_end", json!(2), "beta_end"),
    ] {
        let said =
            said_of("sd15", |folder| edit(&folder.join(file), |config| config[key] = value.clone())).await;
        assert!(said.contains(expected), "{file} {key}: {said}");
    }
}

#[tokio::test]
async fn files_that_change_under_the_worker_are_noticed() {
    let folder = copy("sd15");
    let subject = Subject::open(folder.path(), "name = \"x\"").await.unwrap();
    let bytes = fs::read(folder.path().join(UNET)).unwrap();
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(folder.path().join(UNET), changed).unwrap();
    let error = subject.engine.load(subject.spec.digest()).await.unwrap_err();
    assert!(error.to_string().contains("has changed since it was announced"), "{error}");
    let [again] = subject.engine.discover().await.unwrap().try_into().unwrap();
    assert_ne!(again.digest(), subject.spec.digest(), "another version");
}

#[tokio::test]
async fn loras_for_other_models_are_refused() {
    let lora = |name: &str| {
        let file = tiny(name).join("loras/kohya.safetensors");
        format!("loras = [{{path = {file:?}, name = \"l\"}}]")
    };
    let subject = Subject::open(&tiny("sd15"), &lora("sdxl")).await.unwrap();
    let error = subject.fails("a fox", &json!({"loras": ["l"]})).await;
    assert!(error.to_string().contains("does not fit this checkpoint"), "{error}");
    let subject = Subject::open(&tiny("sdxl"), &lora("sd15")).await.unwrap();
    let error = subject.fails("a fox", &json!({"loras": ["l"]})).await;
    assert!(matches!(&error, EngineError::Weights(_)), "{error}");
    let missing = "loras = [{path = \"/nowhere/l.safetensors\"}]";
    let error = Subject::open(&tiny("sd15"), missing).await.err().unwrap();
    assert!(error.to_string().contains("/nowhere/l.safetensors cannot be read"), "{error}");
}

#[tokio::test]
async fn inputs_that_do_not_work_are_the_members() {
    let mut subject = Subject::tiny("sd15").await;
    let shelf = [png(64), Bytes::from_static(b"no picture"), truncated()];
    subject.shelf.extend(shelf);
    let [picture, text, broken] = [0, 1, 2].map(|i| Digest::of_bytes(&subject.shelf[i]).to_string());
    for (inputs, expected) in [
        (json!({"width": 60}), "width"),
        (json!({"width": 4_096}), "width"),
        (json!({"sampler": "magic"}), "sampler"),
        (json!({"steps": 0}), "steps"),
        (json!({"variations": [["a"]]}), "variations"),
        (json!({"image": text}), "no PNG"),
        (json!({"image": broken}), "no picture that can be used"),
        (json!({"image": picture, "mask": broken}), "mask is no picture"),
        (json!({"mask": picture}), "a mask was given without a picture"),
        (json!({"image": Digest::of_bytes(b"gone").to_string()}), "is not there"),
        (json!({"image": "x"}), "image"),
    ] {
        let error = subject.fails("a fox", &inputs).await;
        let said = error.to_string();
        assert!(matches!(error, EngineError::Input(_)) && said.contains(expected), "{inputs}: {said}");
    }
}

/// A PNG that ends in the middle of its pixels.
fn truncated() -> Bytes {
    let whole =
        crate::support::encode(&image::DynamicImage::ImageRgb8(image::RgbImage::from_fn(64, 64, |x, y| {
            image::Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8])
        })));
    whole.slice(..whole.len() / 2)
}

#[tokio::test]
async fn numbers_that_are_none_are_a_failure() {
    let folder = copy("sd15");
    let file = folder.path().join(UNET);
    let mut bytes = fs::read(&file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let at = 8 + length + header["conv_out.bias"]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[at..at + 2].copy_from_slice(&0x7e00_u16.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let subject = Subject::open(folder.path(), "name = \"x\"").await.unwrap();
    let error = subject.fails("a fox", &json!({})).await;
    let said = error.to_string();
    assert!(matches!(error, EngineError::Failed(_)) && said.contains("NaN"), "{said}");
}

#[tokio::test]
async fn too_little_memory_is_said_before_it_runs_out() {
    let small = Subject::open(&tiny("sd15"), "memory_gb = 0.01").await.unwrap();
    assert!(small.run("a fox", &json!({})).await.is_ok(), "a small picture fits");
    let error = small.fails("a fox", &json!({"width": 1_024, "height": 1_024})).await;
    let said = error.to_string();
    assert!(matches!(error, EngineError::OutOfMemory(_)) && said.contains("1024×1024"), "{said}");
    assert!(error.is_worth_retrying(), "another worker may have more");
    let none = Subject::open(&tiny("sd15"), "memory_gb = 0.00001").await.unwrap();
    let error = none.fails("a fox", &json!({})).await;
    assert!(matches!(&error, EngineError::OutOfMemory(said) if said.contains("the checkpoint")), "{error}");
}

#[tokio::test]
async fn a_gpu_that_is_not_there_is_said() {
    let folder = tiny("sd15");
    let section = format!("path = {folder:?}\ndevice = \"cuda:63\"");
    let settings =
        figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(&section));
    let engine = riff_worker::engines::diffusion::engine(settings.extract().unwrap());
    let [spec] = engine.discover().await.unwrap().try_into().unwrap();
    let error = engine.load(spec.digest()).await.unwrap_err();
    assert!(matches!(error, EngineError::Unavailable(_)), "{error}");
}
