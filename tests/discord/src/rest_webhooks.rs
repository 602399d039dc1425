//! The routes that an interaction's token opens: its original response, and followups.

use crate::{
    refused::Refused,
    routes::{Call, Reply},
    shared::Shared,
    validate,
    world::World,
};

/// The message of `…/messages/{message_id}`, or of `…/messages/@original`, which has no id.
fn find(shared: &Shared, world: &World, now_ms: u64, call: &Call) -> Result<(u64, u64), Refused> {
    if call.id("webhook_id") != world.application {
        return Err(Refused::unknown_webhook());
    }
    let id = call.params.contains_key("message_id").then(|| call.id("message_id"));
    world.token_message(now_ms, &shared.limits.lock(), call.text("webhook_token"), id)
}

fn value(world: &World, (channel, id): (u64, u64)) -> Result<Reply, Refused> {
    Reply::ok(world.stored(channel, id).ok_or_else(Refused::unknown_message)?.value.clone())
}

pub(crate) fn get(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    let found = find(shared, &world, shared.now_ms(), call)?;
    value(&world, found)
}

pub(crate) fn patch(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    shared.change(|world, now| {
        let (channel, id) = find(shared, world, now, call)?;
        validate::message(call.body())?;
        world.edit(now, channel, id, &call.payload)?;
        value(world, (channel, id))
    })
}

pub(crate) fn delete(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    shared.change(|world, now| {
        let (channel, id) = find(shared, world, now, call)?;
        world.remove_message(channel, id);
        Reply::nothing()
    })
}

pub(crate) fn follow_up(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let limits = shared.limits.lock().clone();
    shared.change(|world, now| {
        if call.id("webhook_id") != world.application {
            return Err(Refused::unknown_webhook());
        }
        let made = world.follow_up(now, &limits, call.text("webhook_token"), &call.payload)?;
        value(world, made)
    })
}
