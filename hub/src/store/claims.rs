//! What one hub of several does for all: it claims it for a while, again and again. One that falls silent loses its claims.
//! On SQLite a hub is alone and claims nothing.

use super::{
    Store, StoreError,
    db::{execute, on, scalar_optional, scalars},
};
use crate::seam::Millis;

impl Store {
    /// Claims something until then, or claims it on; nothing if another has it. Gives until when another had it that fell
    /// silent, if one did.
    pub async fn claim(
        &self,
        what: &str,
        holder: &str,
        until: Millis,
        now: Millis,
    ) -> Result<Option<Option<Millis>>, StoreError> {
        let claimed = scalar_optional!(
            self.write,
            "WITH before AS (SELECT until FROM claim WHERE what = $1 AND holder <> $2)
             INSERT INTO claim (what, holder, until) VALUES ($1, $2, $3)
             ON CONFLICT (what) DO UPDATE SET holder = $2, until = $3 WHERE claim.holder = $2 OR claim.until <= $4
             RETURNING (SELECT until FROM before)",
            what,
            holder,
            until,
            now
        )?;
        Ok(claimed)
    }

    /// Claims all of these on that the holder still has, and gives them.
    pub async fn claim_on(
        &self,
        what: &[String],
        holder: &str,
        until: Millis,
    ) -> Result<Vec<String>, StoreError> {
        let kept = scalars!(
            self.write,
            "UPDATE claim SET until = $3 WHERE holder = $2 AND what IN (SELECT value FROM json_each($1)) RETURNING what",
            super::list(what),
            holder,
            until
        )?;
        Ok(kept)
    }

    /// Gives up all that a hub claims, so that others need not wait.
    pub async fn unclaim(&self, holder: &str) -> Result<(), StoreError> {
        execute!(self.write, "DELETE FROM claim WHERE holder = $1", holder)?;
        Ok(())
    }
}
