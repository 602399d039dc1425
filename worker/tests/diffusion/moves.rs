//! Riffs on results: which there are, and that they do what they say.

use riff_hub::{
    recipe::Move,
    riff::{self, Strength},
};
use riff_worker::engine::Artifact;
use serde_json::json;

use crate::support::{Subject, apart, decode};

async fn run(subject: &Subject, recipe: &riff_hub::recipe::Recipe) -> Vec<Artifact> {
    subject.engine.load(subject.spec.digest()).await.unwrap();
    subject.engine.run(recipe, &subject.context()).await.unwrap()
}

#[tokio::test]
async fn results_offer_what_a_recipe_alone_can_make_again() {
    let subject = Subject::tiny("sd15").await;
    let moves = riff::moves_of(&subject.spec);
    assert_eq!(moves, [Move::Vary, Move::Reroll, Move::Blend, Move::Remix, Move::Fork]);
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
