//! The route that takes the first response to an interaction.

use serde_json::{Value, json};

use crate::{
    interactions::Answer,
    refused::Refused,
    routes::{Call, Reply},
    shared::Shared,
    world::World,
};

pub(crate) fn callback(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let limits = shared.limits.lock().clone();
    let (id, token) = (call.id("interaction_id"), call.text("interaction_token"));
    shared.change(|world, now| {
        if world.interactions.get(token).is_none_or(|interaction| interaction.id != id) {
            return Err(Refused::unknown_interaction());
        }
        let answer = world.respond(now, &limits, token, &call.payload)?;
        if call.asks("with_response") { Reply::ok(resource(world, token, &answer)) } else { Reply::nothing() }
    })
}

fn resource(world: &World, token: &str, answer: &Answer) -> Value {
    let Some(interaction) = world.interactions.get(token) else { return Value::Null };
    let message = answer.message.and_then(|id| world.stored(interaction.channel, id));
    let mut json = json!({
        "interaction": {"id": interaction.id.to_string(), "type": interaction.kind},
        "resource": {"type": answer.kind},
    });
    if let Some(stored) = message {
        json["interaction"]["response_message_id"] = stored.value["id"].clone();
        json["interaction"]["response_message_loading"] = stored.loading.into();
        json["interaction"]["response_message_ephemeral"] = stored.private_to.is_some().into();
        json["resource"]["message"] = stored.value.clone();
    }
    json
}
