//! A copy of all that a hub must not lose, taken while it runs. The database comes first: a blob is there before a row names
//! it and long after none does, so every blob that the copy names can still be copied after it.

use std::{io, path::Path};

use futures::{StreamExt, TryStreamExt};

use super::Hub;
use crate::{
    blobs::{Aged, Area, BlobError, Blobs, Place},
    canonical::Digest,
    store::StoreError,
};

/// Blobs that are copied at once.
const AT_ONCE: usize = 8;
/// The copy's files; those of a data folder, so that it is one.
const DATABASE: &str = "riff.sqlite";
const UNFINISHED: &str = "riff.sqlite.unfinished";
const BLOBS: &str = "blobs";

/// What a backup copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackedUp {
    /// Whether the database is in it: PostgreSQL is not.
    pub database: bool,
    /// Blobs that were copied.
    pub copied: u64,
    /// Those that were there from an earlier backup.
    pub there: u64,
    /// Those that are damaged and were left out.
    pub damaged: Vec<Digest>,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder that it goes into.
    #[error("the backup cannot be written: {0}; check the folder's room and rights")]
    Folder(#[from] io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blobs.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

enum Copied {
    Now,
    Before,
    Damaged(Digest),
    Gone,
}

impl Hub {
    /// Copies database and blobs into a folder, which a hub can be started on. What is there from an earlier backup is
    /// brought up to date.
    ///
    /// # Errors
    /// If one of them cannot be read or written. The earlier copy of the database is kept then.
    pub async fn backup(&self, folder: &Path) -> Result<BackedUp, BackupError> {
        tokio::fs::create_dir_all(folder).await?;
        let unfinished = folder.join(UNFINISHED);
        match tokio::fs::remove_file(&unfinished).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut done = BackedUp { database: self.store.copy_to(&unfinished).await?, ..BackedUp::default() };
        let to = Blobs::open(&folder.join(BLOBS), &Place::Folder)?;
        let copies = self.blobs.list(Area::Stored).map_ok(|blob| self.copy(blob, &to));
        let mut copies = copies.try_buffer_unordered(AT_ONCE).boxed();
        while let Some(copied) = copies.try_next().await? {
            match copied {
                Copied::Now => done.copied += 1,
                Copied::Before => done.there += 1,
                Copied::Damaged(name) => done.damaged.push(name),
                Copied::Gone => {}
            }
        }
        if done.database {
            tokio::fs::rename(&unfinished, folder.join(DATABASE)).await?;
        }
        Ok(done)
    }

    async fn copy(&self, blob: Aged, to: &Blobs) -> Result<Copied, BlobError> {
        if to.holds(blob.name).await? {
            return Ok(Copied::Before);
        }
        match self.blobs.get(blob.name).await {
            Ok(bytes) => to.put(bytes).await.map(|_| Copied::Now),
            Err(BlobError::Damaged(name)) => Ok(Copied::Damaged(name)),
            Err(BlobError::Missing(_)) => Ok(Copied::Gone),
            Err(error) => Err(error),
        }
    }
}
