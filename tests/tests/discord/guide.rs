//! What a server sees when the bot comes, and what the bot says where it lacks permissions.

use fake_discord::permissions;
use serde_json::json;

use crate::{Stage, private, seen};

#[tokio::test]
async fn a_server_is_guided_once() {
    let mut stage = Stage::set().await;
    stage.start().await;
    let guide = stage.discord.see(|message| message.content.contains("Hello!")).await.unwrap();
    insta::assert_snapshot!(seen(&guide), @"
    Riff:
    **Hello! I make pictures and answer questions, here in the open, where everybody can riff on them.**
    • `/imagine a castle at night` makes pictures. The buttons below them vary, enlarge and remix what anybody made.
    • `/ask`, or mention me, to talk; reply to my answers to go on.
    • *Fork settings* in the Apps menu of a post opens its settings for you.
    • `/models`, `/queue` and `/quota` show what is here, where you are in line, and what you have left today.
    -# Moderators: `/mod setup` decides which channels take prompts and which roles get what. Everything can be undone, and is logged in `/mod audit`.
    ");
    assert_eq!(guide.channel_id, stage.guild.system_channel().id());
    stage.riff.stop().await.unwrap();
    stage.start().await;
    let second = stage.discord.guild("Second").await.unwrap();
    let there = second.system_channel();
    stage.discord.see(|message| message.channel_id == there.id()).await.unwrap();
    assert_eq!(stage.discord.messages(&stage.guild.system_channel()).len(), 1, "it is not said twice");
    stage.end().await;
}

#[tokio::test]
async fn where_the_system_channel_is_closed_another_is_found() {
    let mut stage = Stage::set().await;
    stage.discord.revoke(&stage.guild.system_channel(), permissions::SEND_MESSAGES);
    stage.start().await;
    let guide = stage.discord.see(|message| message.content.contains("Hello!")).await.unwrap();
    assert_eq!(guide.channel_id, stage.art.id());
}

#[tokio::test]
async fn missing_permissions_are_named_with_how_to_grant_them() {
    let (stage, _worker) = Stage::with_worker().await;
    stage.discord.revoke(&stage.art, permissions::ATTACH_FILES | permissions::SEND_MESSAGES);
    let refused = stage.alice.slash(&stage.art, "/imagine", json!({"prompt": "a fox"})).await.unwrap();
    insta::assert_snapshot!(private(&refused), @"I am missing permissions in this channel: Send Messages, Attach Files. Somebody who manages the server can grant them: the channel's settings (Edit Channel), Permissions, add my role, and switch them on.");
    let post = stage.alice.say(&stage.guild.channel("talk"), "hello", &[]).await.unwrap();
    let thread = stage.guild.thread(&stage.guild.channel("talk"), "a thread", Some(&post)).unwrap();
    stage.discord.revoke(&thread, permissions::SEND_MESSAGES_IN_THREADS | permissions::SEND_MESSAGES);
    let refused = stage.alice.slash(&thread, "/imagine", json!({"prompt": "a fox"})).await.unwrap();
    insta::assert_snapshot!(private(&refused), @"I am missing permissions in this channel: Send Messages in Threads. Somebody who manages the server can grant them: the channel's settings (Edit Channel), Permissions, add my role, and switch them on.");
    stage.end().await;
}
