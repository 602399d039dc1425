//! Keeps Riff clear of Discord's ban on addresses that send too many invalid requests.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Discord bans an address for a while after 10,000 answers of 401, 403 or 429 within 10 minutes
/// (<https://discord.com/developers/docs/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans>).
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// Where Riff stops by itself: an eighth of that, so that several processes behind one address stay below it too.
const MOST: usize = 1_250;

/// Counts invalid answers, and opens before Discord would.
#[derive(Default)]
pub struct Breaker(Mutex<VecDeque<Instant>>);

impl Breaker {
    /// Counts one invalid answer.
    pub fn invalid(&self, now: Instant) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut times, now);
        if times.len() < MOST {
            times.push_back(now);
        }
    }

    /// How long to send nothing, if it is open.
    pub fn open_for(&self, now: Instant) -> Option<Duration> {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut times, now);
        let first = times.front().filter(|_| times.len() >= MOST)?;
        Some((*first + WINDOW).saturating_duration_since(now))
    }
}

fn forget(times: &mut VecDeque<Instant>, now: Instant) {
    while times.front().is_some_and(|first| now.saturating_duration_since(*first) >= WINDOW) {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_long_before_discord_bans_and_closes_again() {
        let breaker = Breaker::default();
        let start = Instant::now();
        for _ in 0..MOST - 1 {
            breaker.invalid(start);
        }
        assert_eq!(breaker.open_for(start), None);
        breaker.invalid(start + Duration::from_secs(60));
        assert_eq!(breaker.open_for(start + Duration::from_secs(60)), Some(Duration::from_secs(540)));
        assert_eq!(breaker.open_for(start + WINDOW), None);
    }
}
