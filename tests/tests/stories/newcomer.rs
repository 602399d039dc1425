//! A newcomer with a real browser: types a prompt, sees the grid, presses V2, and forks. And what a fresh machine draws.

use fantoccini::Locator;
use riff_tests::{Riff, browser::Browser};

use crate::{hub_with_engines, riff};

#[tokio::test]
async fn types_a_prompt_sees_the_grid_varies_and_forks() {
    let riff = fresh_machine().await;
    let browser = Browser::open(1_100, 900).await.unwrap();
    browser.tab.goto(riff.url()).await.unwrap();
    browser.see("#box input[name=name]").await.unwrap().send_keys("nova").await.unwrap();
    let prompt = browser.see("#prompt").await.unwrap();
    prompt.send_keys("a blue cat at night --seed 4\u{e007}").await.unwrap();

    browser.see(".card .grid img:nth-child(1)").await.unwrap();
    assert_eq!(browser.count(".card .grid img").await.unwrap(), 4);
    let name = browser.see(".who input[name=name]").await.unwrap();
    assert_eq!(name.prop("value").await.unwrap().as_deref(), Some("nova"));

    let button = browser.tab.find(Locator::XPath("//button[text()='V2']")).await.unwrap();
    button.click().await.unwrap();
    browser.see(".card:nth-of-type(2) .grid img").await.unwrap();
    let origin = browser.see(".card:nth-of-type(2) .meta a").await.unwrap();
    assert_eq!(origin.text().await.unwrap(), "vary");

    let fork = browser.see(".card:nth-of-type(2) a.button[href*='fork=']").await.unwrap();
    fork.click().await.unwrap();
    browser.see("#box input[name=parent]").await.unwrap();
    let prompt = browser.see("#prompt").await.unwrap();
    let line = prompt.prop("value").await.unwrap().unwrap();
    assert!(line.starts_with("/imagine a blue cat at night --seed 5"), "{line}");
    prompt.send_keys(" --n 1\u{e007}").await.unwrap();
    let forked = browser.see(".card:nth-of-type(3) .grid.one img").await.unwrap();
    assert!(forked.is_displayed().await.unwrap());
    browser.close().await.unwrap();
}

#[tokio::test]
async fn a_fresh_machine_draws_what_it_is_told() {
    let riff = fresh_machine().await;
    let program = riff.program("robot").await.unwrap();
    let draw = async |prompt: &str| {
        let made = program.create(&format!("{prompt} --n 1 --seed 5")).await.unwrap();
        assert_eq!(made.text("model"), "doodle");
        let job = program.ended(made.text("id")).await.unwrap();
        assert_eq!(job["state"], "succeeded", "{job}");
        let picture = reqwest::get(job["outputs"][0]["url"].as_str().unwrap()).await.unwrap();
        let picture = image::load_from_memory(&picture.bytes().await.unwrap()).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (512, 512));
        let mean = |channel: usize| {
            picture.pixels().map(|pixel| u64::from(pixel[channel])).sum::<u64>() / u64::from(512 * 512_u32)
        };
        [0, 1, 2].map(mean)
    };
    for (channel, colour) in ["red", "green", "blue"].into_iter().enumerate() {
        let mean = draw(&format!("a big {colour} car")).await;
        let most = (0..3).max_by_key(|channel| mean[*channel]);
        assert_eq!(most, Some(channel), "a {colour} car is {colour}: {mean:?}");
    }
    let (day, night) = (draw("a cat in the snow").await, draw("a cat at night").await);
    assert!(day.iter().sum::<u64>() > 2 * night.iter().sum::<u64>(), "{day:?} {night:?}");
}

#[tokio::test]
async fn works_on_a_phone_and_without_a_mouse() {
    let riff = hub_with_engines().await;
    let browser = Browser::open(500, 800).await.unwrap();
    browser.tab.goto(riff.url()).await.unwrap();
    browser.see("#box").await.unwrap();
    let too_wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
    let wide = browser.tab.execute(too_wide, Vec::new()).await.unwrap();
    assert_eq!(wide, false, "nothing sticks out to the side");

    // The first thing that Tab reaches leads to the prompt box.
    let active = browser.tab.active_element().await.unwrap();
    active.send_keys("\u{e004}\u{e007}").await.unwrap();
    let typed = "nova\u{e004}a calm sea --n 1 --width 128 --height 128\u{e007}";
    browser.see("#box input[name=name]").await.unwrap().send_keys(typed).await.unwrap();
    browser.see(".card .grid img").await.unwrap();
    let wide = browser.tab.execute(too_wide, Vec::new()).await.unwrap();
    assert_eq!(wide, false, "nor does a post");
    browser.close().await.unwrap();
}

/// A running hub as `./run` starts it.
async fn fresh_machine() -> Riff {
    let mut riff = riff();
    riff.as_it_comes().start().await.unwrap();
    riff.engines_ready().await.unwrap();
    riff
}
