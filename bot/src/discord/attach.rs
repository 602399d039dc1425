//! Results as files of a message, within Discord's size limit: as they are, else as JPEG, else as a link.

use bytes::Bytes;
use riff_hub::{
    blobs::{BlobError, Blobs},
    hub::OutputView,
};

use super::message::{File, MAX_FILES};

/// Largest file of a message in a server without boosts, in bytes
/// (<https://discord.com/developers/docs/reference#uploading-files>). Discord says a larger limit with each interaction.
pub const MAX_BYTES: usize = 10 * 1024 * 1024;
/// JPEG qualities to try, of 100.
const QUALITIES: [u8; 3] = [92, 80, 60];

/// What became of the results of a job.
#[derive(Default)]
pub struct Files {
    /// Those that fit.
    pub files: Vec<File>,
    /// Digests of those that did not, to be linked to.
    pub left_out: Vec<String>,
}

/// The results as files. `limit` is what all of them may have together.
///
/// # Errors
/// If a result cannot be read.
pub async fn files(blobs: &Blobs, outputs: &[OutputView], limit: usize) -> Result<Files, BlobError> {
    let pictures: Vec<_> =
        outputs.iter().filter(|shown| shown.output.media_type.starts_with("image/")).collect();
    let share = limit / pictures.len().clamp(1, MAX_FILES);
    let mut made = Files::default();
    for shown in pictures {
        let name = format!("riff-{}-{}", shown.output.blob.short(), shown.output.idx + 1);
        let file = match made.files.len() < MAX_FILES {
            true => fit(&name, blobs.get(shown.output.blob).await?, share).await,
            false => None,
        };
        match file {
            Some(file) => made.files.push(file),
            None => made.left_out.push(shown.output.blob.to_string()),
        }
    }
    Ok(made)
}

async fn fit(name: &str, png: Bytes, limit: usize) -> Option<File> {
    if png.len() <= limit {
        return Some(File { name: format!("{name}.png"), bytes: png });
    }
    let jpeg = tokio::task::spawn_blocking(move || smaller(&png, limit)).await.ok()??;
    Some(File { name: format!("{name}.jpg"), bytes: jpeg.into() })
}

/// A JPEG of at most `limit` bytes.
fn smaller(png: &[u8], limit: usize) -> Option<Vec<u8>> {
    let picture = image::load_from_memory(png).ok()?.to_rgb8();
    QUALITIES.into_iter().find_map(|quality| {
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
        picture.write_with_encoder(encoder).ok()?;
        (bytes.len() <= limit).then_some(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_large_a_picture_gets_smaller_or_is_left_out() {
        let mut state = 1_u32;
        let noise = image::RgbImage::from_fn(256, 256, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(state >> 8) as u8, (state >> 16) as u8, (state >> 24) as u8])
        });
        let mut png = std::io::Cursor::new(Vec::new());
        noise.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let png = png.into_inner();
        let limit = png.len() * 2 / 3;
        assert!(smaller(&png, limit).is_some_and(|jpeg| jpeg.len() <= limit));
        assert_eq!(smaller(&png, 1_000), None);
    }
}
