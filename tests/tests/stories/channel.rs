//! The web channel: people prompt, see each other's results, and riff on them.

use image::GenericImageView;
use riff_hub::model::Media;
use riff_tests::worker::spec;
use serde_json::json;

use crate::{hub, hub_with_engines};

#[tokio::test]
async fn two_people_make_a_picture_together() {
    let mut riff = hub_with_engines().await;
    let alice = riff.member("alice").unwrap();
    let bob = riff.member("bob").unwrap();
    let mut channel = bob.open_channel().await.unwrap();

    alice.imagine("a calm ocean at dusk --seed 7 --ar 3:2").await.unwrap();
    let queued = channel.card(|card| card.live).await.unwrap();
    assert_eq!((queued.member.as_str(), queued.prompt.as_str()), ("alice", "a calm ocean at dusk"));
    let grid = channel.posted().await.unwrap();
    insta::assert_snapshot!(grid, @"
    alice: a calm ocean at dusk
    pictures: 4
    buttons: U1 | U2 | U3 | U4 | V1 | V2 | V3 | V4 | 🎲 | B1 | B2 | B3 | B4 | ✏️ Remix | 🍴 Fork
    ");
    let told = channel.progress();
    assert!(told.iter().any(|update| update["preview"].is_string()), "a preview came: {told:?}");

    bob.click(&grid, "V2").await.unwrap();
    let varied = channel.posted().await.unwrap();
    assert_eq!((varied.member.as_str(), varied.origin.as_deref()), ("bob", Some("vary")));
    assert_eq!(varied.pictures.len(), 4);

    alice.click(&varied, "U1").await.unwrap();
    let large = channel.posted().await.unwrap();
    let picture = alice.fetch(&large.pictures[0]).await.unwrap();
    let size = image::load_from_memory(&picture).unwrap().dimensions();
    assert_eq!(size, (1248, 832));
    insta::assert_snapshot!(large, @"
    alice: a calm ocean at dusk (upscale)
    pictures: 1
    buttons: U1 | V1 | V strong | Zoom out | ← | → | ↑ | ↓ | 🎲 | B1 | ✏️ Remix | 🍴 Fork
    ");
    for button in ["Zoom out", "→", "🎲"] {
        bob.click(&large, button).await.unwrap();
        channel.posted().await.unwrap();
    }

    let picking = bob.click(&large, "B1").await.unwrap();
    let other = riff_tests::Card::read_all(&picking).unwrap().into_iter().find(|card| card.job == grid.job);
    bob.click(&other.unwrap(), "B3").await.unwrap();
    let blend = channel.posted().await.unwrap();
    assert_eq!(blend.origin.as_deref(), Some("blend"));

    let page = bob.page(&grid.recipe).await.unwrap();
    assert!(page.contains("/imagine a calm ocean at dusk --seed 7"), "the recipe's page has the command");
    assert!(page.contains(&format!("href=\"{}\"", varied.recipe)), "and its children");
    let page = bob.page(&varied.recipe).await.unwrap();
    assert!(page.contains(&format!("href=\"{}\"", grid.recipe)), "and its parents");

    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn pictures_are_looked_at_small_and_in_a_format_that_the_browser_takes() {
    let riff = hub_with_engines().await;
    let alice = riff.member("alice").unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    alice.imagine("a calm ocean --width 640 --height 320").await.unwrap();
    let post = channel.posted().await.unwrap();
    let small = post.pictures[0].replace("/blobs/", "/pictures/") + "?side=256";
    for (accept, expected) in [("image/avif,image/webp,*/*;q=0.8", "image/webp"), ("*/*", "image/jpeg")] {
        let (kind, bytes) = alice.fetch_as(&small, accept).await.unwrap();
        assert_eq!(kind, expected);
        assert_eq!(image::load_from_memory(&bytes).unwrap().dimensions(), (256, 128));
        assert_eq!(alice.fetch_as(&small, accept).await.unwrap(), (kind, bytes), "it is kept");
    }
    let preview = format!("/jobs/{}/sheet", post.job);
    assert!(alice.page(&post.recipe).await.unwrap().contains(&format!("{preview}\"")), "the page names it");
    let (_, all) = alice.fetch_as(&preview, "image/webp").await.unwrap();
    assert_eq!(image::load_from_memory(&all).unwrap().dimensions(), (1_024, 512));
}

#[tokio::test]
async fn a_command_copied_from_a_card_makes_the_same_recipe_and_the_same_bytes() {
    let riff = hub_with_engines().await;
    let alice = riff.member("alice").unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    alice.imagine("candy::2 stripes --no gray --n 1 --width 128 --height 128 --tile").await.unwrap();
    let first = channel.posted().await.unwrap();
    alice.send(&first.command).await.unwrap();
    let second = channel.posted().await.unwrap();
    assert_eq!(first.recipe, second.recipe);
    assert_eq!(first.pictures, second.pictures, "blobs are named by their content");
    assert_ne!(first.job, second.job);
}

#[tokio::test]
async fn a_dropped_picture_opens_as_a_fork() {
    let riff = hub_with_engines().await;
    let (alice, bob) = (riff.member("alice").unwrap(), riff.member("bob").unwrap());
    let mut channel = bob.open_channel().await.unwrap();
    alice.imagine("a mandala of gold --seed 3 --n 1 --width 128 --height 128").await.unwrap();
    let post = channel.posted().await.unwrap();
    let picture = bob.fetch(&post.pictures[0]).await.unwrap();
    let page = bob.drop_file(picture).await.unwrap();
    assert!(page.contains("/imagine a mandala of gold --seed 3 --n 1"), "the prompt box holds the command");
    assert!(page.contains("A fork."));
    let refusal = bob.drop_file(b"no picture".to_vec()).await.unwrap_err();
    assert!(refusal.to_string().contains("cannot be read"), "{refusal}");
}

#[tokio::test]
async fn remix_and_fork_fill_the_prompt_box() {
    let riff = hub_with_engines().await;
    let alice = riff.member("alice").unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    alice.imagine("a quiet forest --seed 11 --n 2 --width 128 --height 128").await.unwrap();
    let post = channel.posted().await.unwrap();
    let page = alice.click(&post, "Remix").await.unwrap();
    assert!(page.contains(">a quiet forest</textarea>"));
    assert!(page.contains("name=\"set.seed\" value=\"11\""));

    let parent = format!("{}.0", post.recipe.trim_start_matches("/r/"));
    let form = [
        ("prompt", "a loud forest"),
        ("parent", parent.as_str()),
        ("form", "abstract"),
        ("set.seed", "11"),
        ("set.count", "1"),
        ("set.width", "128"),
        ("set.height", "128"),
        ("set.tile", "on"),
    ];
    alice.send_form(&form).await.unwrap();
    let remixed = channel.posted().await.unwrap();
    assert_eq!((remixed.origin.as_deref(), remixed.pictures.len()), (Some("remix"), 1));
    assert!(remixed.command.contains("--tile"), "{}", remixed.command);
}

#[tokio::test]
async fn choices_make_one_job_each() {
    let riff = hub_with_engines().await;
    let alice = riff.member("alice").unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    alice.imagine("{red, blue} bird --n 1 --width 64 --height 64").await.unwrap();
    let mut prompts = vec![channel.posted().await.unwrap().prompt, channel.posted().await.unwrap().prompt];
    prompts.sort();
    assert_eq!(prompts, ["blue bird", "red bird"]);
}

#[tokio::test]
async fn an_answer_streams_and_a_reply_continues_it() {
    let mut riff = hub_with_engines().await;
    let alice = riff.member("alice").unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    alice.ask("Name three colours. --temperature 0 --max 40 --seed 1").await.unwrap();
    let answer = channel.posted().await.unwrap();
    let text = answer.text.clone().unwrap();
    assert!(!text.trim().is_empty());
    let mut streamed = channel.progress().into_iter().filter_map(|update| update["text"].as_str());
    assert!(
        streamed.any(|partial| !partial.is_empty() && text.starts_with(partial)),
        "text came before its end"
    );

    alice.reply(&answer, "And which of them is the first?").await.unwrap();
    let second = channel.posted().await.unwrap();
    assert_eq!(
        (second.origin.as_deref(), second.prompt.as_str()),
        (Some("reply"), "And which of them is the first?")
    );
    let page = alice.page(&second.recipe).await.unwrap();
    assert!(page.contains("Name three colours."), "the conversation is in the recipe");
    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn people_cancel_and_delete_their_own_and_nobody_elses() {
    let riff = hub().await;
    let worker = riff.worker("w").await.unwrap();
    let (alice, bob) = (riff.member("alice").unwrap(), riff.member("bob").unwrap());
    alice.imagine("a lighthouse").await.unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    let queued = channel.card(|card| card.live).await.unwrap();
    insta::assert_snapshot!(queued, @"
    alice: a lighthouse
    status: Next in line, about 1 s
    buttons: ❌ Cancel | ✏️ Remix | 🍴 Fork
    ");
    bob.imagine("a pond").await.unwrap();
    let behind = channel.card(|card| card.member == "bob").await.unwrap();
    insta::assert_snapshot!(behind, @"
    bob: a pond
    status: Number 2 in line, about 2 s
    buttons: ✏️ Remix | 🍴 Fork
    ");

    let refusal = bob.post(&format!("/jobs/{}/cancel", queued.job), &[]).await.unwrap_err();
    assert_eq!(refusal.to_string(), "Only alice can cancel this.");
    alice.click(&queued, "Cancel").await.unwrap();
    channel.gone(&queued.job).await.unwrap();

    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.job, behind.job);
    worker.finish(&lease).await.unwrap();
    let post = channel.posted().await.unwrap();
    let refusal = alice.post(&format!("/posts/{}/delete", post.job), &[]).await.unwrap_err();
    assert_eq!(refusal.to_string(), "Only bob can delete this.");
    let own = bob.cards().await.unwrap().into_iter().find(|card| card.job == post.job).unwrap();
    bob.click(&own, "Delete").await.unwrap();
    channel.gone(&post.job).await.unwrap();
    assert_eq!(bob.cards().await.unwrap(), []);
    assert!(
        bob.page(&post.recipe).await.unwrap().contains("a pond"),
        "its recipe stays for those who riffed on it"
    );
}

#[tokio::test]
async fn a_page_that_was_away_catches_up() {
    let riff = hub().await;
    let worker = riff.worker("w").await.unwrap();
    let alice = riff.member("alice").unwrap();
    let mut first = alice.open_channel().await.unwrap();
    alice.imagine("before").await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    first.posted().await.unwrap();
    drop(first);

    alice.imagine("meanwhile").await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    alice.imagine("still waiting").await.unwrap();
    let mut page = alice.open_channel_after(0).await.unwrap();
    let mut prompts = Vec::new();
    while prompts.len() < 3 {
        prompts.push(page.card(|_| true).await.unwrap().prompt);
    }
    assert_eq!(prompts, ["before", "meanwhile", "still waiting"]);
}

#[tokio::test]
async fn names_are_kept_in_a_signed_cookie() {
    let riff = hub().await;
    let alice = riff.member("alice").unwrap();
    let nameless = riff.member("").unwrap();
    assert_eq!(nameless.refused("a bird").await, "Pick a name of 1 to 32 characters.");
    let _worker = riff.worker("w").await.unwrap();
    alice.imagine("a bird").await.unwrap();
    assert!(alice.page("/c/general").await.unwrap().contains("value=\"alice\""));
    alice.post("/name", &[("name", "Alice  the Great")]).await.unwrap();
    assert!(alice.page("/c/general").await.unwrap().contains("value=\"Alice the Great\""));

    let forged = reqwest::Client::new()
        .post(format!("{}/name", riff.url()))
        .header("cookie", "riff=01ARZ3NDEKTSV4RRFFQ69G5FAV")
        .header("accept", "application/json")
        .form(&[("name", "mallory")])
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), 422, "an unsigned cookie is nobody's");
    let foreign = reqwest::Client::new()
        .post(format!("{}/c/general/prompt", riff.url()))
        .header("origin", "http://elsewhere.example")
        .form(&[("name", "mallory"), ("prompt", "x")])
        .send()
        .await
        .unwrap();
    assert_eq!(foreign.status(), 403, "another site's form is refused");
}

#[tokio::test]
async fn how_a_picture_gets_larger_is_for_the_member_to_choose() {
    let mut riff = hub().await;
    let view = |default: f64| json!({"type": "number", "default": default, "x-hidden": true});
    let side = json!({"type": "integer", "minimum": 64, "maximum": 2048, "default": 64});
    let painter = spec(
        "painter",
        Media::Image,
        json!({"width": side, "height": side, "view_x": view(0.5), "view_y": view(0.5), "view_scale": view(1.0)}),
    );
    let enlarger = spec(
        "enlarger",
        Media::Image,
        json!({"image": {"type": "string", "x-media": "image", "default": ""},
               "upscale": {"type": "integer", "minimum": 2, "maximum": 4, "default": 2}}),
    );
    let alice = riff.member("alice").unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    let alone = riff.worker_of("alone", vec![painter.clone()]).await.unwrap();
    alice.imagine("a pond").await.unwrap();
    alone.finish(&alone.lease().await.unwrap()).await.unwrap();
    let card = channel.posted().await.unwrap();
    let choice = "<select name=\"how\"";
    assert!(!alice.page("/c/general").await.unwrap().contains(choice), "there is one way");
    let worker = riff.worker_of("w", vec![painter, enlarger]).await.unwrap();
    let page = alice.page("/c/general").await.unwrap();
    assert!(page.contains(choice) && page.contains("<option value=\"upscaler\">"), "{page}");
    let recipe = card.recipe.trim_start_matches("/r/").to_owned();
    for (how, model) in [("", "painter"), ("again", "painter"), ("upscaler", "enlarger")] {
        let fields = [("recipe", recipe.as_str()), ("do", "upscale:0"), ("how", how)];
        alice.post("/c/general/riff", &fields).await.unwrap();
        let lease = worker.lease().await.unwrap();
        assert_eq!(lease.recipe.params.contains_key("upscale"), model == "enlarger", "{how:?}");
        worker.finish(&lease).await.unwrap();
        channel.posted().await.unwrap();
    }
    let fields = [("recipe", recipe.as_str()), ("do", "upscale:0"), ("how", "magic")];
    assert!(alice.post("/c/general/riff", &fields).await.is_err());
    riff.stop().await.unwrap();
    riff.checker().await.unwrap().check().await.unwrap();
}
