//! Conversations with a language model.

use fake_discord::{Refuse, attachment};
use riff_tests::worker::picture;
use serde_json::json;

use crate::{Stage, private, reader, seen, writer};

#[tokio::test]
async fn a_mention_is_answered_and_the_chain_of_replies_is_the_conversation() {
    let (stage, worker) = Stage::with_talker().await;
    let question = stage.alice.mention(&stage.art, "what is a lighthouse?").await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.prompt.as_str(), "what is a lighthouse?");
    worker.answer(&lease, "A tower with a light.").await.unwrap();
    let answer = stage.discord.see(|message| message.content.contains("tower")).await.unwrap();
    assert_eq!(answer.reply_to(), Some(question.id()));
    insta::assert_snapshot!(seen(&answer), @"
    Riff:
    in reply to alice: @Riff what is a lighthouse?
    A tower with a light.
    [💬 Reply] [🎲] [✏️ Remix] [🗑️]
    ");

    stage.bob.reply(&answer, "and who keeps it?").await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.prompt.as_str(), "and who keeps it?");
    assert_eq!(
        lease.recipe.params["history"],
        json!([{"role": "user", "content": "what is a lighthouse?"}, {"role": "assistant", "content": "A tower with a light."}])
    );
    worker.answer(&lease, "A keeper.").await.unwrap();
    stage.discord.see(|message| message.content == "A keeper.").await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn what_people_said_in_between_is_read_too() {
    let (stage, worker) = Stage::with_talker().await;
    let said = stage.bob.mention(&stage.art, "lighthouses are tall").await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.answer(&lease, "Some are.").await.unwrap();
    stage.discord.see(|message| message.content == "Some are.").await.unwrap();
    let bot = stage.discord.bot_id();
    stage.alice.reply(&said, &format!("<@{bot}> is that so?")).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.prompt.as_str(), "lighthouses are tall\n\nis that so?");
    worker.answer(&lease, "It is.").await.unwrap();
    stage.discord.see(|message| message.content == "It is.").await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn an_answer_is_written_while_it_is_watched() {
    let (stage, worker) = Stage::with_talker().await;
    stage.alice.mention(&stage.art, "count").await.unwrap();
    let lease = worker.lease().await.unwrap();
    stage.discord.see(|message| message.author == "Riff").await.unwrap();
    let mut text = String::new();
    for number in 1..=3 {
        text = format!("{text}{number} ");
        let signal = worker.say(&lease, &text).await.unwrap();
        assert_eq!(signal, riff_hub::wire::Signal::Continue);
        let shown = text.clone();
        stage.discord.see(|message| message.content.contains(shown.trim())).await.unwrap();
    }
    worker.answer(&lease, "1 2 3 4").await.unwrap();
    stage.discord.see(|message| message.content == "1 2 3 4").await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn a_long_answer_becomes_several_messages_and_any_of_them_can_be_replied_to() {
    let (stage, worker) = Stage::with_talker().await;
    stage.alice.mention(&stage.art, "write code").await.unwrap();
    let code: String = (0..200).map(|line| format!("let x{line} = {line};\n")).collect();
    let lease = worker.lease().await.unwrap();
    worker.answer(&lease, &format!("Here it is:\n```rust\n{code}```\nThat is all.")).await.unwrap();
    stage.discord.see(|message| message.content.contains("That is all.")).await.unwrap();
    let messages = stage.discord.messages(&stage.art);
    let parts: Vec<_> = messages.iter().filter(|message| message.author == "Riff").collect();
    assert!(parts.len() >= 2, "{}", parts.len());
    for part in &parts {
        assert_eq!(part.content.matches("```").count() % 2, 0, "{part}");
    }
    assert!(parts[0].buttons().is_empty() && !parts[parts.len() - 1].buttons().is_empty());
    stage.bob.reply(parts[0], "shorter, please").await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.params["history"].as_array().unwrap().len(), 2);
    worker.answer(&lease, "No.").await.unwrap();
    stage.discord.see(|message| message.content == "No.").await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn the_first_message_of_a_thread_is_part_of_what_is_said_in_it() {
    let (stage, worker) = Stage::with_talker().await;
    stage.alice.mention(&stage.art, "name a star").await.unwrap();
    worker.answer(&worker.lease().await.unwrap(), "Vega.").await.unwrap();
    let answer = stage.discord.see(|message| message.content == "Vega.").await.unwrap();
    let thread = stage.guild.thread(&stage.art, "stars", Some(&answer)).unwrap();
    stage.bob.mention(&thread, "how far is it?").await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.params["history"][1]["content"], "Vega.");
    worker.answer(&lease, "25 light years.").await.unwrap();
    let told = stage.discord.see(|message| message.content == "25 light years.").await.unwrap();
    assert_eq!(told.channel_id, thread.id());
    stage.end().await;
}

