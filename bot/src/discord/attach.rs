//! Results as files of a message, within Discord's size limit. Several pictures are one sheet, whose places the numbered
//! buttons name; where each is asked for by itself, they are as they were stored. What is too large is made smaller, and what
//! cannot be made small enough becomes a link.

use bytes::Bytes;
use image::RgbImage;
use riff_hub::{
    blobs::{BlobError, Blobs},
    embed,
    hub::JobView,
    media::BadMedia,
    pictures::{self, Format, Quality},
    sound::Container,
};

use super::message::{File, MAX_FILES};

/// Largest file of a message in a server without boosts, in bytes
/// (<https://discord.com/developers/docs/reference#uploading-files>). Discord says a larger limit with each interaction.
pub const MAX_BYTES: usize = 10 * 1024 * 1024;
/// Qualities to try in turn for a picture that is too large as PNG. Discord shows WebP as it does JPEG.
const QUALITIES: [Quality; 3] = [92, 80, 60];

/// What became of the results of a job.
#[derive(Default)]
pub struct Files {
    /// Those that fit.
    pub files: Vec<File>,
    /// Digests of those that did not, to be linked to.
    pub left_out: Vec<String>,
}

/// The results as a post shows them: one picture, which is the sheet of all of them where there are several. As PNG it
/// carries its recipe.
///
/// # Errors
/// If a result cannot be read.
pub async fn post(blobs: &Blobs, view: &JobView, limit: usize) -> Result<Files, BlobError> {
    let mut pictures = Vec::new();
    for shown in view.pictures() {
        pictures.push(blobs.get(shown.output.blob).await?);
    }
    if pictures.len() < 2 {
        return each(blobs, view, limit).await;
    }
    let name = format!("riff-{}-all", view.job.recipe.short());
    let (recipe, model) = (view.recipe.clone(), view.model.clone());
    let made = tokio::task::spawn_blocking(move || -> Result<Option<File>, BadMedia> {
        let sheet = pictures::sheet(&pictures::decode(&pictures)?)?;
        let png = embed::write_png(&sheet, &recipe, 0, &model)?;
        Ok(fit(&name, png.into(), limit, || Ok(sheet)))
    });
    let made = made.await.unwrap_or_else(|_| Err(BadMedia::Unreadable("composing crashed".to_owned())));
    match made {
        Ok(Some(file)) => Ok(Files { files: vec![file], left_out: Vec::new() }),
        Ok(None) => Ok(Files { files: Vec::new(), left_out: blobs_of(view) }),
        Err(error) => {
            tracing::warn!(job = view.job.id, %error, "results are posted one by one, because no sheet can be made");
            each(blobs, view, limit).await
        }
    }
}

/// Every result as a file of its own. `limit` is what all of them may have together.
///
/// # Errors
/// If a result cannot be read.
pub async fn each(blobs: &Blobs, view: &JobView, limit: usize) -> Result<Files, BlobError> {
    let shown: Vec<_> = view.pictures().chain(view.sounds()).collect();
    let share = limit / shown.len().clamp(1, MAX_FILES);
    let mut made = Files::default();
    for shown in shown {
        let name = format!("riff-{}-{}", shown.output.blob.short(), shown.output.idx + 1);
        let file = match made.files.len() < MAX_FILES {
            true => {
                let bytes = blobs.get(shown.output.blob).await?;
                let fitted = move || match Container::of(&bytes) {
                    Some(container) => sound(&name, container, bytes, share),
                    None => fit(&name, bytes.clone(), share, || decode(&bytes)),
                };
                tokio::task::spawn_blocking(fitted).await.ok().flatten()
            }
            false => None,
        };
        match file {
            Some(file) => made.files.push(file),
            None => made.left_out.push(shown.output.blob.to_string()),
        }
    }
    Ok(made)
}

fn blobs_of(view: &JobView) -> Vec<String> {
    view.pictures().map(|shown| shown.output.blob.to_string()).collect()
}

fn decode(png: &Bytes) -> Result<RgbImage, BadMedia> {
    let mut decoded = pictures::decode(&[png])?;
    decoded.pop().ok_or_else(|| BadMedia::Unreadable("there is no picture".to_owned()))
}

/// Sound, if it fits: it is never made smaller.
fn sound(name: &str, container: Container, bytes: Bytes, limit: usize) -> Option<File> {
    let fits = bytes.len() <= limit;
    fits.then(|| File { name: format!("{name}.{}", container.extension()), bytes })
}

/// The PNG if it fits, and else the picture as the best WebP that does.
fn fit(
    name: &str,
    png: Bytes,
    limit: usize,
    picture: impl FnOnce() -> Result<RgbImage, BadMedia>,
) -> Option<File> {
    if png.len() <= limit {
        return Some(File { name: format!("{name}.png"), bytes: png });
    }
    let picture = picture().ok()?;
    QUALITIES.into_iter().map(Format::WebP).find_map(|format| {
        let bytes = pictures::encode(&picture, format).ok()?;
        let fits = bytes.len() <= limit;
        fits.then(|| File { name: format!("{name}.{}", format.extension()), bytes: bytes.into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_large_a_picture_gets_smaller_or_is_left_out() {
        let mut state = 1_u32;
        let noise = RgbImage::from_fn(256, 256, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(state >> 8) as u8, (state >> 16) as u8, (state >> 24) as u8])
        });
        let png = Bytes::from(pictures::encode(&noise, Format::Png).unwrap());
        let fitted = |limit| fit("noise", png.clone(), limit, || decode(&png));
        assert!(fitted(png.len()).is_some_and(|file| file.name == "noise.png" && file.bytes == png));
        let limit = png.len() / 2;
        assert!(fitted(limit).is_some_and(|file| file.name == "noise.webp" && file.bytes.len() <= limit));
        assert!(fitted(1_000).is_none());
    }
}
