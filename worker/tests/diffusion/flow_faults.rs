//! What operators are told when something is wrong with a checkpoint of Stable Diffusion 3 or Flux.

use std::fs;

use serde_json::{Value, json};

use crate::{
    faults::{edit, said_of},
    support::{Subject, tiny},
};

#[tokio::test]
async fn files_that_are_missing_are_named() {
    for (name, file, expected) in [
        ("dev", "text_encoder_2/config.json", "text_encoder_2/config.json cannot be read"),
        ("dev", "text_encoder_2/model.safetensors", "text_encoder_2 has no model.safetensors"),
        ("dev", "tokenizer_2/tokenizer.json", "tokenizer_2/tokenizer.json cannot be read"),
        ("dev", "transformer/config.json", "transformer/config.json cannot be read"),
        ("sd3", "text_encoder_2/config.json", "text_encoder_2/config.json cannot be read"),
        ("sd35", "text_encoder_3/config.json", "text_encoder_3/config.json cannot be read"),
        (
            "sd35",
            "transformer/diffusion_pytorch_model.safetensors",
            "transformer has no diffusion_pytorch_model",
        ),
    ] {
        let said = said_of(name, |folder| fs::remove_file(folder.join(file)).unwrap()).await;
        assert!(said.contains(expected), "{name} {file}: {said}");
    }
    for (name, part) in [("dev", "text_encoder"), ("dev", "text_encoder_2"), ("sd3", "text_encoder_2")] {
        let said = said_of(name, |folder| {
            edit(&folder.join("model_index.json"), |index| index[part] = json!([null, null]));
        });
        let said = said.await;
        assert!(said.contains(&format!("has no {part}, by its model_index.json")), "{name}: {said}");
    }
}

#[tokio::test]
async fn configurations_that_do_not_fit_are_named() {
    const NET: &str = "transformer/config.json";
    const SCHEDULER: &str = "scheduler/scheduler_config.json";
    for (name, file, key, value, expected) in [
        ("dev", NET, "_class_name", json!("SD3Transformer2DModel"), "the network \"SD3Transformer2DModel\""),
        (
            "sd3",
            NET,
            "_class_name",
            json!("FluxTransformer2DModel"),
            "the network \"FluxTransformer2DModel\"",
        ),
        ("dev", NET, "in_channels", json!(128), "in_channels and out_channels \"128 and 128\""),
        ("dev", NET, "axes_dims_rope", json!([4, 4, 4]), "axes_dims_rope"),
        ("dev", NET, "num_layers", json!(3), "has no tensor transformer_blocks.2"),
        ("sd35", NET, "qk_norm", json!("layer_norm"), "qk_norm \"layer_norm\""),
        ("sd35", NET, "caption_projection_dim", json!(24), "caption_projection_dim"),
        ("sd35", NET, "patch_size", json!(0), "a size is 0"),
        ("sd35", NET, "pos_embed_max_size", json!(12), "pos_embed.pos_embed with the shape [1, 256, 16]"),
        (
            "dev",
            "text_encoder_2/config.json",
            "feed_forward_proj",
            json!("relu"),
            "feed_forward_proj \"relu\"",
        ),
        ("dev", "text_encoder_2/config.json", "d_model", json!(32), "d_model \"32\""),
        ("dev", "text_encoder_2/config.json", "vocab_size", json!(9), "more words than its text encoder"),
        ("sd35", "vae/config.json", "latent_channels", json!(4), "in_channels and out_channels"),
        ("dev", SCHEDULER, "_class_name", json!("DDIMScheduler"), "the scheduler \"DDIMScheduler\""),
        ("dev", SCHEDULER, "shift_terminal", json!(0.1), "shift_terminal"),
        ("dev", SCHEDULER, "use_karras_sigmas", json!(true), "use_karras_sigmas"),
        ("dev", SCHEDULER, "shift", json!(0), "shift > 0"),
    ] {
        let change = |config: &mut Value| config[key] = value.clone();
        let said = said_of(name, |folder| edit(&folder.join(file), change)).await;
        assert!(said.contains(expected), "{name} {file} {key}: {said}");
    }
    let said =
        said_of("dev", |folder| fs::write(folder.join("tokenizer_2/tokenizer.json"), "{}").unwrap()).await;
    assert!(said.contains("tokenizer_2/tokenizer.json is damaged"), "{said}");
}

#[tokio::test]
async fn settings_of_other_families_are_refused() {
    let lora = tiny("sdxl").join("loras/kohya.safetensors");
    for (more, expected) in [
        (
            "sampler = \"ddim\"".to_owned(),
            "sampler = \"ddim\" does not work with Flux.1: expected one of euler, heun",
        ),
        ("prediction = \"epsilon\"".to_owned(), "prediction is for Stable Diffusion 1, 2 and XL"),
    ] {
        let said = Subject::open(&tiny("dev"), &more).await.err().unwrap().to_string();
        assert!(said.contains(expected), "{more}: {said}");
    }
    let subject =
        Subject::open(&tiny("dev"), &format!("loras = [{{path = {lora:?}, name = \"l\"}}]")).await.unwrap();
    let error = subject.fails("a fox", &json!({"loras": ["l"]})).await.to_string();
    assert!(error.contains("does not fit this checkpoint"), "{error}");
    let file = tiny("sd15").join("single.safetensors");
    let said = Subject::open(&file, &format!("config = {:?}", tiny("dev"))).await.err().unwrap().to_string();
    assert!(said.contains("is Flux.1 with 1"), "{said}");
}
