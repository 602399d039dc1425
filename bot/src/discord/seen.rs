//! Remembers what was handled lately: the gateway repeats events after a reconnect, and a signed request can be replayed.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

/// How many ids are remembered: more than a large bot gets in the minutes for which events are repeated.
const MOST: usize = 20_000;

/// The ids that were handled lately.
#[derive(Default)]
pub struct Seen(Mutex<(HashSet<u64>, VecDeque<u64>)>);

impl Seen {
    /// Remembers an id; `false` if it was there.
    pub fn first_time(&self, id: u64) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ids, order) = &mut *seen;
        if !ids.insert(id) {
            return false;
        }
        order.push_back(id);
        if order.len() > MOST
            && let Some(oldest) = order.pop_front()
        {
            ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_latest_and_no_more() {
        let seen = Seen::default();
        assert!(seen.first_time(1));
        assert!(!seen.first_time(1));
        for id in 2..=MOST as u64 + 1 {
            assert!(seen.first_time(id));
        }
        assert!(seen.first_time(1), "the oldest is forgotten");
        assert_eq!(seen.0.lock().unwrap().0.len(), MOST);
    }
}
