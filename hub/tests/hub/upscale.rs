//! Larger results: by the model that made them, and by an upscaler.

use riff_hub::{
    hub::{Ask, RiffRequest, Twist},
    job::{Job, State},
    model::ModelSpec,
    recipe::{Move, Parent},
    riff::Enlarging,
};

use crate::support::{Community, painter, upscaler};

fn result(job: &Job) -> Parent {
    Parent { recipe: job.recipe, index: 0 }
}

#[tokio::test]
async fn an_upscaler_enlarges_what_its_own_model_cannot() {
    let mut photographer = ModelSpec { name: "photographer".into(), ..painter() };
    let properties = photographer.schema["properties"].as_object_mut().unwrap();
    properties.retain(|name, _| name == "seed" || name == "count");
    let community = Community::new().await;
    community.hello("w", &[photographer.clone(), painter()]).await;
    let alice = community.member("alice").await;
    let ask = Ask::public(&alice, "general");
    let paint = async |line: &str| {
        let job = community.job(&alice, line).await;
        while community.state(&job).await != State::Succeeded {
            community.serve("w").await;
        }
        job
    };
    let photo = paint("a pond --n 1 --model photographer").await;
    let painted = paint("a pond --n 1 --model painter").await;
    let enlarge = async |job: &Job, how| {
        let request = RiffRequest { parent: result(job), twist: Twist::Upscale(how) };
        let made = community.hub.riff(&ask, &request).await.map_err(|refusal| refusal.to_string())?;
        Ok::<_, String>(community.hub.store.recipe(made[0].recipe).await.unwrap().unwrap())
    };
    let refusal = enlarge(&photo, Enlarging::Best).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"The model photographer can't upscale its results; it offers: reroll, remix, fork.");
    let refusal = enlarge(&painted, Enlarging::Upscaler).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"No upscaler is here: an operator has to start a worker that serves one.");
    assert!(!community.hub.view(&photo.id).await.unwrap().moves.contains(&Move::Upscale));

    riff_hub::schema::check_spec(&upscaler()).unwrap();
    community.hello("w", &[photographer, painter(), upscaler()]).await;
    assert!(community.hub.view(&photo.id).await.unwrap().moves.contains(&Move::Upscale));
    let large = enlarge(&photo, Enlarging::Best).await.unwrap();
    let blob = community.hub.store.outputs(&community.now(&photo).await).await.unwrap()[0].blob;
    assert_eq!(
        (large.model, large.text("image"), large.count()),
        (upscaler().digest(), Some(blob.to_string().as_str()), 1)
    );
    assert_eq!(large.origin.unwrap().parents, [result(&photo)]);
    assert!(enlarge(&photo, Enlarging::Anew).await.is_err());
    assert_eq!(enlarge(&painted, Enlarging::Best).await.unwrap().model, painter().digest());
    assert_eq!(enlarge(&painted, Enlarging::Upscaler).await.unwrap().model, upscaler().digest());
    // "enlarger" is first by name.
    assert_eq!(community.job(&alice, "a hill").await.model, painter().digest());
}
