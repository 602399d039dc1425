//! The prompt grammar against a model's schema: what members type, and what they are told when it does not work.

use std::collections::BTreeMap;

use proptest::prelude::*;
use riff_hub::{
    model::Media,
    prompt::{self, BadPrompt, Prompt},
    recipe::Recipe,
    schema,
};
use serde_json::{Value, json};

use crate::support::{painter, spec};

fn resolve(line: &str) -> Result<(Prompt, BTreeMap<String, Value>), BadPrompt> {
    let [draft] = prompt::parse_line(line)?.try_into().expect("one draft");
    draft.resolve(&painter())
}

fn recipe(line: &str) -> Recipe {
    let (prompt, params) = resolve(line).unwrap();
    Recipe { riff: 1, model: painter().digest(), prompt, params, origin: None }
}

fn refusal(line: &str) -> String {
    resolve(line).unwrap_err().to_string()
}

#[test]
fn flags_fill_the_schema() {
    schema::check_spec(&painter()).unwrap();
    let (prompt, params) =
        resolve("a lighthouse --ar 3:2 --cfg 7.50 --tile at dusk --no fog, rain --seed 7").unwrap();
    assert_eq!(prompt.as_str(), "a lighthouse at dusk");
    insta::assert_json_snapshot!(params, @r#"
    {
      "blend": [],
      "count": 4,
      "guidance_scale": 7.5,
      "height": 416,
      "negative_prompt": "fog, rain",
      "sampler": "euler",
      "seed": 7,
      "steps": 6,
      "stop": [],
      "tile": true,
      "variations": [],
      "view_scale": 1,
      "view_x": 0.5,
      "view_y": 0.5,
      "width": 624
    }
    "#);
}

#[test]
fn what_is_no_text_is_refused() {
    assert_eq!(
        refusal("a \0 lighthouse"),
        "The prompt has a NUL character in it, which nobody can read. Leave it out."
    );
}

#[test]
fn refusals_name_the_flag_its_range_and_the_nearest_known_one() {
    insta::assert_snapshot!(refusal("x --stesp 5"), @"There is no flag --stesp for painter: did you mean --steps? Its flags: --n --cfg --height --no --sampler --seed --steps --stop --tile --width --ar --model.");
    insta::assert_snapshot!(refusal("x --steps 50"), @"--steps 50 does not work: --steps takes a whole number from 1 to 12, as in “--steps 6”.");
    insta::assert_snapshot!(refusal("x --steps"), @"--steps does not work: --steps takes a whole number from 1 to 12, as in “--steps 6”.");
    insta::assert_snapshot!(refusal("x --width 0"), @"--width 0 does not work: --width takes a multiple of 8 from 64 to 2048, as in “--width 512”.");
    insta::assert_snapshot!(refusal("x --width 100000"), @"--width 100000 does not work: --width takes a multiple of 8 from 64 to 2048, as in “--width 512”.");
    insta::assert_snapshot!(refusal("x --ar 3"), @"--ar 3 does not work: --ar takes width:height with whole numbers, not longer than 8:1, as in “--ar 3:2”.");
    insta::assert_snapshot!(refusal("x --seed -1"), @"--seed -1 does not work: --seed takes a whole number from 0 to 4294967295, as in “--seed 7”.");
    insta::assert_snapshot!(refusal("x --sampler heun"), @"--sampler heun does not work: --sampler takes one of euler, ddim, as in “--sampler euler”.");
    insta::assert_snapshot!(refusal("x --seed 1 --seed 2"), @"--seed is given twice: leave one of them out.");
    insta::assert_snapshot!(refusal("--seed 1"), @"The prompt is empty: say what you would like to see, as in “a lighthouse at dusk”.");
}

#[test]
fn an_input_that_may_be_left_out_is_null_until_it_is_set() {
    let strength = json!({"type": ["number", "null"], "minimum": 0, "maximum": 2, "default": null});
    let spec = spec("m", Media::Image, json!({"properties": {"strength": strength}}));
    schema::check_spec(&spec).unwrap();
    let read = |line: &str| {
        let [draft] = prompt::parse_line(line)?.try_into().expect("one draft");
        draft.resolve(&spec)
    };
    let (words, params) = read("fox").unwrap();
    assert_eq!(params["strength"], Value::Null);
    assert_eq!(prompt::render(&words, &params, &spec), "/imagine fox --model m");
    let (words, params) = read("fox --strength 1.5").unwrap();
    assert_eq!(params["strength"], json!(1.5));
    assert_eq!(prompt::render(&words, &params, &spec), "/imagine fox --strength 1.5 --model m");
    let refused = read("fox --strength 3").unwrap_err().to_string();
    assert!(refused.contains("a number from 0 to 2"), "{refused}");
}

#[test]
fn numbers_to_choose_from_are_named_when_another_is_typed() {
    let side = json!({"type": "integer", "enum": [512, 768], "minimum": 512, "maximum": 768, "default": 512});
    let spec = spec("m", Media::Image, json!({"properties": {"width": side}}));
    schema::check_spec(&spec).unwrap();
    let read = |line: &str| {
        let [draft] = prompt::parse_line(line).unwrap().try_into().expect("one draft");
        draft.resolve(&spec).unwrap().1
    };
    let typed = read("fox --width 768");
    assert_eq!(typed["width"], 768);
    schema::validate(&typed, &spec).unwrap();
    let refused = schema::validate(&read("fox --width 600"), &spec).unwrap_err().to_string();
    assert!(refused.contains("512 or 768"), "{refused}");
}

#[test]
fn hidden_inputs_have_no_flag() {
    assert!(matches!(resolve("x --view-scale 3"), Err(BadPrompt::UnknownFlag { .. })));
}

/// Flags with two spellings of the same value each.
const SAME: [(&str, &str); 7] = [
    ("--seed 7", "--seed=7"),
    ("--cfg 9", "--stylize 9.0"),
    ("--n 4", ""),
    ("--negative-prompt fog", "--no fog"),
    ("--tile", "--tile on"),
    ("--width 512", ""),
    ("--guidance-scale 7", "--cfg 7.0"),
];

proptest! {
    #[test]
    fn equal_meaning_gives_equal_id(
        order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle(),
        spelling in proptest::collection::vec(any::<bool>(), 6),
    ) {
        let flag = |i: usize, second: bool| if second { SAME[i].1 } else { SAME[i].0 };
        let first: String = (0..6).map(|i| format!(" {}", flag(i, false))).collect();
        let other: String = order.iter().map(|&i| format!("   {}", flag(i, spelling[i]))).collect();
        prop_assert_eq!(
            recipe(&format!("/imagine a  red bird{first}")).id(),
            recipe(&format!("a red bird {other}")).id()
        );
    }

    #[test]
    fn rendering_and_parsing_again_gives_the_same_recipe(
        words in "[a-z{}\\\\,. -]{1,30}",
        weighted in proptest::option::of(-10i32..=10),
        negative in "[a-z\"\\\\{} \n-]{0,20}",
        seed in any::<u32>(),
        steps in 1..=12i64,
        cfg in 0.0..20.0f64,
        tile in any::<bool>(),
        stop in proptest::collection::vec("[a-z\" \n-]{1,6}", 0..3),
    ) {
        let text = match weighted {
            Some(weight) => format!("{words}::{weight} sea"),
            None => words,
        };
        if let Ok(prompt) = text.parse::<Prompt>() {
            let mut params = BTreeMap::from([
                ("negative_prompt".to_owned(), Value::from(negative)),
                ("seed".to_owned(), seed.into()),
                ("steps".to_owned(), steps.into()),
                ("guidance_scale".to_owned(), cfg.into()),
                ("tile".to_owned(), tile.into()),
                ("stop".to_owned(), stop.into()),
            ]);
            schema::fill_defaults(&mut params, &painter());
            let line = prompt::render(&prompt, &params, &painter());
            prop_assert_eq!(resolve(&line), Ok((prompt, params)), "{}", line);
        }
    }
}

#[test]
fn words_and_settings_make_a_line() {
    let compose = |words: &str, settings: &[(&str, &str)]| {
        let settings: Vec<(String, String)> =
            settings.iter().map(|(name, typed)| ((*name).to_owned(), (*typed).to_owned())).collect();
        prompt::compose(words, &painter(), &settings)
    };
    let settings =
        [("steps", "9"), ("count", "4"), ("tile", "on"), ("negative_prompt", "--fog {x}"), ("seed", "")];
    assert_eq!(compose(" a pond ", &settings), r"a pond --no \\--fog \{x\} --steps 9 --tile");
    let (prompt, params) = resolve(&compose("a pond", &settings)).unwrap();
    assert_eq!((prompt.as_str(), &params["negative_prompt"]), ("a pond", &Value::from("--fog {x}")));
    assert_eq!(compose("a pond", &[("model", "painter"), ("nothing", "1")]), "a pond --model painter");
    assert_eq!(compose("a pond --model other", &[("model", "painter")]), "a pond --model other");
}
