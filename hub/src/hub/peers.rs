//! Several hubs on one database: what one of them changes, it tells the others, so that surfaces and waiting workers of each
//! see it at once. What is told may be lost: each hub looks once a second what waits.

use std::{collections::HashSet, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Change, Event, Hub, Presence};
use crate::{
    canonical::Digest,
    seam::Millis,
    store::{Present, StoreError},
};

/// Most bytes of one message (<https://www.postgresql.org/docs/current/sql-notify.html>: fewer than 8,000).
const MAX_BYTES: usize = 7_900;
/// Words that wait to be told. More are dropped.
const MOST_WORDS: usize = 10_000;
/// Wait before it listens again after the database failed.
const AGAIN: Duration = Duration::from_secs(1);

/// What a hub tells the others.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Word {
    /// Something that a surface shows has changed: channel, job, what.
    Changed(String, String, Change),
    /// There is a job of that version for an idle worker.
    Work(Digest),
}

/// The line to the others.
pub(super) struct Peers {
    /// Who this is, so that it does not listen to itself.
    name: String,
    say: mpsc::Sender<Word>,
    said: Mutex<mpsc::Receiver<Word>>,
}

impl Peers {
    pub fn new(name: String) -> Self {
        let (say, said) = mpsc::channel(MOST_WORDS);
        Self { name, say, said: Mutex::new(said) }
    }

    /// Who this is.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn tell(&self, word: Word) {
        if self.say.try_send(word).is_err() {
            tracing::debug!("too much to tell the other hubs");
        }
    }

    /// The next message: all that there is to tell, as far as it has room.
    async fn message(&self) -> Option<String> {
        let mut said = self.said.lock().await;
        let mut message = format!("{}\n{}", self.name, line(&said.recv().await?));
        while message.len() < MAX_BYTES / 2
            && let Ok(word) = said.try_recv()
        {
            message.push('\n');
            message.push_str(&line(&word));
        }
        Some(message).filter(|message| message.len() <= MAX_BYTES)
    }

    /// The words of another's message.
    fn read<'a>(&self, message: &'a str) -> impl Iterator<Item = Word> + use<'a> {
        let mut lines = message.lines();
        let is_own = lines.next().is_none_or(|name| name == self.name);
        lines.filter(move |_| !is_own).filter_map(|line| serde_json::from_str(line).ok())
    }
}

fn line(word: &Word) -> String {
    serde_json::to_string(word).unwrap_or_default()
}

impl Hub {
    /// Tells every surface that a job changed.
    pub fn tell(&self, channel: &str, job: &str, change: Change) {
        self.tell_here(channel, job, change);
        if let Some(peers) = &self.peers {
            peers.tell(Word::Changed(channel.to_owned(), job.to_owned(), change));
        }
    }

    fn tell_here(&self, channel: &str, job: &str, change: Change) {
        let event = Event { channel: channel.into(), job: job.into(), change };
        // No surface is listening: nobody to tell.
        let _ = self.events.send(event);
    }

    /// Wakes one idle worker that can serve the version: one of this hub's, or else of another's.
    pub(super) fn wake_for(&self, model: Digest) {
        if !self.idle.wake_for(model)
            && let Some(peers) = &self.peers
        {
            peers.tell(Word::Work(model));
        }
    }

    /// Keeps in touch with the other hubs on the database until `stop` is cancelled. Returns at once where there can be none.
    pub async fn keep_in_touch(&self, stop: &CancellationToken) {
        let Some(peers) = &self.peers else {
            return;
        };
        while !stop.is_cancelled() {
            let failed = stop.run_until_cancelled(self.listen(peers)).await;
            if let Some(Err(error)) = failed {
                tracing::warn!(%error, "the other hubs cannot be heard");
                stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
            }
        }
    }

    async fn listen(&self, peers: &Peers) -> Result<(), StoreError> {
        let Some(mut wire) = self.store.listen().await? else {
            return Ok(());
        };
        // What was told before is lost.
        self.idle.wake_all();
        loop {
            tokio::select! {
                message = peers.message() => {
                    if let Some(message) = message {
                        self.store.notify(&message).await?;
                    }
                }
                message = wire.next() => match message? {
                    Some(message) => peers.read(&message).for_each(|word| self.hear(word)),
                    None => self.idle.wake_all(),
                },
            }
        }
    }

    fn hear(&self, word: Word) {
        match word {
            Word::Changed(channel, job, change) => self.tell_here(&channel, &job, change),
            Word::Work(model) => {
                self.idle.wake_for(model);
            }
        }
    }

    /// Tells which workers were heard of here and what they have in memory, and takes in those of the other hubs. That a worker
    /// is still here need not be told each time: each is a row to write.
    pub(super) async fn share_presence(&self) -> Result<(), StoreError> {
        if self.peers.is_none() {
            return Ok(());
        }
        let (since, lease) = (self.present_since(), self.settings.lease.as_millis() as Millis);
        let is_news = |entry: &Presence| match &entry.shared {
            Some((at, loaded)) => entry.at - at >= lease / 4 || entry.loaded != *loaded,
            None => true,
        };
        let mine = self.presence.iter().filter(|entry| entry.here && entry.at >= since && is_news(entry));
        let mine: Vec<Present> = mine
            .map(|entry| Present {
                worker: entry.key().clone(),
                loaded: entry.loaded.clone(),
                loading: HashSet::new(),
                seen_at: entry.at,
            })
            .collect();
        let present = self.store.share_presence(&mine, since).await?;
        let names: HashSet<&str> = present.iter().map(|worker| worker.worker.as_str()).collect();
        self.presence.retain(|name, entry| entry.here || names.contains(name.as_str()));
        for worker in &present {
            let mut entry = self.presence.entry(worker.worker.clone()).or_default();
            if worker.seen_at > entry.at {
                entry.at = worker.seen_at;
                entry.here = false;
                entry.loaded = worker.loaded.clone();
            }
            entry.shared = Some((worker.seen_at, worker.loaded.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn words_travel_together_and_a_hub_does_not_listen_to_itself() {
        let (one, other) = (Peers::new("one".into()), Peers::new("other".into()));
        let model = Digest::of_bytes(b"model");
        one.tell(Word::Changed("general".into(), "job".into(), Change::Posted));
        one.tell(Word::Work(model));
        let message = one.message().await.unwrap();
        let heard: Vec<Word> = other.read(&message).collect();
        assert_eq!(heard, [Word::Changed("general".into(), "job".into(), Change::Posted), Word::Work(model)]);
        assert_eq!(one.read(&message).count(), 0);
    }

    #[tokio::test]
    async fn no_message_is_longer_than_the_database_takes() {
        let peers = Peers::new("one".into());
        for i in 0..1_000 {
            peers.tell(Word::Changed("c".repeat(300), i.to_string(), Change::State));
        }
        let mut words = 0;
        while words < 1_000 {
            let message = peers.message().await.unwrap();
            assert!(message.len() < 8_000);
            words += message.lines().count() - 1;
        }
    }
}
