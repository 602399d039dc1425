//! What members get of Stable Diffusion 3 and Flux.

use std::fs;

use riff_hub::{
    canonical::Digest,
    recipe::Move,
    riff::{self, Strength},
    schema::check_spec,
};
use riff_worker::engine::EngineError;
use serde_json::json;

use crate::{
    faults::edit,
    support::{Subject, apart, copy, decode, encode, tiny},
};

#[tokio::test]
async fn what_a_family_cannot_do_is_no_input() {
    for (name, inputs, examples) in [
        ("sd35", [true, true, false], "--no people"),
        ("dev", [false, true, false], "--cfg 4"),
        ("schnell", [false, false, false], "figs --n 1"),
        ("sd15", [true, true, true], "--tile"),
        ("lcm", [false, true, true], "--cfg 4"),
    ] {
        let spec = Subject::tiny(name).await.spec;
        check_spec(&spec).unwrap();
        let has = ["negative_prompt", "guidance_scale", "tile"]
            .map(|input| spec.schema["properties"].get(input).is_some());
        assert_eq!(has, inputs, "{name}");
        assert!(spec.examples.iter().any(|example| example.contains(examples)), "{:?}", spec.examples);
    }
    let spec = Subject::tiny("sd3").await.spec;
    assert_eq!(spec.schema["properties"]["sampler"]["enum"], json!(["euler", "heun", "dpmpp_2m"]));
    assert_eq!(spec.schema["properties"]["width"]["multipleOf"], 16, "two latents of 8 pixels");
    assert_eq!(spec.schema["properties"]["width"]["maximum"], 256, "the network has no places beyond");
    let subject = Subject::tiny("dev").await;
    for (inputs, expected) in [
        (json!({"tile": true}), "tile"),
        (json!({"negative_prompt": "sea"}), "negative_prompt"),
        (json!({"sampler": "ddim"}), "sampler"),
        (json!({"width": 72}), "width"),
    ] {
        let error = subject.fails("a fox", &inputs).await;
        let said = error.to_string();
        assert!(matches!(error, EngineError::Input(_)) && said.contains(expected), "{inputs}: {said}");
    }
    let error = subject.fails("a fox::1 sea::-1", &json!({})).await.to_string();
    assert!(error.contains("cannot push away from anything: leave out the parts"), "{error}");
}

#[tokio::test]
async fn words_guidance_and_inputs_make_a_difference() {
    for (name, changes) in [
        (
            "sd35",
            json!([{"negative_prompt": "the sea"}, {"guidance_scale": 2}, {"sampler": "heun"}, {"seed": 8}]),
        ),
        ("dev", json!([{"guidance_scale": 1}, {"sampler": "heun"}, {"steps": 5}, {"seed": 8}])),
        ("schnell", json!([{"steps": 2}, {"seed": 8}])),
    ] {
        let subject = Subject::tiny(name).await;
        let plain = subject.picture("the fox", &json!({})).await;
        assert_eq!(plain, subject.picture("the fox", &json!({})).await, "{name}: the same again");
        for prompt in ["red sea", "the fox sea::3"] {
            let other = subject.picture(prompt, &json!({})).await;
            assert!(apart(&plain, &other) > 0.2, "{name} {prompt}: {}", apart(&plain, &other));
        }
        for inputs in changes.as_array().unwrap() {
            let other = subject.picture("the fox", inputs).await;
            assert!(apart(&plain, &other) > 0.2, "{name} {inputs}: {}", apart(&plain, &other));
        }
    }
}

#[tokio::test]
async fn a_result_is_the_same_in_a_grid_as_alone() {
    for name in ["sd3", "dev"] {
        let subject = Subject::tiny(name).await;
        let grid = subject.pictures("a fox", &json!({"count": 3})).await;
        for (i, picture) in grid.iter().enumerate() {
            let alone = subject.picture("a fox", &json!({"seed": 7 + i})).await;
            let most = picture.as_raw().iter().zip(alone.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(most <= Some(1), "{name} {i}: {most:?}");
        }
        assert!(apart(&grid[0], &grid[1]) > 1.0, "{name}");
    }
}

#[tokio::test]
async fn strength_says_how_much_of_a_picture_stays() {
    for name in ["sd35", "dev"] {
        let mut subject = Subject::tiny(name).await;
        let original =
            image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * 4) as u8, (y * 4) as u8, 90]));
        subject.shelf.push(encode(&original.into()));
        let image = Digest::of_bytes(&subject.shelf[0]).to_string();
        let with = |strength: f64| json!({"image": image, "strength": strength, "steps": 10});
        let little = subject.picture("a fox", &with(0.1)).await;
        let middle = subject.picture("a fox", &with(0.5)).await;
        let all = subject.picture("a fox", &with(1.0)).await;
        assert!(apart(&little, &middle) > 0.5 && apart(&middle, &all) > 0.5, "{name}");
        let none = subject.picture("a fox", &json!({"steps": 10})).await;
        assert!(apart(&all, &none) < 0.1, "{name}: at full strength nothing of the picture stays");
    }
}

