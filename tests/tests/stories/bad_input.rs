//! What members are told when what they typed does not work. Nothing is queued then.

use riff_tests::Member;

use crate::hub;

async fn refusals(member: &Member, lines: &[&str]) -> String {
    let mut told = String::new();
    for line in lines {
        told.push_str(&format!("{line}\n  {}\n", member.refused(line).await));
    }
    told
}

#[tokio::test]
async fn every_refusal_is_a_sentence_that_says_what_to_do() {
    let mut riff = crate::riff();
    riff.set("RIFF_MODERATION__BLOCKED_WORDS", "[gore]").start().await.unwrap();
    let _worker = riff.worker("w").await.unwrap();
    let alice = riff.member("alice").unwrap();
    let lines = [
        "",
        "/imagine   ",
        "/imagine --seed 4",
        "/dream a bird",
        "a bird --width 0",
        "a bird --width 100000",
        "a bird --seed twelve",
        "a bird --sed 12",
        "a bird --n",
        "a bird --n 9",
        "a bird --ar 0:5",
        "a bird --seed 1 --seed 2",
        "a bird::50 sky",
        "a {red, blue bird",
        "{a,b,c,d,e} {a,b,c,d,e} bird",
        "a bird --model paintre",
        "a bird --model",
        "/ask why?",
        "so much gore",
    ];
    insta::assert_snapshot!(refusals(&alice, &lines).await);
    let long = alice.refused(&"x".repeat(10_000)).await;
    insta::assert_snapshot!(long, @"The prompt has 10000 characters; at most 4000 are read. Shorten it.");

    riff.stop().await.unwrap();
    let jobs = riff.checker().await.unwrap().count("SELECT COUNT(*) FROM job").await.unwrap();
    assert_eq!(jobs, 0);
}

#[tokio::test]
async fn without_any_worker_a_member_is_told_so() {
    let riff = hub().await;
    let alice = riff.member("alice").unwrap();
    insta::assert_snapshot!(alice.refused("a bird").await, @"No model for /imagine is here yet: an operator has to start a worker that serves one.");
}

#[tokio::test]
async fn pages_that_are_not_there_say_so() {
    let riff = hub().await;
    let alice = riff.member("alice").unwrap();
    for (path, sentence) in [
        ("/c/nowhere", "There is no channel “nowhere” here."),
        ("/r/0123", "There is no recipe “0123” here."),
        ("/m/gpt", "There is no model “gpt” here."),
        ("/blobs/xyz", "There is no file “xyz” here."),
        ("/what", "There is no page “/what” here."),
    ] {
        let (status, html) = alice.look(path).await.unwrap();
        assert_eq!(status, 404, "{path}");
        assert!(html.contains(sentence), "{path}: {html}");
    }
}

#[tokio::test]
async fn a_prompt_is_shown_as_text_whatever_is_in_it() {
    let riff = hub().await;
    let _worker = riff.worker("w").await.unwrap();
    let alice = riff.member("<b>alice</b>").unwrap();
    let mut channel = alice.open_channel().await.unwrap();
    alice.send("<script>alert(1)</script> & \"quotes\" @everyone").await.unwrap();
    let card = channel.card(|card| card.live).await.unwrap();
    assert_eq!(card.prompt, "<script>alert(1)</script> & \"quotes\" @everyone");
    assert_eq!(card.member, "<b>alice</b>");
    let page = alice.page("/c/general").await.unwrap();
    assert!(!page.contains("<script>alert"));
}
