//! Overload: beyond so many unfinished jobs, of all or of one community, a hub takes no more and says so. How many there are
//! is kept in memory and counted anew with every sweep, so that a flood is refused without a look into the database. What
//! several hubs take between two sweeps comes on top.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::Hub;
use crate::{admission::Refusal, store::StoreError};

/// Unfinished jobs, as they were counted last, with those that this hub queued since.
#[derive(Default)]
pub(super) struct Load(Mutex<Option<Counted>>);

#[derive(Default)]
struct Counted {
    all: i64,
    by_community: HashMap<String, i64>,
}

/// Most unfinished jobs.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all.
    pub all: i64,
    /// Of one community.
    pub community: i64,
}

impl Counted {
    /// Whether so many more fit.
    fn fits(&self, community: Option<&str>, more: i64, limits: Limits) -> Result<(), Refusal> {
        if self.all + more > limits.all {
            return Err(Refusal::Overloaded { waiting: self.all });
        }
        let here = community.and_then(|id| self.by_community.get(id)).copied().unwrap_or_default();
        if community.is_some() && here + more > limits.community {
            return Err(Refusal::CommunityOverloaded { waiting: here });
        }
        Ok(())
    }

    fn add(&mut self, community: &str, more: i64) {
        self.all += more;
        *self.by_community.entry(community.to_owned()).or_default() += more;
    }
}

impl Hub {
    /// Counts the unfinished jobs anew.
    pub(super) async fn count_load(&self) -> Result<(), StoreError> {
        let by_community = self.store.unfinished().await?;
        let counted = Counted { all: by_community.values().sum(), by_community };
        *self.load.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
        Ok(())
    }

    /// Refuses what cannot be queued anyway, before anything is read for it. The community is known where somebody entered
    /// the channel.
    pub(super) async fn shed(&self, channel: &str) -> Result<(), Refusal> {
        let known = self.load.0.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !known {
            self.count_load().await?;
        }
        let room = self.rooms.get(channel).map(|room| room.community.clone());
        self.load(|counted| counted.fits(room.as_deref(), 1, self.settings.limits))
    }

    /// Takes room for jobs that are about to be queued.
    pub(super) fn take_room(&self, community: &str, jobs: usize) -> Result<(), Refusal> {
        self.load(|counted| {
            counted.fits(Some(community), jobs as i64, self.settings.limits)?;
            counted.add(community, jobs as i64);
            Ok(())
        })
    }

    /// Gives the room back of jobs that were not queued after all.
    pub(super) fn give_room(&self, community: &str, jobs: usize) {
        self.load(|counted| counted.add(community, -(jobs as i64)));
    }

    fn load<T>(&self, look: impl FnOnce(&mut Counted) -> T) -> T {
        let mut counted = self.load.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(counted.get_or_insert_default())
    }
}
