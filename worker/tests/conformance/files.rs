//! Pictures for recipes, as the hub would have them.

use async_trait::async_trait;
use bytes::Bytes;
use riff_hub::canonical::Digest;
use riff_worker::engine::{EngineError, Files};

/// Files by name.
#[derive(Default)]
pub struct Shelf(pub Vec<Bytes>);

#[async_trait]
impl Files for Shelf {
    async fn get(&self, blob: Digest) -> Result<Bytes, EngineError> {
        let found = self.0.iter().find(|bytes| Digest::of_bytes(bytes) == blob);
        found.cloned().ok_or_else(|| EngineError::Input(format!("the picture {blob} is not there")))
    }
}

/// A PNG of one colour.
pub fn png(side: u32) -> Bytes {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(side, side, image::Rgb([9, 8, 7]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner().into()
}
