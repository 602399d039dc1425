//! What the server and the people in front of it share: the world, the clock, the journal, and the word that something
//! changed.

use std::time::Duration;

use anyhow::bail;
use ed25519_dalek::SigningKey;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    PATIENCE,
    clock::Clock,
    deliver::Delivery,
    faults::Planned,
    journal::{Journal, Violation, ViolationKind},
    limits::{Limits, Meter},
    world::World,
};

/// Shared by all. Locks are taken for one step each; where two are held, the world's is taken first.
pub(crate) struct Shared {
    pub world: Mutex<World>,
    pub clock: Clock,
    pub limits: Mutex<Limits>,
    pub meter: Mutex<Meter>,
    pub journal: Mutex<Journal>,
    pub faults: Mutex<Vec<Planned>>,
    /// Counts changes of the world and of the journal.
    pub changed: watch::Sender<u64>,
    /// Counts movements of the clock.
    pub moved: watch::Sender<u64>,
    /// True once the fake ends: everything that waits stops.
    pub closing: watch::Sender<bool>,
    pub key: SigningKey,
    pub http: reqwest::Client,
    /// Where interactions are posted, if not told over the gateway.
    pub endpoint: Mutex<Option<String>>,
    pub last_delivery: Mutex<Option<Delivery>>,
}

impl Shared {
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Changes the world, and says so to whoever waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World, u64) -> T) -> T {
        let changed = change(&mut self.world.lock(), self.now_ms());
        self.touch();
        changed
    }

    pub(crate) fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Waits until the world is as asked.
    pub(crate) async fn wait<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&World) -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut changes = self.changed.subscribe();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = look(&self.world.lock());
            if let Some(found) = found {
                return Ok(found);
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
            }
        }
    }

    /// Ends when the fake does.
    pub(crate) async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        // The sender is ours: it is there as long as we are.
        let _gone = closing.wait_for(|&closing| closing).await.is_err();
    }

    /// Ends once the fake's clock is past that.
    pub(crate) async fn past(&self, ms: u64) {
        let mut moved = self.moved.subscribe();
        loop {
            let now = self.now_ms();
            if now > ms {
                return;
            }
            let left = Duration::from_millis(ms - now + 1);
            // Moved or run out: the clock says which.
            let _either = tokio::time::timeout(left, moved.changed()).await.is_ok();
        }
    }

    pub(crate) fn violation(
        &self,
        kind: ViolationKind,
        method: &str,
        path: &str,
        message: String,
        body: &Value,
    ) {
        let (method, path) = (method.to_owned(), path.to_owned());
        let violation = Violation { kind, method, path, message, body: body.clone() };
        self.journal.lock().violations.push(violation);
    }
}
