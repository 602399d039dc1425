//! Riffs on results: which there are, and that they do what they say.

use std::collections::HashSet;

use image::{
    RgbImage,
    imageops::{self, FilterType},
};
use riff_hub::{
    canonical::Digest,
    recipe::{Move, Recipe},
    riff::{self, BadRiff, Pan, Strength},
};
use riff_worker::engine::Artifact;
use serde_json::json;

use crate::support::{Subject, apart, decode, encode};

async fn run(subject: &Subject, recipe: &riff_hub::recipe::Recipe) -> Vec<Artifact> {
    subject.engine.load(subject.spec.digest()).await.unwrap();
    subject.engine.run(recipe, &subject.context()).await.unwrap()
}

#[tokio::test]
async fn results_offer_what_a_recipe_alone_can_make_again() {
    let subject = Subject::tiny("sd15").await;
    let moves = riff::moves_of(&subject.spec);
    let view = [Move::Upscale, Move::Zoom, Move::Pan];
    assert!(view.iter().all(|made_by| moves.contains(made_by)), "{moves:?}");
    let recipe = [Move::Vary, Move::Reroll, Move::Blend, Move::Remix, Move::Fork];
    assert!(recipe.iter().all(|made_by| moves.contains(made_by)), "{moves:?}");
    riff_hub::schema::check_spec(&subject.spec).unwrap();
}

/// A parent's recipe with its result on the shelf, and that result.
async fn parent(subject: &mut Subject) -> (Recipe, RgbImage, Digest) {
    let recipe = subject.recipe("a fox", &json!({"count": 2, "width": 128, "height": 64, "steps": 8}));
    let bytes = run(subject, &recipe).await.remove(1).bytes;
    subject.shelf.push(bytes.clone());
    (recipe, decode(&bytes), Digest::of_bytes(&bytes))
}

#[tokio::test]
async fn upscales_start_from_the_picture_and_have_more_pixels() {
    let mut subject = Subject::tiny("sd21").await;
    let (recipe, small, image) = parent(&mut subject).await;
    let (spec, anew) = (subject.spec.clone(), |recipe: &Recipe| riff::upscale(recipe, &subject.spec, 1));
    let child = riff::on_picture(&recipe, &spec, (1, image), anew).unwrap();
    let large = decode(&run(&subject, &child).await[0].bytes);
    assert_eq!(large.dimensions(), (256, 128));
    let again = imageops::resize(&large, 128, 64, FilterType::Triangle);
    assert_ne!(again, small, "its details are new");
    let mut inverted = small.clone();
    imageops::invert(&mut inverted);
    let inverted = encode(&inverted.into());
    subject.shelf.push(inverted.clone());
    let mut other = child.clone();
    other.params.insert("image".to_owned(), Digest::of_bytes(&inverted).to_string().into());
    assert_ne!(decode(&run(&subject, &other).await[0].bytes), large, "another picture becomes another");
    // One of the largest pictures is no larger.
    let mut largest = child.clone();
    largest.params.insert("width".to_owned(), 2_048.into());
    assert!(matches!(riff::upscale(&largest, &subject.spec, 0), Err(BadRiff::Limit { .. })));
}

#[tokio::test]
async fn zooming_out_paints_what_lies_around() {
    for name in ["sd15", "inpainting", "sdxl", "sd3", "dev"] {
        let mut subject = Subject::tiny(name).await;
        let (recipe, near, image) = parent(&mut subject).await;
        let out = |recipe: &Recipe| riff::zoom(recipe, &subject.spec, 1);
        let child = riff::on_picture(&recipe, &subject.spec, (1, image), out).unwrap();
        assert_eq!(child.origin.as_ref().unwrap().parents[0].recipe, recipe.id());
        let far = decode(&run(&subject, &child).await[0].bytes);
        assert_eq!(far.dimensions(), (128, 64), "{name}");
        let small = imageops::resize(&near, 64, 32, FilterType::Lanczos3);
        let middle = |picture: &RgbImage, x, y| imageops::crop_imm(picture, x, y, 48, 16).to_image();
        assert_eq!(middle(&far, 40, 24), middle(&small, 8, 8), "{name}: the middle stays");
        let colours: HashSet<_> = (0..128).map(|x| far.get_pixel(x, 2)).collect();
        assert!(colours.len() > 30, "{name}: {} colours around it", colours.len());
    }
}

#[tokio::test]
async fn panning_keeps_half_and_paints_the_other() {
    let mut subject = Subject::tiny("sd15").await;
    let (recipe, here, image) = parent(&mut subject).await;
    for (pan, kept, place) in [
        (Pan::Right, (64, 0, 56, 64), (0, 0)),
        (Pan::Left, (8, 0, 56, 64), (72, 0)),
        (Pan::Up, (0, 8, 128, 24), (0, 40)),
        (Pan::Down, (0, 32, 128, 24), (0, 0)),
    ] {
        let aside = |recipe: &Recipe| riff::pan(recipe, &subject.spec, 1, pan);
        let child = riff::on_picture(&recipe, &subject.spec, (1, image), aside).unwrap();
        let there = decode(&run(&subject, &child).await[0].bytes);
        let (x, y, width, height) = kept;
        let before = imageops::crop_imm(&here, x, y, width, height).to_image();
        let after = imageops::crop_imm(&there, place.0, place.1, width, height).to_image();
        assert_eq!(before, after, "{pan:?}");
        assert!(apart(&here, &there) > 1.0, "{pan:?}");
        let again = riff::reroll(&child, &subject.spec, 0, 77).unwrap();
        assert_ne!(decode(&run(&subject, &again).await[0].bytes), there, "another seed, another surrounding");
    }
}

#[tokio::test]
async fn variations_are_near_and_strong_ones_further() {
    let subject = Subject::tiny("sd21").await;
    let parent = subject.recipe("a fox", &json!({"count": 2}));
    let second = decode(&run(&subject, &parent).await[1].bytes);
    let mut distances = Vec::new();
    for strength in [Strength::Subtle, Strength::Strong] {
        let child = riff::vary(&parent, &subject.spec, 1, strength, 99).unwrap();
        let made = run(&subject, &child).await;
        let pictures: Vec<_> = made.iter().map(|one| decode(&one.bytes)).collect();
        assert!(apart(&pictures[0], &pictures[1]) > 0.5, "variations differ among themselves");
        distances.push(apart(&second, &pictures[0]));
    }
    let other = riff::reroll(&parent, &subject.spec, 0, 12_345).unwrap();
    distances.push(apart(&second, &decode(&run(&subject, &other).await[1].bytes)));
    assert!(distances.is_sorted() && distances[0] > 0.5, "{distances:?}");
}

#[tokio::test]
async fn blends_lie_between_their_parents() {
    let subject = Subject::tiny("sd21").await;
    let parents =
        [subject.recipe("the fox", &json!({"seed": 1})), subject.recipe("red sea", &json!({"seed": 900}))];
    let child = riff::blend(&[(&parents[0], 0), (&parents[1], 0)], &subject.spec, 5).unwrap();
    let blended = decode(&run(&subject, &child).await[0].bytes);
    let mut pictures = Vec::new();
    for parent in &parents {
        pictures.push(decode(&run(&subject, parent).await[0].bytes));
    }
    let between = apart(&pictures[0], &pictures[1]);
    for picture in &pictures {
        assert!(apart(&blended, picture) > 0.5 && apart(&blended, picture) < between, "{between}");
    }
}
