//! What members get.

use std::sync::Arc;

use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};
use riff_hub::canonical::Digest;
use riff_worker::engine::{EngineError, RunContext};
use serde_json::json;

use crate::support::{Subject, apart, decode, encode, watched};

/// Colours that differ from place to place.
fn pattern(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 4) as u8, (y * 4) as u8, (x * y) as u8]))
}

#[tokio::test]
async fn every_family_paints_in_the_size_asked_for() {
    for name in ["sd15", "sd21", "sdxl", "inpainting", "sd3", "sd35", "dev", "schnell"] {
        let subject = Subject::tiny(name).await;
        let picture = subject.picture("a fox", &json!({"width": 96, "height": 80})).await;
        assert_eq!(picture.dimensions(), (96, 80), "{name}");
        let colours: std::collections::HashSet<_> = picture.pixels().collect();
        assert!(colours.len() > 100, "{name}: {} colours", colours.len());
    }
}

#[tokio::test]
async fn weights_leave_the_memory_and_come_back() {
    let subject = Subject::tiny("sd15").await;
    let before = subject.picture("a fox", &json!({})).await;
    subject.engine.unload(Digest::of_bytes(b"another")).await;
    assert!(subject.engine.loaded(subject.spec.digest()));
    subject.engine.unload(subject.spec.digest()).await;
    assert!(!subject.engine.loaded(subject.spec.digest()));
    assert_eq!(before, subject.picture("a fox", &json!({})).await);
}

#[tokio::test]
async fn words_samplers_and_inputs_make_a_difference() {
    let subject = Subject::tiny("sd15").await;
    let plain = subject.picture("a fox", &json!({})).await;
    for (prompt, inputs) in [
        ("the sea", json!({})),
        ("a fox sea::-1", json!({})),
        ("a fox::3 sea", json!({})),
        ("a fox", json!({"negative_prompt": "the sea"})),
        ("a fox", json!({"steps": 4})),
        ("a fox", json!({"guidance_scale": 3})),
        ("a fox", json!({"sampler": "heun"})),
        ("a fox", json!({"sampler": "euler_a"})),
        ("a fox", json!({"tile": true})),
    ] {
        let other = subject.picture(prompt, &inputs).await;
        assert!(apart(&plain, &other) > 0.2, "{prompt} {inputs}: {}", apart(&plain, &other));
    }
}

#[tokio::test]
async fn words_beyond_the_window_are_read_too() {
    let subject = Subject::tiny("sdxl").await;
    let filler = "sea ".repeat(90);
    let pictures = [
        subject.picture(&format!("{filler} fox"), &json!({})).await,
        subject.picture(&format!("{filler} cat"), &json!({})).await,
    ];
    assert!(apart(&pictures[0], &pictures[1]) > 0.05, "{}", apart(&pictures[0], &pictures[1]));
    let error = subject.fails(&"sea ".repeat(900), &json!({})).await;
    assert!(matches!(&error, EngineError::Input(said) if said.contains("too long")), "{error}");
}

