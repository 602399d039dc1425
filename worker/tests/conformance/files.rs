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

/// A picture of noise by a seed.
#[allow(dead_code, reason = "the tests of the engine replicate, which have this file too, do without")]
pub fn noise(seed: u64, width: u32, height: u32) -> Bytes {
    let pixel = |x: u32, y: u32| {
        let mixed = (seed ^ u64::from(x) << 32 ^ u64::from(y) << 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        image::Rgb([(mixed >> 40) as u8, (mixed >> 48) as u8, (mixed >> 56) as u8])
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(width, height, pixel).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner().into()
}
