//! What a test reads of the fake: requests, violations, commands, messages.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    Channel, Discord, Guild, Member, Message, Request, Requests, Violation,
    world::{Stored, World},
};

impl Discord {
    /// Every request so far, in the order of the answers.
    pub fn requests(&self) -> Requests {
        Requests(self.shared.journal.lock().requests.iter().cloned().collect())
    }

    /// How many requests there were by method, route and status; complete in a bench too.
    pub fn statuses(&self) -> BTreeMap<(String, String, u16), u64> {
        self.shared.journal.lock().statuses.clone()
    }

    /// Waits until a request is as asked.
    pub async fn requested(&self, wanted: impl Fn(&Request) -> bool) -> anyhow::Result<Request> {
        let look =
            |_: &World| self.shared.journal.lock().requests.iter().find(|request| wanted(request)).cloned();
        self.shared.wait("a request", look).await
    }

    /// Whether bodies are checked: Discord's description of its API lies beside the repository.
    pub fn checks_bodies(&self) -> bool {
        crate::openapi::is_there()
    }

    /// Everything that the bot must not have done.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.journal.lock().violations.clone()
    }

    /// How many requests went over a rate.
    pub fn exceeded(&self) -> u64 {
        self.shared.journal.lock().exceeded
    }

    /// The commands that are registered everywhere.
    pub fn commands(&self) -> Vec<Value> {
        self.shared.world.lock().commands.get(&None).cloned().unwrap_or_default()
    }

    /// The commands that are registered in a guild.
    pub fn guild_commands(&self, guild: &Guild) -> Vec<Value> {
        self.shared.world.lock().commands.get(&Some(guild.number)).cloned().unwrap_or_default()
    }

    /// How many requests have written commands.
    pub fn command_writes(&self) -> u64 {
        self.shared.world.lock().command_writes
    }

    /// Waits until a command of that name is registered, anywhere.
    pub async fn registered(&self, name: &str) -> anyhow::Result<Value> {
        let look = |world: &World| {
            world.commands.values().flatten().find(|command| command["name"] == name).cloned()
        };
        self.shared.wait(&format!("the command {name:?}"), look).await
    }

    /// Every public message of a channel now, oldest first.
    pub fn messages(&self, channel: &Channel) -> Vec<Message> {
        let world = self.shared.world.lock();
        let messages =
            world.channels.get(&channel.number).into_iter().flat_map(|channel| channel.messages.values());
        let public = messages.filter(|stored| stored.private_to.is_none());
        public.map(|stored| Message::of(&world, channel.number, stored)).collect()
    }

    /// Waits for a public message that is as asked, anywhere, and gives the newest.
    pub async fn see(&self, wanted: impl Fn(&Message) -> bool) -> anyhow::Result<Message> {
        self.find("a public message", |stored| stored.private_to.is_none(), wanted).await
    }

    /// Waits for a message that only that person sees.
    pub async fn private(&self, to: &Member, wanted: impl Fn(&Message) -> bool) -> anyhow::Result<Message> {
        let what = format!("a message for {} alone", to.name);
        self.find(&what, |stored| stored.private_to == Some(to.user), wanted).await
    }

    async fn find(
        &self,
        what: &str,
        audience: impl Fn(&Stored) -> bool,
        wanted: impl Fn(&Message) -> bool,
    ) -> anyhow::Result<Message> {
        let found = self.shared.wait(what, |world| {
            let all = world.channels.values().flat_map(|channel| {
                channel.messages.iter().map(move |(&id, stored)| (id, channel.id, stored))
            });
            let mut all: Vec<_> = all.filter(|(_, _, stored)| audience(stored)).collect();
            all.sort_by_key(|(id, ..)| std::cmp::Reverse(*id));
            let mut all = all.into_iter().map(|(_, channel, stored)| Message::of(world, channel, stored));
            all.find(|message| wanted(message))
        });
        found.await.map_err(|error| error.context(self.transcript()))
    }

    /// Everything that is written anywhere, for who wonders what came instead.
    pub fn transcript(&self) -> String {
        let world = self.shared.world.lock();
        let mut lines = Vec::new();
        for channel in world.channels.values().filter(|channel| !channel.messages.is_empty()) {
            lines.push(format!("#{}", channel.name));
            let said =
                channel.messages.values().map(|stored| Message::of(&world, channel.id, stored).to_string());
            lines.extend(said);
        }
        lines.join("\n\n")
    }
}
