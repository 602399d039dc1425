//! The one seam through which time, randomness and ids enter, so that tests are deterministic and never sleep.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{RngCore, SeedableRng, rngs::StdRng};
use ulid::Ulid;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// A time as people read it, such as `2026-01-01 00:10 UTC`; begun minutes are whole.
pub fn utc(at: Millis) -> String {
    const MINUTES_A_DAY: i64 = 24 * 60;
    let minutes = at.saturating_add(59_999).div_euclid(60_000);
    let minute = minutes.rem_euclid(MINUTES_A_DAY);
    // Years from March, so that the leap day is their last: Howard Hinnant, “chrono-compatible low-level date algorithms”.
    let days = minutes.div_euclid(MINUTES_A_DAY) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

/// Time and randomness.
pub trait Seam: Send + Sync {
    /// Now.
    fn now(&self) -> Millis;
    /// 64 random bits.
    fn random(&self) -> u64;
}

impl dyn Seam {
    /// A new id that sorts by time.
    pub fn id(&self) -> String {
        let entropy = u128::from(self.random()) << 64 | u128::from(self.random());
        Ulid::from_parts(self.now() as u64, entropy).to_string()
    }

    /// A new seed for a recipe.
    pub fn seed(&self) -> u32 {
        self.random() as u32
    }

    /// 256 random bits as 64 hexadecimal digits: tokens.
    pub fn secret(&self) -> String {
        (0..4).map(|_| format!("{:016x}", self.random())).collect()
    }
}

/// The machine's clock and the operating system's randomness.
pub struct System;

impl Seam for System {
    fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_millis() as Millis
    }

    fn random(&self) -> u64 {
        rand::rng().next_u64()
    }
}

/// A clock that a test moves, and randomness from a seed.
pub struct Manual {
    now: AtomicI64,
    rng: Mutex<StdRng>,
}

impl Manual {
    /// Starts at a fixed time, with randomness from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { now: AtomicI64::new(1_767_225_600_000), rng: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(by.as_millis() as Millis, Ordering::SeqCst);
    }
}

impl Seam for Manual {
    fn now(&self) -> Millis {
        self.now.load(Ordering::SeqCst)
    }

    fn random(&self) -> u64 {
        let mut rng = self.rng.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        rng.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(1_709_164_799_999), "2024-02-29 00:00 UTC");
        assert_eq!(utc(1_767_225_600_001), "2026-01-01 00:01 UTC");
        assert_eq!(utc(4_107_542_340_000), "2100-02-28 23:59 UTC");
    }
}