#[tokio::test]
async fn long_prompts_are_read_whole_or_refused() {
    let filler = "sea ".repeat(90);
    for name in ["sd3", "dev"] {
        let subject = Subject::tiny(name).await;
        let fox = subject.picture(&format!("{filler} fox"), &json!({})).await;
        let cat = subject.picture(&format!("{filler} cat"), &json!({})).await;
        assert!(apart(&fox, &cat) > 0.02, "{name}: {}", apart(&fox, &cat));
        let error = subject.fails(&"sea ".repeat(900), &json!({})).await;
        assert!(matches!(&error, EngineError::Input(said) if said.contains("too long")), "{name}: {error}");
    }
    let error = Subject::tiny("schnell").await.fails(&"sea ".repeat(300), &json!({})).await.to_string();
    assert!(error.contains("tokens, and at most 255 are read; shorten it"), "{error}");
}

#[tokio::test]
async fn stable_diffusion_3_goes_without_t5_where_its_folder_says_so() {
    let whole = Subject::tiny("sd35").await;
    let folder = copy("sd35");
    edit(&folder.path().join("model_index.json"), |index| index["text_encoder_3"] = json!([null, null]));
    for part in ["text_encoder_3", "tokenizer_3"] {
        fs::remove_dir_all(folder.path().join(part)).unwrap();
    }
    let without = Subject::open(folder.path(), "name = \"x\"").await.unwrap();
    assert_ne!(without.spec.fingerprint, whole.spec.fingerprint);
    let pictures = [whole.picture("a fox", &json!({})).await, without.picture("a fox", &json!({})).await];
    assert!(apart(&pictures[0], &pictures[1]) > 0.2, "{}", apart(&pictures[0], &pictures[1]));
}

#[tokio::test]
async fn results_offer_what_a_recipe_alone_can_make_again() {
    let subject = Subject::tiny("dev").await;
    let moves = riff::moves_of(&subject.spec);
    for made_by in
        [Move::Upscale, Move::Zoom, Move::Pan, Move::Vary, Move::Reroll, Move::Blend, Move::Remix, Move::Fork]
    {
        assert!(moves.contains(&made_by), "{made_by:?} of {moves:?}");
    }
    let parent = subject.recipe("a fox", &json!({"count": 2}));
    let first = subject.picture("a fox", &json!({})).await;
    let run = async |recipe: &riff_hub::recipe::Recipe| {
        let made = subject.engine.run(recipe, &subject.context()).await.unwrap();
        decode(&made[0].bytes)
    };
    let varied = |strength| riff::vary(&parent, &subject.spec, 0, strength, 99).unwrap();
    let (subtle, strong) = (run(&varied(Strength::Subtle)).await, run(&varied(Strength::Strong)).await);
    assert!(0.2 < apart(&first, &subtle) && apart(&first, &subtle) < apart(&first, &strong));
    let other = subject.recipe("red sea", &json!({"seed": 900}));
    let blend = riff::blend(&[(&parent, 0), (&other, 0)], &subject.spec, 5).unwrap();
    assert!(apart(&first, &run(&blend).await) > 0.2);
}

#[tokio::test]
async fn loras_of_transformers_are_chosen_by_name_and_strength() {
    for name in ["sd35", "dev"] {
        let folder = tiny(name);
        let loras =
            format!("loras = [{{path = {:?}, name = \"ink\"}}]", folder.join("loras/peft.safetensors"));
        let subject = Subject::open(&folder, &loras).await.unwrap();
        let plain = subject.picture("a fox", &json!({})).await;
        let with = async |chosen: &str| subject.picture("a fox", &json!({"loras": [chosen]})).await;
        let (half, full) = (with("ink:0.5").await, with("ink").await);
        assert!(apart(&plain, &half) > 0.1 && apart(&half, &full) > 0.1, "{name}");
        assert_eq!(with("ink:0").await, plain, "{name}");
    }
}
