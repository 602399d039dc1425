//! Routes about channels, messages and threads.

use serde_json::{Value, json};

use crate::{
    edit::Draft,
    objects::snowflake,
    permissions::{
        ATTACH_FILES, CREATE_PUBLIC_THREADS, EMBED_LINKS, MANAGE_MESSAGES, READ_MESSAGE_HISTORY,
        SEND_MESSAGES, SEND_MESSAGES_IN_THREADS,
    },
    refused::Refused,
    routes::{Call, Reply},
    shared::Shared,
    validate,
    world::{Kind, Stored, World},
};

/// What the bot must be allowed to in a channel.
fn allow(world: &World, channel: u64, needed: u64) -> Result<(), Refused> {
    let channel = world.channel(channel)?;
    let free = channel.kind == Kind::Dm || channel.bot_permissions & needed == needed;
    if free { Ok(()) } else { Err(Refused::missing_permissions()) }
}

pub(crate) fn get(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    Reply::ok(world.channel_json(world.channel(call.id("channel_id"))?))
}

pub(crate) fn modify(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    shared.change(|world, _| {
        let id = call.id("channel_id");
        world.channel(id)?;
        let channel = world.channels.get_mut(&id).ok_or_else(Refused::unknown_channel)?;
        if let Some(name) = call.body()["name"].as_str() {
            channel.name = name.to_owned();
        }
        Reply::ok(world.channel_json(world.channel(id)?))
    })
}

pub(crate) fn messages(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    let channel = world.channel(call.id("channel_id"))?;
    if channel.kind != Kind::Dm && channel.bot_permissions & READ_MESSAGE_HISTORY == 0 {
        return Reply::ok(json!([]));
    }
    let asked = |name: &str| call.query.get(name).and_then(|value| value.parse::<u64>().ok());
    let limit = usize::try_from(asked("limit").unwrap_or(50)).unwrap_or(50);
    if !(1..=100).contains(&limit) {
        return Err(Refused::invalid("limit must be between 1 and 100"));
    }
    let public = channel.messages.iter().filter(|(_, stored)| stored.private_to.is_none());
    let public: Vec<(u64, &Stored)> = public.map(|(&id, stored)| (id, stored)).collect();
    let (from, to) = if let Some(before) = asked("before") {
        let to = public.partition_point(|(id, _)| *id < before);
        (to.saturating_sub(limit), to)
    } else if let Some(after) = asked("after") {
        let from = public.partition_point(|(id, _)| *id <= after);
        (from, (from + limit).min(public.len()))
    } else if let Some(around) = asked("around") {
        let middle = public.partition_point(|(id, _)| *id < around);
        let from = middle.saturating_sub(limit / 2);
        (from, (from + limit).min(public.len()))
    } else {
        (public.len().saturating_sub(limit), public.len())
    };
    // Newest first.
    Reply::ok(public[from..to].iter().rev().map(|(_, stored)| stored.value.clone()).collect())
}

pub(crate) fn message(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let world = shared.world.lock();
    let (channel, id) = (call.id("channel_id"), call.id("message_id"));
    let value = world.message(channel, id)?.value.clone();
    allow(&world, channel, READ_MESSAGE_HISTORY)?;
    Reply::ok(value)
}

pub(crate) fn post(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let nonce_life = u64::try_from(shared.limits.lock().nonce_life.as_millis()).unwrap_or(u64::MAX);
    shared.change(|world, now| {
        let (id, body) = (call.id("channel_id"), call.body());
        let thread = world.channel(id)?.kind == Kind::Thread;
        allow(world, id, if thread { SEND_MESSAGES_IN_THREADS } else { SEND_MESSAGES })?;
        if body["embeds"].as_array().is_some_and(|embeds| !embeds.is_empty()) {
            allow(world, id, EMBED_LINKS)?;
        }
        if !call.payload.files.is_empty() {
            allow(world, id, ATTACH_FILES)?;
        }
        validate::message(body)?;
        let nonce =
            body["nonce"].as_str().map(str::to_owned).or(body["nonce"].as_i64().map(|n| n.to_string()));
        let nonce = nonce.filter(|_| body["enforce_nonce"] == true).map(|nonce| (id, nonce));
        if let Some(known) = nonce.as_ref().and_then(|nonce| world.known_nonce(now, nonce_life, nonce)) {
            return Reply::ok(world.message(id, known)?.value.clone());
        }
        let reference = snowflake(&body["message_reference"]["message_id"]);
        let there = reference.filter(|&reference| world.message(id, reference).is_ok());
        if reference.is_some() && there.is_none() && body["message_reference"]["fail_if_not_exists"] != false
        {
            return Err(Refused::invalid("message_reference: Unknown message"));
        }
        if there.is_some() {
            allow(world, id, READ_MESSAGE_HISTORY)?;
        }
        let author = world.bot.clone();
        let made = world.create(
            now,
            &Draft {
                channel: id,
                author: &author,
                payload: &call.payload,
                private_to: None,
                loading: false,
                more: Value::Null,
                reference: there,
            },
        )?;
        if let Some(nonce) = nonce {
            world.nonce_order.push_back((nonce.clone(), now));
            world.nonces.insert(nonce, (made, now));
        }
        Reply::ok(world.message(id, made)?.value.clone())
    })
}

