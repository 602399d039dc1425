//! Figures of a run.

use super::{Trace, Workload, workload::Job};

/// Shorter than that, whether a member got its share is a matter of single jobs.
const BACKLOGGED_MS: f64 = 600_000.0;

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
    /// Jain's index of fairness over members (see [`jain`]).
    pub jain: f64,
    /// The same over communities.
    pub jain_communities: f64,
    /// What each job was said to take until its result, over what it took; sorted.
    pub eta: Vec<f64>,
    /// Hours until the last job was done.
    pub done_hours: f64,
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
        let said =
            |(job, ran): (&Job, &super::Ran)| Some(ran.eta_ms? as f64 / (ran.done_ms - job.at_ms) as f64);
        let mut eta: Vec<f64> = pairs().filter_map(said).collect();
        eta.sort_by(f64::total_cmp);
        let (jain, jain_communities) = Shares::of(workload, trace).fairness();
        Self {
            goodput: work / until_ms as f64,
            utilisation: running / until_ms as f64 / workload.gpus.len() as f64,
            swaps: trace.ran.iter().filter(|ran| ran.begun_ms > ran.taken_ms).count(),
            wait_s: [0.5, 0.95, 0.99].map(|part| at(&waits, part)),
            jain,
            jain_communities,
            eta,
            done_hours: trace.ran.iter().map(|ran| ran.done_ms).max().unwrap_or(0) as f64 / 3.6e6,
        }
    }

    /// The part of all jobs whose result came within ±25 % of the time that was said; nothing if nothing was said.
    pub fn eta_within(&self) -> Option<f64> {
        let within = self.eta.iter().filter(|said| (0.75..=1.25).contains(*said)).count();
        (!self.eta.is_empty()).then(|| within as f64 / self.eta.len() as f64)
    }
}

/// The value at a part of sorted ones: 0.5 is the median.
fn at(sorted: &[f64], part: f64) -> f64 {
    sorted.get(((sorted.len().max(1) - 1) as f64 * part).round() as usize).copied().unwrap_or(0.0)
}

/// Jain's index, (Σx)² ⁄ (n·Σx²): 1 if all have the same, 1⁄n if one has everything (Jain, Chiu, Hawe, “A quantitative
/// measure of fairness and discrimination for resource allocation in shared computer systems”, DEC TR-301, 1984). As there,
/// an `x` is what somebody got over what would have been fair.
pub fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

/// What somebody got while they had a job waiting, and what would have been fair.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    /// Jobs that wait now.
    waiting: usize,
    /// Speed of what runs now.
    running: f64,
    /// For how long a job waited, in milliseconds.
    backlogged_ms: f64,
    got: f64,
    fair: f64,
}

impl Share {
    fn pass(&mut self, ms: f64, fair: f64) {
        if self.waiting > 0 {
            self.backlogged_ms += ms;
            self.got += self.running * ms;
            self.fair += fair * ms;
        }
    }
}

/// Who got what. At each moment, what is done for all members that have a job waiting is fairly theirs by weight: by those
/// of their communities first, then by their own within them.
struct Shares<'a> {
    workload: &'a Workload,
    members: Vec<Share>,
    communities: Vec<Share>,
}

/// What happens to a member: jobs more or less that wait, and speed more or less.
type Change = (i64, usize, i64, f64);

impl<'a> Shares<'a> {
    fn of(workload: &'a Workload, trace: &Trace) -> Self {
        let mut shares = Self {
            workload,
            members: vec![Share::default(); workload.members.len()],
            communities: vec![Share::default(); workload.scenario.communities.len()],
        };
        let mut now_ms = 0;
        for (at_ms, member, waiting, speed) in changes(workload, trace) {
            shares.pass((at_ms - now_ms) as f64);
            now_ms = at_ms;
            let community = workload.members[member].community;
            for share in [&mut shares.members[member], &mut shares.communities[community]] {
                share.waiting = share.waiting.saturating_add_signed(waiting as isize);
                share.running += speed;
            }
        }
        shares
    }

