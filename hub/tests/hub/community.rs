//! What a chat community sets, and what its members see of it.

use riff_hub::{
    admission::Refusal,
    community::WEB,
    hub::{Act, Ask, AuditRow, Preferences, Privacy, Remix, RiffRequest, Room, Twist},
    job::{Job, State},
    model::ModelSpec,
    recipe::{Move, Parent},
    store::Member,
};

use crate::support::{Community, painter, picture, reader, writer};

/// A community with a worker for these models, a member and a moderator.
async fn with(models: &[ModelSpec]) -> (Community, Member, Member) {
    let community = Community::new().await;
    community.hello("w", models).await;
    let (alice, maud) = (community.member("alice").await, community.member("maud").await);
    (community, alice, maud)
}

fn result(job: &Job) -> Parent {
    Parent { recipe: job.recipe, index: 0 }
}

#[tokio::test]
async fn a_time_out_ends_by_the_clock_and_a_ban_when_it_is_lifted() {
    let (community, alice, maud) = with(&[painter()]).await;
    let until = community.hub.seam.now() + 600_000;
    let time_out = Act::TimeOut { member: alice.clone(), until, reason: "spam.".into() };
    community.act(&maud, time_out.clone()).await;
    let refusal = community.submit(&alice, "a pond").await.unwrap_err();
    insta::assert_snapshot!(refusal, @"You can't prompt here until 2026-01-01 00:10 UTC, because: spam. Ask a moderator if that is a mistake.");
    community.pass(599).await;
    assert!(community.submit(&alice, "a pond").await.is_err());
    community.pass(1).await;
    community.job(&alice, "a pond").await;
    let refusal = community.hub.moderate(&maud, WEB, &time_out).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"A time-out ends in the future: give a later time, or lift the restriction instead.");

    community.act(&maud, Act::Ban { member: alice.clone(), reason: String::new() }).await;
    let refusal = community.submit(&alice, "a pond").await.unwrap_err();
    insta::assert_snapshot!(refusal, @"You can't prompt here: a moderator decided so. Ask one if that is a mistake.");
    community.pass(365 * 24 * 3_600).await;
    assert!(community.submit(&alice, "a pond").await.is_err());
    assert_eq!(community.hub.rules(WEB).await.unwrap().restricted[0].member, alice);
    let elsewhere = community.room(&alice, "7", "club").await;
    community.submit_in(&alice, &elsewhere.id, "a pond").await.expect("a ban is one community's");
    community.act(&maud, Act::Unban { member: alice.clone() }).await;
    community.job(&alice, "a pond").await;
}

#[tokio::test]
async fn words_are_blocked_in_one_community_beside_those_of_the_settings() {
    let community = Community::with(|settings| settings.blocked_words = vec!["gore".into()]).await;
    community.hello("w", &[painter()]).await;
    let (alice, maud) = (community.member("alice").await, community.member("maud").await);
    let club = community.room(&alice, "7", "club").await;
    let painted = community.job(&alice, "a clown").await;
    community.act(&maud, Act::Block { word: " Clown ".into() }).await;
    let refusal = community.submit(&alice, "a sad CLOWN").await.unwrap_err();
    insta::assert_snapshot!(refusal, @"This community does not allow “clown” in prompts: leave it out and try again.");
    let vary = RiffRequest { parent: result(&painted), twist: Twist::Reroll };
    let again = community.hub.riff(&Ask::public(&alice, "general"), &vary).await;
    assert!(
        matches!(again, Err(Refusal::BlockedWord { .. })),
        "an older prompt with the word is no way around it"
    );
    community.submit_in(&alice, &club.id, "a sad clown").await.unwrap();
    assert!(
        community.submit_in(&alice, &club.id, "gore").await.is_err(),
        "the settings' words hold everywhere"
    );
    community.act(&maud, Act::Unblock { word: "clown".into() }).await;
    community.job(&alice, "a sad clown").await;
    let refusal = community.hub.moderate(&maud, WEB, &Act::Block { word: " ".into() }).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"There is no word to block: write the word that prompts must not have.");
}

