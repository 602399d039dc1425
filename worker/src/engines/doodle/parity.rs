//! The network, the way from noise to picture and the text encoder, held to what torch computes: `models/doodle/reference.py`.

use std::path::PathBuf;

use candle_core::{DType, Tensor};

use super::{
    model,
    network::{Doodle, Moment},
    parts,
    text::Encoder,
};
use crate::engines::{
    diffusion::weights::Safetensors,
    gpu,
    neural::{Edge, Pass},
};

/// How far numbers may be apart.
const TOLERANCE: f32 = 1e-3;
const EDGES: [(Edge, &str); 2] = [(Edge::Zero, "zero"), (Edge::Wrap, "wrap")];

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/doodle", name].iter().collect()
}

fn network(name: &str) -> Doodle {
    model::read(&[file(&format!("{name}-1-of-1.safetensors"))], &gpu::found().unwrap()).unwrap()
}

fn reference(name: &str) -> Tensor {
    let tensor = Safetensors::open(&file("references.safetensors")).unwrap().tensor(name).unwrap();
    tensor.to_device(&gpu::found().unwrap()).unwrap()
}

fn pass(edge: Edge) -> Pass<'static> {
    Pass { edge, wanted: &|| true }
}

fn check(found: &Tensor, wanted: &str, tolerance: f32) {
    let away =
        (found - reference(wanted)).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(away < tolerance, "{wanted}: {away}");
}

#[test]
fn the_velocity_is_that_of_torch() {
    let network = network("tiny");
    for (edge, name) in EDGES {
        let words = network.read(&reference("states"), &pass(edge)).unwrap();
        let moment = Moment { time: 0.3, step: 0.25, guidance: 2.5 };
        let found = network.velocity(&reference("noise"), moment, &words, &pass(edge)).unwrap();
        check(&found, &format!("velocity_{name}"), TOLERANCE);
    }
}

#[test]
fn a_batch_gives_what_its_pictures_give_alone() {
    let network = network("tiny");
    let noise = reference("noise");
    let noises = [noise.affine(-1.0, 0.0).unwrap(), noise];
    let moment = Moment { time: 0.3, step: 0.25, guidance: 2.5 };
    for (edge, _) in EDGES {
        let words = network.read(&reference("states"), &pass(edge)).unwrap();
        let velocity = |x: &Tensor| network.velocity(x, moment, &words, &pass(edge)).unwrap();
        let together = velocity(&Tensor::cat(&noises, 0).unwrap());
        for (row, noise) in noises.iter().enumerate() {
            let away = (together.narrow(0, row, 1).unwrap() - velocity(noise)).unwrap().abs().unwrap();
            assert!(away.max_all().unwrap().to_scalar::<f32>().unwrap() < TOLERANCE, "{edge:?} {row}");
        }
    }
}

#[test]
fn four_steps_give_the_picture_of_torch() {
    let network = network("tiny");
    for (edge, name) in EDGES {
        let words = network.read(&reference("states"), &pass(edge)).unwrap();
        let mut x = reference("noise");
        for at in 0..4 {
            let moment = Moment { time: f64::from(at) / 4.0, step: 0.25, guidance: 2.5 };
            let velocity = network.velocity(&x, moment, &words, &pass(edge)).unwrap();
            x = (x + (velocity / 4.0).unwrap()).unwrap();
        }
        check(&x.clamp(-1.0, 1.0).unwrap(), &format!("picture_{name}"), TOLERANCE);
    }
}

#[test]
fn what_a_predicted_picture_says_is_guided_as_by_torch() {
    let (network, pass) = (network("guided"), pass(Edge::Zero));
    let states = reference("guided_states");
    let [words, blank] = [0, 1].map(|row| network.read(&states.narrow(0, row, 1).unwrap(), &pass).unwrap());
    let mut x = reference("guided_noise");
    for at in 0..4 {
        let moment = Moment { time: f64::from(at) / 4.0, step: 0.25, guidance: 2.5 };
        let velocity = network.guided(&x, moment, &words, &blank, &pass).unwrap();
        x = (x + (velocity / 4.0).unwrap()).unwrap();
    }
    check(&x.clamp(-1.0, 1.0).unwrap(), "guided_picture", TOLERANCE);
}

#[test]
fn words_are_read_as_by_torch() {
    let weights = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/doodle/weights");
    let encoder = Encoder::open(
        &parts::find(&weights, model::ENCODER).unwrap(),
        &weights.join(model::VOCABULARY),
        &gpu::found().unwrap(),
    )
    .unwrap();
    let references = Safetensors::open(&file("references.safetensors")).unwrap();
    let texts: Vec<String> = serde_json::from_str(&references.metadata["texts"]).unwrap();
    let ids = reference("encoder_ids").to_vec2::<i64>().unwrap();
    let states = reference("encoder_states").to_dtype(DType::F32).unwrap();
    for (row, text) in texts.iter().enumerate() {
        let (found, over) = encoder.ids(text).unwrap();
        let wanted: Vec<u32> = ids[row].iter().map(|id| *id as u32).take_while(|id| *id != 0).collect();
        assert_eq!((found.as_slice(), over), (wanted.as_slice(), 0), "{text}");
        let wanted = states.get(row).unwrap().narrow(0, 0, found.len()).unwrap();
        let found = encoder.encode(&found, &pass(Edge::Zero)).unwrap().squeeze(0).unwrap();
        let away = (found - wanted).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(away < TOLERANCE, "{text}: {away}");
    }
}
