//! Interactions that are posted to an endpoint.

use std::{sync::Arc, time::Duration};

use axum::{
    Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, response::IntoResponse,
    routing::post,
};
use ed25519_dalek::{Signature, VerifyingKey};
use fake_discord::{Delivery, Discord, Shown};
use reqwest::Method;
use serde_json::{Value, json};

/// An endpoint that verifies, and answers commands in the response itself.
pub async fn endpoint(discord: &Discord) -> anyhow::Result<String> {
    let mut key = [0; 32];
    hex::decode_to_slice(discord.public_key(), &mut key)?;
    let key = Arc::new(VerifyingKey::from_bytes(&key)?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/interactions", listener.local_addr()?);
    let app = Router::new().route("/interactions", post(answer)).with_state(key);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

async fn answer(State(key): State<Arc<VerifyingKey>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut signature = [0; 64];
    let read = hex::decode_to_slice(header("x-signature-ed25519"), &mut signature);
    let signed = [header("x-signature-timestamp").as_bytes(), &body].concat();
    if read.is_err() || key.verify_strict(&signed, &Signature::from_bytes(&signature)).is_err() {
        return (StatusCode::UNAUTHORIZED, axum::Json(Value::Null));
    }
    let interaction: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answer = match interaction["type"].as_u64() {
        Some(1) => json!({"type": 1}),
        _ => {
            json!({"type": 4, "data": {"content": "signed", "flags": 64, "allowed_mentions": {"parse": []}}})
        }
    };
    (StatusCode::OK, axum::Json(answer))
}

#[tokio::test]
async fn an_endpoint_is_verified_and_answers() -> anyhow::Result<()> {
    let discord = Discord::start().await?;
    let guild = discord.guild("Lighthouse").await?;
    let url = endpoint(&discord).await?;
    discord.verify_endpoint(&url).await?;
    discord.deliver_by_http(&url);
    let commands = format!("{}/api/v10/applications/{}/commands", discord.url(), discord.application_id());
    let request = reqwest::Client::new().request(Method::POST, commands);
    let request = request.header("authorization", format!("Bot {}", discord.token()));
    let sent = request.json(&json!({"name": "hi", "description": "Hi"})).send().await?;
    assert_eq!(sent.status(), 201);
    let shown = guild.member("alice").slash(&guild.system_channel(), "/hi", json!({})).await?;
    assert!(shown.is_private());
    assert_eq!(shown.text(), "signed");

    let delivery = discord.last_delivery().unwrap();
    assert_eq!(discord.post(&url, &delivery).await?.0, 200);
    let changed = Delivery { body: delivery.body.replace("alice", "mia"), ..delivery };
    assert_eq!(discord.post(&url, &changed).await?.0, 401);
    assert_eq!(discord.violations(), []);
    Ok(())
}

/// An endpoint that takes everything and answers nothing: the callback comes by REST.
async fn silent() -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/interactions", listener.local_addr()?);
    let app = Router::new().route("/interactions", post(async || StatusCode::ACCEPTED));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

#[tokio::test]
async fn a_deferred_answer_is_filled_by_the_first_followup() -> anyhow::Result<()> {
    let discord = Discord::start().await?;
    let guild = discord.guild("Lighthouse").await?;
    let (art, alice) = (guild.channel("art"), guild.member("alice"));
    discord.deliver_by_http(&silent().await?);
    let said = alice.say(&art, "hello", &[]).await?;
    let clicked = alice.raw_component(&said, "deep");
    let http = reqwest::Client::new();
    let api = format!("{}/api/v10", discord.url());
    let answer = async {
        let delivery = discord.delivered().await?;
        let interaction: Value = serde_json::from_str(&delivery.body)?;
        let (id, token) = (interaction["id"].as_str().unwrap(), interaction["token"].as_str().unwrap());
        let callback = format!("{api}/interactions/{id}/{token}/callback?with_response=true");
        let answered = http.post(&callback).json(&json!({"type": 5, "data": {"flags": 64}})).send().await?;
        anyhow::Ok((answered.json::<Value>().await?, token.to_owned()))
    };
    let (shown, answered) = tokio::join!(clicked, answer);
    let (shown, (resource, token)) = (shown?, answered?);
    assert!(matches!(shown, Shown::Deferred { private: true, .. }));
    assert_eq!(resource["interaction"]["response_message_loading"], true);
    let hook = format!("{api}/webhooks/{}/{token}", discord.application_id());
    let follow = async |content: &str| {
        let body = json!({"content": content, "allowed_mentions": {"parse": []}});
        anyhow::Ok(http.post(&hook).json(&body).send().await?.json::<Value>().await?)
    };
    // The first fills what was deferred, and stays private though it does not say so.
    assert_eq!(follow("first").await?["id"], shown.message()?.id);
    assert!(shown.settled(&discord).await?.is_private());
    assert_ne!(follow("second").await?["id"], shown.message()?.id);
    assert_eq!(discord.messages(&art).len(), 2);

    // An answer that comes later than three seconds is to nothing.
    let clicked = alice.raw_component(&said, "deep");
    let late = async {
        discord.advance(Duration::from_secs(4));
    };
    let (clicked, ()) = tokio::join!(clicked, late);
    assert!(clicked.is_err());
    let interaction: Value = serde_json::from_str(&discord.last_delivery().unwrap().body)?;
    let (id, token) = (interaction["id"].as_str().unwrap(), interaction["token"].as_str().unwrap());
    let callback = format!("{api}/interactions/{id}/{token}/callback");
    let answer: Value = http.post(&callback).json(&json!({"type": 5})).send().await?.json().await?;
    assert_eq!(answer["code"], 10_062);
    Ok(())
}
