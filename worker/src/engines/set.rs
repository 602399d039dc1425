//! The engines of a worker together: what they serve now, looked at again and again.
//!
//! An engine that cannot say what it serves is left out with a warning and asked again, later and later; the others keep
//! working. So is a model that the hub would refuse, or whose name another engine has already. An engine that crashes is
//! made anew, later and later while it goes on crashing.

use std::{
    collections::{BTreeMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::{FutureExt, future::join_all};
use riff_hub::{canonical::Digest, model::ModelSpec, schema, wire::Pool};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{Maker, Source, Sources};
use crate::engine::{Engine, EngineError};

/// How long after an answer an engine is asked again what it serves.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long an engine may take to say what it serves.
const PATIENCE: Duration = Duration::from_secs(20);
/// First and longest wait after an engine that could not say.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Every engine of a worker. Those of a pool share the places at which its jobs run; pool 0 is that of all engines that
/// have none of their own.
pub struct Engines {
    slots: Vec<Slot>,
    /// How many jobs each pool runs at once.
    pools: Vec<u32>,
    /// Told when an engine is to be asked before its time.
    doubted: Notify,
}

struct Slot {
    source: Source,
    pool: usize,
    engine: RwLock<Arc<dyn Engine>>,
    known: RwLock<Known>,
}

/// What an engine said last.
struct Known {
    models: Vec<(Digest, ModelSpec)>,
    /// Models that the hub would refuse, each with the reason.
    refused: Vec<String>,
    /// Why it could not say.
    trouble: Option<String>,
    /// Whether it crashed, so that it has to be made anew.
    crashed: bool,
    /// When to ask again.
    due: Instant,
    /// How long to wait after the next failure to say.
    backoff: Duration,
    /// How long to wait after the next crash; short again once it ran well.
    after_crash: Duration,
}

/// What an engine says of itself, for operators.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The engine.
    pub engine: String,
    /// Names of the models that it serves.
    pub serves: Vec<String>,
    /// What it does not serve, each with the reason.
    pub left_out: Vec<String>,
    /// Why it cannot say what it serves.
    pub trouble: Option<String>,
}

impl Engines {
    /// The engines of this build and of the settings. They are first asked what they serve by [`Self::discover`].
    pub fn open(sources: Sources) -> Self {
        Self::of_sources(sources.open())
    }

    /// Chosen engines, each with a name for the log. They are not made anew when they crash.
    pub fn of_list(engines: Vec<(String, Arc<dyn Engine>)>) -> Self {
        let source = |(name, engine): (String, Arc<dyn Engine>)| Source {
            name,
            concurrent: None,
            open: Box::new(move || engine.clone()),
        };
        Self::of_sources(engines.into_iter().map(source).collect())
    }

    /// Engines that are made by these functions, and made anew when they crash. Each has a name for the log, and the
    /// number of its jobs that run at once, where it does not take turns with the others.
    pub fn of_makers(makers: Vec<(String, Option<u32>, Maker)>) -> Self {
        let source = |(name, concurrent, open)| Source { name, concurrent, open };
        Self::of_sources(makers.into_iter().map(source).collect())
    }

    fn of_sources(sources: Vec<Source>) -> Self {
        let mut pools = vec![1];
        let mut slot = |source: Source| {
            let pool = source.concurrent.map_or(0, |jobs| {
                pools.push(jobs);
                pools.len() - 1
            });
            let engine = RwLock::new((source.open)());
            Slot { source, pool, engine, known: RwLock::default() }
        };
        Self { slots: sources.into_iter().map(&mut slot).collect(), pools, doubted: Notify::new() }
    }

    /// Asks every engine that is due what it serves, all at once.
    pub async fn discover(&self) {
        let now = Instant::now();
        let due = self.slots.iter().filter(|slot| slot.read(|known| known.due <= now));
        let asked = join_all(due.map(Slot::discover)).await.len();
        for left_out in self.conditions().iter().filter(|_| asked > 0).flat_map(|one| &one.left_out) {
            tracing::debug!("left out: {left_out}");
        }
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

    /// Says that the engine of a version gave a result: the next wait is short again.
    pub fn trust(&self, model: Digest) {
        if let Some(slot) = self.slot(model) {
            slot.write(|known| known.after_crash = BACKOFF.0);
        }
    }

    /// Says that the engine of a version crashed: its models are withdrawn until it is made anew, after a wait.
    pub fn crashed(&self, model: Digest) {
        if let Some(slot) = self.slot(model) {
            slot.crashed();
            self.doubted.notify_one();
        }
    }

    /// How many jobs each pool runs at once.
    pub fn pools(&self) -> &[u32] {
        &self.pools
    }

    /// Every model version that is served now.
    pub fn models(&self) -> Vec<ModelSpec> {
        self.served().into_iter().map(|(_, _, spec)| spec).collect()
    }

    /// What the hub is told of how many jobs run at once.
    pub fn announced_pools(&self) -> Vec<Pool> {
        let own = self.pools.iter().enumerate().skip(1);
        let pools = own.map(|(pool, jobs)| Pool { models: self.names_in(pool), jobs: *jobs });
        pools.filter(|pool| !pool.models.is_empty()).collect()
    }

    /// Names of the models of a pool.
    pub fn names_in(&self, pool: usize) -> Vec<String> {
        self.of_pool(pool).map(|(.., spec)| spec.name).collect()
    }

    /// Names of the models of a pool that are in memory.
    pub fn loaded_in(&self, pool: usize) -> Vec<String> {
        let loaded = |(at, digest, _): &(usize, Digest, _)| self.slots[*at].engine().loaded(*digest);
        self.of_pool(pool).filter(loaded).map(|(.., spec)| spec.name).collect()
    }

    /// The models of a pool that run faster together, by name, and how many of their jobs do.
    pub fn batches_in(&self, pool: usize) -> BTreeMap<String, u32> {
        let batch = |(at, digest, spec): (usize, Digest, ModelSpec)| {
            (spec.name, self.slots[at].engine().batch(digest))
        };
        self.of_pool(pool).map(batch).filter(|(_, most)| *most > 1).collect()
    }

    fn of_pool(&self, pool: usize) -> impl Iterator<Item = (usize, Digest, ModelSpec)> {
        self.served().into_iter().filter(move |(at, ..)| self.slots[*at].pool == pool)
    }

    /// Every model version that is served now, with the place of its engine. Of two with the same name, the first
    /// engine's.
    fn served(&self) -> Vec<(usize, Digest, ModelSpec)> {
        let mut names = HashSet::new();
        let models = self.slots.iter().enumerate().flat_map(|(at, slot)| {
            let models = slot.read(|known| known.models.clone());
            models.into_iter().map(move |(digest, spec)| (at, digest, spec))
        });
        models.filter(|(.., spec)| names.insert(spec.name.clone())).collect()
    }

    /// Drops every model but one from memory.
    pub async fn unload_others(&self, model: Digest) {
        for (at, other, spec) in self.served() {
            let engine = self.slots[at].engine();
            if other != model && engine.loaded(other) {
                tracing::info!(model = spec.name, "dropped from memory: another model needs it");
                engine.unload(other).await;
            }
        }
    }

    /// What each engine said last of itself.
    pub fn conditions(&self) -> Vec<Condition> {
        let served = self.served();
        let condition = |(at, slot): (usize, &Slot)| {
            let serves: Vec<String> =
                served.iter().filter(|(of, ..)| *of == at).map(|(.., spec)| spec.name.clone()).collect();
            let mut left_out = slot.engine().left_out();
            let (refused, trouble) = slot.read(|known| (known.refused.clone(), known.trouble.clone()));
            let known = slot.read(|known| known.models.clone());
            let taken = known.into_iter().filter(|(_, spec)| !serves.contains(&spec.name));
            left_out.extend(refused);
            left_out.extend(taken.map(|(_, spec)| {
                format!("{}: another engine has a model of that name; set `name` in one of them", spec.name)
            }));
            Condition { engine: slot.source.name.clone(), serves, left_out, trouble }
        };
        self.slots.iter().enumerate().map(condition).collect()
    }

    /// The engine that runs a version.
    pub fn of(&self, model: Digest) -> Option<Arc<dyn Engine>> {
        self.slot(model).map(Slot::engine)
    }

    /// What a version says of itself.
    pub fn spec(&self, model: Digest) -> Option<ModelSpec> {
        let find = |known: &Known| known.models.iter().find(|(digest, _)| *digest == model).cloned();
        self.slots.iter().find_map(|slot| slot.read(find)).map(|(_, spec)| spec)
    }

    fn slot(&self, model: Digest) -> Option<&Slot> {
        let serves =
            |slot: &&Slot| slot.read(|known| known.models.iter().any(|(digest, _)| *digest == model));
        self.slots.iter().find(serves)
    }
}

impl Default for Known {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            refused: Vec::new(),
            trouble: None,
            crashed: false,
            due: Instant::now(),
            backoff: BACKOFF.0,
            after_crash: BACKOFF.0,
        }
    }
}

