//! What members are promised: the same bytes for the same recipe, and moves that are exact or nearly so.

use std::sync::{Arc, Mutex};

use image::{RgbImage, imageops};
use riff_hub::{
    recipe::Recipe,
    riff::{self, Pan, Strength},
};
use serde_json::{Value, json};

use super::*;

/// Settings that differ from the defaults: one picture of 96 pixels a side, seed 7, and then `changes`.
fn recipe(prompt: &str, changes: Value) -> Recipe {
    let spec = spec();
    let mut params = std::collections::BTreeMap::new();
    for settings in [json!({"seed": 7, "count": 1, "width": 96, "height": 96}), changes] {
        params.extend(settings.as_object().unwrap().clone());
    }
    riff_hub::schema::fill_defaults(&mut params, &spec);
    Recipe { riff: 1, model: spec.digest(), prompt: prompt.parse().unwrap(), params, origin: None }
}

fn spec() -> ModelSpec {
    AbstractEngine::default().spec
}

/// Runs a recipe; gives its pictures and the updates that came.
async fn run(
    recipe: &Recipe,
    cancelled_by_update: Option<usize>,
) -> (Result<Vec<Bytes>, EngineError>, Vec<Update>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let cancel = tokio_util::sync::CancellationToken::new();
    let (list, token) = (seen.clone(), cancel.clone());
    let updates = Arc::new(move |update| {
        let mut list = list.lock().unwrap();
        list.push(update);
        if cancelled_by_update == Some(list.len()) {
            token.cancel();
        }
    });
    let outcome =
        AbstractEngine::default().run(recipe, &RunContext { updates, cancel, ..RunContext::default() }).await;
    let updates = seen.lock().unwrap().clone();
    (outcome.map(|artifacts| artifacts.into_iter().map(|artifact| artifact.bytes).collect()), updates)
}

async fn pictures(recipe: &Recipe) -> Vec<RgbImage> {
    let files = run(recipe, None).await.0.unwrap();
    files.iter().map(|file| image::load_from_memory(file).unwrap().to_rgb8()).collect()
}

async fn picture(recipe: &Recipe) -> RgbImage {
    let [picture] = pictures(recipe).await.try_into().unwrap();
    picture
}

async fn painted(prompt: &str, changes: Value) -> RgbImage {
    picture(&recipe(prompt, changes)).await
}

/// Every second pixel of every second row.
fn halved(picture: &RgbImage) -> RgbImage {
    RgbImage::from_fn(picture.width() / 2, picture.height() / 2, |x, y| *picture.get_pixel(2 * x, 2 * y))
}

fn part(picture: &RgbImage, (x, y): (u32, u32), (width, height): (u32, u32)) -> RgbImage {
    imageops::crop_imm(picture, x, y, width, height).to_image()
}

/// How far two pictures are apart: mean of differences, in steps of 255.
fn distance(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: u64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.as_raw().len() as f64
}

/// A change here is a change of every picture ever made: count up [`VERSION`] with it.
#[tokio::test]
async fn pixels_are_the_same_on_every_machine() {
    let settings = json!({"width": 128, "height": 64, "negative_prompt": "fog", "variations": [[9, 0.2]]});
    let picture = painted("storm::1.5 glass lighthouse", settings).await;
    insta::assert_snapshot!(blake3::hash(picture.as_raw()).to_hex(), @"42de765a4a7db06d2efcfbde635a7fd6a413ac37d6cbc7d39f19c1c68cb407e5");
}

#[tokio::test]
async fn the_same_recipe_gives_the_same_files() {
    let grid = recipe("calm ocean", json!({"count": 4}));
    assert_eq!(run(&grid, None).await.0.unwrap(), run(&grid, None).await.0.unwrap());
}

#[tokio::test]
async fn a_grid_counts_up_its_seed() {
    let grid = pictures(&recipe("calm ocean", json!({"count": 4}))).await;
    for (i, of_grid) in grid.iter().enumerate() {
        assert_eq!(*of_grid, painted("calm ocean", json!({"seed": 7 + i})).await);
    }
    assert!(distance(&grid[0], &grid[1]) > 5.0);
}

