//! Clearing the blob store of what nothing names: pictures that were dropped and never prompted with, results whose attempt was
//! lost before they were recorded. How that goes without a lock is said in [`crate::blobs`].

use std::{collections::HashSet, time::Duration};

use futures::TryStreamExt;

use super::{Hub, WorkError};
use crate::{
    blobs::{Aged, Area},
    canonical::Digest,
};

/// Blobs that are looked up at once.
const PAGE: usize = 1_000;

/// What a sweep found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs that stay where they are.
    pub kept: u64,
    /// Those that nothing names, put away.
    pub put_away: u64,
    /// Those that were away and are named.
    pub brought_back: u64,
    /// Those that were away for long enough, deleted.
    pub deleted: u64,
}

impl Hub {
    /// Puts away what was stored longer ago than `unused` and nothing names, and deletes what has been away for as long.
    ///
    /// # Errors
    /// If the database or the blobs fail. What is done by then is done; another sweep goes on.
    pub async fn sweep_blobs(&self, unused: Duration) -> Result<Swept, WorkError> {
        let mut swept = Swept::default();
        let before = self.seam.now() - unused.as_millis() as i64;
        let inputs = self.store.named_by_recipes().await?;
        // First what is away, so that nothing is put away and deleted in one go.
        for area in [Area::Away, Area::Stored] {
            let mut pages = self.blobs.list(area).try_chunks(PAGE);
            while let Some(page) = pages.try_next().await.map_err(|error| error.1)? {
                self.sweep_page(area, &page, before, &inputs, &mut swept).await?;
            }
        }
        Ok(swept)
    }

    async fn sweep_page(
        &self,
        area: Area,
        page: &[Aged],
        before: i64,
        inputs: &HashSet<Digest>,
        swept: &mut Swept,
    ) -> Result<(), WorkError> {
        let names: Vec<Digest> = page.iter().map(|aged| aged.name).collect();
        let outputs = self.store.outputs_among(&names).await?;
        for Aged { name, since } in page {
            let named = outputs.contains(name) || inputs.contains(name);
            match (area, named, *since < before) {
                (Area::Stored, false, true) => {
                    self.blobs.put_away(*name).await?;
                    swept.put_away += 1;
                }
                (Area::Away, true, _) => {
                    self.blobs.bring_back(*name).await?;
                    swept.brought_back += 1;
                }
                (Area::Away, false, true) => {
                    self.blobs.delete_away(*name).await?;
                    swept.deleted += 1;
                }
                (Area::Stored, ..) => swept.kept += 1,
                (Area::Away, false, false) => {}
            }
        }
        Ok(())
    }
}
