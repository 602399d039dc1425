//! A database of its own for each community, on a PostgreSQL that they share.

use std::{sync::Arc, time::Duration};

use riff_hub::store::{Postgres, StoreOptions};
use temporary_postgres::Server;

/// Where a community's rows are.
pub struct Database {
    url: String,
    _server: Arc<Server>,
}

impl Database {
    pub fn new() -> Self {
        let server = temporary_postgres::shared().unwrap();
        Self { url: server.database().unwrap(), _server: server }
    }

    pub fn options(&self) -> StoreOptions {
        let postgres =
            Postgres { url: self.url.clone(), connections: 4, statement_timeout: Duration::from_secs(10) };
        StoreOptions { full_sync: false, busy_timeout: Duration::from_secs(5), postgres: Some(postgres) }
    }
}