    fn pass(&mut self, ms: f64) {
        if ms == 0.0 {
            return;
        }
        let scenario = &self.workload.scenario;
        let backlogged =
            || self.members.iter().zip(&self.workload.members).filter(|(share, _)| share.waiting > 0);
        let service: f64 = backlogged().map(|(share, _)| share.running).sum();
        let mut crowds = vec![0.0; self.communities.len()];
        backlogged().for_each(|(_, member)| crowds[member.community] += member.weight);
        let weights = scenario.communities.iter().zip(&self.communities);
        let all: f64 = weights.filter(|(_, share)| share.waiting > 0).map(|(of, _)| of.weight).sum();
        let of_community = |number: usize| service * scenario.communities[number].weight / all;
        for (share, member) in self.members.iter_mut().zip(&self.workload.members) {
            share.pass(ms, of_community(member.community) * member.weight / crowds[member.community]);
        }
        // A community is compared by what its waiting members got.
        for (number, share) in self.communities.iter_mut().enumerate() {
            let its = self.members.iter().zip(&self.workload.members);
            let its = its.filter(|(share, member)| member.community == number && share.waiting > 0);
            share.running = its.map(|(share, _)| share.running).sum();
            share.pass(ms, of_community(number));
        }
    }

    fn fairness(&self) -> (f64, f64) {
        let index = |shares: &[Share]| {
            let long = shares.iter().filter(|share| share.backlogged_ms >= BACKLOGGED_MS);
            jain(&long.map(|share| share.got / share.fair).collect::<Vec<_>>())
        };
        (index(&self.members), index(&self.communities))
    }
}

fn changes(workload: &Workload, trace: &Trace) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (job, ran) in workload.jobs.iter().zip(&trace.ran) {
        let speed = workload.gpus[ran.gpu].speed;
        changes.push((job.at_ms, job.member, 1, 0.0));
        changes.push((ran.taken_ms, job.member, -1, 0.0));
        changes.push((ran.begun_ms, job.member, 0, speed));
        changes.push((ran.done_ms, job.member, 0, -speed));
    }
    // Stable: a job that is taken at once comes first.
    changes.sort_by_key(|change| change.0);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Adversary, Community, GpuKind, Ran, Scenario};

    #[test]
    fn jains_index_is_one_for_equals_and_one_nth_if_one_has_everything() {
        assert_eq!(jain(&[2.0, 2.0, 2.0]), 1.0);
        assert_eq!(jain(&[4.0, 0.0, 0.0, 0.0]), 0.25);
    }

    /// Two members with jobs of 1,000 s each, on one GPU: who of them runs when.
    fn fairness(order: &[usize]) -> f64 {
        let scenario = Scenario {
            gpus: vec![GpuKind { count: 1, speed: 1.0, memory_gb: 99.0 }],
            communities: vec![Community { members: 1, activity: 1.0, weight: 1.0, patrons: 0.0 }],
            adversary: Some(Adversary { prompts: 1, at_minutes: 0.0, community: 0 }),
            ..Scenario::default()
        };
        let mut workload = Workload::draw(&scenario).unwrap();
        let job = |member: &usize| Job {
            at_ms: 0,
            member: *member,
            model: 0,
            announced_ms: 1_000_000,
            work_ms: 1_000_000,
        };
        workload.jobs = order.iter().map(job).collect();
        let ran = |at: usize| {
            let begun_ms = at as i64 * 1_000_000;
            Ran { gpu: 0, taken_ms: begun_ms, begun_ms, done_ms: begun_ms + 1_000_000, eta_ms: None }
        };
        let trace = Trace { ran: (0..order.len()).map(ran).collect() };
        Figures::of(&workload, &trace).jain
    }

    #[test]
    fn who_waits_while_another_is_served_makes_it_unfair() {
        let (turns, one_first) = (fairness(&[0, 1, 0, 1, 0, 1, 0, 1]), fairness(&[0, 0, 0, 0, 1, 1, 1, 1]));
        assert!(turns > 0.95, "{turns}");
        assert!(one_first < 0.8, "{one_first}");
    }
}
