//! Files that people give and inputs name: taken in as blobs, looked up when a recipe names them, and looked at where a
//! safety classifier is on.

use std::{io::Cursor, sync::Arc};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::{Hub, ask::Ground};
use crate::{
    admission::Refusal,
    canonical::Digest,
    media::{self, BadMedia},
    model::{Media, ModelSpec},
    recipe::Recipe,
    safety::{Finding, Watch},
    schema, sound,
};

/// The name under which is kept what the classifier sees in a blob.
const FINDINGS: &str = "findings.json";

impl Hub {
    /// Takes in a file from elsewhere, as an input names it.
    ///
    /// # Errors
    /// As [`Self::take_image`] and [`Self::take_sound`].
    pub async fn take(&self, media: Media, bytes: Bytes) -> Result<Digest, Refusal> {
        match media {
            Media::Image => self.take_image(bytes).await,
            Media::Audio => self.take_sound(bytes).await,
            Media::Text => {
                let expected = "a picture or a sound";
                Err(Refusal::Media(BadMedia::Kind { found: "a file for text".to_owned(), expected }))
            }
        }
    }

    /// Takes in a picture from elsewhere: decodes it within limits, encodes its pixels anew, and stores them as a blob.
    ///
    /// # Errors
    /// [`Refusal::Picture`] for anything but a PNG, JPEG or WebP within the limits.
    pub async fn take_image(&self, bytes: Bytes) -> Result<Digest, Refusal> {
        let encoded = checked(move || encode_anew(&bytes)).await.map_err(Refusal::Picture)?;
        Ok(self.blobs.put(encoded).await?)
    }

    /// Takes in sound from elsewhere: reads it within limits, and stores nothing but the sound as a blob.
    ///
    /// # Errors
    /// [`Refusal::Sound`] for anything but WAV, MP3, Ogg or FLAC within the limits.
    pub async fn take_sound(&self, bytes: Bytes) -> Result<Digest, Refusal> {
        let limits = self.settings.sounds;
        let read = checked(move || sound::read(&bytes, limits)).await.map_err(Refusal::Sound)?;
        Ok(self.blobs.put(read.bytes).await?)
    }

    /// Refuses inputs that name a file that is not here, or a picture that must not be used where this is asked.
    pub(super) async fn check_files(
        &self,
        recipe: &Recipe,
        spec: &ModelSpec,
        ground: &Ground,
    ) -> Result<(), Refusal> {
        for (media, blob) in schema::files(&recipe.params, spec) {
            if !self.blobs.holds(blob).await? {
                return Err(Refusal::Missing(format!("{} {}", media.as_str(), blob.short())));
            }
            if media == Media::Image && !ground.is_mature() {
                self.check_picture(blob).await?;
            }
        }
        Ok(())
    }

    /// Refuses a picture in which the classifier, where one is on, sees what is not for everybody.
    async fn check_picture(&self, blob: Digest) -> Result<(), Refusal> {
        let Some(watch) = self.watch.get().cloned() else {
            return Ok(());
        };
        let findings = match self.blobs.kept(blob, FINDINGS).await? {
            Some(kept) => serde_json::from_slice(&kept).unwrap_or_default(),
            None => None,
        };
        let findings: Vec<Finding> = match findings {
            Some(findings) => findings,
            None => self.look_at_blob(blob, watch.clone()).await?,
        };
        match watch.flagged(&findings).is_empty() {
            true => Ok(()),
            false => Err(Refusal::FlaggedPicture { picture: blob.short() }),
        }
    }

    async fn look_at_blob(&self, blob: Digest, watch: Arc<Watch>) -> Result<Vec<Finding>, Refusal> {
        let bytes = self.blobs.get(blob).await?;
        let look = move || {
            let picture = media::decode(&bytes)?.into_rgb8();
            watch.classifier.look(&picture).map_err(|why| {
                tracing::error!(why, "the safety classifier failed");
                BadMedia::Unreadable("the safety classifier failed".to_owned())
            })
        };
        let findings = checked(look).await.map_err(Refusal::Picture)?;
        let kept = serde_json::to_vec(&findings).unwrap_or_default();
        self.blobs.keep(blob, FINDINGS, kept.into()).await?;
        Ok(findings)
    }
}

/// Reads a file where that may take its time.
async fn checked<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, BadMedia> + Send + 'static,
) -> Result<T, BadMedia> {
    let crashed = |_| BadMedia::Unreadable("reading it crashed".to_owned());
    spawn_blocking(read).await.map_err(crashed)?
}

fn encode_anew(bytes: &Bytes) -> Result<Bytes, BadMedia> {
    let mut encoded = Cursor::new(Vec::new());
    let written = media::decode(bytes)?.write_to(&mut encoded, image::ImageFormat::Png);
    written.map_err(|error| BadMedia::Unreadable(error.to_string()))?;
    Ok(encoded.into_inner().into())
}
