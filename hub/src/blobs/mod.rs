//! Blobs: bytes named by their BLAKE3 hash, in a folder or in an S3-compatible store. What is stored is never changed, so a
//! name is good forever. Where nothing names a blob any more, [`sweep`] puts it away and in the end deletes it.

mod s3;
mod sweep;

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    TryStreamExt,
    stream::{self, BoxStream, StreamExt},
};
use object_store::{
    GetResult, ObjectStore, ObjectStoreExt, PutPayload, aws::AmazonS3, local::LocalFileSystem,
    path::Path as Key, signer::Signer,
};

use crate::canonical::Digest;

pub use s3::S3;
pub use sweep::{Aged, Area};

/// Blobs up to so many bytes are read, and checked, whole before any of it is given away.
const WHOLE: u64 = 1 << 20;
/// How long a signed address is good for.
const SIGNED_FOR: Duration = Duration::from_secs(10 * 60);

/// A blob store; a write is there whole or not at all.
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Before every key: empty, or with a slash at its end.
    prefix: String,
    /// Signs addresses, where the store can.
    signer: Option<Arc<AmazonS3>>,
}

/// Where blobs are.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// In the data folder.
    #[default]
    Folder,
    /// In an S3-compatible store.
    S3(S3),
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

/// A blob on its way to somebody.
pub struct Flow {
    /// How many bytes there are.
    pub size: u64,
    /// The bytes. Those of a damaged blob end in an error: a large one is checked while it passes.
    pub bytes: BoxStream<'static, Result<Bytes, BlobError>>,
}

impl Blobs {
    /// Opens the store of that place; a folder is made where it is not there.
    ///
    /// # Errors
    /// If the folder cannot be made or the place makes no sense. Whether a service answers is not tried.
    pub fn open(folder: &Path, place: &Place) -> Result<Self, BlobError> {
        match place {
            Place::Folder => {
                std::fs::create_dir_all(folder)?;
                let store = Arc::new(LocalFileSystem::new_with_prefix(folder)?);
                Ok(Self { store, prefix: String::new(), signer: None })
            }
            Place::S3(place) => {
                let store = Arc::new(place.open()?);
                Ok(Self { store: store.clone(), prefix: place.key_prefix(), signer: Some(store) })
            }
        }
    }

    /// Whether the store answers.
    pub async fn ping(&self) -> Result<(), BlobError> {
        match self.store.head(&self.key(Digest::of_bytes(b""))).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores bytes and gives their name.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest, BlobError> {
        let name = Digest::of_bytes(&bytes);
        let key = self.key(name);
        if self.store.head(&key).await.is_err() {
            self.store.put(&key, PutPayload::from_bytes(bytes)).await?;
        }
        Ok(name)
    }

    /// Whether there is a blob of that name. One that was put away is brought back.
    pub async fn holds(&self, name: Digest) -> Result<bool, BlobError> {
        match self.store.head(&self.key(name)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => self.bring_back(name).await,
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes of that name, checked against it.
    pub async fn get(&self, name: Digest) -> Result<Bytes, BlobError> {
        let bytes = self.find(name).await?.bytes().await?;
        check(name, &bytes)?;
        Ok(bytes)
    }

    /// The bytes of that name as they come, for whoever passes them on.
    pub async fn flow(&self, name: Digest) -> Result<Flow, BlobError> {
        let found = self.find(name).await?;
        let size = found.meta.size;
        if size <= WHOLE {
            let bytes = found.bytes().await?;
            check(name, &bytes)?;
            return Ok(Flow { size, bytes: stream::iter([Ok(bytes)]).boxed() });
        }
        let state = (found.into_stream(), blake3::Hasher::new());
        let bytes = stream::try_unfold(state, move |(mut rest, mut seen)| async move {
            match rest.try_next().await? {
                Some(chunk) => {
                    seen.update(&chunk);
                    Ok(Some((chunk, (rest, seen))))
                }
                None if Digest::from_bytes(*seen.finalize().as_bytes()) == name => Ok(None),
                None => Err(BlobError::Damaged(name)),
            }
        });
        Ok(Flow { size, bytes: bytes.boxed() })
    }

    /// An address from which anybody can fetch the blob for ten minutes, where the store can sign one and the blob has at
    /// least so many bytes.
    pub async fn signed(&self, name: Digest, least: u64) -> Result<Option<String>, BlobError> {
        let Some(signer) = &self.signer else {
            return Ok(None);
        };
        let key = self.key(name);
        match self.store.head(&key).await {
            Ok(found) if found.size >= least => {
                Ok(Some(signer.signed_url(http::Method::GET, &key, SIGNED_FOR).await?.into()))
            }
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What was made of a blob and kept under a name of its own. It may be lost at any time, and is made again then.
    pub async fn kept(&self, of: Digest, name: &str) -> Result<Option<Bytes>, BlobError> {
        match self.store.get(&self.derived(of, name)).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps what was made of a blob.
    pub async fn keep(&self, of: Digest, name: &str, bytes: Bytes) -> Result<(), BlobError> {
        self.store.put(&self.derived(of, name), PutPayload::from_bytes(bytes)).await?;
        Ok(())
    }

    /// Finds a blob, also one that was put away.
    async fn find(&self, name: Digest) -> Result<GetResult, BlobError> {
        let key = self.key(name);
        match self.store.get(&key).await {
            Ok(found) => Ok(found),
            Err(object_store::Error::NotFound { .. }) => match self.bring_back(name).await? {
                true => Ok(self.store.get(&key).await?),
                false => Err(BlobError::Missing(name)),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn key(&self, name: Digest) -> Key {
        let name = name.to_string();
        Key::from(format!("{}{}/{}/{name}", self.prefix, &name[..2], &name[2..4]))
    }

    fn derived(&self, of: Digest, name: &str) -> Key {
        let of = of.to_string();
        Key::from(format!("{}derived/{}/{}/{of}/{name}", self.prefix, &of[..2], &of[2..4]))
    }
}

fn check(name: Digest, bytes: &[u8]) -> Result<(), BlobError> {
    match Digest::of_bytes(bytes) == name {
        true => Ok(()),
        false => Err(BlobError::Damaged(name)),
    }
}
