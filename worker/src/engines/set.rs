//! The engines of a worker together: what they serve now, looked at again and again.
//!
//! An engine that cannot say what it serves is left out with a warning and asked again, later and later; the others keep
//! working. So is a model that the hub would refuse, or whose name another engine has already.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::future::join_all;
use riff_hub::{canonical::Digest, model::ModelSpec, schema};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::Sources;
use crate::engine::{Engine, EngineError};

/// How long after an answer an engine is asked again what it serves.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long an engine may take to say what it serves.
const PATIENCE: Duration = Duration::from_secs(20);
/// First and longest wait after an engine that could not say.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Every engine of a worker.
pub struct Engines {
    slots: Vec<Slot>,
    /// Told when an engine is to be asked before its time.
    doubted: Notify,
}

struct Slot {
    name: String,
    engine: Arc<dyn Engine>,
    known: RwLock<Known>,
}

/// What an engine said last.
struct Known {
    models: Vec<(Digest, ModelSpec)>,
    /// When to ask again.
    due: Instant,
    /// How long to wait after the next failure.
    backoff: Duration,
}

impl Engines {
    /// The engines of this build and of the settings. They are first asked what they serve by [`Self::discover`].
    pub fn open(sources: Sources) -> Self {
        Self::of_list(sources.open())
    }

    /// Chosen engines, each with a name for the log.
    pub fn of_list(engines: Vec<(String, Arc<dyn Engine>)>) -> Self {
        let slot = |(name, engine)| {
            let known = Known { models: Vec::new(), due: Instant::now(), backoff: BACKOFF.0 };
            Slot { name, engine, known: RwLock::new(known) }
        };
        Self { slots: engines.into_iter().map(slot).collect(), doubted: Notify::new() }
    }

    /// Asks every engine that is due what it serves, all at once.
    pub async fn discover(&self) {
        let now = Instant::now();
        let due = self.slots.iter().filter(|slot| slot.read(|known| known.due <= now));
        join_all(due.map(Slot::discover)).await;
    }

    /// Goes on asking engines when they are due, and returns as soon as they serve something else than `announced`.
    pub async fn changed(&self, announced: &[ModelSpec]) -> Vec<ModelSpec> {
        loop {
            let next = self.slots.iter().map(|slot| slot.read(|known| known.due)).min();
            let next = next.unwrap_or_else(|| Instant::now() + LOOK_AGAIN);
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.doubted.notified() => {}
            }
            self.discover().await;
            let models = self.models();
            if models != announced {
                return models;
            }
        }
    }

    /// Says that the engine of a version turned out not to be there: it is asked again at once.
    pub fn doubt(&self, model: Digest) {
        if let Some(slot) = self.slot(model) {
            slot.write(|known| known.due = Instant::now());
            self.doubted.notify_one();
        }
    }

    /// Every model version that is served now. Of two with the same name, the first engine's.
    pub fn models(&self) -> Vec<ModelSpec> {
        let mut names = HashSet::new();
        let mut models = Vec::new();
        for slot in &self.slots {
            for (_, spec) in slot.read(|known| known.models.clone()) {
                match names.insert(spec.name.clone()) {
                    true => models.push(spec),
                    false => tracing::warn!(
                        engine = slot.name,
                        model = spec.name,
                        "left out: another engine of this worker has a model of that name; set `name` in one of them"
                    ),
                }
            }
        }
        models
    }

    /// The versions in memory.
    pub fn loaded(&self) -> Vec<Digest> {
        let of = |slot: &Slot| {
            let digests =
                slot.read(|known| known.models.iter().map(|(digest, _)| *digest).collect::<Vec<_>>());
            digests.into_iter().filter(|digest| slot.engine.loaded(*digest)).collect::<Vec<_>>()
        };
        self.slots.iter().flat_map(of).collect()
    }

    /// The engine that runs a version.
    pub fn of(&self, model: Digest) -> Option<&Arc<dyn Engine>> {
        self.slot(model).map(|slot| &slot.engine)
    }

    fn slot(&self, model: Digest) -> Option<&Slot> {
        let serves =
            |slot: &&Slot| slot.read(|known| known.models.iter().any(|(digest, _)| *digest == model));
        self.slots.iter().find(serves)
    }
}

impl Slot {
    async fn discover(&self) {
        let found = timeout(PATIENCE, self.engine.discover()).await;
        let found = found.unwrap_or_else(|_| {
            Err(EngineError::Unavailable(format!("it did not say what it serves within {PATIENCE:?}")))
        });
        match found {
            Ok(specs) => {
                let models = specs.into_iter().filter(|spec| self.is_sound(spec));
                let models = models.map(|spec| (spec.digest(), spec)).collect();
                self.write(|known| {
                    *known = Known { models, due: Instant::now() + LOOK_AGAIN, backoff: BACKOFF.0 };
                });
            }
            Err(error) => {
                let wait = self.read(|known| known.backoff);
                tracing::warn!(engine = self.name, %error, again_in = ?wait, "left out for now");
                self.write(|known| {
                    let backoff = (wait * 2).min(BACKOFF.1);
                    *known = Known { models: Vec::new(), due: Instant::now() + wait, backoff };
                });
            }
        }
    }

    /// Whether the hub will take a model. One that it refuses would keep the whole worker out.
    fn is_sound(&self, spec: &ModelSpec) -> bool {
        let checked = schema::check_spec(spec);
        if let Err(error) = &checked {
            tracing::warn!(engine = self.name, model = spec.name, %error, "left out: the hub would refuse it");
        }
        checked.is_ok()
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }
}
