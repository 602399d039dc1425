//! How fairly work was shared: Jain's index over what members got, relative to their max-min fair share.

use super::{Trace, Workload};

/// Within that time members should get what is fairly theirs, in milliseconds: shorter, and it is a matter of single jobs and
/// of where models happen to be; longer, and people notice.
pub const WINDOW_MS: i64 = 600_000;

/// Jain's index, (Σx)² ⁄ (n·Σx²): 1 if all have the same, 1⁄n if one has everything (Jain, Chiu, Hawe, “A quantitative
/// measure of fairness and discrimination for resource allocation in shared computer systems”, DEC TR-301, 1984). As there,
/// an `x` is what somebody got over what would have been fair.
pub fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

/// The max-min fair shares of an amount among demands with weights: nobody gets more than they ask for, and whoever gets less
/// than that gets as much for their weight as anybody who asks for more.
pub fn max_min(amount: f64, demands: &[(f64, f64)]) -> Vec<f64> {
    let mut by_need: Vec<usize> = (0..demands.len()).collect();
    let need = |i: usize| demands[i].0 / demands[i].1;
    by_need.sort_by(|&a, &b| need(a).total_cmp(&need(b)));
    let (mut left, mut weight) = (amount, demands.iter().map(|demand| demand.1).sum::<f64>());
    let mut shares = vec![0.0; demands.len()];
    for i in by_need {
        shares[i] = demands[i].0.min(left * demands[i].1 / weight);
        left -= shares[i];
        weight -= demands[i].1;
    }
    shares
}

/// What somebody got and what would have been fair, in milliseconds of a GPU of speed 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Share {
    /// Work done for them.
    pub got: f64,
    /// Their part of all that was done.
    pub fair: f64,
}

impl Share {
    /// What they got over what was fair; nothing for whoever asked for nothing.
    pub fn part(&self) -> Option<f64> {
        (self.fair > 0.0).then(|| self.got / self.fair)
    }
}

/// What each got and what would have been fair, over the windows in which there was too little for all.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares {
    /// Of the members.
    pub members: Vec<Share>,
    /// Of their communities.
    pub communities: Vec<Share>,
}

impl Shares {
    /// Looks at windows of that length, one after the other, within the hours.
    pub fn of(workload: &Workload, trace: &Trace, window_ms: i64) -> Self {
        let mut shares = Self {
            members: vec![Share::default(); workload.members.len()],
            communities: vec![Share::default(); workload.scenario.communities.len()],
        };
        let mut from_ms = 0;
        while from_ms < workload.horizon_ms {
            let to_ms = (from_ms + window_ms).min(workload.horizon_ms);
            shares.add(workload, &asked_and_got(workload, trace, from_ms, to_ms));
            from_ms = to_ms;
        }
        shares
    }

    /// Jain's index over members.
    pub fn jain(&self) -> f64 {
        index(&self.members)
    }

    /// Jain's index over communities.
    pub fn jain_communities(&self) -> f64 {
        index(&self.communities)
    }

    fn add(&mut self, workload: &Workload, window: &[(f64, f64)]) {
        /// Shorter is rounding, in milliseconds.
        const NOTHING: f64 = 1.0;
        let amount: f64 = window.iter().map(|(_, got)| got).sum();
        let asked: f64 = window.iter().map(|(asked, _)| asked).sum();
        if asked <= amount + NOTHING {
            return;
        }
        let of =
            |community: usize| (0..window.len()).filter(move |&i| workload.members[i].community == community);
        let weights = workload.scenario.communities.iter().map(|community| community.weight).enumerate();
        let demands: Vec<(f64, f64)> =
            weights.map(|(i, weight)| (of(i).map(|member| window[member].0).sum(), weight)).collect();
        for (community, fair) in max_min(amount, &demands).into_iter().enumerate() {
            let its: Vec<usize> = of(community).collect();
            let demands: Vec<(f64, f64)> =
                its.iter().map(|&i| (window[i].0, workload.members[i].weight)).collect();
            for (&member, fair) in its.iter().zip(max_min(fair, &demands)) {
                self.members[member].got += window[member].1;
                self.members[member].fair += fair;
                self.communities[community].got += window[member].1;
            }
            self.communities[community].fair += fair;
        }
    }
}

fn index(shares: &[Share]) -> f64 {
    jain(&shares.iter().filter_map(Share::part).collect::<Vec<_>>())
}

