//! The commands: how they are registered, and those that show something.

use riff_hub::model::Media;
use riff_tests::worker::{painter, spec};
use serde_json::{Value, json};

use crate::{Stage, private, seen, writer};

fn named<'a>(commands: &'a [Value], name: &str) -> &'a Value {
    commands.iter().find(|command| command["name"] == name).unwrap()
}

fn option<'a>(command: &'a Value, name: &str) -> &'a Value {
    named(command["options"].as_array().unwrap(), name)
}

#[tokio::test]
async fn commands_are_registered_from_the_schemas_in_every_language() {
    let (stage, _worker) = Stage::with_worker().await;
    let commands = stage.discord.commands();
    let mut names: Vec<&str> = commands.iter().map(|command| command["name"].as_str().unwrap()).collect();
    names.sort();
    insta::assert_snapshot!(names.join(", "), @"Describe, Fork settings, Report, Show recipe, Upscale, Use as image prompt, Vary, ask, blend, describe, imagine, mod, models, queue, quota, remix, settings, shorten, show, upscale");
    let imagine = named(&commands, "imagine");
    assert_eq!(imagine["description_localizations"]["de"], "Bilder aus Worten machen");
    let width = option(imagine, "width");
    assert_eq!((&width["min_value"], &width["max_value"]), (&json!(8), &json!(1024)));
    assert_eq!(width["name_localizations"]["de"], "breite");
    assert_eq!(option(imagine, "prompt")["required"], true);
    assert_eq!(named(&commands, "mod")["contexts"], json!([0]), "moderation is for servers");
    assert_eq!(named(&commands, "mod")["default_member_permissions"], "32");
    stage.end().await;
}

