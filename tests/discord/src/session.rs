//! Gateway sessions: what each asked for, what it was told, and who is connected to it now.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

/// What a connection is to do.
pub(crate) enum Out {
    Send(String),
    /// Closes with that code and reason.
    Close(u16, &'static str),
    /// Ends the connection without a word.
    Drop,
}

pub(crate) struct Session {
    pub shard: (u32, u32),
    pub intents: u64,
    pub seq: u64,
    pub resumes: u32,
    /// What was told, for a client that comes back.
    history: VecDeque<(u64, String)>,
    /// The connection, by its number.
    pub connection: Option<(u64, UnboundedSender<Out>)>,
}

/// What a test sees of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    pub id: String,
    pub shard: (u32, u32),
    pub intents: u64,
    pub connected: bool,
    /// How often it was resumed.
    pub resumes: u32,
}

#[derive(Default)]
pub(crate) struct Sessions {
    pub all: BTreeMap<String, Session>,
    /// How many sessions were ever begun.
    pub begun: u64,
    pub connections: u64,
    /// Codes that clients were refused with.
    pub refusals: Vec<u16>,
    /// Whether the application may read what people write.
    pub content_refused: bool,
}

/// How much is kept for a client that comes back.
const HISTORY: usize = 1000;

impl Session {
    pub(crate) fn new(shard: (u32, u32), intents: u64, connection: (u64, UnboundedSender<Out>)) -> Self {
        Self { shard, intents, seq: 0, resumes: 0, history: VecDeque::new(), connection: Some(connection) }
    }

    /// Tells the session something, now or when its client comes back.
    pub(crate) fn push(&mut self, event: &str, data: Value) {
        self.seq += 1;
        let text = json!({"op": 0, "t": event, "s": self.seq, "d": data}).to_string();
        self.history.push_back((self.seq, text.clone()));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        self.out(Out::Send(text));
    }

    pub(crate) fn out(&mut self, out: Out) {
        let gone = self.connection.as_ref().is_some_and(|(_, sender)| sender.send(out).is_err());
        if gone {
            self.connection = None;
        }
    }

    /// Connects a client that has seen everything up to `seen`, and tells it the rest. False if that is not known.
    pub(crate) fn resume(&mut self, seen: u64, connection: (u64, UnboundedSender<Out>)) -> bool {
        let oldest = self.history.front().map_or(self.seq + 1, |(seq, _)| *seq);
        if seen > self.seq || seen + 1 < oldest {
            return false;
        }
        self.out(Out::Drop);
        self.connection = Some(connection);
        self.resumes += 1;
        let missed: Vec<String> =
            self.history.iter().filter(|(seq, _)| *seq > seen).map(|(_, text)| text.clone()).collect();
        for text in missed {
            self.out(Out::Send(text));
        }
        self.push("RESUMED", json!({"_trace": []}));
        true
    }

    /// Whether it is told of that guild; direct messages go to the first shard.
    fn serves(&self, guild: Option<u64>) -> bool {
        let (id, count) = self.shard;
        guild.map_or(id == 0, |guild| (guild >> 22) % u64::from(count.max(1)) == u64::from(id))
    }
}

impl Sessions {
    /// Tells the sessions of a guild's shard, each what its intents let it see.
    pub(crate) fn dispatch(&mut self, event: &str, guild: Option<u64>, see: impl Fn(u64) -> Option<Value>) {
        for session in self.all.values_mut().filter(|session| session.serves(guild)) {
            if let Some(data) = see(session.intents) {
                session.push(event, data);
            }
        }
    }

    /// Whether somebody hears of that guild, now or after coming back.
    pub(crate) fn listens(&self, guild: Option<u64>) -> bool {
        self.all.values().any(|session| session.serves(guild))
    }

    /// Forgets a connection that ended; its session waits for the client.
    pub(crate) fn detach(&mut self, connection: u64) {
        for session in self.all.values_mut() {
            if session.connection.as_ref().is_some_and(|(number, _)| *number == connection) {
                session.connection = None;
            }
        }
    }

    pub(crate) fn info(&self) -> Vec<SessionInfo> {
        let all = self.all.iter().map(|(id, session)| SessionInfo {
            id: id.clone(),
            shard: session.shard,
            intents: session.intents,
            connected: session.connection.is_some(),
            resumes: session.resumes,
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn heard(orders: &mut UnboundedReceiver<Out>) -> Vec<String> {
        let mut events = Vec::new();
        while let Ok(Out::Send(text)) = orders.try_recv() {
            let message: Value = serde_json::from_str(&text).expect("what is sent is JSON");
            events.push(format!("{} {}", message["s"], message["t"].as_str().unwrap_or_default()));
        }
        events
    }

    #[test]
    fn a_guild_is_told_to_its_shard_and_direct_messages_to_the_first() {
        let (mut sessions, mut ends) = (Sessions::default(), Vec::new());
        for shard in 0..2 {
            let (sender, orders) = unbounded_channel();
            let session = Session::new((shard, 2), 0, (u64::from(shard), sender));
            sessions.all.insert(shard.to_string(), session);
            ends.push(orders);
        }
        sessions.dispatch("EVEN", Some(6 << 22), |_| Some(Value::Null));
        sessions.dispatch("ODD", Some(7 << 22), |_| Some(Value::Null));
        sessions.dispatch("DIRECT", None, |_| Some(Value::Null));
        assert_eq!(
            ends.iter_mut().map(heard).collect::<Vec<_>>(),
            [vec!["1 EVEN", "2 DIRECT"], vec!["1 ODD"]]
        );
    }

    #[test]
    fn who_comes_back_hears_what_was_missed_and_no_more() {
        let (sender, _lost) = unbounded_channel();
        let mut session = Session::new((0, 1), 0, (1, sender));
        for event in ["A", "B", "C"] {
            session.push(event, Value::Null);
        }
        let (sender, mut orders) = unbounded_channel();
        assert!(!session.resume(9, (2, sender.clone())), "nobody has seen what was not told");
        assert!(session.resume(1, (2, sender)));
        assert_eq!(heard(&mut orders), ["2 B", "3 C", "4 RESUMED"]);
    }
}