impl Slot {
    fn engine(&self) -> Arc<dyn Engine> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn discover(&self) {
        if self.read(|known| known.crashed) {
            tracing::info!(engine = self.source.name, "starting it anew");
            *self.engine.write().unwrap_or_else(PoisonError::into_inner) = (self.source.open)();
            self.write(|known| known.crashed = false);
        }
        let engine = self.engine();
        let asked = timeout(PATIENCE, AssertUnwindSafe(engine.discover()).catch_unwind()).await;
        match asked {
            Ok(Ok(Ok(specs))) => self.learn(specs),
            Ok(Ok(Err(error))) => self.fell_silent(&error),
            Ok(Err(_)) => self.crashed(),
            Err(_) => {
                let silent = format!("it did not say what it serves within {PATIENCE:?}");
                self.fell_silent(&EngineError::Unavailable(silent));
            }
        }
    }

    fn learn(&self, specs: Vec<ModelSpec>) {
        let after_crash = self.read(|known| known.after_crash);
        let mut known = Known { due: Instant::now() + LOOK_AGAIN, after_crash, ..Known::default() };
        for spec in specs {
            match schema::check_spec(&spec) {
                Ok(()) => known.models.push((spec.digest(), spec)),
                // One that the hub refuses would keep the whole worker out.
                Err(error) => {
                    tracing::warn!(engine = self.source.name, model = spec.name, %error, "left out: the hub would refuse it");
                    known.refused.push(format!("{}: {error}", spec.name));
                }
            }
        }
        self.write(|before| *before = known);
    }

    /// Notes that it cannot say what it serves.
    fn fell_silent(&self, error: &EngineError) {
        let (backoff, after_crash) = self.read(|known| (known.backoff, known.after_crash));
        tracing::warn!(engine = self.source.name, %error, again_in = ?backoff, "left out for now");
        self.write(|known| {
            let due = Instant::now() + backoff;
            let backoff = (backoff * 2).min(BACKOFF.1);
            *known =
                Known { trouble: Some(error.to_string()), due, backoff, after_crash, ..Known::default() };
        });
    }

    /// Notes that it crashed: it is made anew after a wait.
    fn crashed(&self) {
        let wait = self.read(|known| known.after_crash);
        tracing::error!(engine = self.source.name, again_in = ?wait, "crashed, and will be started anew");
        self.write(|known| {
            let (due, after_crash) = (Instant::now() + wait, (wait * 2).min(BACKOFF.1));
            let trouble = Some("it crashed".to_owned());
            *known = Known { trouble, crashed: true, due, after_crash, ..Known::default() };
        });
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }
}
