//! Figures of a run.

use super::{
    Trace, Workload,
    fairness::{Shares, WINDOW_MS},
};

/// By how much an expected time may be wrong, whatever it is, in milliseconds: half of the ten seconds for which people keep
/// their mind on what they wait for (Nielsen, *Usability Engineering*, 1993).
const UNNOTICED_MS: i64 = 5_000;

/// What a scheduler reached. Work is in seconds of a GPU of speed 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Work done within the hours, per second.
    pub goodput: f64,
    /// Part of the fleet's time within the hours in which jobs ran.
    pub utilisation: f64,
    /// How often a model was loaded.
    pub swaps: usize,
    /// Seconds from a job's arrival until it ran, its model loaded: the median, and for the slowest 5 % and 1 %.
    pub wait_s: [f64; 3],
    /// Jain's index of fairness over members (see [`Shares`]).
    pub jain: f64,
    /// The same in windows half as long, and twice as long.
    pub jain_around: [f64; 2],
    /// The same over communities.
    pub jain_communities: f64,
    /// What the adversary got over what was fair, where there is one.
    pub adversary: Option<f64>,
    /// Of each job for which it was said.
    pub eta: Vec<Eta>,
    /// Hours until the last job was done.
    pub done_hours: f64,
}

/// How long a job was said to take until its result when it was asked for, and how long it took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eta {
    /// Said.
    pub said_ms: i64,
    /// Took.
    pub took_ms: i64,
}

impl Eta {
    /// Whether it was right to ±25 %, or to a time that is none to people.
    pub fn is_right(&self) -> bool {
        self.is_within_quarter() || (self.said_ms - self.took_ms).abs() <= UNNOTICED_MS
    }

    /// Whether it was right to ±25 %.
    pub fn is_within_quarter(&self) -> bool {
        (self.said_ms - self.took_ms).abs() * 4 <= self.took_ms
    }
}

impl Figures {
    /// Of a run.
    pub fn of(workload: &Workload, trace: &Trace) -> Self {
        let until_ms = workload.horizon_ms;
        let (mut work, mut running) = (0.0, 0.0);
        for ran in &trace.ran {
            let within_ms = (ran.done_ms.min(until_ms) - ran.begun_ms).max(0) as f64;
            work += within_ms * workload.gpus[ran.gpu].speed;
            running += within_ms;
        }
        let pairs = || workload.jobs.iter().zip(&trace.ran);
        let mut waits: Vec<f64> = pairs().map(|(job, ran)| (ran.begun_ms - job.at_ms) as f64 / 1e3).collect();
        waits.sort_by(f64::total_cmp);
        let eta = pairs()
            .filter_map(|(job, ran)| Some(Eta { said_ms: ran.eta_ms?, took_ms: ran.done_ms - job.at_ms }));
        let shares = Shares::of(workload, trace, WINDOW_MS);
        let adversary = workload.scenario.adversary.and_then(|_| shares.members.last()?.part());
        Self {
            goodput: work / until_ms as f64,
            utilisation: running / until_ms as f64 / workload.gpus.len() as f64,
            swaps: trace.ran.iter().filter(|ran| ran.begun_ms > ran.taken_ms).count(),
            wait_s: [0.5, 0.95, 0.99].map(|part| at(&waits, part)),
            jain: shares.jain(),
            jain_around: [WINDOW_MS / 2, WINDOW_MS * 2].map(|ms| Shares::of(workload, trace, ms).jain()),
            jain_communities: shares.jain_communities(),
            adversary,
            eta: eta.collect(),
            done_hours: trace.ran.iter().map(|ran| ran.done_ms).max().unwrap_or(0) as f64 / 3.6e6,
        }
    }

    /// The part of the jobs whose expected time was right, by what is right; nothing if nothing was said.
    pub fn eta_right(&self, is_right: fn(&Eta) -> bool) -> Option<f64> {
        let right = self.eta.iter().filter(|eta| is_right(eta)).count();
        (!self.eta.is_empty()).then(|| right as f64 / self.eta.len() as f64)
    }
}

/// The value at a part of sorted ones: 0.5 is the median.
fn at(sorted: &[f64], part: f64) -> f64 {
    sorted.get(((sorted.len().max(1) - 1) as f64 * part).round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_time_is_right_within_a_quarter_or_a_moment() {
        let right = |said_s: i64, took_s: i64| {
            let eta = Eta { said_ms: said_s * 1_000, took_ms: took_s * 1_000 };
            (eta.is_right(), eta.is_within_quarter())
        };
        assert_eq!(right(75, 100), (true, true));
        assert_eq!(right(126, 100), (false, false));
        assert_eq!(right(8, 4), (true, false), "four seconds are none");
        assert_eq!(right(10, 4), (false, false));
    }
}