/// What each member asked for in a window, and what was done of it. What came within the window and was not done in it, is
/// asked for in the next.
fn asked_and_got(workload: &Workload, trace: &Trace, from_ms: i64, to_ms: i64) -> Vec<(f64, f64)> {
    let mut window = vec![(0.0, 0.0); workload.members.len()];
    for (job, ran) in workload.jobs.iter().zip(&trace.ran) {
        if job.at_ms >= to_ms || ran.done_ms <= from_ms {
            continue;
        }
        let speed = workload.gpus[ran.gpu].speed;
        let done = |from: i64, to: i64| (to.min(ran.done_ms) - from.max(ran.begun_ms)).max(0) as f64 * speed;
        let got = done(from_ms, to_ms);
        let (asked, served) = &mut window[job.member];
        *asked += if job.at_ms <= from_ms { done(from_ms, i64::MAX) } else { got };
        *served += got;
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Adversary, Community, GpuKind, Job, Ran, Scenario};

    #[test]
    fn jains_index_is_one_for_equals_and_one_nth_if_one_has_everything() {
        assert_eq!(jain(&[2.0, 2.0, 2.0]), 1.0);
        assert_eq!(jain(&[4.0, 0.0, 0.0, 0.0]), 0.25);
    }

    #[test]
    fn what_one_does_not_ask_for_is_shared_by_the_others() {
        assert_eq!(max_min(9.0, &[(1.0, 1.0), (20.0, 1.0), (20.0, 1.0)]), [1.0, 4.0, 4.0]);
        assert_eq!(max_min(9.0, &[(20.0, 1.0), (2.0, 1.0), (20.0, 2.5)]), [2.0, 2.0, 5.0]);
        assert_eq!(max_min(9.0, &[(1.0, 1.0), (2.0, 1.0)]), [1.0, 2.0], "there is enough");
    }

    /// The shares of a member and an adversary, of which both ask at the beginning, on one GPU: the member for so many jobs
    /// of a minute. Who of them runs in each minute; 0 is the member.
    fn shares(order: &[usize]) -> Shares {
        let scenario = Scenario {
            gpus: vec![GpuKind { count: 1, speed: 1.0, memory_gb: 99.0 }],
            communities: vec![Community { members: 1, activity: 1.0, weight: 1.0, patrons: 0.0 }],
            adversary: Some(Adversary { prompts: 1, at_minutes: 0.0, community: 0 }),
            ..Scenario::default()
        };
        let mut workload = Workload::draw(&scenario).unwrap();
        let job = |&member: &usize| Job { at_ms: 0, member, model: 0, announced_ms: 60_000, work_ms: 60_000 };
        workload.jobs = order.iter().map(job).collect();
        let ran = |minute: usize| {
            let begun_ms = minute as i64 * 60_000;
            Ran { gpu: 0, taken_ms: begun_ms, begun_ms, done_ms: begun_ms + 60_000, eta_ms: None }
        };
        let trace = Trace { ran: (0..order.len()).map(ran).collect() };
        Shares::of(&workload, &trace, WINDOW_MS)
    }

    fn parts(order: &[usize]) -> [f64; 2] {
        let shares = shares(order).members;
        [0, 1].map(|member| shares[member].part().unwrap())
    }

    #[test]
    fn who_takes_the_turns_of_others_is_unfair() {
        let turns: Vec<usize> = (0..40).map(|minute| minute % 2).collect();
        let one_first: Vec<usize> = (0..40).map(|minute| usize::from(minute < 20)).collect();
        assert_eq!((parts(&turns), shares(&turns).jain()), ([1.0, 1.0], 1.0));
        // Of the ten minutes of a window half are fairly the member's, and all once the other asks for nothing any more.
        assert!(shares(&one_first).jain() < 0.9, "{:?}", shares(&one_first));
        let [member, adversary] = parts(&one_first);
        assert!(member < 0.8 && adversary > 1.9, "{member} and {adversary}");
    }

    #[test]
    fn who_gets_all_that_they_ask_for_is_not_wronged_by_those_who_ask_for_more() {
        let mut order = vec![1; 40];
        order[1] = 0;
        assert_eq!(parts(&order), [1.0, 1.0], "one minute was all that the member asked for");
        let mut order = vec![1; 40];
        order[25] = 0;
        let [member, adversary] = parts(&order);
        assert!((member - 1.0 / 3.0).abs() < 1e-9 && adversary > 1.0, "it was owed a minute three times");
    }
}
