//! What no scheduler can exceed, even one that knows all that will be asked for.

use super::Workload;

/// An upper bound of the work done within the hours, in seconds of a GPU of speed 1 per second. It holds for every schedule:
///
/// - Whatever was done by a moment `s` is at most what was asked for by then, and from `s` on the fleet does at most its
///   speed times the time that is left. So for every `s` the work done by the end is at most their sum.
/// - Every GPU begins with nothing in memory, so it loads some model before it does any work: at `s = 0`, a GPU has the
///   time left after the shortest loading of a model that fits.
///
/// Nothing else is taken off: no further loading, no idle time because a job's model fits only on other GPUs, no job that is
/// not yet done at the end (its part counts).
pub fn bound(workload: &Workload) -> f64 {
    let until_ms = workload.horizon_ms as f64;
    let first = workload.gpus.iter().map(|gpu| {
        let fitting = workload.models.iter().filter(|model| gpu.fits(model));
        let shortest_ms = fitting.map(|model| model.load_ms).min().unwrap_or(workload.horizon_ms);
        gpu.speed * (until_ms - shortest_ms as f64).max(0.0)
    });
    let mut least = first.sum::<f64>();
    let mut asked = 0.0;
    for job in workload.jobs.iter().take_while(|job| job.at_ms <= workload.horizon_ms) {
        // Just before it came.
        least = least.min(asked + workload.capacity() * (until_ms - job.at_ms as f64));
        asked += job.work_ms as f64;
    }
    least.min(asked) / until_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Job, Scenario};

    #[test]
    fn it_is_what_was_asked_for_or_what_the_fleet_can_do_from_some_moment_on() {
        let mut workload = Workload::draw(&Scenario::default()).unwrap();
        workload.models.iter_mut().for_each(|model| model.load_ms = 1_000);
        let until_ms = workload.horizon_ms;
        let job = |at_ms, work_ms| Job { at_ms, member: 0, model: 0, announced_ms: 1, work_ms };
        let of = |jobs: Vec<Job>| bound(&Workload { jobs, ..workload.clone() }) * until_ms as f64;
        assert_eq!(of(vec![job(0, 5_000)]).round(), 5_000.0);
        let capacity = workload.capacity();
        let all = until_ms * 1_000;
        assert_eq!(of(vec![job(0, all)]).round(), (capacity * (until_ms - 1_000) as f64).round());
        let late = of(vec![job(0, 5_000), job(until_ms - 10_000, all)]);
        assert_eq!(late.round(), (5_000.0 + capacity * 10_000.0).round(), "it came too late for more");
    }
}
