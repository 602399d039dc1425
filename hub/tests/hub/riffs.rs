//! Riffs: what each move makes of a recipe, and what it refuses.

use riff_hub::{
    canonical::Digest,
    prompt::Prompt,
    recipe::{Move, Parent, Recipe},
    riff::{self, BadRiff, Pan, Strength},
};
use serde_json::{Value, json};

use crate::support::{painter, params, upscaler, writer};

fn grid() -> Recipe {
    Recipe {
        riff: 1,
        model: painter().digest(),
        prompt: "a lighthouse".parse().unwrap(),
        params: params(&painter(), &[("seed", 100.into())]),
        origin: None,
    }
}

fn changed(child: &Recipe, parent: &Recipe) -> Value {
    let differing = child.params.iter().filter(|(name, value)| parent.params.get(*name) != Some(value));
    differing.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn each_move_changes_what_it_says_and_names_its_parent() {
    let (grid, spec) = (grid(), painter());
    let varied = riff::vary(&grid, &spec, 2, Strength::Subtle, 7).unwrap();
    assert_eq!(changed(&varied, &grid), json!({"seed": 102, "variations": [[7, 0.2]]}));
    let again = riff::reroll(&varied, &spec, 0, 8).unwrap();
    assert_eq!(changed(&again, &grid), json!({"seed": 102, "variations": [[8, 0.2]]}));
    let of_variation = riff::vary(&varied, &spec, 1, Strength::Strong, 9).unwrap();
    assert_eq!(changed(&of_variation, &grid), json!({"seed": 102, "variations": [[8, 0.2], [9, 0.45]]}));
    let upscaled = riff::upscale(&grid, &spec, 3).unwrap();
    assert_eq!(changed(&upscaled, &grid), json!({"seed": 103, "count": 1, "width": 1024, "height": 1024}));
    let zoomed = riff::zoom(&upscaled, &spec, 0).unwrap();
    assert_eq!(changed(&zoomed, &upscaled), json!({"view_scale": 2}));
    let panned = riff::pan(&zoomed, &spec, 0, Pan::Left).unwrap();
    assert_eq!(changed(&panned, &zoomed), json!({"view_x": -0.5}));

    let origin = varied.origin.unwrap();
    assert_eq!((origin.made_by, origin.parents), (Move::Vary, vec![Parent { recipe: grid.id(), index: 2 }]));
}

#[test]
fn views_of_pictures_begin_with_the_result() {
    let mut spec = painter();
    let properties = spec.schema["properties"].as_object_mut().unwrap();
    let picture = json!({"type": "string", "x-media": "image", "default": ""});
    properties.insert("image".to_owned(), picture.clone());
    properties.insert("mask".to_owned(), picture);
    let strength = json!({"type": "number", "minimum": 0, "maximum": 1, "default": 0.75});
    properties.insert("strength".to_owned(), strength);
    assert!(riff::views_pictures(&spec) && !riff::views_pictures(&painter()));
    let [first, result] = [b"first", b"other"].map(|bytes| Digest::of_bytes(bytes));
    let inputs = [("seed", 100.into()), ("mask", first.to_string().into()), ("view_x", json!(0.75))];
    let grid = Recipe { params: params(&spec, &inputs), ..grid() };
    let on = |twist: &dyn Fn(&Recipe) -> Result<Recipe, BadRiff>| {
        riff::on_picture(&grid, &spec, (2, result), twist).unwrap()
    };
    let zoomed = on(&|parent| riff::zoom(parent, &spec, 2));
    let image = result.to_string();
    let begun = json!({"seed": 102, "count": 1, "image": image, "mask": "", "strength": 0.3, "view_x": 0.5});
    let with = |more: Value| {
        let mut all = begun.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        Value::from(all)
    };
    assert_eq!(changed(&zoomed, &grid), with(json!({"view_scale": 2})));
    let panned = on(&|parent| riff::pan(parent, &spec, 2, Pan::Left));
    assert_eq!(changed(&panned, &grid), with(json!({"view_x": 0})));
    let upscaled = on(&|parent| riff::upscale(parent, &spec, 2));
    assert_eq!(changed(&upscaled, &grid), with(json!({"width": 1024, "height": 1024})));
    for child in [zoomed, panned, upscaled] {
        assert_eq!(child.origin.unwrap().parents, [Parent { recipe: grid.id(), index: 2 }]);
    }
}

#[test]
fn blends_hold_both_parents() {
    let (grid, spec) = (grid(), painter());
    let other = Recipe { prompt: "a pond".parse().unwrap(), ..grid.clone() };
    let blended = riff::blend(&[(&grid, 0), (&other, 1)], &spec, 5).unwrap();
    assert_eq!(
        blended.params["blend"],
        json!([{"prompt": "a pond", "seed": 101, "variations": [], "weight": 1}])
    );
    let parents: Vec<_> = blended.origin.unwrap().parents.iter().map(|parent| parent.recipe).collect();
    assert_eq!(parents, [grid.id(), other.id()]);
    let foreign = Recipe { model: writer().digest(), ..grid.clone() };
    assert_eq!(riff::blend(&[(&grid, 0), (&foreign, 0)], &spec, 5), Err(BadRiff::Mixed));
}

#[test]
fn a_reply_makes_history_of_what_was_said() {
    let spec = writer();
    let question = Recipe {
        riff: 1,
        model: spec.digest(),
        prompt: Prompt::verbatim("who are you?").unwrap(),
        params: params(&spec, &[("seed", 1.into())]),
        origin: None,
    };
    let next = Prompt::verbatim("really?").unwrap();
    let reply = riff::reply(&question, &spec, next, "a model", 2).unwrap();
    assert_eq!(reply.prompt.as_str(), "really?");
    assert_eq!(
        reply.params["history"],
        json!([{"role": "user", "content": "who are you?"}, {"role": "assistant", "content": "a model"}])
    );
}

#[test]
fn an_upscaler_takes_the_picture_and_keeps_the_words() {
    let (grid, spec) = (grid(), upscaler());
    let image = Digest::of_bytes(b"the picture");
    let large = riff::enlarge(&grid, 2, image, (spec.digest(), &spec)).unwrap();
    assert_eq!((large.model, &large.prompt), (spec.digest(), &grid.prompt));
    assert_eq!(json!(large.params), json!({"image": image.to_string(), "upscale": 2}));
    let origin = large.origin.unwrap();
    assert_eq!((origin.made_by, origin.parents[0].index), (Move::Upscale, 2));
    assert!(spec.is_upscaler() && !painter().is_upscaler());
}

#[test]
fn moves_end_where_the_schema_does() {
    let (grid, spec) = (grid(), painter());
    let mut recipe = riff::upscale(&grid, &spec, 0).unwrap();
    recipe = riff::upscale(&recipe, &spec, 0).unwrap();
    let refusal = riff::upscale(&recipe, &spec, 0).unwrap_err();
    insta::assert_snapshot!(refusal, @"This is already as far as the model painter goes (2048 pixels a side).");
    for _ in 0..3 {
        recipe = riff::zoom(&recipe, &spec, 0).unwrap();
    }
    let refusal = riff::zoom(&recipe, &spec, 0).unwrap_err();
    insta::assert_snapshot!(refusal, @"This is already as far as the model painter goes (8 times the first view).");
    let refusal = riff::vary(&grid, &writer(), 0, Strength::Subtle, 1).unwrap_err();
    insta::assert_snapshot!(refusal, @"The model writer can't vary its results; it offers: reroll, reply, remix, fork.");
}
