//! Requests that Discord would refuse, made by hand.

use std::time::Duration;

use fake_discord::{Discord, Fault, Guild, ViolationKind, permissions};
use insta::assert_snapshot;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use serenity::all::{ChannelId, CreateAllowedMentions, CreateAttachment, CreateMessage};

use crate::parrot::{Parrot, http, png};

/// Somebody with the bot's token.
struct Caller {
    discord: Discord,
    guild: Guild,
    http: reqwest::Client,
}

impl Caller {
    async fn new() -> anyhow::Result<Self> {
        let discord = Discord::start().await?;
        let guild = discord.guild("Lighthouse").await?;
        Ok(Self { discord, guild, http: reqwest::Client::new() })
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> anyhow::Result<(StatusCode, Value)> {
        let request = self
            .http
            .request(method, format!("{}/api/v10{path}", self.discord.url()))
            .header("authorization", format!("Bot {}", self.discord.token()));
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await?;
        let status = response.status();
        Ok((status, serde_json::from_str(&response.text().await?).unwrap_or_default()))
    }
}

fn quiet(content: &str) -> Value {
    json!({"content": content, "allowed_mentions": {"parse": []}})
}

#[tokio::test]
async fn a_body_that_the_description_does_not_allow_is_a_violation() -> anyhow::Result<()> {
    let caller = Caller::new().await?;
    if !caller.discord.checks_bodies() {
        return Ok(());
    }
    let path = format!("/channels/{}/messages", caller.guild.channel("art").id);
    let mut wrong = quiet("a");
    wrong["components"] = json!([{"type": 1, "components": [{"type": 2, "style": "big", "label": "A"}]}]);
    let (status, answer) = caller.ask(Method::POST, &path, wrong).await?;
    assert_eq!((status.as_u16(), &answer["code"]), (400, &json!(50_035)));
    let (status, _) = caller.ask(Method::POST, "/channels/nowhere/nothing", quiet("a")).await?;
    assert_eq!(status, 404);
    caller.ask(Method::POST, &path, json!({"content": "@everyone"})).await?;
    let violations = caller.discord.violations();
    let kinds: Vec<ViolationKind> = violations.iter().map(|violation| violation.kind).collect();
    assert_eq!(kinds, [ViolationKind::Body, ViolationKind::Route, ViolationKind::Mentions]);
    assert_snapshot!(violations[0].message, @r#"/components/0/components/0/style: "big" is not of type "integer"; /components/0/components/0/style: 6 was expected"#);
    Ok(())
}

#[tokio::test]
async fn limits_are_refused_in_detail() -> anyhow::Result<()> {
    let caller = Caller::new().await?;
    let path = format!("/channels/{}/messages", caller.guild.channel("art").id);
    let (_, answer) = caller.ask(Method::POST, &path, quiet(&"a".repeat(2001))).await?;
    assert_snapshot!(answer, @r#"{"code":50035,"errors":{"content":{"_errors":[{"code":"BASE_TYPE_INVALID","message":"Must be 2000 or fewer in length."}]}},"message":"Invalid Form Body"}"#);
    let (_, answer) = caller.ask(Method::POST, &path, quiet("")).await?;
    assert_eq!(answer["code"], 50_006);
    let button = json!({"type": 2, "style": 1, "label": "A", "custom_id": "same"});
    let mut twice = quiet("a");
    twice["components"] = json!([{"type": 1, "components": [button, button]}]);
    let (_, answer) = caller.ask(Method::POST, &path, twice).await?;
    assert!(answer.to_string().contains("cannot be duplicated"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn rates_are_answered_and_counted() -> anyhow::Result<()> {
    let caller = Caller::new().await?;
    let path = format!("/channels/{}/messages", caller.guild.channel("art").id);
    for number in 0..5 {
        assert_eq!(caller.ask(Method::POST, &path, quiet(&number.to_string())).await?.0, 200);
    }
    let (status, answer) = caller.ask(Method::POST, &path, quiet("6")).await?;
    assert_eq!((status.as_u16(), &answer["global"]), (429, &json!(false)));
    assert!(answer["retry_after"].as_f64().is_some_and(|after| after > 0.0 && after <= 5.0));
    assert_eq!(caller.discord.exceeded(), 1);
    // Another channel has a bucket of its own, and time empties the first.
    let other = format!("/channels/{}/messages", caller.guild.channel("music").id);
    assert_eq!(caller.ask(Method::POST, &other, quiet("a")).await?.0, 200);
    caller.discord.advance(Duration::from_secs(5));
    assert_eq!(caller.ask(Method::POST, &path, quiet("6")).await?.0, 200);
    caller.discord.limit(|limits| limits.global.limit = 3);
    caller.discord.advance(Duration::from_secs(5));
    let mut last = json!({});
    for _ in 0..4 {
        last = caller.ask(Method::GET, "/users/@me", Value::Null).await?.1;
    }
    assert_eq!(last["global"], true);
    Ok(())
}

#[tokio::test]
async fn a_nonce_makes_one_message() -> anyhow::Result<()> {
    let caller = Caller::new().await?;
    let art = caller.guild.channel("art");
    let path = format!("/channels/{}/messages", art.id);
    let mut body = quiet("once");
    body["nonce"] = "n1".into();
    body["enforce_nonce"] = true.into();
    caller.discord.fail_next("POST", "/messages", Fault::Lost, 1);
    assert_eq!(caller.ask(Method::POST, &path, body.clone()).await?.0, 502);
    let (_, first) = caller.ask(Method::POST, &path, body.clone()).await?;
    let (_, second) = caller.ask(Method::POST, &path, body).await?;
    assert_eq!(first["id"], second["id"]);
    assert_eq!(caller.discord.messages(&art).len(), 1);
    Ok(())
}

#[tokio::test]
async fn permissions_tokens_and_things_that_are_gone() -> anyhow::Result<()> {
    let caller = Caller::new().await?;
    let art = caller.guild.channel("art");
    let path = format!("/channels/{}/messages", art.id);
    let (_, made) = caller.ask(Method::POST, &path, quiet("a")).await?;
    let one = format!("{path}/{}", made["id"].as_str().unwrap_or_default());
    assert_eq!(caller.ask(Method::PATCH, &one, quiet("b")).await?.1["content"], "b");
    caller.discord.revoke(&art, permissions::SEND_MESSAGES);
    assert_eq!(caller.ask(Method::POST, &path, quiet("a")).await?.1["code"], 50_013);
    caller.discord.revoke(&art, permissions::VIEW_CHANNEL);
    assert_eq!(caller.ask(Method::POST, &path, quiet("a")).await?.1["code"], 50_001);
    caller.discord.grant(&art, permissions::EVERYONE);
    assert_eq!(caller.ask(Method::DELETE, &one, Value::Null).await?.0, 204);
    assert_eq!(caller.ask(Method::PATCH, &one, quiet("b")).await?.1["code"], 10_008);
    caller.discord.delete_channel(&art);
    assert_eq!(caller.ask(Method::POST, &path, quiet("a")).await?.1["code"], 10_003);
    let stranger = caller.http.get(format!("{}/api/v10/users/@me", caller.discord.url()));
    assert_eq!(stranger.header("authorization", "Bot nobody").send().await?.status(), 401);
    Ok(())
}

#[tokio::test]
async fn a_token_dies_after_a_quarter_of_an_hour() -> anyhow::Result<()> {
    let (discord, guild, _parrot) = Parrot::nest().await?;
    let art = guild.channel("art");
    guild.member("alice").slash(&art, "/echo", json!({"text": "a"})).await?;
    let requests = discord.requested(|request| request.path.contains("/callback")).await?;
    let parts: Vec<&str> = requests.path.split('/').collect();
    let (id, token) = (parts[4], parts[5]);
    let url = |rest: &str| format!("{}/api/v10{rest}", discord.url());
    let http = reqwest::Client::new();
    let again = json!({"type": 4, "data": quiet("b")});
    let callback = url(&format!("/interactions/{id}/{token}/callback"));
    let answer: Value = http.post(&callback).json(&again).send().await?.json().await?;
    assert_eq!(answer["code"], 40_060);
    let original = url(&format!("/webhooks/{}/{token}/messages/@original", discord.application_id()));
    let edited: Value = http.patch(&original).json(&quiet("c")).send().await?.json().await?;
    assert_eq!(edited["content"], "c");
    discord.advance(Duration::from_secs(15 * 60 + 1));
    let response = http.patch(&original).json(&quiet("d")).send().await?;
    assert_eq!(response.status(), 401);
    assert_eq!(response.json::<Value>().await?["code"], 50_027);
    Ok(())
}

#[tokio::test]
async fn commands_are_counted_by_the_day() -> anyhow::Result<()> {
    let caller = Caller::new().await?;
    caller.discord.limit(|limits| limits.commands_per_day = 2);
    let path = format!("/applications/{}/commands", caller.discord.application_id());
    let command = |name: &str| json!({"name": name, "description": "It does"});
    let (status, made) = caller.ask(Method::PUT, &path, json!([command("a"), command("b")])).await?;
    assert_eq!((status.as_u16(), made.as_array().map(Vec::len)), (200, Some(2)));
    let (_, kept) = caller.ask(Method::PUT, &path, json!([command("a"), command("b")])).await?;
    assert_eq!(kept[0]["id"], made[0]["id"]);
    assert_eq!(caller.ask(Method::PUT, &path, json!([command("c")])).await?.1["code"], 30_034);
    assert_eq!((caller.discord.commands().len(), caller.discord.command_writes()), (2, 2));
    caller.discord.advance(Duration::from_secs(24 * 60 * 60 + 1));
    assert_eq!(caller.ask(Method::PUT, &path, json!([command("c")])).await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn files_are_kept_and_served_up_to_the_limit() -> anyhow::Result<()> {
    let caller = Caller::new().await?;
    let art = caller.guild.channel("art");
    let http = http(&caller.discord, &caller.discord.token());
    let channel: ChannelId = art.id.parse()?;
    let send = async |bytes: Vec<u8>| {
        let quiet = CreateAllowedMentions::new();
        let file = CreateAttachment::bytes(bytes, "a.png").description("A picture");
        channel.send_message(&http, CreateMessage::new().allowed_mentions(quiet).add_file(file)).await
    };
    let picture = png(8, 6);
    let sent = send(picture.clone()).await?;
    let seen = &caller.discord.messages(&art)[0];
    assert_snapshot!(seen, @r"
    Riff:
    a.png 8×6
    ");
    assert_eq!(reqwest::get(&sent.attachments[0].url).await?.bytes().await?, picture);
    caller.discord.limit(|limits| limits.file_bytes = picture.len() - 1);
    let refused = send(picture).await.unwrap_err().to_string();
    assert_snapshot!(refused, @"Request entity too large");
    assert_eq!(caller.discord.violations(), []);
    Ok(())
}
