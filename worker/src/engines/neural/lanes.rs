//! Results side by side, each on cores of its own.

use std::{iter, num::NonZero, panic, thread};

use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};

/// Does the same for each item, and gives what comes of them in their order. As many items as there are cores are done at once:
/// what one of them computes at a time is too little to be shared out among many. The numbers do not depend on it.
///
/// # Errors
/// If the system gives no threads.
pub fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    each: impl Fn(&T) -> R + Sync,
) -> Result<Vec<R>, ThreadPoolBuildError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let lanes = cores.min(items.len()).max(1);
    let lane = |number: usize| -> Result<Vec<R>, ThreadPoolBuildError> {
        let own = ThreadPoolBuilder::new().num_threads(cores / lanes).build()?;
        Ok(own.install(|| items.iter().skip(number).step_by(lanes).map(&each).collect()))
    };
    let done = thread::scope(|scope| {
        let lane = &lane;
        let running: Vec<_> = (0..lanes).map(|number| scope.spawn(move || lane(number))).collect();
        let ended =
            running.into_iter().map(|lane| lane.join().unwrap_or_else(|crash| panic::resume_unwind(crash)));
        ended.collect::<Result<Vec<_>, ThreadPoolBuildError>>()
    })?;
    let mut done: Vec<_> = done.into_iter().map(Vec::into_iter).collect();
    Ok(iter::from_fn({
        let mut next = (0..lanes).cycle();
        move || done[next.next()?].next()
    })
    .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for count in [0, 1, 2, 3, 7, 100] {
            let items: Vec<usize> = (0..count).collect();
            let doubled = side_by_side(&items, |item| 2 * item).unwrap();
            assert_eq!(doubled, items.iter().map(|item| 2 * item).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_crash_is_passed_on() {
        let crash =
            panic::catch_unwind(|| side_by_side(&[1, 2, 3], |item| assert_ne!(*item, 2, "two is bad")));
        assert!(crash.is_err());
    }
}
