//! A copy of the SQLite database, taken while hubs work on it. PostgreSQL has its own programs for that.

use std::path::Path;

use super::{Store, StoreError, db::At};

impl Store {
    /// Writes the database, as it is at one moment, to a file that is not there yet. `false`, and no file, where the database
    /// is PostgreSQL.
    pub async fn copy_to(&self, file: &Path) -> Result<bool, StoreError> {
        let At::Sqlite(pool) = self.write.at() else {
            return Ok(false);
        };
        let path = file.display().to_string();
        sqlx::query("VACUUM INTO $1").bind(path).execute(pool).await?;
        Ok(true)
    }
}
