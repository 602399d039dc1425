//! Prompts, posts and buttons.

use fake_discord::{Message, attachment};
use riff_tests::worker::{painter, picture};
use serde_json::json;

use crate::{Stage, hide, private, reader, seen};

#[tokio::test]
async fn a_prompt_becomes_a_post_that_anybody_riffs_on() {
    let stage = Stage::with_engines().await;
    let (alice, bob, art) = (&stage.alice, &stage.bob, &stage.art);
    let options = json!({"prompt": "a mandala of gold", "seed": 4, "width": 128, "height": 128});
    let shown = alice.slash(art, "/imagine", options).await.unwrap();
    assert!(!shown.is_private());
    let grid = stage.finished(shown.message().unwrap()).await;
    insta::assert_snapshot!(seen(&grid), @"
    Riff:
    **a mandala of gold** — @alice
    -# abstract · `--seed 4 --width 128 --height 128` · recipe `…`
    riff-…-all.png 256×256
    [U1] [U2] [U3] [U4]
    [V1] [V2] [V3] [V4]
    [🎲] [✏️ Remix] [🗑️]
    ");

    let varied = bob.click(&grid, "V2").await.unwrap();
    let varied = stage.finished(varied.message().unwrap()).await;
    insta::assert_snapshot!(seen(&varied), @"
    Riff:
    in reply to Riff: **a mandala of gold** — @alice
    **a mandala of gold** — @bob
    -# abstract · vary of `…` · `--seed 5 --width 128 --height 128` · recipe `…`
    riff-…-all.png 256×256
    [U1] [U2] [U3] [U4]
    [V1] [V2] [V3] [V4]
    [🎲] [✏️ Remix] [🗑️]
    ");

    let large = alice.click(&varied, "U1").await.unwrap();
    let large = stage.finished(large.message().unwrap()).await;
    insta::assert_snapshot!(seen(&large), @"
    Riff:
    in reply to Riff: **a mandala of gold** — @bob
    **a mandala of gold** — @alice
    -# abstract · upscale of `…` · `--seed 5 --n 1 --width 256 --height 256` · recipe `…`
    riff-…-1.png 256×256
    [Upscale] [Vary (subtle)] [Vary (strong)] [Zoom out]
    [⬅️] [➡️] [⬆️] [⬇️]
    [🎲] [✏️ Remix] [🗑️]
    ");
    for button in ["Zoom out", "⬅️", "Vary (strong)", "🎲"] {
        let shown = bob.click(&large, button).await.unwrap();
        stage.finished(shown.message().unwrap()).await;
    }
    stage.end().await;
}

#[tokio::test]
async fn remix_opens_what_was_typed_and_anybody_changes_it() {
    let (stage, worker) = Stage::with_worker().await;
    let post = stage.painted(&worker, "a fox --seed 7 --n 2").await;
    let form = stage.bob.click(&post, "Remix").await.unwrap();
    let form = form.modal().unwrap();
    assert_eq!(form.field("Prompt").unwrap().value, "a fox");
    assert_eq!(form.field("Settings").unwrap().value, "--n 2 --seed 7 --model painter");
    let shown = stage.bob.submit(form, json!({"Prompt": "a fox in the snow"})).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.prompt.as_str(), "a fox in the snow");
    worker.finish(&lease).await.unwrap();
    let remixed = stage.finished(shown.message().unwrap()).await;
    insta::assert_snapshot!(seen(&remixed), @"
    Riff:
    in reply to Riff: **a fox** — @alice
    **a fox in the snow** — @bob
    -# painter · remix of `…` · `--n 2 --seed 7` · recipe `…`
    riff-…-all.png 128×64
    [🎲] [✏️ Remix] [🗑️]
    ");
    stage.end().await;
}

#[tokio::test]
async fn with_remix_on_the_dice_ask_first() {
    let (stage, worker) = Stage::with_worker().await;
    let post = stage.painted(&worker, "a fox").await;
    let on = stage.alice.slash(&stage.art, "/remix", json!({"mode": "on"})).await.unwrap();
    assert_eq!(private(&on), "Remix is on: V and 🎲 let you edit the prompt first.");
    let form = stage.alice.click(&post, "🎲").await.unwrap();
    assert_eq!(form.modal().unwrap().field("Prompt").unwrap().value, "a fox");
    let at_once = stage.bob.click(&post, "🎲").await.unwrap();
    assert!(at_once.message().is_ok(), "it is each member's own choice");
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    stage.finished(at_once.message().unwrap()).await;
    stage.end().await;
}

#[tokio::test]
async fn what_is_refused_is_said_to_who_asked_alone() {
    let (stage, _worker) = Stage::with_worker().await;
    let mut sentences = Vec::new();
    for prompt in ["a fox --sed 3", "a fox --seed many", "{red, blue", "a fox --model pianter", "   "] {
        let shown = stage.alice.slash(&stage.art, "/imagine", json!({"prompt": prompt})).await.unwrap();
        sentences.push(private(&shown));
    }
    insta::assert_snapshot!(sentences.join("\n"), @r#"
    There is no flag --sed for painter: did you mean --seed? Its flags: --n --height --seed --width --ar --model.
    --seed many does not work: --seed takes a whole number from 0 to 4294967295, as in “--seed 7”.
    A “{” has no partner: write choices as “{red, blue} bird”, or “\{” for the sign itself.
    There is no model “pianter” for /imagine: did you mean “painter”? Here are: painter.
    The prompt is empty: say what you would like to see, as in “a lighthouse at dusk”.
    "#);
    assert_eq!(stage.discord.messages(&stage.art), []);
    stage.end().await;
}

#[tokio::test]
async fn choices_make_a_message_each() {
    let (stage, worker) = Stage::with_worker().await;
    let first = stage.imagine("a {red, blue} bird").await;
    assert!(first.content.contains("and 1 more"), "{first}");
    for _ in 0..2 {
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    }
    stage.finished(&first).await;
    let blue =
        stage.discord.see(|message| message.content.contains("blue") && message.attachments.len() == 1);
    insta::assert_snapshot!(seen(&blue.await.unwrap()), @"
    Riff:
    **a blue bird** — @alice
    -# painter · `--seed …` · recipe `…`
    riff-…-1.png 64×64
    [🎲] [✏️ Remix] [🗑️]
    ");
    stage.end().await;
}

#[tokio::test]
async fn nobody_is_pinged_and_markdown_is_shown_as_it_was_typed() {
    let (stage, worker) = Stage::with_worker().await;
    let post = stage.painted(&worker, "@everyone **look** <@1> `x` ||y|| [a](http://b.example)").await;
    insta::assert_snapshot!(hide(&post.content), @r#"
    **\@everyone \*\*look\*\* \<\@1\> \`x\` \|\|y\|\| \[a\](http\://b.example)** — <@…>
    -# painter · `--seed …` · recipe `…`
    "#);
    stage.end().await;
}

#[tokio::test]
async fn one_cancels_what_is_waiting_and_others_do_not() {
    let (stage, worker) = Stage::with_worker().await;
    let waiting = stage.imagine("a fox").await;
    insta::assert_snapshot!(seen(&waiting), @"
    Riff:
    **a fox** — @alice
    -# Next in line, about 1 s
    [❌ Cancel]
    ");
    let refused = stage.bob.click(&waiting, "Cancel").await.unwrap();
    assert_eq!(private(&refused), "Only alice can cancel this.");
    stage.alice.click(&waiting, "Cancel").await.unwrap();
    let gone = waiting.until(&stage.discord, |message| message.content.contains("~~")).await.unwrap();
    insta::assert_snapshot!(seen(&gone), @"
    Riff:
    ~~a fox~~ — @alice
    -# Cancelled; nothing was charged
    ");
    assert!(worker.lease_now().await.unwrap().is_none());
    stage.end().await;
}

#[tokio::test]
async fn one_deletes_ones_own_post_and_its_recipe_stays() {
    let (stage, worker) = Stage::with_worker().await;
    let post = stage.painted(&worker, "a fox").await;
    let refused = stage.bob.click(&post, "🗑️").await.unwrap();
    assert_eq!(private(&refused), "Only alice can delete this.");
    stage.alice.click(&post, "🗑️").await.unwrap();
    post.gone(&stage.discord).await.unwrap();
    let vary = post.custom_id("🎲").unwrap();
    let other = stage.painted(&worker, "another").await;
    let shown = stage.bob.raw_component(&other, &vary).await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    assert!(stage.finished(shown.message().unwrap()).await.content.contains("reroll of"));
    stage.end().await;
}

#[tokio::test]
async fn every_button_works_after_a_restart() {
    let (mut stage, worker) = Stage::with_worker().await;
    let post = stage.painted(&worker, "a fox --seed 1").await;
    stage.riff.stop().await.unwrap();
    stage.start().await;
    let worker = stage.worker(vec![painter()]).await;
    let shown = stage.bob.click(&post, "🎲").await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    stage.finished(shown.message().unwrap()).await;
    stage.end().await;
}

#[tokio::test]
async fn two_people_press_the_same_button_at_once() {
    let (stage, worker) = Stage::with_worker().await;
    let post = stage.painted(&worker, "a fox").await;
    let (a, b) = tokio::join!(stage.alice.click(&post, "🎲"), stage.bob.click(&post, "🎲"));
    for _ in 0..2 {
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    }
    let (a, b) = (a.unwrap(), b.unwrap());
    let (a, b) = (stage.finished(a.message().unwrap()).await, stage.finished(b.message().unwrap()).await);
    assert_ne!(a.id, b.id, "each has a result");
    stage.end().await;
}

#[tokio::test]
async fn a_failure_is_posted_with_its_reason_and_a_way_on() {
    let (stage, worker) = Stage::with_worker().await;
    let message = stage.imagine("a fox").await;
    worker.fail(&worker.lease().await.unwrap(), "the weights are damaged", false).await.unwrap();
    let failed = message.until(&stage.discord, |message| message.content.contains("Failed")).await.unwrap();
    insta::assert_snapshot!(seen(&failed), @"
    Riff:
    **a fox** — @alice
    -# painter · `--seed …` · recipe `…`
    ⚠️ Failed; nothing was charged: the weights are damaged
    [✏️ Edit and try again]
    ");
    stage.end().await;
}

#[tokio::test]
async fn a_picture_carries_its_recipe_whoever_posts_it() {
    let (stage, worker) = Stage::with_worker().await;
    let post = stage.painted(&worker, "a fox --seed 9").await;
    let png = post.attachments[0].bytes().await.unwrap();
    let again = stage
        .bob
        .say(&stage.art, "look", &[attachment(png.clone(), "saved.png", "image/png")])
        .await
        .unwrap();
    let form = stage.alice.menu("Fork settings", &again).await.unwrap();
    assert_eq!(form.modal().unwrap().field("Settings").unwrap().value, "--seed 9 --model painter");

    let bare =
        stage.bob.say(&stage.art, "", &[attachment(picture(64, 64), "bare.png", "image/png")]).await.unwrap();
    let refused = stage.alice.menu("Fork settings", &bare).await.unwrap();
    insta::assert_snapshot!(private(&refused), @"This picture carries no recipe: take a PNG made here, or by a tool that writes its settings into PNG files.");
    let words = stage.bob.say(&stage.art, "no picture", &[]).await.unwrap();
    let refused = stage.alice.menu("Fork settings", &words).await.unwrap();
    insta::assert_snapshot!(private(&refused), @"There is no picture in this message: use this on one with a picture.");

    let shown = stage.alice.menu("Show recipe", &again).await.unwrap();
    insta::assert_snapshot!(private(&shown), @"
    Recipe
    ```
    /imagine a fox --seed 9 --model painter
    ```
    Id
    `…`
    Model
    painter `…`
    ");
    stage.end().await;
}

#[tokio::test]
async fn pictures_are_described_and_prompted_with() {
    let mut stage = Stage::set().await;
    stage.start().await;
    let painter = riff_tests::worker::spec(
        "painter",
        riff_hub::model::Media::Image,
        json!({"image": {"type": "string", "x-media": "image", "default": ""},
               "seed": {"type": "integer", "minimum": 0, "maximum": u32::MAX}}),
    );
    let worker = stage.worker(vec![painter, reader()]).await;
    stage.offers("\"image\"").await;
    let file = || attachment(picture(64, 48), "cat.png", "image/png");
    let shown = stage.alice.slash(&stage.art, "/describe", json!({"image": file()})).await.unwrap();
    let lease = worker.lease().await.unwrap();
    let image = lease.recipe.text("image").unwrap().to_owned();
    let bytes = worker.client.blob(image.parse().unwrap()).await.unwrap();
    assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 64);
    worker.answer(&lease, "A pink rectangle.").await.unwrap();
    let told =
        shown.message().unwrap().until(&stage.discord, |m| m.content.contains("rectangle")).await.unwrap();
    insta::assert_snapshot!(seen(&told), @"
    Riff:
    **Describe this picture.** — @alice
    A pink rectangle.
    -# reader · `--image … --seed …` · recipe `…`
    [🎲] [✏️ Remix] [🗑️]
    ");

    let posted = stage.bob.say(&stage.art, "", &[file()]).await.unwrap();
    let form = stage.alice.menu("Use as image prompt", &posted).await.unwrap();
    let shown =
        stage.alice.submit(form.modal().unwrap(), json!({"Prompt": "the same in blue"})).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.text("image"), Some(image.as_str()));
    worker.finish(&lease).await.unwrap();
    stage.finished(shown.message().unwrap()).await;
    stage.end().await;
}

#[tokio::test]
async fn where_no_model_takes_pictures_that_is_said_before_anything_is_typed() {
    let (stage, _worker) = Stage::with_worker().await;
    let file = attachment(picture(64, 48), "cat.png", "image/png");
    let posted = stage.bob.say(&stage.art, "", &[file]).await.unwrap();
    let refused = stage.alice.menu("Use as image prompt", &posted).await.unwrap();
    insta::assert_snapshot!(private(&refused), @"No model here starts from a picture yet: an operator has to start a worker with one.");
    stage.end().await;
}

#[tokio::test]
async fn two_pictures_are_blended() {
    let stage = Stage::with_engines().await;
    let mut files = Vec::new();
    for prompt in ["fire --n 1 --width 64 --height 64", "water --n 1 --width 64 --height 64"] {
        let shown = stage.alice.slash(&stage.art, "/imagine", json!({"prompt": prompt})).await.unwrap();
        let post: Message = stage.finished(shown.message().unwrap()).await;
        files.push(attachment(post.attachments[0].bytes().await.unwrap(), "made-here.png", "image/png"));
    }
    let options = json!({"first": files[0], "second": files[1]});
    let shown = stage.bob.slash(&stage.art, "/blend", options).await.unwrap();
    let blended = stage.finished(shown.message().unwrap()).await;
    assert!(blended.content.contains("blend of"), "{blended}");
    let options = json!({"image": files[0]});
    let shown = stage.bob.slash(&stage.art, "/upscale", options).await.unwrap();
    let large = stage.finished(shown.message().unwrap()).await;
    assert_eq!(large.attachments[0].width, Some(128));
    stage.end().await;
}