#[tokio::test]
async fn they_are_registered_again_only_when_something_changed() {
    let (mut stage, _worker) = Stage::with_worker().await;
    let written = stage.discord.command_writes();
    stage.riff.stop().await.unwrap();
    let since = stage.discord.now_ms();
    stage.start().await;
    let looked = |request: &fake_discord::Request| {
        request.method == "GET" && request.template.ends_with("/commands") && request.at >= since
    };
    stage.discord.requested(looked).await.unwrap();
    assert_eq!(stage.discord.command_writes(), written, "the same models, the same commands");

    let stylist = spec(
        "stylist",
        Media::Image,
        json!({"style": {"type": "string", "enum": ["ink", "oil"], "default": "ink"},
        "seed": {"type": "integer", "minimum": 0, "maximum": u32::MAX}}),
    );
    let worker = stage.riff.worker_of("w2", vec![stylist]).await.unwrap();
    stage.offers("\"style\"").await;
    assert_eq!(stage.discord.command_writes(), written + 1);
    let options = json!({"prompt": "a fox", "style": "oil", "model": "stylist"});
    stage.alice.slash(&stage.art, "/imagine", options).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.text("style"), Some("oil"));
    worker.finish(&lease).await.unwrap();
    stage.discord.see(|message| message.attachments.len() == 1).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn models_have_cards_and_examples_to_try() {
    let mut stage = Stage::set().await;
    stage.start().await;
    let mut painter = painter();
    painter.examples = vec!["a fox --seed 1".to_owned(), "a hare".to_owned()];
    let worker = stage.worker(vec![painter, writer()]).await;
    stage.offers("\"max_tokens\"").await;
    let suggested = stage.alice.autocomplete(&stage.art, "/models", "name", "pai").await.unwrap();
    assert_eq!(suggested.len(), 1);
    let list = stage.alice.slash(&stage.art, "/models", json!({})).await.unwrap();
    insta::assert_snapshot!(seen(list.message().unwrap()), @"
    Riff: (only alice sees this)
    | # Models
    | **painter** · makes pictures with /imagine · The painter does what the story wants.
    | **writer** · answers /ask · The writer does what the story wants.
    <See a model's card: painter | writer>
    ");
    let card = stage.alice.choose(list.message().unwrap(), "card", &["painter"]).await.unwrap();
    insta::assert_snapshot!(seen(card.message().unwrap()), @"
    Riff: (only alice sees this)
    in reply to Riff
    | # painter
    | The painter does what the story wants.
    | Settings: `--n` a whole number from 1 to 4
    `--height` a multiple of 8 from 8 to 1024
    `--seed` a whole number from 0 to 4294967295
    `--width` a multiple of 8 from 8 to 1024
    | Examples: 1. a fox --seed 1
    2. a hare
    | -- painter · CC0-1.0 · …
    [Try 1] [Try 2]
    ");
    let shown = stage.alice.click(card.message().unwrap(), "Try 1").await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!((lease.recipe.prompt.as_str(), lease.recipe.seed()), ("a fox", 1));
    worker.finish(&lease).await.unwrap();
    stage.finished(shown.message().unwrap()).await;
    let unknown = stage.alice.slash(&stage.art, "/models", json!({"name": "flux"})).await.unwrap();
    insta::assert_snapshot!(private(&unknown), @"There is no model “flux” here. Here are: painter, writer.");
    stage.end().await;
}

#[tokio::test]
async fn default_flags_are_kept_and_used() {
    let (stage, worker) = Stage::with_worker().await;
    let none = stage.alice.slash(&stage.art, "/settings", json!({})).await.unwrap();
    insta::assert_snapshot!(private(&none), @"
    You have no default flags: set some with `/settings defaults:--ar 3:2`.
    Remix is off: V and 🎲 run at once.
    ");
    let bad = stage.alice.slash(&stage.art, "/settings", json!({"defaults": "--wdth 64"})).await.unwrap();
    insta::assert_snapshot!(private(&bad), @"There is no flag --wdth for painter: did you mean --width? Its flags: --n --height --seed --width --ar --model.");
    let set = stage.alice.slash(&stage.art, "/settings", json!({"defaults": "--width 128"})).await.unwrap();
    insta::assert_snapshot!(private(&set), @"
    Added to your prompts where they fit: `--width 128`
    Remix is off: V and 🎲 run at once.
    ");
    let post = stage.painted(&worker, "a fox").await;
    assert_eq!(post.attachments[0].width, Some(128));
    stage.alice.slash(&stage.art, "/settings", json!({"defaults": "none"})).await.unwrap();
    assert_eq!(stage.painted(&worker, "a hare").await.attachments[0].width, Some(64));
    stage.end().await;
}

#[tokio::test]
async fn the_queue_shows_places_and_cancels() {
    let (stage, worker) = Stage::with_worker().await;
    let empty = stage.alice.slash(&stage.art, "/queue", json!({})).await.unwrap();
    assert_eq!(private(&empty), "You have nothing in line.");
    let first = stage.imagine("a fox").await;
    let second = stage.imagine("a hare").await;
    let queue = stage.alice.slash(&stage.art, "/queue", json!({})).await.unwrap();
    insta::assert_snapshot!(seen(queue.message().unwrap()), @"
    Riff: (only alice sees this)
    1. **a fox** · Next in line, about 1 s
    2. **a hare** · Number 2 in line, about 2 s
    [❌ 1] [❌ 2]
    ");
    let left = stage.alice.click(queue.message().unwrap(), "2").await.unwrap();
    insta::assert_snapshot!(seen(left.message().unwrap()), @"
    Riff: (only alice sees this)
    1. **a fox** · Next in line, about 1 s
    [❌ 1]
    ");
    second.until(&stage.discord, |message| message.content.contains("Cancelled")).await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    stage.finished(&first).await;
    stage.end().await;
}

#[tokio::test]
async fn the_allowance_is_shown_and_its_end_is_a_sentence() {
    let mut stage = Stage::set().await;
    stage.riff.set("RIFF_QUOTA__GPU_SECONDS_PER_DAY", 2.5);
    stage.start().await;
    let worker = stage.worker(vec![painter()]).await;
    let whole = stage.alice.slash(&stage.art, "/quota", json!({})).await.unwrap();
    insta::assert_snapshot!(private(&whole), @"You have 2.5 of 2.5 GPU-seconds left today. The allowance is filled up again at midnight UTC.");
    for prompt in ["a fox", "a hare"] {
        stage.imagine(prompt).await;
    }
    let refused = stage.alice.slash(&stage.art, "/imagine", json!({"prompt": "an owl"})).await.unwrap();
    assert!(private(&refused).starts_with("This needs about 1.0 GPU-seconds and you have 0.5 left today."));
    for _ in 0..2 {
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    }
    stage
        .discord
        .see(|message| message.content.contains("hare") && message.attachments.len() == 1)
        .await
        .unwrap();
    stage.end().await;
}

#[tokio::test]
async fn a_result_is_shown_again_by_its_recipe() {
    let (stage, worker) = Stage::with_worker().await;
    let post = stage.painted(&worker, "a fox --seed 3").await;
    let told = stage.alice.menu("Show recipe", &post).await.unwrap();
    let id = told.text().split('`').find(|part| part.len() == 64).unwrap().to_owned();
    let other = stage.guild.channel("gallery");
    let shown = stage.bob.slash(&other, "/show", json!({"recipe": id})).await.unwrap();
    let again = stage.finished(shown.message().unwrap()).await;
    assert_eq!((again.attachments.len(), again.content == post.content), (1, true), "{again}");
    let link = format!("https://riff.example/r/{id}");
    let shown = stage.bob.slash(&other, "/show", json!({"recipe": link})).await.unwrap();
    stage.finished(shown.message().unwrap()).await;
    for wrong in ["abc", &"0".repeat(64)] {
        let refused = stage.bob.slash(&other, "/show", json!({"recipe": wrong})).await.unwrap();
        assert!(refused.is_private(), "{refused}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_prompt_is_shortened_by_the_language_model() {
    let (stage, worker) = Stage::with_talker().await;
    let options = json!({"prompt": "a very beautiful lighthouse at dusk"});
    let shown = stage.alice.slash(&stage.art, "/shorten", options).await.unwrap();
    assert!(shown.is_private());
    let lease = worker.lease().await.unwrap();
    assert!(lease.recipe.prompt.as_str().ends_with("\na very beautiful lighthouse at dusk"));
    worker.answer(&lease, "lighthouse at dusk").await.unwrap();
    let told = stage.discord.private(&stage.alice, |message| message.content.contains("~~")).await.unwrap();
    insta::assert_snapshot!(seen(&told), @"
    Riff: (only alice sees this)
    ~~a~~ ~~very~~ ~~beautiful~~ lighthouse at dusk
    -# 3 of 6 words: `lighthouse at dusk`
    ");
    assert_eq!(stage.discord.messages(&stage.art), []);
    stage.end().await;
}

#[tokio::test]
async fn pictures_for_adults_stay_in_age_restricted_channels() {
    let mut stage = Stage::set().await;
    stage.start().await;
    let mut mature = painter();
    mature.name = "after-dark".to_owned();
    mature.mature = true;
    let worker = stage.worker(vec![mature, painter()]).await;
    let options = || json!({"prompt": "a fox", "model": "after-dark"});
    let refused = stage.alice.slash(&stage.art, "/imagine", options()).await.unwrap();
    insta::assert_snapshot!(private(&refused), @"The model after-dark is there only in age-restricted channels: ask in one, or name another model with --model.");
    let adults = stage.guild.nsfw_channel("after-dark");
    let shown = stage.alice.slash(&adults, "/imagine", options()).await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    stage.finished(shown.message().unwrap()).await;
    stage.end().await;
}

#[tokio::test]
async fn in_a_private_conversation_the_same_commands_work() {
    let (stage, worker) = Stage::with_worker().await;
    let shown = stage.alice.dm_slash("/imagine", json!({"prompt": "a fox"})).await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    stage.finished(shown.message().unwrap()).await;
    let other = stage.alice.dm_slash("/show", json!({"recipe": "x"})).await.unwrap();
    assert!(other.text().contains("Name a recipe"));
    let posts = stage.riff.checker().await.unwrap().count("SELECT COUNT(*) FROM post").await.unwrap();
    assert_eq!(posts, 0, "nobody else sees it, on no surface");
    stage.end().await;
}
