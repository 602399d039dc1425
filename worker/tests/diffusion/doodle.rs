//! What doodle does for members and operators. Its weights here are random: what it draws means nothing, how it draws does.

use std::collections::BTreeMap;

use image::{
    RgbImage,
    imageops::{self, FilterType},
};
use riff_hub::{
    canonical::Digest,
    recipe::{Move, Recipe},
    riff::{self, Pan, Strength},
    schema::{check_spec, fill_defaults},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    doodle_files,
    support::{Subject, apart, decode},
};

/// The engine and its folder.
async fn subject() -> (Subject, TempDir) {
    subject_of(doodle_files::folder()).await
}

async fn subject_of(folder: TempDir) -> (Subject, TempDir) {
    let engine = doodle_files::engine(&folder);
    let [spec] = engine.discover().await.unwrap().try_into().unwrap();
    (Subject { engine, spec, shelf: Vec::new() }, folder)
}

fn recipe(subject: &Subject, prompt: &str, inputs: &Value) -> Recipe {
    let mut params: BTreeMap<String, Value> =
        BTreeMap::from([("seed".to_owned(), json!(7)), ("count".to_owned(), json!(1))]);
    params.extend(inputs.as_object().unwrap().clone());
    fill_defaults(&mut params, &subject.spec);
    Recipe {
        riff: Recipe::FORMAT,
        model: subject.spec.digest(),
        prompt: prompt.parse().unwrap(),
        params,
        origin: None,
    }
}

async fn draw(subject: &Subject, recipe: &Recipe) -> Vec<RgbImage> {
    let made = subject.engine.run(recipe, &subject.context()).await.unwrap();
    made.iter().map(|artifact| decode(&artifact.bytes)).collect()
}