#[tokio::test]
async fn a_paused_model_is_no_default_and_refused_by_name() {
    let second = ModelSpec { name: "sketcher".into(), ..painter() };
    let (community, alice, maud) = with(&[painter(), second.clone()]).await;
    let before = community.job(&alice, "a pond").await;
    assert_eq!(before.model, painter().digest());
    community.act(&maud, Act::PauseModel { model: "painter".into() }).await;
    assert_eq!(community.job(&alice, "a pond").await.model, second.digest());
    let refusal = community.submit(&alice, "a pond --model painter").await.unwrap_err();
    insta::assert_snapshot!(refusal, @"A moderator paused the model painter here: try again later, or name another one with --model.");
    let vary = RiffRequest { parent: result(&before), twist: Twist::Reroll };
    let riff = community.hub.riff(&Ask::public(&alice, "general"), &vary).await;
    assert!(matches!(riff, Err(Refusal::PausedModel { .. })));
    community.act(&maud, Act::PauseModel { model: "sketcher".into() }).await;
    let none = community.submit(&alice, "a pond").await;
    assert!(matches!(none, Err(Refusal::PausedModel { .. })), "it says why there is none");
    community.act(&maud, Act::ResumeModel { model: "painter".into() }).await;
    community.job(&alice, "a pond --model painter").await;
    let refusal =
        community.hub.moderate(&maud, WEB, &Act::PauseModel { model: "x".into() }).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"There is no model “x” here.");
}

#[tokio::test]
async fn paused_and_closed_channels_name_those_that_are_open() {
    let (community, alice, maud) = with(&[painter()]).await;
    for id in ["talk", "art", "sketches"] {
        community.room(&alice, id, "club").await;
    }
    let act = async |act: Act| community.hub.moderate(&maud, "club", &act).await.unwrap();
    let refused =
        async |channel: &str| community.submit_in(&alice, channel, "a pond").await.unwrap_err().to_string();

    act(Act::PauseChannel { channel: "talk".into() }).await;
    insta::assert_snapshot!(refused("talk").await, @"A moderator paused this channel: try again later.");
    act(Act::OpenChannels { channels: vec!["art".into(), "sketches".into()] }).await;
    insta::assert_snapshot!(refused("talk").await, @"A moderator paused this channel: try again later, or in art, sketches.");
    act(Act::ResumeChannel { channel: "talk".into() }).await;
    insta::assert_snapshot!(refused("talk").await, @"This channel takes no prompts: ask in art, sketches.");
    community.submit_in(&alice, "art", "a pond").await.unwrap();
    let rules = community.hub.rules("club").await.unwrap();
    assert_eq!((rules.open_channels.len(), rules.paused_channels.len()), (2, 0));
    act(Act::OpenChannels { channels: Vec::new() }).await;
    community.submit_in(&alice, "talk", "a pond").await.unwrap();
    let foreign = Act::PauseChannel { channel: "general".into() };
    let refusal = community.hub.moderate(&maud, "club", &foreign).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"There is no channel “general” here.");
}

#[tokio::test]
async fn a_mature_model_is_there_only_in_channels_for_adults() {
    let bold = ModelSpec { name: "bold".into(), mature: true, ..painter() };
    assert_eq!(bold.digest(), ModelSpec { mature: false, ..bold.clone() }.digest());
    let (community, alice, _) = with(&[bold.clone(), painter()]).await;
    let room = community.room(&alice, "art", "club").await;
    assert_eq!(community.submit_in(&alice, "art", "a nude").await.unwrap().model, painter().digest());
    let refusal = community.submit_in(&alice, "art", "a nude --model bold").await.unwrap_err();
    insta::assert_snapshot!(refusal, @"The model bold is there only in age-restricted channels: ask in one, or name another model with --model.");
    community.hub.enter(&alice, &Room { mature: true, ..room }).await.unwrap();
    assert_eq!(community.submit_in(&alice, "art", "a nude").await.unwrap().model, bold.digest());
}

