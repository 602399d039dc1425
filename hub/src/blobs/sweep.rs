//! Blobs that nothing names any more. They are not deleted at once but put away, and deleted when they have been away for as
//! long again and still nothing names them. So no lock is needed against somebody who stores the same bytes meanwhile: a blob
//! that was there when it was stored and is away when it is looked for is brought back, by whoever looks or by the next sweep.
//! The one condition is that what is stored is named within that time.

use futures::{
    TryStreamExt,
    stream::{BoxStream, StreamExt},
};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, path::Path as Key};

use super::{BlobError, Blobs};
use crate::{canonical::Digest, seam::Millis};

/// Where what was put away lies.
const AWAY: &str = "trash";

/// Blobs in their place, or those that were put away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// In their place.
    Stored,
    /// Put away.
    Away,
}

/// A blob with the time since when it is where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aged {
    /// Its name.
    pub name: Digest,
    /// Since when, by the store's clock.
    pub since: Millis,
}

impl Blobs {
    /// All blobs of an area, in no order.
    pub fn list(&self, area: Area) -> BoxStream<'_, Result<Aged, BlobError>> {
        let root = match area {
            Area::Stored => Key::from(self.prefix.as_str()),
            Area::Away => Key::from(format!("{}{AWAY}", self.prefix)),
        };
        let found = self.store.list(Some(&root)).map_err(BlobError::from);
        found.try_filter_map(move |meta| async move { Ok(self.aged(area, &meta)) }).boxed()
    }

    fn aged(&self, area: Area, meta: &ObjectMeta) -> Option<Aged> {
        let name: Digest = meta.location.filename()?.parse().ok()?;
        let place = match area {
            Area::Stored => self.key(name),
            Area::Away => self.away(name),
        };
        // What was made of blobs lies between them.
        (place == meta.location).then(|| Aged { name, since: meta.last_modified.timestamp_millis() })
    }

    /// Puts a blob away.
    pub async fn put_away(&self, name: Digest) -> Result<(), BlobError> {
        self.carry(&self.key(name), &self.away(name)).await.map(drop)
    }

    /// Brings a blob back that was put away; `false` if it was not.
    pub async fn bring_back(&self, name: Digest) -> Result<bool, BlobError> {
        self.carry(&self.away(name), &self.key(name)).await
    }

    /// Deletes a blob that was put away.
    pub async fn delete_away(&self, name: Digest) -> Result<(), BlobError> {
        absent(self.store.delete(&self.away(name)).await).map(drop)
    }

    /// Its new place has a time of its own, which a rename would not give it. It is in one of the two at any moment.
    async fn carry(&self, from: &Key, to: &Key) -> Result<bool, BlobError> {
        let Some(found) = absent(self.store.get(from).await)? else {
            return Ok(false);
        };
        self.store.put(to, PutPayload::from_bytes(found.bytes().await?)).await?;
        absent(self.store.delete(from).await)?;
        Ok(true)
    }

    fn away(&self, name: Digest) -> Key {
        Key::from(format!("{}{AWAY}/{name}", self.prefix))
    }
}

/// Nothing, where there is no such object.
fn absent<T>(result: object_store::Result<T>) -> Result<Option<T>, BlobError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
