//! A newcomer with a real browser: types a prompt, sees the grid, presses V2, and forks.

use fantoccini::Locator;
use riff_tests::browser::Browser;

use crate::hub_with_engines;

#[tokio::test]
async fn types_a_prompt_sees_the_grid_varies_and_forks() {
    let riff = hub_with_engines().await;
    let browser = Browser::open(1_100, 900).await.unwrap();
    browser.tab.goto(riff.url()).await.unwrap();
    browser.see("#box input[name=name]").await.unwrap().send_keys("nova").await.unwrap();
    let prompt = browser.see("#prompt").await.unwrap();
    prompt.send_keys("a mandala of gold and sapphire --seed 4\u{e007}").await.unwrap();

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
    assert!(line.starts_with("/imagine a mandala of gold and sapphire --seed 5"), "{line}");
    prompt.send_keys(" --n 1\u{e007}").await.unwrap();
    let forked = browser.see(".card:nth-of-type(3) .grid.one img").await.unwrap();
    assert!(forked.is_displayed().await.unwrap());
    browser.close().await.unwrap();
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
