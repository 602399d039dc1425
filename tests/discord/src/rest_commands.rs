//! Routes about the application's commands, everywhere and in one guild.

use serde_json::{Value, json};

use crate::{
    clock::Ids,
    objects::{merge, snowflake},
    refused::Refused,
    routes::{Call, Reply},
    shared::Shared,
    validate,
    world::World,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The guild of the route, or everywhere.
fn scope(call: &Call) -> Option<u64> {
    call.params.contains_key("guild_id").then(|| call.id("guild_id"))
}

fn own(world: &World, call: &Call) -> Result<(), Refused> {
    if call.id("application_id") == world.application {
        Ok(())
    } else {
        Err(Refused::new(403, 20_012, "You are not authorized to perform this action on this application"))
    }
}

fn kind(command: &Value) -> u64 {
    command["type"].as_u64().unwrap_or(1)
}

/// What Discord makes of a command that was sent.
fn complete(world: &World, scope: Option<u64>, sent: &Value, id: u64, version: u64) -> Value {
    let mut made = json!({
        "type": 1, "description": "", "default_member_permissions": null, "nsfw": false, "options": [],
        "dm_permission": true, "contexts": null, "integration_types": [0],
    });
    merge(&mut made, sent.clone());
    for (key, empty) in [("type", json!(1)), ("options", json!([])), ("nsfw", json!(false))] {
        if made[key].is_null() {
            made[key] = empty;
        }
    }
    if let Some(number) = made["default_member_permissions"].as_u64() {
        made["default_member_permissions"] = number.to_string().into();
    }
    let fixed = json!({
        "id": id.to_string(), "application_id": world.application.to_string(), "version": version.to_string(),
    });
    merge(&mut made, fixed);
    if let Some(guild) = scope {
        made["guild_id"] = guild.to_string().into();
    }
    made
}

/// Counts new commands against the day's allowance.
fn spend(world: &mut World, now_ms: u64, per_day: usize, count: usize) -> Result<(), Refused> {
    world.commands_made.retain(|&made| made + DAY_MS > now_ms);
    if world.commands_made.len() + count > per_day {
        return Err(Refused::too_many_commands());
    }
    world.commands_made.extend(std::iter::repeat_n(now_ms, count));
    Ok(())
}

/// Takes a command in, in place of one of the same name and type. True where there was none.
fn put(world: &mut World, now_ms: u64, scope: Option<u64>, sent: &Value) -> Result<(Value, bool), Refused> {
    let list = world.commands.entry(scope).or_default();
    let same = |command: &Value| command["name"] == sent["name"] && kind(command) == kind(sent);
    let known = list.iter().position(same);
    let known_id = known.and_then(|at| snowflake(&list[at]["id"]));
    let version = world.ids.next(now_ms);
    let id = known_id.unwrap_or_else(|| Ids::next(&mut world.ids, now_ms));
    let made = complete(world, scope, sent, id, version);
    let list = world.commands.entry(scope).or_default();
    match known {
        Some(at) => list[at] = made.clone(),
        None => list.push(made.clone()),
    }
    Ok((made, known.is_none()))
}

pub(crate) fn list(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    own(&world, call)?;
    let mut commands = world.commands.get(&scope(call)).cloned().unwrap_or_default();
    if !call.asks("with_localizations") {
        for command in commands.iter_mut().filter_map(Value::as_object_mut) {
            command.remove("name_localizations");
            command.remove("description_localizations");
        }
    }
    Reply::ok(commands.into())
}

pub(crate) fn replace(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let per_day = shared.limits.lock().commands_per_day;
    shared.change(|world, now| {
        own(world, call)?;
        let sent = call.body().as_array().cloned().unwrap_or_default();
        for (chat, limit) in [(1, 100), (2, 15), (3, 15)] {
            if sent.iter().filter(|command| kind(command) == chat).count() > limit {
                return Err(Refused::new(400, 30_032, "Maximum number of application commands reached"));
            }
        }
        for (at, command) in sent.iter().enumerate() {
            validate::command(command)?;
            let twin = |other: &Value| other["name"] == command["name"] && kind(other) == kind(command);
            if sent[..at].iter().any(twin) {
                return Err(Refused::invalid("Application command names must be unique"));
            }
        }
        let had = world.commands.get(&scope(call)).cloned().unwrap_or_default();
        let twin = |command: &&Value| {
            !had.iter().any(|had| had["name"] == command["name"] && kind(had) == kind(command))
        };
        spend(world, now, per_day, sent.iter().filter(twin).count())?;
        world.command_writes += 1;
        let kept = |had: &Value| sent.iter().any(|new| new["name"] == had["name"] && kind(new) == kind(had));
        world.commands.entry(scope(call)).or_default().retain(kept);
        for command in &sent {
            put(world, now, scope(call), command)?;
        }
        Reply::ok(world.commands.get(&scope(call)).cloned().unwrap_or_default().into())
    })
}

pub(crate) fn create(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let per_day = shared.limits.lock().commands_per_day;
    shared.change(|world, now| {
        own(world, call)?;
        validate::command(call.body())?;
        let had = world.commands.get(&scope(call)).cloned().unwrap_or_default();
        let new = !had.iter().any(|had| had["name"] == call.body()["name"] && kind(had) == kind(call.body()));
        spend(world, now, per_day, usize::from(new))?;
        world.command_writes += 1;
        let (made, new) = put(world, now, scope(call), call.body())?;
        Ok(Reply { status: if new { 201 } else { 200 }, body: Some(made) })
    })
}

fn find(world: &World, call: &Call) -> Result<usize, Refused> {
    own(world, call)?;
    let id = call.id("command_id");
    let list = world.commands.get(&scope(call)).ok_or_else(Refused::unknown_command)?;
    let at = list.iter().position(|command| snowflake(&command["id"]) == Some(id));
    at.ok_or_else(Refused::unknown_command)
}

pub(crate) fn get(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    let at = find(&world, call)?;
    Reply::ok(world.commands[&scope(call)][at].clone())
}

pub(crate) fn patch(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    shared.change(|world, now| {
        let at = find(world, call)?;
        let mut made = world.commands[&scope(call)][at].clone();
        merge(&mut made, call.body().clone());
        validate::command(&made)?;
        let id = snowflake(&made["id"]).unwrap_or_default();
        let version = world.ids.next(now);
        let made = complete(world, scope(call), &made, id, version);
        world.command_writes += 1;
        if let Some(place) = world.commands.get_mut(&scope(call)).and_then(|list| list.get_mut(at)) {
            *place = made.clone();
        }
        Reply::ok(made)
    })
}

pub(crate) fn delete(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    shared.change(|world, _| {
        let at = find(world, call)?;
        world.command_writes += 1;
        world.commands.get_mut(&scope(call)).map(|list| list.remove(at));
        Reply::nothing()
    })
}
