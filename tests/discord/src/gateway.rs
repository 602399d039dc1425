//! The gateway's connections. Each is a task of the server that ends with its client, with its session's order to, or with
//! the fake; what a client is told lives in its session, so that it can come back.

use std::sync::Arc;

use axum::{
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{
    session::{Out, Session},
    shared::Shared,
    world::{World, session_intents},
};

/// Close codes. Source: <https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes>.
const DECODE_ERROR: u16 = 4002;
const AUTHENTICATION_FAILED: u16 = 4004;
const ALREADY_AUTHENTICATED: u16 = 4005;
const INVALID_SHARD: u16 = 4010;
const DISALLOWED_INTENTS: u16 = 4014;
const GOING_AWAY: u16 = 1001;

pub(crate) async fn upgrade(State(shared): State<Arc<Shared>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| async move { connection(&shared, socket).await })
}

async fn connection(shared: &Shared, mut socket: WebSocket) {
    let (sender, mut orders) = unbounded_channel();
    let number = {
        let mut world = shared.world.lock();
        world.sessions.connections += 1;
        world.sessions.connections
    };
    let interval = shared.limits.lock().heartbeat_interval.as_millis();
    let hello = json!({"op": 10, "t": null, "s": null, "d": {"heartbeat_interval": interval}});
    let mut open = socket.send(Message::Text(hello.to_string().into())).await.is_ok();
    while open {
        open = tokio::select! {
            () = shared.closed() => close(&mut socket, GOING_AWAY, "the fake ends").await,
            order = orders.recv() => match order {
                Some(Out::Send(text)) => socket.send(Message::Text(text.into())).await.is_ok(),
                Some(Out::Close(code, reason)) => close(&mut socket, code, reason).await,
                Some(Out::Drop) | None => false,
            },
            heard = socket.recv() => match heard {
                Some(Ok(Message::Text(text))) => {
                    hear(shared, number, &sender, text.as_str());
                    true
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => false,
                Some(Ok(_)) => true,
            },
        };
    }
    shared.change(|world, _| world.sessions.detach(number));
}

async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) -> bool {
    let frame = CloseFrame { code, reason: reason.into() };
    // The client may be gone already.
    let _gone = socket.send(Message::Close(Some(frame))).await.is_err();
    false
}

/// Does what a client asks for.
fn hear(shared: &Shared, number: u64, sender: &UnboundedSender<Out>, text: &str) {
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        return order(sender, Out::Close(DECODE_ERROR, "Error while decoding payload."));
    };
    let data = &message["d"];
    match message["op"].as_u64() {
        Some(1) => order(sender, Out::Send(json!({"op": 11, "t": null, "s": null, "d": null}).to_string())),
        Some(2) => shared.change(|world, now| identify(world, now, number, sender, data)),
        Some(6) => shared.change(|world, _| resume(world, number, sender, data)),
        // Presence, voice, members and sounds: nobody here looks at them.
        Some(3 | 4 | 8 | 31) => {}
        _ => order(sender, Out::Close(4001, "Unknown opcode.")),
    }
}

fn order(sender: &UnboundedSender<Out>, out: Out) {
    // The connection that reads them has ended.
    let _gone = sender.send(out).is_err();
}

/// Closes a connection that asks for what it does not get.
fn refuse(world: &mut World, sender: &UnboundedSender<Out>, code: u16, reason: &'static str) {
    world.sessions.refusals.push(code);
    order(sender, Out::Close(code, reason));
}

fn authentic(world: &World, data: &Value) -> bool {
    let token = data["token"].as_str().unwrap_or_default();
    token.strip_prefix("Bot ").unwrap_or(token) == world.token
}

fn identify(world: &mut World, now_ms: u64, number: u64, sender: &UnboundedSender<Out>, data: &Value) {
    if !authentic(world, data) {
        return refuse(world, sender, AUTHENTICATION_FAILED, "Authentication failed.");
    }
    let mine = |session: &Session| session.connection.as_ref().is_some_and(|(other, _)| *other == number);
    if world.sessions.all.values().any(mine) {
        return refuse(world, sender, ALREADY_AUTHENTICATED, "Already authenticated.");
    }
    let part = |at: usize| data["shard"][at].as_u64().and_then(|part| u32::try_from(part).ok());
    let shard = (part(0).unwrap_or(0), part(1).unwrap_or(1));
    if shard.0 >= shard.1 {
        return refuse(world, sender, INVALID_SHARD, "Invalid shard.");
    }
    let intents = data["intents"].as_u64().unwrap_or_default();
    if world.sessions.content_refused && intents & session_intents::MESSAGE_CONTENT != 0 {
        return refuse(world, sender, DISALLOWED_INTENTS, "Disallowed intent(s).");
    }
    world.sessions.begun += 1;
    let id = format!("session-{}-{}", world.sessions.begun, world.ids.next(now_ms));
    let guilds: Vec<u64> = world.guilds.keys().copied().collect();
    let served = guilds.into_iter().filter(|guild| (guild >> 22) % u64::from(shard.1) == u64::from(shard.0));
    let served: Vec<u64> = served.collect();
    let mut session = Session::new(shard, intents, (number, sender.clone()));
    let unavailable: Vec<Value> =
        served.iter().map(|guild| json!({"id": guild.to_string(), "unavailable": true})).collect();
    let mut user = world.bot.json();
    crate::objects::merge(&mut user, json!({"verified": true, "mfa_enabled": true, "email": null}));
    session.push(
        "READY",
        json!({
            "v": 10, "user": user, "guilds": unavailable, "session_id": id, "session_type": "normal",
            "resume_gateway_url": format!("{}/gateway", world.url.replacen("http", "ws", 1)),
            "shard": [shard.0, shard.1], "application": {"id": world.application.to_string(), "flags": 1 << 19},
            "private_channels": [], "presences": [], "relationships": [], "user_settings": {},
        }),
    );
    if intents & session_intents::GUILDS != 0 {
        for guild in served.iter().filter_map(|guild| world.guilds.get(guild)) {
            session.push("GUILD_CREATE", world.guild_create(guild));
        }
    }
    // A shard has one session that lives: an older one of the same shard, whose client is gone, will not be resumed.
    world.sessions.all.retain(|_, other| other.shard != shard || other.connection.is_some());
    world.sessions.all.insert(id, session);
}

fn resume(world: &mut World, number: u64, sender: &UnboundedSender<Out>, data: &Value) {
    if !authentic(world, data) {
        return refuse(world, sender, AUTHENTICATION_FAILED, "Authentication failed.");
    }
    let seen = data["seq"].as_u64().unwrap_or_default();
    let session = data["session_id"].as_str().and_then(|id| world.sessions.all.get_mut(id));
    if !session.is_some_and(|session| session.resume(seen, (number, sender.clone()))) {
        order(sender, Out::Send(json!({"op": 9, "t": null, "s": null, "d": false}).to_string()));
    }
}