#[tokio::test]
async fn a_private_conversation_needs_no_mention() {
    let (stage, worker) = Stage::with_talker().await;
    stage.alice.say(&stage.alice.dm(), "hello", &[]).await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.answer(&lease, "Hi, alice.").await.unwrap();
    stage.discord.see(|message| message.content == "Hi, alice.").await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn an_answer_may_be_for_who_asked_alone() {
    let (stage, worker) = Stage::with_talker().await;
    let options = json!({"question": "what do I do?", "private": true});
    let shown = stage.alice.slash(&stage.art, "/ask", options).await.unwrap();
    assert!(shown.is_private());
    worker.answer(&worker.lease().await.unwrap(), "Rest.").await.unwrap();
    let told =
        stage.discord.private(&stage.alice, |message| message.content.contains("Rest.")).await.unwrap();
    insta::assert_snapshot!(seen(&told), @"
    Riff: (only alice sees this)
    **what do I do?** — @alice
    Rest.
    -# writer · `--seed …` · recipe `…`
    [💬 Reply] [🎲] [✏️ Remix]
    ");
    assert_eq!(stage.discord.messages(&stage.art), []);

    let again = stage.alice.click(&told, "🎲").await.unwrap();
    assert!(again.is_private(), "what follows from it is private too: {again}");
    worker.answer(&worker.lease().await.unwrap(), "Sleep.").await.unwrap();
    stage.discord.private(&stage.alice, |message| message.content.contains("Sleep.")).await.unwrap();
    let form = stage.alice.click(&told, "Reply").await.unwrap();
    let reply = stage.alice.submit(form.modal().unwrap(), json!({"Your reply": "and then?"})).await.unwrap();
    assert!(reply.is_private(), "{reply}");
    worker.answer(&worker.lease().await.unwrap(), "Wake.").await.unwrap();
    stage.discord.private(&stage.alice, |message| message.content.contains("Wake.")).await.unwrap();
    assert_eq!(stage.discord.messages(&stage.art), []);

    let shown = stage.alice.slash(&stage.art, "/ask", json!({"question": "what do we do?"})).await.unwrap();
    assert!(!shown.is_private());
    worker.answer(&worker.lease().await.unwrap(), "Sing.").await.unwrap();
    let told = stage.discord.see(|message| message.content.contains("Sing.")).await.unwrap();
    insta::assert_snapshot!(seen(&told), @"
    Riff:
    **what do we do?** — @alice
    Sing.
    -# writer · `--seed …` · recipe `…`
    [💬 Reply] [🎲] [✏️ Remix] [🗑️]
    ");
    let form = stage.bob.click(&told, "Reply").await.unwrap();
    stage.bob.submit(form.modal().unwrap(), json!({"Your reply": "what song?"})).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.params["history"][0]["content"], "what do we do?");
    worker.answer(&lease, "Any.").await.unwrap();
    stage.discord.see(|message| message.content.contains("Any.")).await.unwrap();
    stage.end().await;
}

#[tokio::test]
async fn text_files_and_pictures_are_read() {
    let mut stage = Stage::set().await;
    stage.start().await;
    let worker = stage.worker(vec![writer(), reader()]).await;
    let mention = format!("<@{}> what is this?", stage.discord.bot_id());
    let poem = attachment("roses are red", "poem.txt", "text/plain");
    stage.alice.say(&stage.art, &mention, &[poem]).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.prompt.as_str(), "what is this?\n\npoem.txt:\nroses are red");
    worker.answer(&lease, "A poem.").await.unwrap();
    stage.discord.see(|message| message.content == "A poem.").await.unwrap();

    let photo = attachment(picture(64, 64), "photo.png", "image/png");
    stage.alice.say(&stage.art, &mention, &[photo]).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(
        (lease.recipe.prompt.as_str(), lease.recipe.text("image").unwrap().len()),
        ("what is this?", 64)
    );
    worker.answer(&lease, "Pink.").await.unwrap();
    stage.discord.see(|message| message.content == "Pink.").await.unwrap();

    let huge = attachment("x".repeat(20_000), "huge.txt", "text/plain");
    stage.alice.say(&stage.art, &mention, &[huge]).await.unwrap();
    let refused = stage.discord.see(|message| message.content.contains("huge.txt")).await.unwrap();
    insta::assert_snapshot!(refused.content, @"huge.txt is too long: at most 16 KiB of text are read.");
    stage.end().await;
}

#[tokio::test]
async fn without_a_reader_pictures_alone_are_refused() {
    let (stage, _worker) = Stage::with_talker().await;
    let mention = format!("<@{}>", stage.discord.bot_id());
    let photo = attachment(picture(64, 64), "photo.png", "image/png");
    stage.alice.say(&stage.art, &mention, &[photo]).await.unwrap();
    let refused = stage.discord.see(|message| message.author == "Riff").await.unwrap();
    insta::assert_snapshot!(seen(&refused), @"
    Riff:
    **Hello! I make pictures and answer questions, here in the open, where everybody can riff on them.**
    • `/imagine a castle at night` makes pictures. The buttons below them vary, enlarge and remix what anybody made.
    • `/ask`, or mention me, to talk; reply to my answers to go on.
    • *Fork settings* in the Apps menu of a post opens its settings for you.
    • `/models`, `/queue` and `/quota` show what is here, where you are in line, and what you have left today.
    -# Moderators: `/mod setup` decides which channels take prompts and which roles get what. Everything can be undone, and is logged in `/mod audit`.
    ");
    stage.alice.mention(&stage.art, "").await.unwrap();
    let refused = stage.discord.see(|message| message.content.contains("behind the mention")).await.unwrap();
    insta::assert_snapshot!(refused.content, @"Ask me something behind the mention, or use /imagine and /ask.");
    let shown = stage.alice.slash(
        &stage.art,
        "/describe",
        json!({"image": attachment(picture(8, 8), "a.png", "image/png")}),
    );
    insta::assert_snapshot!(private(&shown.await.unwrap()), @"No model that reads pictures is here yet: an operator has to start a worker that serves one.");
    stage.end().await;
}

#[tokio::test]
async fn without_the_message_content_intent_it_says_what_is_missing() {
    let mut stage = Stage::set().await;
    stage.discord.refuse_message_content(Refuse::Yes);
    stage.start().await;
    let worker = stage.worker(vec![writer()]).await;
    let mention = stage.alice.mention(&stage.art, "hello").await.unwrap();
    worker.answer(&worker.lease().await.unwrap(), "Hi.").await.unwrap();
    let answer = stage.discord.see(|message| message.content == "Hi.").await.unwrap();
    stage.alice.reply_quietly(&answer, "are you well?").await.unwrap();
    let told = stage.discord.see(|message| message.content.contains("Message Content Intent")).await.unwrap();
    insta::assert_snapshot!(told.content, @"I can't read this reply: Discord shows me only messages that mention me. Leave the @ of the reply on, or mention me. (An operator can let me read replies: Message Content Intent, on the Bot page of the developer portal.)");

    let bare = stage.bob.say(&stage.art, "the sea is green", &[]).await.unwrap();
    let bot = stage.discord.bot_id();
    stage.alice.reply(&bare, &format!("<@{bot}> is that so?")).await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.prompt.as_str(), "is that so?");
    worker.answer(&lease, "Perhaps.").await.unwrap();
    let told = stage.discord.see(|message| message.content.contains("Perhaps.")).await.unwrap();
    insta::assert_snapshot!(told.content, @"
    Perhaps.
    -# I could not read the messages above that don't mention me: that takes the Message Content Intent.
    ");
    assert_ne!(mention.id(), told.id());
    stage.end().await;
}

#[tokio::test]
async fn others_who_talk_to_each_other_are_left_alone() {
    let (stage, worker) = Stage::with_talker().await;
    stage.bob.say(&stage.art, "good morning", &[]).await.unwrap();
    stage.alice.mention(&stage.art, "hello").await.unwrap();
    let lease = worker.lease().await.unwrap();
    assert_eq!(lease.recipe.prompt.as_str(), "hello");
    worker.answer(&lease, "Hi.").await.unwrap();
    stage.discord.see(|message| message.content == "Hi.").await.unwrap();
    assert!(worker.lease_now().await.unwrap().is_none());
    stage.end().await;
}
