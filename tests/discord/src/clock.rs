//! The time of the fake and the ids that grow with it. Time is the machine's, moved forward by what a test adds.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// First millisecond that a snowflake can name: 2015-01-01.
const DISCORD_EPOCH_MS: u64 = 1_420_070_400_000;

pub(crate) struct Clock {
    origin_ms: u64,
    started: Instant,
    moved: Mutex<Duration>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            origin_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            started: Instant::now(),
            moved: Mutex::new(Duration::ZERO),
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        let passed = self.started.elapsed() + *self.moved.lock();
        self.origin_ms + u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.moved.lock() += by;
    }
}

/// Gives ids that grow, each with its time in it.
#[derive(Default)]
pub(crate) struct Ids {
    last: u64,
}

impl Ids {
    pub(crate) fn next(&mut self, now_ms: u64) -> u64 {
        self.last = (self.last + 1).max(now_ms.saturating_sub(DISCORD_EPOCH_MS) << 22);
        self.last
    }

    /// An id in a later millisecond than any before: guilds spread over shards by that part of their id.
    pub(crate) fn next_spread(&mut self, now_ms: u64) -> u64 {
        let after = ((self.last >> 22) + 1) << 22;
        self.last = after.max(now_ms.saturating_sub(DISCORD_EPOCH_MS) << 22);
        self.last
    }
}

/// A moment as Discord writes it.
pub(crate) fn iso(ms: u64) -> String {
    let (seconds, millis) = (ms / 1000, ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}000+00:00")
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`, for days after 1970).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_discord_writes_them() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000000+00:00");
        assert_eq!(iso(1_709_208_000_123), "2024-02-29T12:00:00.123000+00:00");
    }

    #[test]
    fn ids_grow() {
        let mut ids = Ids::default();
        let (first, second, guild) = (ids.next(DISCORD_EPOCH_MS + 5), ids.next(0), ids.next_spread(0));
        assert!(first < second && second < guild);
        assert_ne!(second >> 22, guild >> 22);
    }
}
