//! What a test does to a bot: faults, things that go away, lost connections.

use serde_json::json;

use crate::{Channel, Discord, Fault, Guild, Held, Message, SessionInfo, faults, session::Out, world::World};

impl Discord {
    /// The next requests of that method whose path has that part go wrong.
    pub fn fail_next(&self, method: &str, path_part: &str, fault: Fault, times: u32) {
        let (method, path_part) = (method.to_owned(), path_part.to_owned());
        if times > 0 {
            self.shared.faults.lock().push(faults::Planned { method, path_part, fault, times });
        }
    }

    /// The next request of that method whose path has that part takes effect, but is answered when the test lets it.
    pub fn hold_next(&self, method: &str, path_part: &str) -> Held {
        let held = Held::new();
        self.fail_next(method, path_part, Fault::Held(held.clone()), 1);
        held
    }

    /// The next request of that method whose path has that part takes effect when the test lets it.
    pub fn delay_next(&self, method: &str, path_part: &str) -> Held {
        let held = Held::new();
        self.fail_next(method, path_part, Fault::Delayed(held.clone()), 1);
        held
    }

    /// Waits until every planned fault has happened.
    pub async fn faults_spent(&self) -> anyhow::Result<()> {
        let spent = |_: &World| self.shared.faults.lock().is_empty().then_some(());
        self.shared.wait("the planned faults to happen", spent).await
    }

    /// Forgets faults that have not happened yet.
    pub fn heal(&self) {
        self.shared.faults.lock().clear();
    }

    pub fn delete_channel(&self, channel: &Channel) {
        self.shared.change(|world, _| {
            let Some(gone) = world.channels.remove(&channel.number) else { return };
            let told = world.channel_json(&gone);
            world.tell("CHANNEL_DELETE", gone.guild, &told);
        });
    }

    pub fn delete_message(&self, message: &Message) -> anyhow::Result<()> {
        let (channel, id) = (message.channel_number()?, message.number()?);
        self.shared.change(|world, _| world.remove_message(channel, id));
        Ok(())
    }

    /// Takes a permission from the bot in a channel (see [`crate::permissions`]).
    pub fn revoke(&self, channel: &Channel, permission: u64) {
        self.permit(channel, |had| had & !permission);
    }

    /// Gives a permission to the bot in a channel.
    pub fn grant(&self, channel: &Channel, permission: u64) {
        self.permit(channel, |had| had | permission);
    }

    fn permit(&self, channel: &Channel, change: impl FnOnce(u64) -> u64) {
        self.shared.change(|world, _| {
            if let Some(channel) = world.channels.get_mut(&channel.number) {
                channel.bot_permissions = change(channel.bot_permissions);
            }
        });
    }

    /// The bot is put out of a guild.
    pub fn kick_bot(&self, guild: &Guild) {
        self.shared.change(|world, _| {
            world.guilds.remove(&guild.number);
            world.channels.retain(|_, channel| channel.guild != Some(guild.number));
            world.tell("GUILD_DELETE", Some(guild.number), &json!({"id": guild.id, "unavailable": false}));
        });
    }

    /// The sessions that live.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared.world.lock().sessions.info()
    }

    /// How many sessions were ever begun.
    pub fn sessions_begun(&self) -> u64 {
        self.shared.world.lock().sessions.begun
    }

    /// Waits until so many sessions are connected.
    pub async fn connected(&self, count: usize) -> anyhow::Result<Vec<SessionInfo>> {
        self.sessions_as("connected sessions", |all| {
            all.iter().filter(|session| session.connected).count() >= count
        })
        .await
    }

    /// Waits until the sessions are as asked.
    pub async fn sessions_as(
        &self,
        what: &str,
        wanted: impl Fn(&[SessionInfo]) -> bool,
    ) -> anyhow::Result<Vec<SessionInfo>> {
        self.shared.wait(what, |world| Some(world.sessions.info()).filter(|all| wanted(all))).await
    }

    /// Waits until a client was refused with a code of the gateway.
    pub async fn refused(&self, code: u16) -> anyhow::Result<()> {
        let look = |world: &World| world.sessions.refusals.contains(&code).then_some(());
        self.shared.wait(&format!("a client to be refused with {code}"), look).await
    }

    /// Drops every connection without a word. Clients come back and resume.
    pub fn disconnect_gateway(&self) {
        self.shared
            .change(|world, _| world.sessions.all.values_mut().for_each(|session| session.out(Out::Drop)));
    }

    /// Asks every client to reconnect and resume.
    pub fn reconnect_gateway(&self) {
        let text = json!({"op": 7, "t": null, "s": null, "d": null}).to_string();
        self.shared.change(|world, _| {
            world.sessions.all.values_mut().for_each(|session| session.out(Out::Send(text.clone())));
        });
    }

    /// Ends every session. Clients must begin new ones.
    pub fn invalidate_session(&self) {
        let text = json!({"op": 9, "t": null, "s": null, "d": false}).to_string();
        self.shared.change(|world, _| {
            for mut session in std::mem::take(&mut world.sessions.all).into_values() {
                session.out(Out::Send(text.clone()));
            }
        });
    }

    /// Closes every connection with a code of the gateway.
    pub fn close_gateway(&self, code: u16) {
        self.shared.change(|world, _| {
            world
                .sessions
                .all
                .values_mut()
                .for_each(|session| session.out(Out::Close(code, "The test asks for it.")));
        });
    }

    /// Whether sessions may ask to read what people write.
    pub fn refuse_message_content(&self, refuse: Refuse) {
        self.shared.world.lock().sessions.content_refused = refuse == Refuse::Yes;
    }
}

/// Whether something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    Yes,
    No,
}
