//! The stores, and what happens to them behind the hub's back.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use riff_hub::{
    blobs::{Place, S3},
    canonical::Digest,
    seam::Seam,
};
use temporary_s3::{ACCESS_KEY, BUCKET, SECRET_KEY};

use crate::support::Community;

/// A hub with its blobs, whose files the story can reach. Its clock shows the real time, as the blobs' do.
pub struct Shelf {
    pub community: Community,
    root: PathBuf,
    _s3: Option<temporary_s3::Store>,
}

pub async fn folder() -> Shelf {
    let community = on_time(Community::new().await);
    let root = community.data.path().join("blobs");
    Shelf { community, root, _s3: None }
}

pub async fn s3() -> Shelf {
    s3_with_secret(SECRET_KEY).await
}

pub async fn s3_with_secret(secret: &str) -> Shelf {
    let store = temporary_s3::Store::start().await.unwrap();
    let place = S3 {
        bucket: BUCKET.into(),
        prefix: "community/one".into(),
        endpoint: Some(store.endpoint()),
        region: "us-east-1".into(),
        keys: Some((ACCESS_KEY.into(), secret.into())),
        path_style: true,
    };
    let community = Community::with(|settings| settings.blobs = Place::S3(place)).await;
    let root = store.files().join("community/one");
    Shelf { community: on_time(community), root, _s3: Some(store) }
}

fn on_time(community: Community) -> Community {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    community.clock.advance(now - Duration::from_millis(community.clock.now() as u64));
    community
}

impl Shelf {
    fn stored(&self, name: Digest) -> PathBuf {
        let text = name.to_string();
        self.root.join(&text[..2]).join(&text[2..4]).join(text)
    }

    /// Makes a blob older than it is.
    pub fn age(&self, name: Digest, by: Duration) {
        age(&self.stored(name), by);
    }

    /// Makes it longer ago that a blob was put away.
    pub fn age_away(&self, name: Digest, by: Duration) {
        age(&self.root.join("trash").join(name.to_string()), by);
    }

    /// Changes a byte in the middle.
    pub fn damage(&self, name: Digest) {
        let file = self.stored(name);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).unwrap();
    }

    /// The blobs in their place.
    pub fn names(&self) -> Vec<Digest> {
        let mut found = Vec::new();
        collect(&self.root, &mut found);
        found.retain(|name| self.stored(*name).is_file());
        found
    }
}

fn collect(folder: &Path, found: &mut Vec<Digest>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => collect(&entry.path(), found),
            false => found.extend(entry.file_name().to_str().unwrap().parse::<Digest>()),
        }
    }
}

fn age(file: &Path, by: Duration) {
    let file = File::options().write(true).open(file).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

/// Another picture than [`crate::support::picture`].
pub fn another_picture() -> Bytes {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([200, 10, 10]));
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner().into()
}

/// What an address gives to anybody: status and body.
pub async fn fetch(address: &str) -> (u16, Vec<u8>) {
    let answer = reqwest12::get(address).await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}
