//! Results as surfaces show them: smaller, in a format that the reader takes, and several in one sheet. What was made once
//! is kept beside the blobs.

use bytes::Bytes;

use super::{Hub, JobView};
use crate::{
    admission::Refusal,
    canonical::Digest,
    media::BadMedia,
    pictures::{self, Format},
};

/// Makings at once. Each decodes whole pictures: up to 256 MB for the largest.
pub(super) const MOST_AT_ONCE: usize = 2;

/// How a picture is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Most pixels a side.
    pub side: u32,
    /// The format.
    pub format: Format,
}

impl Look {
    /// A name for what it gives: different for different bytes.
    fn name(self, what: &str) -> String {
        let quality = match self.format {
            Format::Png => String::new(),
            Format::Jpeg(quality) | Format::WebP(quality) => format!("q{quality}"),
        };
        format!("{what}{}{quality}.{}", self.side, self.format.extension())
    }
}

impl Hub {
    /// A picture as somebody looks at it.
    ///
    /// # Errors
    /// [`Refusal::Missing`] if there is no such blob, [`Refusal::Picture`] if it is no picture.
    pub async fn look(&self, blob: Digest, look: Look) -> Result<Bytes, Refusal> {
        self.make_look(&[blob], blob, look.name(""), look).await
    }

    /// All pictures of a job as somebody looks at them, in one.
    ///
    /// # Errors
    /// [`Refusal::Missing`] if it has none.
    pub async fn sheet(&self, view: &JobView, look: Look) -> Result<Bytes, Refusal> {
        let blobs: Vec<Digest> = view.pictures().map(|shown| shown.output.blob).collect();
        let names: String = blobs.iter().map(Digest::to_string).collect();
        let of = Digest::of_bytes(names.as_bytes());
        match blobs.is_empty() {
            true => Err(Refusal::Missing(format!("picture of job {}", view.job.id))),
            false => self.make_look(&blobs, of, look.name("sheet"), look).await,
        }
    }

    async fn make_look(
        &self,
        blobs: &[Digest],
        of: Digest,
        name: String,
        look: Look,
    ) -> Result<Bytes, Refusal> {
        if let Some(kept) = self.blobs.kept(of, &name).await? {
            return Ok(kept);
        }
        let _one_of_few = self.makings.acquire().await;
        let mut files = Vec::with_capacity(blobs.len());
        for blob in blobs {
            files.push(self.blobs.get(*blob).await?);
        }
        let make = move || {
            let sheet = pictures::sheet(&pictures::decode(&files)?)?;
            pictures::encode(&*pictures::shrink(&sheet, look.side)?, look.format)
        };
        let made = tokio::task::spawn_blocking(make)
            .await
            .map_err(|_| BadMedia::Unreadable("making it smaller crashed".to_owned()))
            .and_then(|made| made)
            .map_err(Refusal::Picture)?;
        let made = Bytes::from(made);
        self.blobs.keep(of, &name, made.clone()).await?;
        Ok(made)
    }
}
