//! A folder with doodle: a network of random weights from `models/doodle/reference.py`, and the encoder that comes with Riff.

use std::{os::unix::fs::symlink, path::PathBuf, sync::Arc};

use riff_worker::{engine::Engine, engines::doodle};
use tempfile::TempDir;

/// The parts of its text encoder.
const ENCODER: [&str; 3] =
    ["minilm-l6-v2-1-of-2.safetensors", "minilm-l6-v2-2-of-2.safetensors", "minilm-l6-v2.txt"];

/// All that it needs.
pub fn folder() -> TempDir {
    folder_of("whole")
}

/// With the network of a name.
pub fn folder_of(network: &str) -> TempDir {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(
        here.join(format!("../worker/tests/doodle/{network}-1-of-1.safetensors")),
        folder.path().join("doodle-1-of-1.safetensors"),
    )
    .unwrap();
    for name in ENCODER {
        symlink(here.join("../models/doodle/weights").join(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// An engine that has looked through a folder.
pub fn engine(folder: &TempDir) -> Arc<dyn Engine> {
    doodle::engine(folder.path())
}
