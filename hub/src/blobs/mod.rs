//! Blobs: bytes named by their BLAKE3 hash. What is stored is never changed, so a name is good forever.

use std::path::Path;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path as Key};

use crate::canonical::Digest;

/// A blob store in a folder; a write is there whole or not at all.
pub struct Blobs {
    store: Box<dyn ObjectStore>,
}

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is none of that name.
    #[error("there is no blob {0}")]
    Missing(Digest),
    /// The folder or service failed: no room, no right, no network.
    #[error("the blob store failed: {0}; check its room and rights")]
    Store(#[from] object_store::Error),
    /// The folder cannot be made.
    #[error("the blob folder cannot be made: {0}")]
    Folder(#[from] std::io::Error),
    /// The bytes are not those that the name says.
    #[error("blob {0} is damaged: restore it from a backup, or rerun its recipe")]
    Damaged(Digest),
}

impl Blobs {
    /// Opens or creates a store in a folder.
    pub fn open(folder: &Path) -> Result<Self, BlobError> {
        std::fs::create_dir_all(folder)?;
        let store = Box::new(LocalFileSystem::new_with_prefix(folder)?);
        Ok(Self { store })
    }

    /// Stores bytes and gives their name.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, BlobError> {
        let name = Digest::of_bytes(&bytes);
        let key = key(name);
        if self.store.head(&key).await.is_err() {
            self.store.put(&key, PutPayload::from_bytes(bytes)).await?;
        }
        Ok(name)
    }

    /// Whether there is a blob of that name.
    pub async fn holds(&self, name: Digest) -> Result<bool, BlobError> {
        match self.store.head(&key(name)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes of that name, checked against it.
    pub async fn get(&self, name: Digest) -> Result<Bytes, BlobError> {
        let found = match self.store.get(&key(name)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Err(BlobError::Missing(name)),
            Err(error) => return Err(error.into()),
        };
        let bytes = found.bytes().await?;
        if Digest::of_bytes(&bytes) != name {
            return Err(BlobError::Damaged(name));
        }
        Ok(bytes)
    }

    /// What was made of a blob and kept under a name of its own. It may be lost at any time, and is made again then.
    pub async fn kept(&self, of: Digest, name: &str) -> Result<Option<Bytes>, BlobError> {
        match self.store.get(&derived(of, name)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps what was made of a blob.
    pub async fn keep(&self, of: Digest, name: &str, bytes: Bytes) -> Result<(), BlobError> {
        self.store.put(&derived(of, name), PutPayload::from_bytes(bytes)).await?;
        Ok(())
    }
}

fn key(name: Digest) -> Key {
    let name = name.to_string();
    Key::from(format!("{}/{}/{name}", &name[..2], &name[2..4]))
}

fn derived(of: Digest, name: &str) -> Key {
    let of = of.to_string();
    Key::from(format!("derived/{}/{}/{of}/{name}", &of[..2], &of[2..4]))
}