#[tokio::test]
async fn a_result_is_the_same_in_a_grid_as_alone() {
    let subject = Subject::tiny("sd15").await;
    for sampler in ["dpmpp_2m", "euler_a"] {
        let grid = subject.pictures("a fox", &json!({"count": 3, "sampler": sampler})).await;
        for (i, picture) in grid.iter().enumerate() {
            let alone = subject.picture("a fox", &json!({"seed": 7 + i, "sampler": sampler})).await;
            let most = picture.as_raw().iter().zip(alone.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
            // Sums over several rows may be taken in another order, which moves a colour by one at most.
            assert!(most <= Some(1), "{sampler} {i}: {most:?}");
        }
        assert!(apart(&grid[0], &grid[1]) > 1.0);
    }
}

#[tokio::test]
async fn passes_of_another_size_give_the_same() {
    let whole = Subject::tiny("sd15").await.pictures("a fox", &json!({"count": 3})).await;
    let folder = crate::support::tiny("sd15");
    let single = Subject::open(&folder, "batch = 1").await.unwrap();
    for (a, b) in whole.iter().zip(single.pictures("a fox", &json!({"count": 3})).await) {
        assert!(apart(a, &b) < 0.1, "{}", apart(a, &b));
    }
}

#[tokio::test]
async fn a_picture_that_repeats_has_no_seam() {
    let subject = Subject::tiny("sd15").await;
    let seam = |picture: &RgbImage| {
        let (last, rows) = (picture.width() - 1, picture.height());
        let across = |x: u32, other: u32| {
            let differences = (0..rows).flat_map(|y| {
                let (a, b) = (picture.get_pixel(x, y).0, picture.get_pixel(other, y).0);
                (0..3).map(move |i| u64::from(a[i].abs_diff(b[i])))
            });
            differences.sum::<u64>() as f64
        };
        let inner: f64 = (0..last).map(|x| across(x, x + 1)).sum::<f64>() / f64::from(last);
        across(0, last) / inner
    };
    let inputs = |tile: bool| json!({"tile": tile, "steps": 8, "guidance_scale": 1, "width": 128});
    let (tiled, plain) =
        (subject.picture("a fox", &inputs(true)).await, subject.picture("a fox", &inputs(false)).await);
    assert!(seam(&tiled) < 1.5 && seam(&tiled) < seam(&plain), "{} {}", seam(&tiled), seam(&plain));
}

#[tokio::test]
async fn strength_says_how_much_of_a_picture_stays() {
    let mut subject = Subject::tiny("sd21").await;
    let original = pattern(64, 64);
    subject.shelf.push(encode(&DynamicImage::ImageRgb8(original)));
    let name = Digest::of_bytes(&subject.shelf[0]).to_string();
    let with = |strength: f64| json!({"image": name, "strength": strength, "steps": 10});
    let little = subject.picture("a fox", &with(0.1)).await;
    let middle = subject.picture("a fox", &with(0.5)).await;
    let much = subject.picture("a fox", &with(1.0)).await;
    let none = subject.picture("a fox", &json!({"steps": 10})).await;
    assert!(apart(&little, &middle) > 0.5 && apart(&middle, &much) > 0.5);
    assert!(apart(&much, &none) < apart(&little, &none), "what is painted anew forgets the picture");
}

#[tokio::test]
async fn what_lies_beside_a_mask_stays_to_the_pixel() {
    for name in ["sd15", "inpainting", "sdxl", "sd35", "dev"] {
        let mut subject = Subject::tiny(name).await;
        let original = pattern(64, 64);
        let inside = |x: u32, y: u32| (16..48).contains(&x) && (24..56).contains(&y);
        let mask = GrayImage::from_fn(64, 64, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]));
        subject.shelf.push(encode(&DynamicImage::ImageRgb8(original.clone())));
        subject.shelf.push(encode(&DynamicImage::ImageLuma8(mask)));
        let [image, mask] = [0, 1].map(|i| Digest::of_bytes(&subject.shelf[i]).to_string());
        let made = subject.picture("a fox", &json!({"image": image, "mask": mask, "strength": 1.0})).await;
        let mut changed = 0;
        for (x, y, pixel) in made.enumerate_pixels() {
            if inside(x, y) {
                changed += u32::from(pixel != original.get_pixel(x, y));
            } else {
                assert_eq!(pixel, original.get_pixel(x, y), "{name} at {x}, {y}");
            }
        }
        assert!(changed > 32 * 32 * 9 / 10, "{name}: {changed} pixels are new");
    }
}