#[tokio::test]
async fn a_flag_that_another_model_has_is_refused_with_its_name() {
    let mut plain = ModelSpec { name: "doodle".into(), ..painter() };
    let inputs = plain.schema["properties"].as_object_mut().unwrap();
    inputs.retain(|name, _| name != "negative_prompt" && name != "width");
    let (community, alice, maud) = with(&[plain, painter()]).await;
    let refused = async |line: &str| community.submit(&alice, line).await.unwrap_err().to_string();
    insta::assert_snapshot!(refused("a pond --no fog").await, @"There is no flag --no for doodle (painter has it: add --model painter). Its flags: --n --cfg --height --sampler --seed --steps --stop --tile --model.");
    insta::assert_snapshot!(refused("a pond --ar 2:1").await, @"There is no flag --ar for doodle (painter has it: add --model painter). Its flags: --n --cfg --height --sampler --seed --steps --stop --tile --model.");
    community.job(&alice, "a pond --no fog --model painter").await;
    community.act(&maud, Act::PauseModel { model: "painter".into() }).await;
    insta::assert_snapshot!(refused("a pond --no fog").await, @"There is no flag --no for doodle. Its flags: --n --cfg --height --sampler --seed --steps --stop --tile --model.");
}

#[tokio::test]
async fn preferences_fill_what_a_line_leaves_open() {
    let sketcher = ModelSpec { name: "sketcher".into(), ..painter() };
    let (community, alice, _) = with(&[painter(), sketcher.clone(), writer()]).await;
    let prefer = async |defaults: &str| {
        let preferences = Preferences { defaults: defaults.into(), remix: Remix::On };
        community.hub.prefer(&alice, &preferences).await
    };
    assert_eq!(community.hub.preferences(&alice).await.unwrap(), Preferences::default());
    prefer("--ar 2:1 --steps 9 --cfg 3 --model sketcher").await.unwrap();
    assert_eq!(community.hub.preferences(&alice).await.unwrap().remix, Remix::On);
    let recipe = async |line: &str| {
        let job = community.job(&alice, line).await;
        community.hub.store.recipe(job.recipe).await.unwrap().unwrap()
    };
    let filled = recipe("a pond --steps 2").await;
    assert_eq!((filled.model, filled.integer("steps")), (sketcher.digest(), Some(2)));
    assert_eq!((filled.size(), filled.number("guidance_scale")), (Some((728, 360)), Some(3.0)));
    let typed = recipe("a pond --height 64 --stylize 4 --model painter").await;
    assert_eq!((typed.model, typed.size()), (painter().digest(), Some((512, 64))));
    assert_eq!(typed.number("guidance_scale"), Some(4.0), "another name of the same flag");
    assert_eq!(recipe("/ask who are you?").await.prompt.as_str(), "who are you?");

    let parent = Parent { recipe: typed.id(), index: 0 };
    let line = community.hub.command_of(&parent).await.unwrap();
    let fork = RiffRequest { parent, twist: Twist::Edit(line) };
    let forked = community.hub.riff(&Ask::public(&alice, "general"), &fork).await.unwrap().remove(0);
    let forked = community.hub.store.recipe(forked.recipe).await.unwrap().unwrap();
    assert_eq!(forked.params, typed.params, "a fork is the same again");

    insta::assert_snapshot!(prefer("--stesp 5").await.unwrap_err(), @"There is no flag --stesp for painter: did you mean --steps? Its flags: --n --cfg --height --no --sampler --seed --steps --stop --tile --width --ar --model.");
    insta::assert_snapshot!(prefer("--steps 99").await.unwrap_err(), @"--steps 99 does not work: --steps takes a whole number from 1 to 12, as in “--steps 6”.");
    insta::assert_snapshot!(prefer("--tile in the fog").await.unwrap_err(), @"“in the fog” is no flag: write flags alone, as in “--ar 3:2”.");
    insta::assert_snapshot!(prefer("fog --tile").await.unwrap_err(), @"“fog” is no flag: write flags alone, as in “--ar 3:2”.");
    insta::assert_snapshot!(prefer("--model skecher").await.unwrap_err(), @"There is no model “skecher”: did you mean “sketcher”? Here are: painter, sketcher, writer.");
    prefer("").await.unwrap();
    assert_eq!(recipe("a pond").await.size(), Some((512, 512)));
}

