//! Files with the names and shapes of published checkpoints, and nothing but zeros in them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    sync::{Mutex, PoisonError},
};

use candle_core::{DType, Device, Error, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{
    unets::{CLIP, OPEN_CLIP, VELOCITY, XL_CLIP, XL_OPEN_CLIP},
    *,
};
use crate::engines::diffusion::{
    Result as Made,
    config::{Prediction, TextConfig, UnetConfig, VaeConfig},
    family::Family,
    ldm::{Names, Part, VAE},
    net::{TextEncoder, Unet, Vae, Whole},
    sampler::Sampler,
    source::NetConfig,
};

mod flows;

type Shapes = BTreeMap<String, Vec<usize>>;

/// Writes down what a network asks for, under the names that it has in a file.
struct Asked {
    names: Names,
    /// Which of two names a block's end goes by.
    ends: Vec<usize>,
    shapes: Arc<Mutex<Shapes>>,
}

impl SimpleBackend for Asked {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Made<Tensor> {
        let places = self.names.places(name);
        let block = name.strip_prefix("up_blocks.").and_then(|rest| rest.split('.').next()?.parse().ok());
        let end = block.map_or(0, |block: usize| self.ends[block]);
        let place = places.get(end).or(places.first()).ok_or_else(|| Error::Msg(name.to_owned()))?;
        let mut dims = shape.dims().to_vec();
        match place.part {
            Part::Whole | Part::Exchanged => {}
            Part::Rows { from, to, of } => dims[0] = dims[0] / (to - from) * of,
            Part::Transposed => dims.reverse(),
            Part::Matrix => dims.extend([1, 1]),
        }
        let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        shapes.insert(place.name.clone(), dims);
        Tensor::zeros(1, dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Made<Tensor> {
        Err(Error::Msg(name.to_owned()))
    }

    fn contains_tensor(&self, _: &str) -> bool {
        false
    }
}

/// The tensors that are asked for of a file.
fn asked(ends: Vec<usize>, networks: impl FnOnce(&dyn Fn(Names) -> VarBuilder<'static>)) -> Shapes {
    let shapes = Arc::new(Mutex::default());
    networks(&|names| {
        let backend = Asked { names, ends: ends.clone(), shapes: Arc::clone(&shapes) };
        VarBuilder::from_backend(Box::new(backend), DType::F32, Device::Cpu)
    });
    let made: std::sync::MutexGuard<'_, Shapes> = shapes.lock().unwrap_or_else(PoisonError::into_inner);
    made.clone()
}

/// The tensors of a file with networks of these configurations.
fn shapes(unet: &UnetConfig, vae: &VaeConfig, texts: &[(TextConfig, Names)]) -> Shapes {
    let attends = |kind: &String| usize::from(kind.starts_with("CrossAttn"));
    asked(unet.up_block_types.iter().map(attends).collect(), |of| {
        Unet::new(unet, of(Names::Unet { layers: unet.layers_per_block })).unwrap();
        Vae::new(vae, of(Names::Vae { prefix: VAE, blocks: vae.block_out_channels.len() })).unwrap();
        for (config, names) in texts {
            let whole = if matches!(names, Names::OpenClip(_)) { Whole::Projected } else { Whole::End };
            TextEncoder::new(config, whole, of(names.clone())).unwrap();
        }
    })
}

/// A file with these tensors in half precision: a header, and a hole.
fn write(shapes: &Shapes, metadata: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), metadata.clone());
    let mut end = 0;
    for (name, shape) in shapes {
        let from = end;
        end += 2 * shape.iter().product::<usize>() as u64;
        header.insert(name.clone(), json!({"dtype": "F16", "shape": shape, "data_offsets": [from, end]}));
    }
    let header = Value::from(header).to_string();
    let mut file = File::create(folder.path().join("x.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
    std::fs::create_dir(folder.path().join("tokenizer")).unwrap();
    for name in ["vocab.json", "merges.txt"] {
        std::fs::write(folder.path().join("tokenizer").join(name), "").unwrap();
    }
    folder
}

fn read_in(folder: &TempDir, more: &Value) -> Result<Parts, Flaw> {
    let path = folder.path().join("x.safetensors");
    let mut settings = json!({"path": path});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    read(&path, &serde_json::from_value(settings).unwrap())
}

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// What is published as `unet/config.json`, but for what is the same in all.
fn unet(more: Value) -> UnetConfig {
    let (with, without) = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D");
    let mut config = json!({
        "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
        "block_out_channels": [320, 640, 1_280, 1_280], "cross_attention_dim": 768, "attention_head_dim": 8,
        "down_block_types": [with, with, with, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", without, without, without],
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    of(config)
}

fn vae() -> VaeConfig {
    of(json!({"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4}))
}

fn text(size: usize, layers: usize, act: &str) -> TextConfig {
    of(json!({
        "vocab_size": 49_408, "hidden_size": size, "intermediate_size": 4 * size, "num_hidden_layers": layers,
        "num_attention_heads": size / 64, "max_position_embeddings": 77, "hidden_act": act, "projection_dim": size,
    }))
}

fn one() -> (UnetConfig, Vec<(TextConfig, Names)>) {
    (unet(json!({})), vec![(text(768, 12, "quick_gelu"), Names::Clip(CLIP))])
}

fn two() -> (UnetConfig, Vec<(TextConfig, Names)>) {
    let config = json!({
        "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1_024, "use_linear_projection": true,
    });
    (unet(config), vec![(text(1_024, 24, "gelu"), Names::OpenClip(OPEN_CLIP))])
}

fn xl() -> (UnetConfig, Vec<(TextConfig, Names)>) {
    let config = json!({
        "sample_size": 128, "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1_280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "cross_attention_dim": 2_048,
        "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": true, "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2_816,
    });
    let texts = [
        (text(768, 12, "quick_gelu"), Names::Clip(XL_CLIP)),
        (text(1_280, 32, "gelu"), Names::OpenClip(XL_OPEN_CLIP)),
    ];
    (unet(config), texts.into())
}

fn unet_of(parts: &Parts) -> &UnetConfig {
    match &parts.net {
        NetConfig::Unet(config) => config,
        _ => panic!("a file has another network"),
    }
}

#[test]
fn published_checkpoints_are_known_by_their_shapes() {
    let inpainting = || (unet(json!({"in_channels": 9})), one().1);
    for (name, (network, mut texts), family, side) in [
        ("1.5", one(), Family::One, 64),
        ("1.5 for inpainting", inpainting(), Family::One, 64),
        ("2 base", two(), Family::One, 64),
        ("XL", xl(), Family::Xl, 128),
    ] {
        let wanted = shapes(&network, &vae(), &texts);
        let parts = read_in(&write(&wanted, &json!({})), &json!({})).unwrap();
        let found = unet_of(&parts);
        assert_eq!((parts.family, found.sample_size), (family, side), "{name}");
        let blocks = 0..network.block_out_channels.len();
        let heads =
            |config: &UnetConfig| blocks.clone().map(|i| config.attention_head_dim.of(i)).collect::<Vec<_>>();
        assert_eq!(heads(found), heads(&network), "{name}");
        assert_eq!(found.addition_time_embed_dim, network.addition_time_embed_dim, "{name}");
        assert_eq!((found.norm_num_groups, parts.vae.norm_num_groups), (32, 32), "{name}");
        assert_eq!(parts.empty_is_zero, name == "XL");
        assert!((parts.vae.scaling_factor - if name == "XL" { 0.130_25 } else { 0.182_15 }).abs() < 1e-9);
        let left_out = usize::from(name == "2 base");
        for ((wanted, _), found) in texts.iter().zip(&parts.texts) {
            assert_eq!(found.config.num_hidden_layers, wanted.num_hidden_layers - left_out, "{name}");
            assert_eq!(found.config.num_attention_heads, wanted.num_attention_heads, "{name}");
            assert_eq!(found.config.hidden_act, wanted.hidden_act, "{name}");
        }
        for ((config, _), found) in texts.iter_mut().zip(&parts.texts) {
            *config = found.config.clone();
        }
        // The networks that follow ask for the very tensors that are there, but for the layer that is left out.
        let asked = shapes(found, &parts.vae, &texts);
        let beyond = |name: &&String| !name.contains("resblocks.23.") || left_out == 0;
        assert_eq!(
            asked.keys().collect::<Vec<_>>(),
            wanted.keys().filter(beyond).collect::<Vec<_>>(),
            "{name}"
        );
        assert!(asked.iter().all(|(name, shape)| &wanted[name] == shape), "{name}");
    }
}

#[test]
fn what_the_network_says_is_read_from_the_file_or_the_settings() {
    let (network, texts) = xl();
    let mut plain = shapes(&network, &vae(), &texts);
    let of = |shapes: &Shapes, metadata: Value, more: Value| {
        let parts = read_in(&write(shapes, &metadata), &more)?;
        let highest = parts.trained.schedule(Sampler::Euler, 2, 1).levels[0].sigma;
        Ok::<_, Flaw>((parts.trained.prediction(), highest > 1_000.0))
    };
    assert_eq!(of(&plain, json!({}), json!({})).unwrap(), (Prediction::Noise, false));
    let said = |kind: &str| json!({"modelspec.prediction_type": kind});
    assert_eq!(of(&plain, said("v"), json!({})).unwrap().0, Prediction::Velocity);
    let error = of(&plain, said("edm"), json!({})).unwrap_err().to_string();
    assert!(error.contains("the prediction \"edm\""), "{error}");
    let set = json!({"prediction": "v_prediction"});
    assert_eq!(of(&plain, said("epsilon"), set).unwrap().0, Prediction::Velocity);
    plain.extend([("v_pred".to_owned(), vec![0]), ("ztsnr".to_owned(), vec![0])]);
    assert_eq!(of(&plain, json!({}), json!({})).unwrap(), (Prediction::Velocity, true));
}

#[test]
fn version_2_for_768_pixels_is_told_by_its_biases() {
    let (network, texts) = two();
    let shapes = shapes(&network, &vae(), &texts);
    let folder = write(&shapes, &json!({}));
    let path = folder.path().join("x.safetensors");
    let name = format!("{NET}{}", VELOCITY.0);
    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    let mut length = [0; 8];
    file.read_exact(&mut length).unwrap();
    let length = u64::from_le_bytes(length);
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let at = 8 + length + header[&name]["data_offsets"][0].as_u64().unwrap();
    for (bias, prediction, side) in [(0.05, Prediction::Noise, 64), (0.2, Prediction::Velocity, 96)] {
        let biases = (0..320).map(|i| if i % 2 == 0 { bias } else { -bias });
        let halves: Vec<u8> = biases.flat_map(|bias| half::f16::from_f32(bias).to_le_bytes()).collect();
        std::os::unix::fs::FileExt::write_all_at(&file, &halves, at).unwrap();
        let parts = read_in(&folder, &json!({})).unwrap();
        assert_eq!((parts.trained.prediction(), unet_of(&parts).sample_size), (prediction, side));
    }
}

#[test]
fn files_of_something_else_are_named() {
    let with = |name: &str| {
        let (network, texts) = one();
        let mut shapes = shapes(&network, &vae(), &texts);
        shapes.retain(|key, _| !key.starts_with(name));
        shapes
    };
    let only = |name: &str| BTreeMap::from([(name.to_owned(), vec![1])]);
    let mut refiner = with(CLIP);
    refiner.insert("conditioner.embedders.0.model.ln_final.weight".to_owned(), vec![1_280]);
    let mut deeper = with("?");
    let place = "model.diffusion_model.input_blocks.4.1.transformer_blocks.1.norm1.weight";
    deeper.insert(place.to_owned(), vec![640]);
    for (shapes, expected) in [
        (
            only("model.diffusion_model.joint_blocks.0.x"),
            "tensors such as model.diffusion_model.joint_blocks.0.x",
        ),
        (only("lora_unet_x.lora_down.weight"), "a LoRA"),
        (only("double_blocks.0.img_attn.qkv.lora_A.weight"), "a LoRA"),
        (only("transformer_blocks.0.attn.to_q.weight"), "in the names of diffusers"),
        (only("double_blocks.0.img_attn.qkv.weight.absmax"), "numbers with scales of their own"),
        (only("control_model.x"), "a ControlNet"),
        (only("zebra"), "tensors such as zebra"),
        (BTreeMap::new(), "no tensors"),
        (with(VAE), "no autoencoder"),
        (with(CLIP), "no text encoder that is known"),
        (refiner, "XL's refiner"),
        (deeper, "expected layers that are alike within each block"),
        (with("model.diffusion_model.out.2"), "no tensor model.diffusion_model.out.2.weight"),
    ] {
        let said = read_in(&write(&shapes, &json!({})), &json!({})).err().unwrap().to_string();
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let folder = write(&with("?"), &json!({}));
    std::fs::remove_file(folder.path().join("tokenizer/merges.txt")).unwrap();
    let said = read_in(&folder, &json!({})).err().unwrap().to_string();
    assert!(said.contains("has no vocab.json or no merges.txt") && said.contains("hf download"), "{said}");
}