#[tokio::test]
async fn an_upscale_has_the_pixels_of_the_small_picture() {
    for prompt in ["neon city", "kaleidoscope", "symmetry"] {
        let small = recipe(prompt, json!({"width": 96, "height": 120}));
        let large = riff::upscale(&small, &spec(), 0).unwrap();
        let larger = riff::upscale(&large, &spec(), 0).unwrap();
        let (large, larger) = (picture(&large).await, picture(&larger).await);
        assert_eq!(halved(&large), picture(&small).await);
        assert_eq!(halved(&larger), large);
    }
}

#[tokio::test]
async fn zooming_out_keeps_the_middle() {
    let near = recipe("galaxy", json!({}));
    let far = picture(&riff::zoom(&near, &spec(), 0).unwrap()).await;
    assert_eq!(part(&far, (24, 24), (48, 48)), halved(&picture(&near).await));
}

#[tokio::test]
async fn panning_looks_at_the_same_plane() {
    let here = recipe("galaxy", json!({"width": 128, "height": 64}));
    let there = picture(&riff::pan(&here, &spec(), 0, Pan::Right).unwrap()).await;
    let below = picture(&riff::pan(&here, &spec(), 0, Pan::Down).unwrap()).await;
    let here = picture(&here).await;
    assert_eq!(part(&there, (0, 0), (64, 64)), part(&here, (64, 0), (64, 64)));
    assert_eq!(part(&below, (0, 0), (128, 32)), part(&here, (0, 32), (128, 32)));
}

#[tokio::test]
async fn a_tile_goes_on_at_its_other_end() {
    let tile = recipe("flower", json!({"tile": true, "width": 64, "height": 64}));
    let mut next = tile.clone();
    next.params.insert("view_x".to_owned(), json!(1.5));
    let two_by_two = picture(&riff::zoom(&tile, &spec(), 0).unwrap()).await;
    let tile = picture(&tile).await;
    assert_eq!(picture(&next).await, tile);
    assert_eq!(part(&two_by_two, (0, 0), (32, 32)), part(&two_by_two, (32, 32), (32, 32)));
    // The step over the seam is no larger than the steps beside it.
    let column = |x: u32| part(&tile, (x, 0), (1, 64));
    let seam = distance(&column(63), &column(0));
    let inside = (0..63).map(|x| distance(&column(x), &column(x + 1))).fold(0.0, f64::max);
    assert!(seam <= inside, "{seam} {inside}");
}

#[tokio::test]
async fn variations_start_at_the_picture() {
    let original = recipe("calm ocean", json!({}));
    let still = painted("calm ocean", json!({"variations": [[99, 0.0]]})).await;
    let arrived = painted("calm ocean", json!({"variations": [[99, 1.0]]})).await;
    let vary = async |strength| {
        pictures(&riff::vary(&original, &spec(), 0, strength, 99).unwrap()).await.swap_remove(0)
    };
    let (subtle, strong) = (vary(Strength::Subtle).await, vary(Strength::Strong).await);
    let original = picture(&original).await;
    assert_eq!(still, original);
    assert!(distance(&arrived, &painted("calm ocean", json!({"seed": 99})).await) < 0.01);
    assert!(0.0 < distance(&subtle, &original));
    assert!(distance(&subtle, &original) < distance(&strong, &original));
}

