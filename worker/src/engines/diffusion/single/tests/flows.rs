//! Of Stable Diffusion 3 and Flux.

use super::*;
use crate::engines::diffusion::{
    family::Guidance,
    ldm::FLUX_VAE,
    net::{Flux, Three},
    single::flows::{CLIP_G, CLIP_L, T5},
    transformers::{FluxConfig, ThreeConfig},
};

/// What is published as `transformer/config.json` of 3 Medium, but for what is asked.
fn three(layers: usize, more: Value) -> ThreeConfig {
    let mut config = json!({
        "_class_name": "SD3Transformer2DModel", "sample_size": 128, "patch_size": 2, "in_channels": 16,
        "out_channels": 16, "num_layers": layers, "attention_head_dim": 64, "num_attention_heads": layers,
        "joint_attention_dim": 4_096, "caption_projection_dim": 64 * layers, "pooled_projection_dim": 2_048,
        "pos_embed_max_size": 192,
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    of(config)
}

fn flux(guidance: bool) -> FluxConfig {
    of(json!({
        "_class_name": "FluxTransformer2DModel", "in_channels": 64, "num_layers": 19, "num_single_layers": 38,
        "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4_096,
        "pooled_projection_dim": 768, "guidance_embeds": guidance,
    }))
}

fn vae16() -> VaeConfig {
    of(json!({
        "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 16,
        "use_quant_conv": false, "use_post_quant_conv": false,
    }))
}

fn of_three(config: &ThreeConfig, prefix: &'static str) -> Shapes {
    let names = Names::Three { prefix, blocks: config.num_layers };
    asked(Vec::new(), |of| drop(Three::new(config, of(names)).unwrap()))
}

fn of_flux(config: &FluxConfig, prefix: &'static str) -> Shapes {
    asked(Vec::new(), |of| drop(Flux::new(config, of(Names::Flux(prefix))).unwrap()))
}

fn of_vae(prefix: &'static str) -> Shapes {
    let vae = vae16();
    let names = Names::Vae { prefix, blocks: vae.block_out_channels.len() };
    asked(Vec::new(), |of| drop(Vae::new(&vae, of(names)).unwrap()))
}

fn of_clips() -> Shapes {
    asked(Vec::new(), |of| {
        TextEncoder::new(&text(768, 12, "quick_gelu"), Whole::End, of(Names::Clip(CLIP_L))).unwrap();
        TextEncoder::new(&text(1_280, 32, "gelu"), Whole::Projected, of(Names::Clip(CLIP_G))).unwrap();
    })
}

/// Stable Diffusion 3 with everything but T5, as it is published.
fn whole(config: &ThreeConfig) -> Shapes {
    [of_three(config, NET), of_vae(VAE), of_clips()].into_iter().flatten().collect()
}

#[test]
fn published_sizes_are_known_by_shapes() {
    let dual: Vec<usize> = (0..13).collect();
    for (name, config) in [
        ("3 Medium", three(24, json!({}))),
        (
            "3.5 Medium",
            three(
                24,
                json!({"qk_norm": "rms_norm", "dual_attention_layers": dual, "pos_embed_max_size": 384}),
            ),
        ),
        ("3.5 Large", three(38, json!({"qk_norm": "rms_norm"}))),
    ] {
        let parts = read_in(&write(&whole(&config), &json!({})), &json!({})).unwrap();
        let NetConfig::Three(found) = &parts.net else { panic!("{name}") };
        assert_eq!(found.attention_head_dim, config.attention_head_dim, "{name}");
        assert_eq!(found.pos_embed_max_size, config.pos_embed_max_size, "{name}");
        assert_eq!(found.dual_attention_layers, config.dual_attention_layers, "{name}");
        assert_eq!((found.sample_size, &found.qk_norm), (128, &config.qk_norm), "{name}");
        // The network that follows asks for the very tensors that are there.
        assert_eq!(of_three(found, NET), of_three(&config, NET), "{name}");
        let guidance = if config.qk_norm.is_some() { 4.5 } else { 7.0 };
        assert_eq!((parts.family, parts.usual.guidance), (Family::Three, guidance), "{name}");
        assert_eq!((parts.vae.latent_channels, parts.vae.scaling_factor), (16, 1.5305), "{name}");
        assert_eq!(parts.vae.shift_factor, Some(0.0609), "{name}");
        assert!(!parts.vae.use_quant_conv && !parts.vae.use_post_quant_conv, "{name}");
        let acts: Vec<_> = parts.texts.iter().map(|text| (&*text.config.hidden_act, text.whole)).collect();
        assert_eq!(acts, [("quick_gelu", Whole::End), ("gelu", Whole::Projected)], "{name}");
        assert!(parts.sentences.as_ref().unwrap().t5.is_none(), "{name} goes without T5");
        let middle = parts.trained.schedule(Sampler::Euler, 3, 1).levels[1].sigma;
        assert!((middle - 0.751_1).abs() < 1e-3, "{name}: the middle, shifted by 3: {middle}");
    }
}

#[test]
fn what_flux_says_of_itself_comes_before_its_folder() {
    // A folder of schnell, without weights, serves for files of dev.
    let folder = tempfile::tempdir().unwrap();
    let write_json = |name: &str, value: Value| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, value.to_string()).unwrap();
    };
    let schnell = json!({
        "_class_name": "FluxTransformer2DModel", "in_channels": 64, "num_layers": 19, "num_single_layers": 38,
        "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4_096,
        "pooled_projection_dim": 768, "guidance_embeds": false,
    });
    write_json("model_index.json", json!({"_class_name": "FluxPipeline"}));
    write_json("transformer/config.json", schnell);
    write_json(
        "scheduler/scheduler_config.json",
        json!({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0}),
    );
    write_json(
        "vae/config.json",
        json!({
            "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 16,
            "scaling_factor": 0.3611, "shift_factor": 0.1159,
        }),
    );
    let clip = json!({
        "vocab_size": 49_408, "hidden_size": 768, "intermediate_size": 3_072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
    });
    write_json("text_encoder/config.json", clip);
    let t5 = json!({
        "vocab_size": 32_128, "d_model": 4_096, "d_kv": 64, "d_ff": 10_240, "num_layers": 24, "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    });
    write_json("text_encoder_2/config.json", t5);
    let config = json!({"config": folder.path()});
    for (prefix, guidance, expected, length) in [
        ("", true, Guidance::Told, 512),
        (NET, true, Guidance::Told, 512),
        (NET, false, Guidance::Fixed, 256),
    ] {
        let shapes = of_flux(&flux(guidance), prefix);
        let parts = read_in(&write(&shapes, &json!({})), &config).unwrap();
        let NetConfig::Flux(found) = &parts.net else { panic!("{prefix} {guidance}") };
        assert_eq!(of_flux(found, prefix), shapes, "{prefix} {guidance}");
        assert_eq!((found.axes_dims_rope, parts.net.guidance()), ([16, 56, 56], expected));
        assert_eq!(parts.sentences.as_ref().unwrap().length, length, "{prefix} {guidance}");
        // dev shifts by the places of a picture, schnell does not.
        let middle = |places| parts.trained.schedule(Sampler::Euler, 4, places).levels[2].sigma;
        assert_eq!(middle(256) < middle(4_096), guidance, "{prefix} {guidance}");
    }
    let said =
        |shapes: &Shapes, more: &Value| read_in(&write(shapes, &json!({})), more).err().unwrap().to_string();
    let three = said(&of_three(&three(24, json!({})), NET), &config);
    assert!(
        three.contains("has a network of Stable Diffusion 3, and") && three.contains("is of Flux.1"),
        "{three}"
    );
    let mut other = of_flux(&flux(true), "");
    other.insert("txt_in.weight".to_owned(), vec![3_072, 2_048]);
    let other = said(&other, &config);
    assert!(other.contains("for words of 2048 numbers"), "{other}");
    let mut fill = of_flux(&flux(true), "");
    fill.insert("img_in.weight".to_owned(), vec![3_072, 384]);
    let fill = said(&fill, &config);
    assert!(fill.contains("in_channels and out_channels \"384 and 64\""), "{fill}");
}

#[test]
fn what_a_file_lacks_is_named() {
    let small = || three(2, json!({}));
    let with = |parts: &[Shapes]| parts.iter().flat_map(Shapes::clone).collect::<Shapes>();
    let t5 = || BTreeMap::from([(format!("{T5}encoder.final_layer_norm.weight"), vec![4_096])]);
    let flux = || of_flux(&FluxConfig { num_layers: 1, num_single_layers: 1, ..flux(true) }, "");
    for (shapes, expected) in [
        (
            of_three(&small(), NET),
            "has no autoencoder, no text encoder of CLIP: name in config a folder of Stable Diffusion 3",
        ),
        (with(&[of_three(&small(), NET), of_clips()]), "has no autoencoder: name"),
        (with(&[of_three(&small(), ""), of_vae(VAE)]), "has no text encoder of CLIP: name"),
        (with(&[whole(&small()), t5()]), "has no tokenizer of T5: name"),
        (
            flux(),
            "has no autoencoder, no text encoder of CLIP, no text encoder of T5: name in config a folder of Flux.1",
        ),
        (with(&[flux(), of_vae(FLUX_VAE), of_clips(), t5()]), "has no tokenizer of T5: name"),
    ] {
        let said = read_in(&write(&shapes, &json!({})), &json!({})).err().unwrap().to_string();
        assert!(said.contains(expected) && said.contains("hf download"), "{expected}: {said}");
    }
    let mut damaged = whole(&small());
    damaged.remove("model.diffusion_model.context_embedder.weight");
    let said = read_in(&write(&damaged, &json!({})), &json!({})).err().unwrap().to_string();
    assert!(said.contains("has no tensor model.diffusion_model.context_embedder.weight"), "{said}");
    let said = read_in(&write(&whole(&small()), &json!({})), &json!({"prediction": "epsilon"}));
    assert!(said.err().unwrap().to_string().contains("prediction is for Stable Diffusion 1, 2 and XL"));
}