#[tokio::test]
async fn private_jobs_are_answered_and_never_shown() {
    let (community, alice, _) = with(&[painter(), writer()]).await;
    let room = community.room(&alice, "7", "club").await;
    let ask = |privacy| Ask { privacy, reply: Some("note".into()), ..Ask::public(&alice, "7") };
    let parent = community.submit_in(&alice, "7", "a pond").await.unwrap();
    community.serve("w").await;
    let vary = RiffRequest { parent: result(&parent), twist: Twist::Reroll };
    let jobs = community.hub.riff(&ask(Privacy::Private), &vary).await.unwrap();
    let store = &community.hub.store;
    assert!(jobs[0].private);
    assert!(store.live_in("7").await.unwrap().is_empty());
    assert_eq!(store.live_on(&room.surface).await.unwrap().len(), 1);
    community.serve("w").await;

    let due = store.due("chat", 9, community.hub.seam.now()).await.unwrap();
    assert_eq!(due.iter().map(|due| due.private).collect::<Vec<_>>(), [false, true]);
    store.publish(&due[1], None, community.hub.seam.now()).await.unwrap();
    assert!(store.posts("7", None, 9).await.unwrap().is_empty(), "it is answered, never posted");
    community.pass(16).await;
    assert_eq!(store.due("chat", 9, community.hub.seam.now()).await.unwrap().len(), 1);
    assert!(store.children(parent.recipe).await.unwrap().is_empty());
    assert!(community.hub.shown(jobs[0].recipe).await.unwrap().job.private);
    assert!(store.parents(jobs[0].recipe).await.unwrap()[0].job.is_some());
    // The same in public is everybody's.
    let public = community.hub.riff(&Ask::public(&alice, "7"), &vary).await.unwrap();
    assert_eq!(store.children(parent.recipe).await.unwrap()[0].recipe, public[0].recipe);

    let asked = community.hub.submit(&ask(Privacy::Private), "/ask who are you?").await.unwrap();
    while community.state(&asked[0]).await != State::Succeeded {
        community.serve("w").await;
    }
    let reply = RiffRequest { parent: result(&asked[0]), twist: Twist::Reply("really?".into()) };
    community.hub.riff(&ask(Privacy::Private), &reply).await.expect("a private answer can be replied to");
}

#[tokio::test]
async fn answers_go_to_the_surface_of_the_channel_with_its_own_note() {
    let (community, alice, _) = with(&[painter()]).await;
    community.room(&alice, "7", "club").await;
    let ask = Ask { reply: Some("note".into()), ..Ask::public(&alice, "7") };
    let jobs = community.hub.submit(&ask, "a {red, blue} bird").await.unwrap();
    let store = &community.hub.store;
    let notes: Vec<_> = jobs.iter().map(|job| job.reply.as_deref()).collect();
    assert_eq!(notes, [Some("note"), None], "the first answers the asker");
    store.note_reply(&jobs[1].id, "another").await.unwrap();
    assert_eq!(store.live_on("chat").await.unwrap().len(), 2);
    assert!(store.live_on("web").await.unwrap().is_empty());
    community.serve("w").await;
    let now = community.hub.seam.now();
    assert!(store.due("web", 9, now).await.unwrap().is_empty());
    let due = store.due("chat", 9, now).await.unwrap();
    store.publish(&due[0], Some("where it is"), now).await.unwrap();
    assert_eq!(store.posts("7", None, 9).await.unwrap().len(), 1);
    assert_eq!(store.channels().await.unwrap().len(), 1, "the web's own list");
}

#[tokio::test]
async fn a_request_that_arrives_again_makes_nothing() {
    let (community, alice, _) = with(&[painter()]).await;
    let ask = |request: &str| Ask { request: Some(request.into()), ..Ask::public(&alice, "general") };
    let first = community.hub.submit(&ask("1"), "a {red, blue} bird").await.unwrap();
    let again = community.hub.submit(&ask("1"), "a {red, blue} bird").await.unwrap();
    assert_eq!((again.len(), &again[0].id), (1, &first[0].id));
    let other = community.hub.submit(&ask("2"), "a {red, blue} bird").await.unwrap();
    assert!(first.iter().all(|job| job.id != other[0].id));
    for _ in 0..4 {
        community.serve("w").await;
    }
    assert!(community.lease("w").await.is_none());
}

