//! Single files of Stable Diffusion 3 and Flux, as they are found: with the names of the first implementations, and more or less
//! of a checkpoint in them. That the network in them is diffusers' is tested beside the engine, in `parity/newer.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use riff_worker::engine::EngineError;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::{Subject, apart, copy, files_in, tiny};

const NET: &str = "model.diffusion_model.";
const CLIP_L: &str = "text_encoders.clip_l.transformer.";
const CLIP_G: &str = "text_encoders.clip_g.transformer.";
const T5: &str = "text_encoders.t5xxl.transformer.";

/// A tensor: its name, what its header says, and its bytes.
type Tensor = (String, Value, Vec<u8>);

fn read(file: &Path) -> Vec<Tensor> {
    let bytes = fs::read(file).unwrap();
    let base = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&bytes[8..base]).unwrap();
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let of = |(name, said): (String, Value)| {
        let [from, to] = [0, 1].map(|i| base + said["data_offsets"][i].as_u64().unwrap() as usize);
        (name, said, bytes[from..to].to_vec())
    };
    tensors.map(of).collect()
}

fn write(file: &Path, tensors: Vec<Tensor>) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, mut said, bytes) in tensors {
        said["data_offsets"] = json!([data.len(), data.len() + bytes.len()]);
        header.insert(name, said);
        data.extend(bytes);
    }
    let header = Value::from(header).to_string();
    fs::write(file, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data[..]].concat())
        .unwrap();
}

/// The tensors of a file whose names begin so, which begin otherwise from now on.
fn renamed(file: &Path, from: &str, to: &str) -> Vec<Tensor> {
    let all = read(file).into_iter();
    all.filter_map(|(name, said, bytes)| Some((format!("{to}{}", name.strip_prefix(from)?), said, bytes)))
        .collect()
}

fn file_of(name: &str) -> PathBuf {
    tiny(name).join("single.safetensors")
}

/// A file of these tensors, in a folder of its own.
fn single(tensors: impl IntoIterator<Item = Vec<Tensor>>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("x.safetensors"), tensors.into_iter().flatten().collect());
    folder
}

/// A copy of a tiny checkpoint without any weights.
fn configuration(name: &str) -> TempDir {
    let folder = copy(name);
    let weights = files_in(folder.path()).into_iter();
    for file in weights.filter(|file| file.extension().is_some_and(|end| end == "safetensors")) {
        fs::remove_file(file).unwrap();
    }
    folder
}

async fn opened(file: &Path, config: &Path) -> Result<Subject, EngineError> {
    Subject::open(file, &format!("config = {config:?}")).await
}

async fn picture(file: &Path, config: &Path) -> image::RgbImage {
    opened(file, config).await.unwrap().picture("the red fox", &json!({})).await
}

#[tokio::test]
async fn all_in_one_files_need_no_weights_beside_them() {
    let dev = tiny("dev");
    let expected = picture(&file_of("flux"), &dev).await;
    let texts = || {
        [
            renamed(&dev.join("text_encoder/model.safetensors"), "", CLIP_L),
            renamed(&dev.join("text_encoder_2/model.safetensors"), "", T5),
        ]
    };
    let whole = single([read(&file_of("flux"))].into_iter().chain(texts()));
    let made = picture(&whole.path().join("x.safetensors"), configuration("dev").path()).await;
    assert_eq!(apart(&made, &expected), 0.0);
}

#[tokio::test]
async fn all_in_one_files_of_stable_diffusion_3_go_without_the_projection_of_the_first_encoder() {
    // What a file of this layout gives is what the folder gives whose projection is none.
    let folder = copy("sd35");
    let text = folder.path().join("text_encoder/model.safetensors");
    let plain = read(&text).into_iter().map(|(name, said, bytes)| match name.as_str() {
        "text_projection.weight" => {
            let side = said["shape"][0].as_u64().unwrap();
            let one = |i: u64| if i.is_multiple_of(side + 1) { [0x00, 0x3c] } else { [0, 0] };
            (name, said, (0..side * side).flat_map(one).collect())
        }
        _ => (name, said, bytes),
    });
    write(&text, plain.collect());
    let vae = "vae/diffusion_pytorch_model.safetensors";
    fs::copy(tiny("dev").join(vae), folder.path().join(vae)).unwrap();
    let expected = Subject::open(folder.path(), "name = \"x\"").await.unwrap();
    let expected = expected.picture("the red fox", &json!({})).await;

    let part = |name: &str| tiny("sd35").join(name).join("model.safetensors");
    let whole = single([
        read(&file_of("sd35")),
        renamed(&file_of("flux"), "vae.", "first_stage_model."),
        renamed(&part("text_encoder"), "", CLIP_L),
        renamed(&part("text_encoder_2"), "", CLIP_G),
        renamed(&part("text_encoder_3"), "", T5),
    ]);
    let made = picture(&whole.path().join("x.safetensors"), configuration("sd35").path()).await;
    assert_eq!(apart(&made, &expected), 0.0);
}

