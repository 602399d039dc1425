//! Recipes inside PNG files.

use image::RgbImage;
use riff_hub::{
    embed::{self, Embedded, Found},
    media::BadMedia,
    prompt,
    recipe::Recipe,
};

use crate::support::{painter, params, picture};

fn recipe(line: &str) -> Recipe {
    let [draft] = prompt::parse_line(line).unwrap().try_into().unwrap();
    let (prompt, mut params) = draft.resolve(&painter()).unwrap();
    params.entry("seed".to_owned()).or_insert(5.into());
    Recipe { riff: 1, model: painter().digest(), prompt, params, origin: None }
}

#[test]
fn a_picture_made_here_carries_its_exact_recipe() {
    let recipe = recipe("ein Leuchtturm bei Dämmerung 🌅 --no fog --cfg 9.5");
    let bytes = embed::write_png(&RgbImage::new(8, 8), &recipe, 2, &painter()).unwrap();
    let found = embed::read(&bytes).unwrap();
    let embedded = Embedded { recipe, index: 2, model: "painter".to_owned() };
    assert_eq!(found, Found::Recipe(Box::new(embedded)));
}

#[test]
fn other_tools_read_the_settings_where_they_expect_them() {
    let bytes =
        embed::write_png(&RgbImage::new(8, 8), &recipe("a lighthouse --no fog"), 2, &painter()).unwrap();
    let reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
    let chunk = &reader.info().uncompressed_latin1_text[0];
    assert_eq!(chunk.keyword, "parameters");
    insta::assert_snapshot!(chunk.text, @r"
    a lighthouse
    Negative prompt: fog
    Steps: 6, Sampler: euler, CFG scale: 7, Seed: 7, Size: 512x512, Model hash: db6cf2111805, Model: painter
    ");
}

#[test]
fn settings_of_other_tools_open_as_a_line() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    let text = "a {lake}, --moody\nNegative prompt: people\nSteps: 8, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 512x768, Model: sd";
    encoder.add_text_chunk("parameters".to_owned(), text.to_owned()).unwrap();
    encoder.write_header().unwrap().write_image_data(&[0, 0, 0]).unwrap();
    let Found::Line(line) = embed::read(&bytes).unwrap() else { panic!("no line") };
    insta::assert_snapshot!(line, @r"/imagine a \{lake\}, \\--moody --steps 8 --cfg 7.5 --seed 42 --width 512 --height 768 --no people");
    let read = recipe(&line);
    assert_eq!(read.prompt.as_str(), "a {lake}, --moody");
    assert_eq!((read.seed(), read.text("negative_prompt")), (42, Some("people")));
    assert_eq!(read, params_of(read.clone()));
}

/// The same recipe with its inputs rebuilt, to see that defaults were filled in.
fn params_of(recipe: Recipe) -> Recipe {
    let given: Vec<_> = recipe.params.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    Recipe { params: params(&painter(), &given), ..recipe }
}

#[test]
fn a_picture_without_a_recipe_is_told_apart_from_no_picture() {
    assert!(matches!(embed::read(&picture()), Err(BadMedia::NoRecipe)));
    assert!(matches!(embed::read(b"GIF89a"), Err(BadMedia::Unreadable(_))));
}
