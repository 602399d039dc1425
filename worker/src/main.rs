//! The `riff-worker` binary.
fn main() {}