#[tokio::test]
async fn the_log_has_every_act() {
    let (community, alice, maud) = with(&[painter()]).await;
    let job = community.job(&alice, "a pond").await.id;
    let (until, model, word) = (community.hub.seam.now() + 60_000, "painter".to_owned(), "Gore".to_owned());
    let channel = "general".to_owned();
    for act in [
        Act::Allow { role: "patron".into(), gpu_ms: Some(1_500) },
        Act::Allow { role: "patron".into(), gpu_ms: None },
        Act::Grant { member: alice.clone(), gpu_ms: 2_000 },
        Act::TimeOut { member: alice.clone(), until, reason: "spam".into() },
        Act::Ban { member: alice.clone(), reason: "spam".into() },
        Act::Unban { member: alice.clone() },
        Act::Block { word: word.clone() },
        Act::Unblock { word },
        Act::PauseModel { model: model.clone() },
        Act::ResumeModel { model },
        Act::PauseChannel { channel: channel.clone() },
        Act::ResumeChannel { channel: channel.clone() },
        Act::OpenChannels { channels: vec![channel] },
        Act::Report { job: "JOB".into(), reason: "spam".into() },
        Act::TakeDown { job: "JOB".into() },
    ] {
        let act = match act {
            Act::Report { reason, .. } => Act::Report { job: job.clone(), reason },
            Act::TakeDown { .. } => Act::TakeDown { job: job.clone() },
            act => act,
        };
        community.act(&maud, act).await;
    }
    community.act(&maud, Act::Report { job: job.clone(), reason: "again".into() }).await;
    let rows = community.hub.audit(WEB, None, 100).await.unwrap();
    let line = |row: &AuditRow| {
        let subject = row.subject.replace(&job, "JOB");
        format!("{} {} {subject} {}", row.actor, row.act, row.detail).trim_end().to_owned()
    };
    let lines: Vec<String> = rows.iter().rev().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    maud allow patron 1.5 GPU-seconds a day
    maud allow patron removed
    maud grant alice 2 GPU-seconds
    maud timeout alice until 2026-01-01 00:01 UTC: spam
    maud ban alice spam
    maud unban alice
    maud block gore
    maud unblock gore
    maud pause-model painter
    maud resume-model painter
    maud pause-channel general
    maud resume-channel general
    maud open-channels general
    maud report JOB spam
    maud take-down JOB
    ");
    let older = community.hub.audit(WEB, Some(rows[0].id), 2).await.unwrap();
    assert_eq!(older, rows[1..3]);
    assert!(community.hub.audit("club", None, 100).await.unwrap().is_empty());
    let foreign = Act::TakeDown { job };
    assert!(community.hub.moderate(&maud, "club", &foreign).await.is_err(), "not that community's job");
    assert!(
        community.hub.audit("club", None, 100).await.unwrap().is_empty(),
        "what failed is not in the log"
    );
}