async fn refused(subject: &Subject, prompt: &str) -> String {
    subject
        .engine
        .run(&recipe(subject, prompt, &json!({})), &subject.context())
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn words_seeds_and_guidance_make_the_picture() {
    let (subject, _folder) = subject().await;
    check_spec(&subject.spec).unwrap();
    let offered = riff::moves_of(&subject.spec);
    for made_by in [Move::Vary, Move::Reroll, Move::Blend, Move::Remix, Move::Fork, Move::Zoom, Move::Pan] {
        assert!(offered.contains(&made_by), "{offered:?}");
    }
    assert!(
        !offered.contains(&Move::Upscale),
        "it draws no larger than it learned to: that is for an upscaler"
    );
    let grid = draw(&subject, &recipe(&subject, "a blue cat", &json!({"count": 2}))).await;
    assert_eq!(grid[0].dimensions(), (128, 128));
    let second = draw(&subject, &recipe(&subject, "a blue cat", &json!({"seed": 8}))).await;
    assert_eq!(grid[1], second[0], "the second of a grid has the next seed");
    for inputs in [json!({"guidance_scale": 4.0}), json!({"tile": true})] {
        assert_ne!(draw(&subject, &recipe(&subject, "a blue cat", &inputs)).await[0], grid[0], "{inputs}");
    }
    assert_ne!(draw(&subject, &recipe(&subject, "a red dog", &json!({}))).await[0], grid[0]);
    let heavy = draw(&subject, &recipe(&subject, "cat::3 dog::1", &json!({}))).await.remove(0);
    let light = draw(&subject, &recipe(&subject, "cat::1 dog::3", &json!({}))).await.remove(0);
    let cat = draw(&subject, &recipe(&subject, "cat", &json!({}))).await.remove(0);
    assert!(apart(&heavy, &cat) < apart(&light, &cat), "what counts more is nearer");
}

#[tokio::test]
async fn pictures_need_not_be_squares() {
    let (mut subject, _folder) = subject().await;
    let wide = |more: serde_json::Value| {
        let mut inputs = json!({"width": 192, "height": 96});
        inputs.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        inputs
    };
    let first = recipe(&subject, "a cat", &wide(json!({"count": 2})));
    let made = subject.engine.run(&first, &subject.context()).await.unwrap().remove(1).bytes;
    let picture = decode(&made);
    assert_eq!(picture.dimensions(), (192, 96));
    subject.shelf.push(made.clone());
    let again = json!({"image": Digest::of_bytes(&made).to_string(), "strength": 0.1, "seed": 2});
    let near = draw(&subject, &recipe(&subject, "a cat", &wide(again))).await.remove(0);
    assert_eq!(near.dimensions(), (192, 96));
    let other = draw(&subject, &first).await.remove(0);
    assert!(apart(&near, &picture) < apart(&other, &picture));
}

#[tokio::test]
async fn weights_that_were_not_distilled_take_more_steps_and_are_guided() {
    let (subject, _folder) = subject_of(doodle_files::folder_of("guided")).await;
    check_spec(&subject.spec).unwrap();
    let usual = recipe(&subject, "a blue cat", &json!({}));
    assert_eq!(usual.params["steps"], json!(12));
    let usual = draw(&subject, &usual).await.remove(0);
    let changes = [
        json!({"steps": 20}),
        json!({"guidance_scale": 1.0}),
        json!({"guidance_scale": 4.0}),
        json!({"negative_prompt": "red"}),
    ];
    for inputs in changes {
        assert_ne!(draw(&subject, &recipe(&subject, "a blue cat", &inputs)).await[0], usual, "{inputs}");
    }
    let below = draw(&subject, &recipe(&subject, "a blue cat::1 red::-1", &json!({}))).await.remove(0);
    let not = recipe(&subject, "a blue cat", &json!({"negative_prompt": "red"}));
    assert_eq!(below, draw(&subject, &not).await[0], "a weight below 0 says what is not to be there");
}

#[tokio::test]
async fn what_it_cannot_draw_is_refused_in_words() {
    let (subject, _folder) = subject().await;
    assert!(refused(&subject, "東京").await.contains("English words alone"));
    assert!(refused(&subject, "a cat::2 dog::-1").await.contains("cannot leave things out"));
    let long = refused(&subject, &"a very long prompt ".repeat(75)).await;
    assert!(long.contains("the prompt is too long") && long.contains("254 are too many"), "{long}");
}

#[tokio::test]
async fn a_picture_can_be_begun_with_and_keeps_what_a_mask_keeps() {
    let (mut subject, _folder) = subject().await;
    let first = recipe(&subject, "a cat", &json!({}));
    let made = subject.engine.run(&first, &subject.context()).await.unwrap().remove(0).bytes;
    subject.shelf.push(made.clone());
    let (image, before) = (Digest::of_bytes(&made), decode(&made));
    let from = |strength: f64| json!({"image": image.to_string(), "strength": strength, "seed": 99});
    let mut distances = Vec::new();
    for strength in [0.1, 0.5, 1.0] {
        let after = draw(&subject, &recipe(&subject, "a cat", &from(strength))).await.remove(0);
        distances.push(apart(&before, &after));
    }
    assert!(distances.is_sorted() && distances[0] > 0.5, "{distances:?}");
    let out = |recipe: &Recipe| riff::zoom(recipe, &subject.spec, 0);
    let far = riff::on_picture(&first, &subject.spec, (0, image), out).unwrap();
    let far = draw(&subject, &far).await.remove(0);
    let small = imageops::resize(&before, 64, 64, FilterType::Lanczos3);
    let middle = |picture: &RgbImage, x, y| imageops::crop_imm(picture, x, y, 48, 48).to_image();
    assert_eq!(middle(&far, 40, 40), middle(&small, 8, 8), "the middle stays");
    let aside = |recipe: &Recipe| riff::pan(recipe, &subject.spec, 0, Pan::Right);
    let aside = riff::on_picture(&first, &subject.spec, (0, image), aside).unwrap();
    let aside = draw(&subject, &aside).await.remove(0);
    let half = |picture: &RgbImage, x| imageops::crop_imm(picture, x, 0, 56, 128).to_image();
    assert_eq!(half(&aside, 0), half(&before, 64), "half of it stays");
    assert!(
        apart(
            &imageops::crop_imm(&aside, 64, 0, 64, 128).to_image(),
            &imageops::crop_imm(&before, 0, 0, 64, 128).to_image()
        ) > 1.0
    );
}

#[tokio::test]
async fn variations_are_near_and_blends_between() {
    let (subject, _folder) = subject().await;
    let parent = recipe(&subject, "a cat", &json!({"count": 2}));
    let second = draw(&subject, &parent).await.remove(1);
    let mut distances = Vec::new();
    for strength in [Strength::Subtle, Strength::Strong] {
        let child = riff::vary(&parent, &subject.spec, 1, strength, 99).unwrap();
        distances.push(apart(&second, &draw(&subject, &child).await[0]));
    }
    let other = riff::reroll(&parent, &subject.spec, 0, 12_345).unwrap();
    distances.push(apart(&second, &draw(&subject, &other).await[1]));
    assert!(distances.is_sorted() && distances[0] > 0.5, "{distances:?}");
    let parents = [
        recipe(&subject, "a cat", &json!({"seed": 1})),
        recipe(&subject, "the sea at night", &json!({"seed": 900})),
    ];
    let child = riff::blend(&[(&parents[0], 0), (&parents[1], 0)], &subject.spec, 5).unwrap();
    let blended = draw(&subject, &child).await.remove(0);
    let (one, two) =
        (draw(&subject, &parents[0]).await.remove(0), draw(&subject, &parents[1]).await.remove(0));
    for picture in [&one, &two] {
        assert!(apart(&blended, picture) > 0.5 && apart(&blended, picture) < apart(&one, &two));
    }
}

#[tokio::test]
async fn a_tile_repeats_without_a_seam() {
    let (subject, _folder) = subject().await;
    let step = |picture: &RgbImage, at: u32| {
        let column = |x| imageops::crop_imm(picture, x, 0, 1, 128).to_image();
        apart(&column(at), &column((at + 1) % 128))
    };
    let tile = draw(&subject, &recipe(&subject, "a cat", &json!({"tile": true}))).await.remove(0);
    // Columns 3 and 4 are of neighbouring pixels of the network, as the last and the first are.
    assert!(step(&tile, 127) < 2.0 * step(&tile, 3).max(1.0), "{} {}", step(&tile, 127), step(&tile, 3));
}

#[tokio::test]
async fn operators_are_told_what_is_missing() {
    let empty = tempfile::tempdir().unwrap();
    let engine = doodle_files::engine(&empty);
    assert!(
        engine.discover().await.unwrap().is_empty() && engine.left_out().is_empty(),
        "it need not be there"
    );

    let without = doodle_files::folder();
    std::fs::remove_file(without.path().join("minilm-l6-v2.txt")).unwrap();
    let engine = doodle_files::engine(&without);
    assert!(engine.discover().await.unwrap().is_empty());
    let [why] = engine.left_out().try_into().unwrap();
    assert!(why.contains("minilm-l6-v2.txt"), "{why}");

    let half = doodle_files::folder();
    let name = |name: &str| half.path().join(name);
    std::fs::rename(name("doodle-1-of-1.safetensors"), name("doodle-1-of-2.safetensors")).unwrap();
    let [why] = doodle_files::engine(&half).left_out().try_into().unwrap();
    assert!(why.contains("of its parts 1 are there"), "{why}");

    let torn = doodle_files::folder();
    let part = torn.path().join("doodle-1-of-1.safetensors");
    let bytes = std::fs::read(&part).unwrap();
    std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    let [why] = doodle_files::engine(&torn).left_out().try_into().unwrap();
    assert!(why.contains("doodle-1-of-1.safetensors"), "{why}");
}
