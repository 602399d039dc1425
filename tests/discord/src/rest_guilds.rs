//! Routes about the application itself, users, guilds and the gateway's address.

use serde_json::{Value, json};

use crate::{
    objects::snowflake,
    refused::Refused,
    routes::{Call, Reply},
    shared::Shared,
    world::{Kind, RoleState, User},
};

fn socket(shared: &Shared) -> String {
    format!("{}/gateway", shared.world.lock().url.replacen("http", "ws", 1))
}

pub(crate) fn gateway(shared: &Shared, _call: &Call) -> Result<Reply, Refused> {
    Reply::ok(json!({"url": socket(shared)}))
}

pub(crate) fn gateway_bot(shared: &Shared, _call: &Call) -> Result<Reply, Refused> {
    let begun = shared.world.lock().sessions.begun;
    Reply::ok(json!({
        "url": socket(shared), "shards": shared.limits.lock().shards,
        "session_start_limit": {
            "total": 1000, "remaining": 1000_u64.saturating_sub(begun), "reset_after": 86_400_000, "max_concurrency": 1,
        },
    }))
}

pub(crate) fn me(shared: &Shared, _call: &Call) -> Result<Reply, Refused> {
    let mut user = shared.world.lock().bot.json();
    crate::objects::merge(
        &mut user,
        json!({"verified": true, "mfa_enabled": true, "locale": "en-US", "email": null}),
    );
    Reply::ok(user)
}

pub(crate) fn my_guilds(shared: &Shared, _call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    let guilds = world.guilds.values().map(|guild| {
        json!({"id": guild.id.to_string(), "name": guild.name, "icon": null, "owner": false,
            "permissions": guild.permissions_of(world.bot.id).to_string(), "features": []})
    });
    Reply::ok(guilds.collect())
}

pub(crate) fn user(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    Reply::ok(world.users.get(&call.id("user_id")).map(User::json).ok_or_else(Refused::unknown_user)?)
}

pub(crate) fn open_dm(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let user = snowflake(&call.body()["recipient_id"]).ok_or_else(Refused::unknown_user)?;
    shared.change(|world, now| {
        if !world.users.contains_key(&user) {
            return Err(Refused::unknown_user());
        }
        let id = world.dm(now, user);
        Reply::ok(world.channel_json(world.channel(id)?))
    })
}

pub(crate) fn application(shared: &Shared, _call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    // GATEWAY_MESSAGE_CONTENT_LIMITED says whether it may be asked for.
    let flags = if world.sessions.content_refused { 0 } else { 1 << 19 };
    Reply::ok(json!({
        "id": world.application.to_string(), "name": world.application_name, "icon": null, "description": "",
        "rpc_origins": [], "bot_public": true, "bot_require_code_grant": false, "summary": "",
        "verify_key": world.public_key, "team": null, "flags": flags, "tags": [], "hook": true,
        "bot": world.bot.json(), "owner": null, "redirect_uris": [], "integration_types_config": {},
        "interactions_endpoint_url": *shared.endpoint.lock(), "approximate_guild_count": world.guilds.len(),
    }))
}

pub(crate) fn emojis(_shared: &Shared, _call: &Call) -> Result<Reply, Refused> {
    Reply::ok(json!({"items": []}))
}

pub(crate) fn guild(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    let guild = world.guilds.get(&call.id("guild_id")).ok_or_else(Refused::unknown_guild)?;
    Reply::ok(guild.json())
}

pub(crate) fn roles(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    let guild = world.guilds.get(&call.id("guild_id")).ok_or_else(Refused::unknown_guild)?;
    Reply::ok(guild.roles.iter().map(RoleState::json).collect())
}

pub(crate) fn channels(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    let guild = world.guilds.get(&call.id("guild_id")).ok_or_else(Refused::unknown_guild)?;
    let listed = world
        .channels
        .values()
        .filter(|channel| channel.guild == Some(guild.id) && channel.kind == Kind::Text);
    Reply::ok(listed.map(|channel| world.channel_json(channel)).collect())
}

pub(crate) fn member(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    let guild = world.guilds.get(&call.id("guild_id")).ok_or_else(Refused::unknown_guild)?;
    let member: Option<Value> = world.member_json(guild, call.id("user_id"));
    Reply::ok(member.ok_or_else(Refused::unknown_member)?)
}
