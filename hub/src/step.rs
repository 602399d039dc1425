//! Names for the moments between two steps of the loop, at which a test may stop the process.

/// Marks the end of a step. Does nothing unless the feature `failpoints` is on and a test asked for that name.
pub fn done(name: &'static str) {
    fail::fail_point!(name);
    let _ = name;
}
