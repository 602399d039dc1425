//! What servers of these tests have in common: what they remember, what they answer instead, and who waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::watch;

use crate::answers::Answers;

/// How long a test waits for something that does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server remembers.
pub struct Remembered<M> {
    memory: Arc<Mutex<M>>,
    instead: Arc<Mutex<HashMap<&'static str, Answers>>>,
    moved: watch::Sender<()>,
}

impl<M> Clone for Remembered<M> {
    fn clone(&self) -> Self {
        Self { memory: self.memory.clone(), instead: self.instead.clone(), moved: self.moved.clone() }
    }
}

impl<M> Remembered<M> {
    pub fn new(memory: M) -> Self {
        Self { memory: Arc::new(Mutex::new(memory)), instead: Arc::default(), moved: watch::Sender::new(()) }
    }

    /// Looks at what it remembers, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut M) -> T) -> T {
        look(&mut self.memory.lock().unwrap())
    }

    /// Answers a path otherwise from now on.
    pub fn instead(&self, path: &'static str, answers: Answers) {
        self.instead.lock().unwrap().insert(path, answers);
    }

    /// Answers every path itself again.
    pub fn as_ever(&self) {
        self.instead.lock().unwrap().clear();
    }

    /// What it answers otherwise to a path that one of the known ones fits.
    pub fn otherwise(&self, fits: impl Fn(&str) -> bool) -> Option<Answers> {
        let instead = self.instead.lock().unwrap();
        instead.iter().find(|(path, _)| fits(path)).map(|(_, answers)| answers.clone())
    }

    /// Tells whoever waits that something may have become true.
    pub fn has_moved(&self) {
        self.moved.send_replace(());
    }

    /// Waits until a step or a call has made something true.
    pub async fn until(&self, mut is_so: impl FnMut(&mut M) -> bool) {
        let mut moved = self.moved.subscribe();
        while !self.with(&mut is_so) {
            tokio::time::timeout(PATIENCE, moved.changed()).await.expect("it comes true").unwrap();
        }
    }
}
