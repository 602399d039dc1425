//! `/mod`, and what it does to members.

use serde_json::json;

use crate::{Stage, private, seen};

#[tokio::test]
async fn one_screen_sets_up_channels_and_roles() {
    let (stage, worker) = Stage::with_worker().await;
    let mia = stage.guild.moderator("mia");
    let patrons = stage.guild.role("patrons");
    let gallery = stage.guild.channel("gallery");
    let screen = mia.slash(&stage.art, "/mod setup", json!({})).await.unwrap();
    insta::assert_snapshot!(seen(screen.message().unwrap()), @"
    Riff: (only mia sees this)
    | # Set up Riff here
    | Channels that take prompts: all
    | Allowances of roles: everybody has the hub's usual allowance
    | Words that are not allowed: none
    | Paused: nothing
    | Banned or timed out: nobody
    <Which channels take prompts? (none picked: all)>
    <Give a role an allowance of its own>
    ");
    let screen = mia.choose(screen.message().unwrap(), "channels", &[gallery.id()]).await.unwrap();
    let form = mia.choose(screen.message().unwrap(), "role", &[patrons.id()]).await.unwrap();
    let form = form.modal().unwrap().clone();
    let wrong = mia.submit(&form, json!({"GPU-seconds a day (0: the usual)": "lots"})).await.unwrap();
    insta::assert_snapshot!(private(&wrong), @"“lots” is no number of seconds: type a whole number from 0 to 86400.");
    let screen = mia.submit(&form, json!({"GPU-seconds a day (0: the usual)": "1200"})).await.unwrap();
    insta::assert_snapshot!(seen(screen.message().unwrap()), @"
    Riff: (only mia sees this)
    | # Set up Riff here
    | Channels that take prompts: #gallery
    | Allowances of roles: @patrons 1200 GPU-seconds a day
    | Words that are not allowed: none
    | Paused: nothing
    | Banned or timed out: nobody
    <Which channels take prompts? (none picked: all)>
    <Give a role an allowance of its own>
    ");

    let refused = stage.alice.slash(&stage.art, "/imagine", json!({"prompt": "a fox"})).await.unwrap();
    insta::assert_snapshot!(private(&refused), @"This channel takes no prompts: ask in <#…>.");
    let shown = stage.alice.slash(&gallery, "/imagine", json!({"prompt": "a fox"})).await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    stage.finished(shown.message().unwrap()).await;
    let patron = stage.guild.member("paula").with_role(&patrons);
    let quota = patron.slash(&gallery, "/quota", json!({})).await.unwrap();
    insta::assert_snapshot!(private(&quota), @"You have 1200.0 of 1200.0 GPU-seconds left today. The allowance is filled up again at midnight UTC.");
    stage.end().await;
}

#[tokio::test]
async fn only_moderators_moderate() {
    let (stage, worker) = Stage::with_worker().await;
    let hidden =
        stage.alice.slash(&stage.art, "/mod ban", json!({"user": stage.bob.id()})).await.unwrap_err();
    assert!(hidden.to_string().contains("does not see"), "{hidden}");
    // A server can show the command to everybody, and a client can send whatever it likes.
    let post = stage.painted(&worker, "a fox").await;
    let refused = stage.alice.raw_component(&post, "1sc.").await.unwrap();
    insta::assert_snapshot!(private(&refused), @"Only moderators can do this: it takes the permission Manage Server.");
    stage.end().await;
}

#[tokio::test]
async fn bans_timeouts_words_and_pauses_hold_until_they_are_lifted() {
    let (stage, worker) = Stage::with_worker().await;
    let mia = stage.guild.moderator("mia");
    let bob = json!({"user": stage.bob.id()});
    let mut sentences = Vec::new();
    let steps = [
        ("/mod ban", json!({"user": stage.bob.id(), "reason": "spam"}), "a fox", "/mod unban", bob.clone()),
        ("/mod timeout", json!({"user": stage.bob.id(), "minutes": 10}), "a fox", "/mod unban", bob),
        ("/mod block", json!({"word": "gore"}), "Gore everywhere", "/mod unblock", json!({"word": "gore"})),
        ("/mod pause", json!({"model": "painter"}), "a fox", "/mod resume", json!({"model": "painter"})),
        (
            "/mod pause",
            json!({"channel": stage.art.id()}),
            "a fox",
            "/mod resume",
            json!({"channel": stage.art.id()}),
        ),
    ];
    for (act, options, prompt, undo, undo_options) in steps {
        sentences.push(private(&mia.slash(&stage.art, act, options).await.unwrap()));
        let prompt = json!({"prompt": prompt});
        let refused = stage.bob.slash(&stage.art, "/imagine", prompt.clone()).await.unwrap();
        sentences.push(private(&refused));
        sentences.push(private(&mia.slash(&stage.art, undo, undo_options).await.unwrap()));
        let shown = stage.bob.slash(&stage.art, "/imagine", prompt).await.unwrap();
        worker.finish(&worker.lease().await.unwrap()).await.unwrap();
        stage.finished(shown.message().unwrap()).await;
    }
    let hidden = sentences.join("\n").replace(|c: char| c.is_ascii_digit(), "0");
    insta::assert_snapshot!(hidden, @"
    <@…> can't prompt here any more.
    You can't prompt here, because: spam. Ask a moderator if that is a mistake.
    <@…> can prompt here again.
    <@…> can't prompt here for 00 min.
    You can't prompt here until 0000-00-00 00:00 UTC: a moderator decided so. Ask one if that is a mistake.
    <@…> can prompt here again.
    “gore” is not allowed in prompts here any more.
    This community does not allow “gore” in prompts: leave it out and try again.
    “gore” is allowed in prompts here again.
    painter is paused here until /mod resume.
    A moderator paused the model painter here: try again later, or name another one with --model.
    painter runs here again.
    <#…> takes no prompts until /mod resume.
    A moderator paused this channel: try again later.
    <#…> takes prompts again.
    ");
    let log = mia.slash(&stage.art, "/mod audit", json!({})).await.unwrap();
    let log = seen(log.message().unwrap()).replace(|c: char| c.is_ascii_digit(), "0");
    insta::assert_snapshot!(log, @r#"
    Riff: (only mia sees this)
    | # What moderators did
    | (time) **mia** resume-channel #art
    | (time) **mia** pause-channel #art
    | (time) **mia** resume-model painter
    | (time) **mia** pause-model painter
    | (time) **mia** unblock gore
    | (time) **mia** block gore
    | (time) **mia** unban bob
    | (time) **mia** timeout bob until 0000-00-00 00\:00 UTC
    | (time) **mia** unban bob
    | (time) **mia** ban bob spam
    "#);
    stage.end().await;
}

#[tokio::test]
async fn a_grant_lets_somebody_go_on_today() {
    let mut stage = Stage::set().await;
    stage.riff.set("RIFF_QUOTA__GPU_SECONDS_PER_DAY", 0.5);
    stage.start().await;
    let worker = stage.worker(vec![riff_tests::worker::painter()]).await;
    let refused = stage.alice.slash(&stage.art, "/imagine", json!({"prompt": "a fox"})).await.unwrap();
    assert!(refused.is_private());
    let mia = stage.guild.moderator("mia");
    let granted =
        mia.slash(&stage.art, "/mod grant", json!({"user": stage.alice.id(), "seconds": 60})).await.unwrap();
    insta::assert_snapshot!(private(&granted), @"<@…> has 60 GPU-seconds more today.");
    stage.painted(&worker, "a fox").await;
    stage.end().await;
}

#[tokio::test]
async fn what_is_reported_reaches_the_moderators_who_take_it_down() {
    let (stage, worker) = Stage::with_worker().await;
    let mia = stage.guild.moderator("mia");
    let post = stage.painted(&worker, "a fox").await;
    let form = stage.bob.menu("Report", &post).await.unwrap();
    let thanks = stage
        .bob
        .submit(form.modal().unwrap(), json!({"What is wrong with it?": "it is rude"}))
        .await
        .unwrap();
    insta::assert_snapshot!(private(&thanks), @"Thank you: the moderators see it with /mod audit.");
    let log = mia.slash(&stage.art, "/mod audit", json!({})).await.unwrap();
    assert!(log.text().contains("it is rude"), "{log}");
    mia.click(&post, "🗑️").await.unwrap();
    post.gone(&stage.discord).await.unwrap();
    let words = stage.alice.say(&stage.art, "hello", &[]).await.unwrap();
    let refused = stage.bob.menu("Report", &words).await.unwrap();
    insta::assert_snapshot!(private(&refused), @"Only what was made here can be reported here. Report other messages to Discord or to a moderator.");
    stage.end().await;
}

#[tokio::test]
async fn who_is_banned_waits_for_nothing_and_asks_nowhere() {
    let (stage, worker) = Stage::with_worker().await;
    let mia = stage.guild.moderator("mia");
    let waiting = stage.imagine("a fox").await;
    mia.slash(&stage.art, "/mod ban", json!({"user": stage.alice.id()})).await.unwrap();
    waiting.until(&stage.discord, |message| message.content.contains("Cancelled")).await.unwrap();
    assert!(worker.lease_now().await.unwrap().is_none());
    let refused = stage.alice.dm_slash("/imagine", json!({"prompt": "a fox"})).await.unwrap();
    assert!(refused.text().starts_with("You can't prompt here"), "{refused}");
    stage.end().await;
}

#[tokio::test]
async fn moderators_cancel_what_waits() {
    let (stage, worker) = Stage::with_worker().await;
    let mia = stage.guild.moderator("mia");
    let waiting = stage.imagine("a fox").await;
    mia.click(&waiting, "Cancel").await.unwrap();
    waiting.until(&stage.discord, |message| message.content.contains("Cancelled")).await.unwrap();
    assert!(worker.lease_now().await.unwrap().is_none());
    stage.end().await;
}