#[tokio::test]
async fn what_is_taken_down_while_it_is_posted_is_still_to_be_removed() {
    let (community, alice, maud) = with(&[painter()]).await;
    community.room(&alice, "7", "club").await;
    let job = community.hub.submit(&Ask::public(&alice, "7"), "a pond").await.unwrap().remove(0);
    community.serve("w").await;
    let (store, now) = (&community.hub.store, community.hub.seam.now());
    let post = store.due("chat", 9, now).await.unwrap().remove(0);
    assert!(post.is_post());
    community.hub.moderate(&maud, "club", &Act::TakeDown { job: job.id }).await.unwrap();
    store.publish(&post, Some("where it is"), now).await.unwrap();
    assert!(store.posts("7", None, 9).await.unwrap().is_empty());
    let removal = store.due("chat", 9, now).await.unwrap().remove(0);
    assert!(!removal.is_post());
    store.publish(&removal, None, now).await.unwrap();
    assert!(store.due("chat", 9, now).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_overwritten_is_posted_again_also_while_it_is_posted() {
    let (community, alice, _) = with(&[painter()]).await;
    community.room(&alice, "7", "club").await;
    let job = community.hub.submit(&Ask::public(&alice, "7"), "a pond").await.unwrap().remove(0);
    community.serve("w").await;
    let (store, now) = (&community.hub.store, community.hub.seam.now());
    let next = async || store.due("chat", 9, now).await.unwrap().pop();
    let first = next().await.unwrap();
    store.deliver_again(&job.id, "chat", now).await.unwrap();
    store.publish(&first, None, now).await.unwrap();
    store.publish(&next().await.unwrap(), None, now).await.unwrap();
    assert!(next().await.is_none());
    store.deliver_all_again(now - 1..now, now).await.unwrap();
    assert!(next().await.is_none(), "it was posted later");
    store.deliver_all_again(now..now + 1, now).await.unwrap();
    store.publish(&next().await.unwrap(), None, now).await.unwrap();
    assert_eq!(store.posts("7", None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_taken_down_is_out_of_sight_wherever_it_stands() {
    let (community, alice, maud) = with(&[painter()]).await;
    let store = &community.hub.store;
    let now = community.hub.seam.now();
    let posted = community.job(&alice, "a pond").await;
    community.serve("w").await;
    store.publish(&store.due(WEB, 9, now).await.unwrap()[0], None, now).await.unwrap();
    let ended = community.job(&alice, "a hill").await;
    community.serve("w").await;
    let running = community.job(&alice, "a tower").await;
    let lease = community.lease("w").await.unwrap();
    let mut events = community.hub.subscribe();
    for job in [&posted, &ended, &running] {
        community.act(&maud, Act::TakeDown { job: job.id.clone() }).await;
        assert!(community.now(job).await.private);
    }
    assert!(events.recv().await.is_ok(), "open pages are told");
    assert!(store.posts("general", None, 9).await.unwrap().is_empty());
    assert!(store.due(WEB, 9, now).await.unwrap().is_empty());
    assert_eq!(community.state(&running).await, State::Cancelled);
    assert!(community.finish("w", &lease, 1.0).await.is_err());
    assert_eq!(
        community.left(&alice).await,
        3_600.0,
        "what was cancelled is refunded, and nothing took time"
    );
}

#[tokio::test]
async fn models_read_pictures_of_people_and_of_results() {
    let (community, alice, _) = with(&[painter(), writer()]).await;
    let ask = Ask::public(&alice, "general");
    let image = community.hub.take_image(picture()).await.unwrap();
    let refusal = community.hub.describe(&ask, image, None).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"No model that reads pictures is here yet: an operator has to start a worker that serves one.");
    let refusal = community.hub.take_image("not a picture".into()).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"This picture can't be used: it is of no known format; expected PNG, JPEG or WebP.");

    riff_hub::schema::check_spec(&reader()).unwrap();
    community.hello("w", &[painter(), writer(), reader()]).await;
    let recipe = async |job: &Job| community.hub.store.recipe(job.recipe).await.unwrap().unwrap();
    let described = community.hub.describe(&ask, image, None).await.unwrap().remove(0);
    let described = recipe(&described).await;
    assert_eq!((described.model, described.prompt.as_str()), (reader().digest(), "Describe this picture."));
    assert_eq!((described.text("image"), &described.origin), (Some(image.to_string().as_str()), &None));
    let asked = community.hub.describe(&ask, image, Some("how many?")).await.unwrap().remove(0);
    assert_eq!(recipe(&asked).await.prompt.as_str(), "how many?");

    let line =
        format!("/ask what is it? --image {image} --others {image} --others {image} --seed 7 --model reader");
    let typed = recipe(&community.job(&alice, &line).await).await;
    assert_eq!(typed.text("image"), Some(image.to_string().as_str()));
    let rendered = riff_hub::prompt::render(&typed.prompt, &typed.params, &reader());
    assert_eq!(rendered, line);
    let refusal = community.submit(&alice, "/ask what? --image here --model reader").await.unwrap_err();
    insta::assert_snapshot!(refusal, @"--image here does not work: --image takes the id of a picture that is here, as in “--image af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262”.");
    let absent = riff_hub::canonical::Digest::of_bytes(b"absent");
    let line = format!("/ask what is it? --others {absent} --model reader");
    let refusal = community.submit(&alice, &line).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"There is no picture 759b92959bb4 here.");

    let painted = community.job(&alice, "a pond").await;
    let describe = RiffRequest { parent: result(&painted), twist: Twist::Describe };
    let refusal = community.hub.riff(&ask, &describe).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"There is no finished picture of that recipe here.");
    while community.state(&painted).await != State::Succeeded {
        community.serve("w").await;
    }
    let of_result = recipe(&community.hub.riff(&ask, &describe).await.unwrap()[0]).await;
    let blob = community.hub.store.outputs(&community.now(&painted).await).await.unwrap()[0].blob;
    assert_eq!(of_result.text("image"), Some(blob.to_string().as_str()));
    let origin = of_result.origin.unwrap();
    assert_eq!((origin.made_by, origin.parents), (Move::Describe, vec![result(&painted)]));
}

#[tokio::test]
async fn the_first_preferred_model_that_is_served_is_the_default() {
    let preferred = vec!["second".to_owned(), "first".to_owned()];
    let community = Community::with(|settings| settings.default_models = preferred).await;
    let named = |name: &str| ModelSpec { name: name.into(), ..painter() };
    let alice = community.member("alice").await;
    let mut changed = community.hub.models_changed();
    community.hello("a", &[named("alpha"), named("first")]).await;
    assert!(changed.has_changed().unwrap());
    let chosen = async || {
        let job = community.job(&alice, "a pond").await;
        community.hub.store.model(job.model).await.unwrap().unwrap().spec.name
    };
    assert_eq!(chosen().await, "first");
    community.hello("b", &[named("second")]).await;
    assert_eq!(chosen().await, "second");
    changed.mark_unchanged();
    community.pass(15).await;
    community.hello("a", &[named("alpha"), named("first")]).await;
    assert!(!changed.has_changed().unwrap(), "nothing new");
    community.pass(15).await;
    assert!(changed.has_changed().unwrap(), "b is not here any more");
    assert_eq!(chosen().await, "first");
    community.pass(30).await;
    assert_eq!(chosen().await, "second", "with nobody here, the settings' order alone");
}

#[tokio::test]
async fn members_and_rooms_come_in_as_their_surface_knows_them() {
    let (community, _, _) = with(&[painter()]).await;
    let bea =
        Member { id: "chat-1".into(), name: "Bea\n the   Magnificent and Extremely Long-Winded".into() };
    let room = community.room(&bea, "7", "club").await;
    let store = &community.hub.store;
    let name = async || store.member("chat-1").await.unwrap().unwrap().name;
    assert_eq!(name().await, "Bea the Magnificent and Extremel");
    store.put_member(&Member { id: "chat-1".into(), name: "somebody".into() }, 0).await.unwrap();
    community.hub.enter(&bea, &room).await.unwrap();
    assert_eq!(name().await, "somebody", "what did not change is not written again");
    community.hub.enter(&Member { name: "Bea".into(), ..bea.clone() }, &room).await.unwrap();
    assert_eq!(name().await, "Bea");
    let taken = Room { id: "general".into(), ..room };
    let refusal = community.hub.enter(&bea, &taken).await.unwrap_err();
    insta::assert_snapshot!(refusal, @"There is no channel “general” on chat here.");

    assert!(community.hub.first_visit("club", "Club").await.unwrap());
    assert!(!community.hub.first_visit("club", "Club").await.unwrap());
    assert!(community.hub.first_visit("new", "New").await.unwrap());
}

#[tokio::test]
async fn a_rate_limit_is_checked_after_what_shuts_out() {
    let one = riff_hub::admission::Rate { per_minute: 1.try_into().unwrap(), burst: 1.try_into().unwrap() };
    let community = Community::with(|settings| settings.member_rate = one).await;
    community.hello("w", &[painter()]).await;
    let (alice, maud) = (community.member("alice").await, community.member("maud").await);
    community.act(&maud, Act::PauseChannel { channel: "general".into() }).await;
    for _ in 0..3 {
        assert!(matches!(community.submit(&alice, "x").await, Err(Refusal::PausedChannel { .. })));
    }
    community.act(&maud, Act::ResumeChannel { channel: "general".into() }).await;
    community.job(&alice, "a pond").await;
    assert!(matches!(community.submit(&alice, "x").await, Err(Refusal::TooFast { .. })));
}
