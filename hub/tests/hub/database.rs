//! SQLite, in the data folder of the community.

use std::time::Duration;

use riff_hub::store::StoreOptions;

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
