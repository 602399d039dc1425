//! The trace of a job, from the interaction that asked for it to the device that ran it, in the ids of W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>). A job's id has as many bits as the id of a trace, so it is that id: whoever knows
//! the job, on whichever hub or worker, knows its trace, and nothing has to be stored or passed on for it.

use ulid::Ulid;

use crate::canonical::Digest;

/// Id of the trace of a job, as 32 hexadecimal digits. An id that is no ULID, which no hub makes, has one all the same.
pub fn of(job: &str) -> String {
    match Ulid::from_string(job) {
        Ok(id) => format!("{:032x}", id.0),
        Err(_) => Digest::of_bytes(job.as_bytes()).to_string()[..32].to_owned(),
    }
}

/// What a worker continues: the header `traceparent` of an attempt, which names it as the parent of what the worker does.
pub fn parent(job: &str, attempt: u32) -> String {
    format!("00-{}-{:016x}-01", of(job), span(&format!("{job} {attempt}")))
}

/// The id of a span, from words that no other span goes by.
pub(crate) fn span(words: &str) -> u64 {
    let digest = Digest::of_bytes(words.as_bytes()).to_string();
    u64::from_str_radix(&digest[..16], 16).unwrap_or(1)
}

/// The id of the trace that a `traceparent` names; nothing if it cannot be read.
pub fn read(parent: &str) -> Option<&str> {
    let mut parts = parent.split('-').skip(1);
    parts.next().filter(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "01M88RG71PGB0FS071QB3EMWTC";

    #[test]
    fn a_job_and_its_attempts_have_one_trace() {
        let (first, second) = (parent(JOB, 1), parent(JOB, 2));
        assert_ne!(first, second);
        assert_eq!((read(&first), read(&second)), (Some(of(JOB).as_str()), Some(of(JOB).as_str())));
        assert_eq!(first.len(), 55);
        assert_ne!(of(JOB), of("01M88RG71PGB0FS071QB3EMWTD"));
    }

    #[test]
    fn the_trace_gives_the_job_back() {
        let id = u128::from_str_radix(&of(JOB), 16).unwrap();
        assert_eq!(Ulid(id).to_string(), JOB);
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for wrong in ["", "00", "00-xyz-1-01", "00-0123-4567-01"] {
            assert_eq!(read(wrong), None);
        }
    }
}
