//! Names for the moments between two steps of the loop, at which a test may stop the process.

/// Marks the end of a step. Does nothing unless the feature `failpoints` is on and a test asked for that name.
pub fn done(name: &'static str) {
    fail::fail_point!(name);
    let _ = name;
}

/// Fails once if a test asked for it: what was done is done, and who asked for it does not hear so.
pub fn heard(name: &'static str) -> Result<(), sqlx::Error> {
    fail::fail_point!(name, |_| Err(sqlx::Error::WorkerCrashed));
    let _ = name;
    Ok(())
}
