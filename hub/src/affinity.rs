//! Which of the waiting jobs a worker takes, given the first of each model version: loading a model costs time that nobody
//! gets anything for, and not loading it costs those who wait for it. The store decides by it what a worker is given, and
//! [`crate::queue`] what will be given.
//!
//! The rules, for a job that is first in the fair order and whose model the worker would have to load:
//!
//! - While others have the model in memory, it is left to them for as long as loading would take: whoever waits loses at
//!   most as much again as by loading at once, whatever comes (Karlin, Manasse, Rudolph, Sleator, “Competitive snoopy
//!   caching”, Algorithmica 3, 1988).
//! - A worker leaves work that it could do at once only if the loading takes at most a share of the time since it last did
//!   so. That bounds what a busy fleet loses by loading, whatever the wishes, and by how much anybody is delayed: by loading
//!   time over share, divided by the number of workers that serve the model.
//! - To load a model that another worker has in memory, its job must be behind the fair order, too: by the loading time.
//!   Then those that have the model cannot keep up.

use crate::{canonical::Digest, seam::Millis};

/// The first waiting job of a model version that a worker may be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Head<Id> {
    /// The job.
    pub job: Id,
    /// What it needs.
    pub model: Digest,
    /// Lane.
    pub lane: i64,
    /// Start tag: microseconds of weighted device time.
    pub start_tag: i64,
    /// Since when it could be given.
    pub due: Millis,
    /// What loading its model takes on the worker, in milliseconds; 0 if that is in memory.
    pub load_ms: i64,
    /// Where the model is in memory.
    pub memory: Memory,
}

/// Where a model is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// On the worker that asks.
    Here,
    /// On another one that is present.
    Elsewhere,
    /// On none.
    Nowhere,
}

/// The worker that asks.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// Now.
    pub now: Millis,
    /// When it last left work that it had in memory for a model that it had to load.
    pub swapped_at: Millis,
    /// Most part of its time that it loads models for, while there is work that it could do without: above 0, at most 1.
    pub swap_share: f64,
}

/// What a worker takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice<'a, Id> {
    /// The job.
    pub head: &'a Head<Id>,
    /// Whether it leaves other work for it, for which nothing has to be loaded.
    pub swaps: bool,
}

/// The job to take of the first ones of each model, which are in the fair order; nothing if all are better left to others.
pub fn choose<'a, Id>(heads: &'a [Head<Id>], asking: Asking) -> Option<Choice<'a, Id>> {
    let in_memory = heads.iter().find(|head| head.is_here());
    let mut before = heads.iter().take_while(|head| !head.is_here());
    match in_memory {
        None => before
            .find(|head| head.memory == Memory::Nowhere || head.has_waited(asking.now))
            .map(|head| Choice { head, swaps: false }),
        Some(own) => before
            .find(|head| head.is_worth_leaving(own, asking))
            .map(|head| Choice { head, swaps: true })
            .or(Some(Choice { head: own, swaps: false })),
    }
}

impl<Id> Head<Id> {
    fn is_here(&self) -> bool {
        self.memory == Memory::Here || self.load_ms == 0
    }

    /// Whether it has waited for as long as loading takes.
    fn has_waited(&self, now: Millis) -> bool {
        now - self.due >= self.load_ms
    }

    /// Whether a worker loads its model though it has work in memory.
    fn is_worth_leaving(&self, own: &Self, asking: Asking) -> bool {
        let rested = (asking.now - asking.swapped_at) as f64 * asking.swap_share >= self.load_ms as f64;
        let behind = own.lane > self.lane || own.start_tag - self.start_tag >= self.load_ms * 1_000;
        let needed = self.memory == Memory::Nowhere || behind;
        rested && needed && self.has_waited(asking.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job that waits for 60 s of a model that takes 20 s to load.
    fn head(name: &'static str, start_s: i64, memory: Memory) -> Head<&'static str> {
        let load_ms = if memory == Memory::Here { 0 } else { 20_000 };
        let model = Digest::of_bytes(name.as_bytes());
        Head { job: name, model, lane: 1, start_tag: start_s * 1_000_000, due: 0, load_ms, memory }
    }

    fn chosen(heads: &[Head<&'static str>], now_s: i64) -> Option<(&'static str, bool)> {
        let asking = Asking { now: now_s * 1_000, swapped_at: 0, swap_share: 0.05 };
        choose(heads, asking).map(|choice| (choice.head.job, choice.swaps))
    }

    use Memory::{Elsewhere, Here, Nowhere};

    #[test]
    fn with_nothing_else_to_do_a_worker_loads_what_nobody_has_and_leaves_the_rest_for_a_while() {
        assert_eq!(chosen(&[head("a", 0, Nowhere)], 0), Some(("a", false)));
        assert_eq!(chosen(&[head("a", 0, Elsewhere)], 19), None);
        assert_eq!(chosen(&[head("a", 0, Elsewhere), head("b", 1, Nowhere)], 19), Some(("b", false)));
        assert_eq!(chosen(&[head("a", 0, Elsewhere), head("b", 1, Nowhere)], 20), Some(("a", false)));
    }

    #[test]
    fn a_worker_leaves_work_in_memory_once_loading_is_a_small_part_of_its_time() {
        let heads = [head("a", 0, Nowhere), head("b", 1, Here)];
        assert_eq!(chosen(&heads, 399), Some(("b", false)));
        assert_eq!(chosen(&heads, 400), Some(("a", true)));
        assert_eq!(chosen(&[head("b", 0, Here), head("a", 1, Nowhere)], 400), Some(("b", false)), "its turn");
    }

    #[test]
    fn a_model_that_another_worker_has_is_loaded_only_if_that_one_cannot_keep_up() {
        assert_eq!(chosen(&[head("a", 0, Elsewhere), head("b", 19, Here)], 400), Some(("b", false)));
        assert_eq!(chosen(&[head("a", 0, Elsewhere), head("b", 20, Here)], 400), Some(("a", true)));
        let turbo = Head { lane: 0, ..head("a", 0, Elsewhere) };
        assert_eq!(chosen(&[turbo, head("b", 0, Here)], 400), Some(("a", true)));
    }

    #[test]
    fn what_needs_no_loading_is_taken_in_its_turn() {
        let light = Head { load_ms: 0, ..head("a", 0, Elsewhere) };
        assert_eq!(chosen(&[light, head("b", 1, Here)], 0), Some(("a", false)));
    }
}