#[tokio::test]
async fn a_network_alone_takes_the_rest_from_the_folder() {
    for (name, rest) in [("flux", "dev"), ("sd35", "sd35")] {
        let bare = single([renamed(&file_of(name), NET, "")]);
        let made = picture(&bare.path().join("x.safetensors"), &tiny(rest)).await;
        let expected = picture(&file_of(name), &tiny(rest)).await;
        assert_eq!(apart(&made, &expected), 0.0, "{name}");
    }
    let folder = Subject::tiny("sd35").await.picture("the red fox", &json!({})).await;
    assert_eq!(apart(&picture(&file_of("sd35"), &tiny("sd35")).await, &folder), 0.0);
}

#[tokio::test]
async fn the_folder_for_the_rest_is_part_of_what_is_announced() {
    let folder = copy("dev");
    let before = opened(&file_of("flux"), folder.path()).await.unwrap().spec;
    let encoder = folder.path().join("text_encoder_2/model.safetensors");
    let mut bytes = fs::read(&encoder).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&encoder, bytes).unwrap();
    assert_ne!(opened(&file_of("flux"), folder.path()).await.unwrap().spec.digest(), before.digest());
}

#[tokio::test]
async fn what_is_missing_is_said_in_a_sentence() {
    let said = |result: Result<Subject, EngineError>| {
        let error = result.err().unwrap();
        assert!(matches!(error, EngineError::Weights(_)), "{error:?}");
        error.to_string()
    };
    let alone = said(Subject::open(&file_of("sd35"), "").await);
    assert!(
        alone.contains("has no autoencoder, no text encoder of CLIP: name in config a folder"),
        "{alone}"
    );
    let configuration = configuration("sd35");
    let neither = said(opened(&file_of("sd35"), configuration.path()).await);
    assert!(neither.contains("single.safetensors has no autoencoder, and "), "{neither}");
    assert!(neither.contains("vae has no diffusion_pytorch_model.safetensors: get that folder"), "{neither}");
    let other = said(opened(&file_of("flux"), &tiny("sd35")).await);
    assert!(
        other.contains("has a network of Flux.1, and") && other.contains("is of Stable Diffusion 3"),
        "{other}"
    );
}

#[tokio::test]
async fn files_that_are_damaged_or_of_something_else_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.safetensors");
    let said = async || {
        let ended = match opened(&file, &tiny("dev")).await {
            Ok(subject) => subject.engine.load(subject.spec.digest()).await,
            Err(error) => Err(error),
        };
        ended.unwrap_err().to_string()
    };
    let bytes = fs::read(file_of("flux")).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 100]).unwrap();
    let truncated = said().await;
    assert!(truncated.contains("is truncated or damaged: it has"), "{truncated}");
    let mut without = read(&file_of("flux"));
    without.retain(|(name, ..)| !name.ends_with("single_blocks.1.linear1.bias"));
    write(&file, without);
    let without = said().await;
    assert!(
        without.contains("has no tensor model.diffusion_model.single_blocks.1.linear1.bias"),
        "{without}"
    );
    let mut more = read(&file_of("flux"));
    let (_, shape, bytes) = more[0].clone();
    more.push((format!("{NET}double_blocks.0.ip_adapter.weight"), shape, bytes));
    write(&file, more);
    let more = said().await;
    assert!(more.contains("double_blocks.0.ip_adapter.weight, that have no place in it"), "{more}");
    write(&file, renamed(&file_of("flux"), "vae.", "zebra."));
    let unknown = said().await;
    assert!(
        unknown.contains("has tensors such as zebra.") && unknown.contains("or of Stable Diffusion 3"),
        "{unknown}"
    );
}

#[tokio::test]
async fn loras_for_modules_that_are_not_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lora = folder.path().join("l.safetensors");
    let said = async || {
        let more = format!("config = {:?}\nloras = [{{path = {lora:?}, name = \"l\"}}]", tiny("dev"));
        let subject = Subject::open(&file_of("flux"), &more).await.unwrap();
        let error = subject.fails("a fox", &json!({"loras": ["l"]})).await;
        assert!(matches!(error, EngineError::Weights(_)), "{error:?}");
        error.to_string()
    };
    let kohya = tiny("flux").join("loras/kohya.safetensors");
    let mut deeper = read(&kohya);
    for (name, ..) in &mut deeper {
        *name = name.replace("double_blocks_0", "double_blocks_7");
    }
    write(&lora, deeper);
    let deeper = said().await;
    assert!(
        deeper.contains("does not fit this checkpoint: 5 of its layers, such as lora_unet_double_blocks_7"),
        "{deeper}"
    );
    fs::copy(tiny("sd35").join("loras/dotted.safetensors"), &lora).unwrap();
    let other = said().await;
    assert!(other.contains("such as diffusion_model.joint_blocks.0"), "{other}");
    let mut wider = read(&kohya);
    for (name, shape, bytes) in &mut wider {
        if name == "lora_unet_single_blocks_0_linear1.lora_up.weight" {
            shape["shape"] = json!([224, 2]);
            bytes.extend(bytes.clone());
        }
    }
    write(&lora, wider);
    let wider = said().await;
    assert!(wider.contains("linear1.lora_down.weight makes [32, 16] where [16, 16] was expected"), "{wider}");
}
