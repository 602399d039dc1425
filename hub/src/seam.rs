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