pub(crate) fn patch(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    shared.change(|world, now| {
        let (channel, id) = (call.id("channel_id"), call.id("message_id"));
        if snowflake(&world.message(channel, id)?.value["author"]["id"]) != Some(world.bot.id) {
            return Err(Refused::not_the_author());
        }
        if !call.payload.files.is_empty() {
            allow(world, channel, ATTACH_FILES)?;
        }
        validate::message(call.body())?;
        world.edit(now, channel, id, &call.payload)?;
        Reply::ok(world.message(channel, id)?.value.clone())
    })
}

pub(crate) fn delete(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    shared.change(|world, _| {
        let (channel, id) = (call.id("channel_id"), call.id("message_id"));
        if snowflake(&world.message(channel, id)?.value["author"]["id"]) != Some(world.bot.id) {
            allow(world, channel, MANAGE_MESSAGES)?;
        }
        world.remove_message(channel, id);
        Reply::nothing()
    })
}

pub(crate) fn typing(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    shared.world.lock().channel(call.id("channel_id"))?;
    Reply::nothing()
}

pub(crate) fn react(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    shared.world.lock().message(call.id("channel_id"), call.id("message_id"))?;
    Reply::nothing()
}

pub(crate) fn thread_of_message(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    let message = call.id("message_id");
    shared.world.lock().message(call.id("channel_id"), message)?;
    start_thread(shared, call, Some(message))
}

pub(crate) fn thread(shared: &Shared, call: &Call) -> Result<Reply, Refused> {
    start_thread(shared, call, None)
}

fn start_thread(shared: &Shared, call: &Call, message: Option<u64>) -> Result<Reply, Refused> {
    shared.change(|world, now| {
        let parent = call.id("channel_id");
        allow(world, parent, CREATE_PUBLIC_THREADS)?;
        let name = call.body()["name"].as_str().unwrap_or_default();
        if name.is_empty() || name.chars().count() > 100 {
            return Err(Refused::invalid("name: Must be between 1 and 100 in length."));
        }
        let id = world.start_thread(now, parent, name, message, world.bot.id)?;
        Reply::created(world.channel_json(world.channel(id)?))
    })
}

impl World {
    /// Opens a thread, and tells the sessions. A thread of a message has that message's id.
    pub(crate) fn start_thread(
        &mut self,
        now_ms: u64,
        parent: u64,
        name: &str,
        message: Option<u64>,
        owner: u64,
    ) -> Result<u64, Refused> {
        let guild = self.channel(parent)?.guild;
        if message.is_some_and(|message| self.channels.contains_key(&message)) {
            return Err(Refused::new(400, 160_004, "A thread has already been created for this message"));
        }
        let made = self.add_channel(now_ms, Kind::Thread, guild, name, Some(parent));
        let id = message.unwrap_or(made);
        if let Some(mut channel) = self.channels.remove(&made) {
            channel.id = id;
            channel.owner = Some(owner);
            self.channels.insert(id, channel);
        }
        let mut told = self.channel_json(self.channel(id)?);
        if let Some(stored) = message.and_then(|message| self.stored_mut(parent, message)) {
            stored.value["thread"] = told.clone();
        }
        told["newly_created"] = true.into();
        self.tell("THREAD_CREATE", guild, &told);
        Ok(id)
    }
}