#[tokio::test]
async fn blends_lie_between_their_parents() {
    let source = |weight: f64| json!({"prompt": "lava", "seed": 3, "variations": [], "weight": weight});
    let blend = async |weight: f64| painted("snow", json!({"blend": [source(weight)]})).await;
    let (snow, lava) = (painted("snow", json!({})).await, painted("lava", json!({"seed": 3})).await);
    assert_eq!(blend(0.0).await, snow);
    assert!(distance(&blend(0.1).await, &snow) < distance(&blend(0.1).await, &lava));
    assert!(distance(&blend(20.0).await, &lava) < distance(&blend(20.0).await, &snow));
    let with_itself = json!({"blend": [{"prompt": "snow", "seed": 7, "weight": 1}]});
    assert!(distance(&painted("snow", with_itself).await, &snow) < 0.01);
    let (a, b) = (recipe("snow", json!({})), recipe("lava", json!({"seed": 3})));
    let offered = riff::blend(&[(&a, 0), (&b, 0)], &spec(), 5).unwrap();
    assert!(distance(&pictures(&offered).await[0], &snow) > 1.0);
}

#[tokio::test]
async fn every_setting_counts() {
    let plain = painted("calm ocean", json!({})).await;
    let others = [
        painted("calm::2 ocean", json!({})).await,
        painted("ocean::1 calm::-0.5", json!({})).await,
        painted("calm lighthouse", json!({})).await,
        painted("calm ocean", json!({"negative_prompt": "blue"})).await,
        painted("calm ocean", json!({"guidance_scale": 2})).await,
        painted("calm ocean", json!({"chaos": 80})).await,
        painted("calm ocean", json!({"steps": 2})).await,
        painted("calm ocean", json!({"tile": true})).await,
    ];
    for (i, other) in others.iter().enumerate() {
        assert!(distance(other, &plain) > 1.0, "{i}");
    }
}

#[tokio::test]
async fn words_of_the_table_do_what_they_say() {
    let mean = |picture: &RgbImage, channel: usize| {
        picture.pixels().map(|pixel| f64::from(pixel.0[channel])).sum::<f64>() / 9_216.0
    };
    for seed in 0..8 {
        let night = painted("night", json!({"seed": seed})).await;
        let snow = painted("snow", json!({"seed": seed})).await;
        assert!(mean(&night, 1) < mean(&snow, 1));
        let red = painted("red", json!({"seed": seed})).await;
        assert!(mean(&red, 0) > mean(&red, 2));
        let mirror = painted("mirror", json!({"seed": seed})).await;
        let right = part(&mirror, (49, 0), (47, 96));
        assert_eq!(imageops::flip_horizontal(&right), part(&mirror, (1, 0), (47, 96)));
    }
}

#[tokio::test]
async fn progress_grows_and_a_preview_comes_first() {
    let (outcome, updates) =
        run(&recipe("galaxy", json!({"count": 4, "width": 256, "height": 128})), None).await;
    assert_eq!(outcome.unwrap().len(), 4);
    let mut before = 0.0;
    for update in &updates {
        let Update::Progress { done, .. } = update else { panic!("{update:?}") };
        assert!(before < *done && *done <= 1.0);
        before = *done;
    }
    let Update::Progress { preview: Some(preview), .. } = &updates[0] else { panic!("no preview") };
    let preview = image::load_from_memory(preview).unwrap();
    assert_eq!((preview.width(), preview.height()), (256, 128));
}

#[tokio::test]
async fn a_cancelled_run_stops_within_a_band() {
    let large = recipe("galaxy", json!({"count": 4, "width": 2_048, "height": 2_048}));
    let (outcome, updates) = run(&large, Some(3)).await;
    assert!(matches!(outcome, Err(EngineError::Cancelled)));
    assert_eq!(updates.len(), 3);
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let bad = [
        ("width and height", json!({"width": null})),
        ("width and height", json!({"height": 9_000})),
        ("count", json!({"count": 0})),
        ("view_scale", json!({"view_scale": 0})),
        ("variations", json!({"variations": [["x", 1]]})),
        ("blend", json!({"blend": [{"prompt": "lava"}]})),
    ];
    for (name, settings) in bad {
        let Err(EngineError::Input(sentence)) = run(&recipe("galaxy", settings), None).await.0 else {
            panic!("{name} was read");
        };
        assert!(sentence.starts_with(name), "{sentence}");
    }
}
