//! SQLite, in the data folder of the community.

use std::time::Duration;

use riff_hub::store::StoreOptions;

/// Communities that a test of arbitrary ones makes.
pub const CASES: u32 = 24;

/// Where a community's rows are.
pub struct Database;

impl Database {
    pub fn new() -> Self {
        Self
    }

    pub fn options(&self) -> StoreOptions {
        StoreOptions { full_sync: false, busy_timeout: Duration::from_secs(5), postgres: None }
    }
}
