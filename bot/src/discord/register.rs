//! Registers the commands with Discord, but only when they differ from those that are registered: Discord allows 200
//! creations a day (<https://discord.com/developers/docs/interactions/application-commands#registering-a-command>).

use std::time::Duration;

use serde_json::{Map, Value};
use serenity::http::{LightMethod, Route};
use tokio_util::sync::CancellationToken;

use super::{
    Discord, commands,
    rest::{Call, RestError},
};

/// Models come in one after the other when workers start: what they change is registered together.
const SETTLE: Duration = Duration::from_millis(250);
/// How often it is looked whether this hub registers them, where another does.
const TAKE_OVER: Duration = Duration::from_secs(2);
/// Wait before the next try when Discord refused.
const AGAIN: Duration = Duration::from_secs(60);

/// Keeps the commands those of the models, until `stop` is cancelled.
pub async fn run(discord: &Discord, stop: &CancellationToken) {
    let mut changed = discord.hub.models_changed();
    loop {
        changed.mark_unchanged();
        let wait = if discord.hub.leads("discord/commands").await {
            match register(discord).await {
                Ok(()) => None,
                Err(error) => {
                    tracing::error!(%error, "the commands could not be registered");
                    Some(AGAIN)
                }
            }
        } else {
            Some(TAKE_OVER)
        };
        let next = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    if changed.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(SETTLE).await;
                }
            }
        };
        if stop.run_until_cancelled(next).await.is_none() {
            return;
        }
    }
}

async fn register(discord: &Discord) -> anyhow::Result<()> {
    let models: Vec<_> = discord.hub.models().await?.iter().map(|known| known.spec.clone()).collect();
    let wanted = commands::declare(&models);
    let route = Route::Commands { application_id: discord.application };
    let there: Vec<Value> =
        discord.rest.get(Call::new(LightMethod::Get, route).param("with_localizations", true)).await?;
    if canonical(&there) == canonical(&wanted) {
        tracing::debug!(commands = wanted.len(), "the commands are registered already");
        return Ok(());
    }
    let put: Result<Vec<Value>, RestError> =
        discord.rest.get(Call::new(LightMethod::Put, route).body(Value::Array(wanted))).await;
    tracing::info!(commands = put?.len(), models = models.len(), "commands registered");
    Ok(())
}

/// What makes two registrations the same: Discord adds fields of its own, and leaves out what is at its default.
fn canonical(commands: &[Value]) -> Vec<Value> {
    let mut commands: Vec<Value> = commands.iter().map(|command| pruned(command, Level::Command)).collect();
    commands.sort_by_key(|command| (command["type"].to_string(), command["name"].to_string()));
    commands
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Command,
    Inside,
}

const KEPT: [&str; 17] = [
    "type",
    "name",
    "description",
    "options",
    "required",
    "choices",
    "value",
    "min_value",
    "max_value",
    "min_length",
    "max_length",
    "autocomplete",
    "name_localizations",
    "description_localizations",
    "default_member_permissions",
    "contexts",
    "nsfw",
];

fn pruned(value: &Value, level: Level) -> Value {
    match value {
        Value::Object(object) => {
            let localized = level == Level::Inside && !object.contains_key("name");
            let kept: Map<String, Value> = object
                .iter()
                .filter(|(key, _)| localized || KEPT.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), pruned(value, Level::Inside)))
                .filter(|(_, value)| !is_default(value))
                .collect();
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| pruned(item, Level::Inside)).collect()),
        // 1 and 1.0 are the same limit.
        Value::Number(number) => number.as_f64().map_or(Value::Null, Value::from),
        other => other.clone(),
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_discord_adds_makes_no_difference_and_a_new_range_does() {
        let ours = |max: i64| {
            json!([{"type": 1, "name": "imagine", "description": "Make", "contexts": [0, 1], "options": [
                {"type": 4, "name": "seed", "description": "Seed", "max_value": max, "name_localizations": {"de": "seed"}}]}])
        };
        let theirs = json!([{"id": "1", "application_id": "2", "version": "3", "type": 1, "name": "imagine",
            "description": "Make", "nsfw": false, "contexts": [0, 1], "default_member_permissions": null,
            "name_localizations": null, "options": [{"type": 4, "name": "seed", "description": "Seed", "required": false,
            "max_value": 7.0, "name_localizations": {"de": "seed"}}]}]);
        let canonical = |value: &Value| canonical(value.as_array().unwrap());
        assert_eq!(canonical(&ours(7)), canonical(&theirs));
        assert_ne!(canonical(&ours(8)), canonical(&theirs));
    }
}