#[tokio::test]
async fn a_picture_of_other_proportions_is_cut_and_its_mask_with_it() {
    let mut subject = Subject::tiny("sd15").await;
    let original = pattern(64, 32);
    let mask = GrayImage::from_fn(128, 64, |x, _| Luma([if x < 64 { 255 } else { 0 }]));
    subject.shelf.push(encode(&DynamicImage::ImageRgb8(original.clone())));
    subject.shelf.push(encode(&DynamicImage::ImageLuma8(mask)));
    let [image, mask] = [0, 1].map(|i| Digest::of_bytes(&subject.shelf[i]).to_string());
    let inputs = json!({"image": image, "mask": mask, "strength": 1.0});
    let made = subject.picture("a fox", &inputs).await;
    let cut = DynamicImage::ImageRgb8(original)
        .resize_to_fill(64, 64, image::imageops::FilterType::Lanczos3)
        .to_rgb8();
    let right = |picture: &RgbImage| image::imageops::crop_imm(picture, 36, 0, 28, 64).to_image();
    assert_eq!(right(&made), right(&cut));
    assert!(apart(&made, &cut) > 1.0);
}

#[tokio::test]
async fn members_see_a_grid_grow() {
    let subject = Subject::tiny("sdxl").await;
    let (context, seen) = watched(subject.context());
    let recipe = subject.recipe("a fox", &json!({"count": 3, "steps": 4, "width": 96, "height": 64}));
    subject.engine.load(subject.spec.digest()).await.unwrap();
    subject.engine.run(&recipe, &context).await.unwrap();
    let seen = seen.lock().unwrap();
    let parts: Vec<f32> = seen.iter().map(|(done, _)| *done).collect();
    assert!(parts.is_sorted() && parts.last() == Some(&1.0), "{parts:?}");
    let previews: Vec<RgbImage> =
        seen.iter().filter_map(|(_, preview)| preview.as_ref()).map(decode).collect();
    assert!(previews.len() >= 4, "{}", previews.len());
    for preview in &previews {
        let (width, height) = preview.dimensions();
        assert!(width <= 256 && height <= 256 && width > height, "{width}×{height}");
    }
    assert!(apart(&previews[0], &previews[3]) > 1.0, "previews change");
}

#[tokio::test]
async fn a_run_ends_within_a_step() {
    for name in ["sd15", "sd35", "dev"] {
        ends_within_a_step(&Subject::tiny(name).await).await;
    }
}

async fn ends_within_a_step(subject: &Subject) {
    subject.engine.load(subject.spec.digest()).await.unwrap();
    let (context, seen) = watched(subject.context());
    let cancel = context.cancel.clone();
    let updates = context.updates.clone();
    let context = RunContext {
        updates: Arc::new(move |update| {
            updates(update);
            cancel.cancel();
        }),
        ..context
    };
    let recipe = subject.recipe("a fox", &json!({"steps": 150}));
    let ended = subject.engine.run(&recipe, &context).await;
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
    assert_eq!(seen.lock().unwrap().len(), 1, "nothing happens after the step in which it was cancelled");
}

#[tokio::test]
async fn loras_are_chosen_by_name_and_strength() {
    let folder = crate::support::tiny("sd15");
    let loras = format!(
        "loras = [{{path = {:?}, name = \"ink\"}}, {{path = {:?}}}]",
        folder.join("loras/kohya.safetensors"),
        folder.join("loras/diffusers.safetensors")
    );
    let subject = Subject::open(&folder, &loras).await.unwrap();
    let plain = subject.picture("a fox", &json!({})).await;
    let with = async |chosen: serde_json::Value| subject.picture("a fox", &json!({"loras": chosen})).await;
    let (half, full) = (with(json!(["ink:0.5"])).await, with(json!(["ink"])).await);
    assert!(apart(&plain, &half) > 0.1 && apart(&half, &full) > 0.1);
    assert!(apart(&full, &with(json!(["diffusers"])).await) < 0.2, "both files hold the same");
    assert_eq!(with(json!(["ink:0"])).await, plain);
    assert_eq!(subject.picture("a fox", &json!({})).await, plain, "the weights are clean again");
    let error = subject.fails("a fox", &json!({"loras": ["oil"]})).await;
    let said = error.to_string();
    assert!(matches!(error, EngineError::Input(_)) && said.contains("ink, diffusers"), "{said}");
    assert!(matches!(subject.fails("a fox", &json!({"loras": ["ink:9"]})).await, EngineError::Input(_)));
}
