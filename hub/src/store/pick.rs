//! Which jobs a worker is given: the first in the fair order that it can serve, except that a model in memory goes before
//! one that would have to be loaded, for as long as loading takes; and with it those that run together with it.

use std::collections::{HashMap, HashSet};

use super::{
    Store, StoreError,
    db::{Texts, Tx, all, on, scalar},
};
use crate::{
    canonical::{self, Digest},
    seam::Millis,
};

/// How many jobs of the line are looked at for each that may run together.
const LOOKED_AT: u32 = 8;

/// What a worker looks for.
#[derive(Debug)]
pub struct Search<'a> {
    /// The worker.
    pub worker: &'a str,
    /// The versions whose jobs it wants.
    pub wanted: Vec<Digest>,
    /// Those of them that it has in memory.
    pub loaded: Vec<Digest>,
    /// The only jobs that it gets of versions that it serves as overflow.
    pub overflowing: Vec<String>,
    /// Most jobs to run together, where it is more than one.
    pub batch: HashMap<Digest, u32>,
    /// The workers that are here, if there are jobs for which this one has too little memory.
    pub present: Vec<String>,
    /// Now.
    pub now: Millis,
}

/// A job in the line.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Candidate {
    id: String,
    #[sqlx(try_from = "String")]
    model: Digest,
    member: String,
    shape: String,
    /// Since when it could be leased.
    due: Millis,
}

/// The jobs that a worker ($1) can be given now ($2), of the versions in a JSON array ($3), in the fair order. A job that is
/// too large for its memory is left for another of the workers that are here (a JSON array, $4), if one has not run out of
/// memory for it, too. Of versions that it serves as overflow, it gets only the jobs in a JSON array ($6). What was learnt a
/// day ago (86,400,000 ms) is forgotten.
macro_rules! line {
    ($($end:literal)?) => {
        concat!(
            "SELECT id, model, member, shape, MAX(created_at, not_before) AS due FROM job
             WHERE state = 'queued' AND not_before <= $2 AND expires_at > $2
               AND EXISTS (SELECT 1 FROM worker_model AS can WHERE can.worker = $1 AND can.model = job.model
                           AND (can.overflow_after_ms IS NULL OR job.id IN (SELECT value FROM json_each($6))))
               AND job.model IN (SELECT value FROM json_each($3))
               AND (SELECT set_aside_until FROM worker WHERE name = $1) <= $2
               AND NOT (
                   EXISTS (SELECT 1 FROM shortage AS own
                           WHERE own.worker = $1 AND own.model = job.model AND own.amount <= job.amount
                             AND own.at > $2 - 86400000)
                   AND EXISTS (SELECT 1 FROM worker_model AS other JOIN worker ON name = other.worker
                               WHERE other.model = job.model AND other.worker <> $1 AND set_aside_until <= $2
                                 AND other.overflow_after_ms IS NULL
                                 AND other.worker IN (SELECT value FROM json_each($4))
                                 AND NOT EXISTS (SELECT 1 FROM shortage AS theirs
                                                 WHERE theirs.worker = other.worker AND theirs.model = job.model
                                                   AND theirs.amount <= job.amount AND theirs.at > $2 - 86400000)))
             ORDER BY lane, start_tag, id LIMIT $5"
            $(, $end)?
        )
    };
}

const LINE: &str = line!();
/// The same, of the jobs that no other hub is about to give away; no other hub gives these away before this step ends.
const OURS: Texts = Texts { sqlite: LINE, postgres: line!(" FOR NO KEY UPDATE OF job SKIP LOCKED") };

macro_rules! in_line {
    ($on:expr, $line:expr, $search:expr, $versions:expr, $most:expr) => {
        all!(
            $on,
            $line,
            $search.worker,
            $search.now,
            canonical::to_string($versions),
            canonical::to_string(&$search.present),
            i64::from($most),
            canonical::to_string(&$search.overflowing)
        )
    };
}

impl Store {
    /// The version of the job that comes next for a worker. A read, that lets idle workers look without taking the writer.
    pub async fn next_for(&self, search: &Search<'_>) -> Result<Option<Digest>, StoreError> {
        let first: Vec<Candidate> = if self.is_alone() {
            in_line!(self.read, LINE, search, &search.wanted, 1)?
        } else {
            let mut tx = self.read.begin_in_line().await?;
            in_line!(tx, LINE, search, &search.wanted, 1)?
        };
        Ok(first.first().map(|first| first.model))
    }
}

/// The ids of the jobs that a worker is given, which run together.
pub(super) async fn pick(tx: &mut Tx, search: &Search<'_>) -> Result<Vec<String>, StoreError> {
    let Some(head) = head(tx, search).await? else {
        return Ok(Vec::new());
    };
    let most = search.batch.get(&head.model).copied().unwrap_or(1);
    if most < 2 {
        return Ok(vec![head.id]);
    }
    let line: Vec<Candidate> = in_line!(tx, LINE, search, &search.wanted, most * LOOKED_AT)?;
    Ok(together(&head, &line, most as usize))
}

async fn head(tx: &mut Tx, search: &Search<'_>) -> Result<Option<Candidate>, StoreError> {
    let mut first: Vec<Candidate> = in_line!(tx, OURS, search, &search.wanted, 1)?;
    let Some(first) = first.pop() else {
        return Ok(None);
    };
    if search.loaded.is_empty() || search.loaded.contains(&first.model) {
        return Ok(Some(first));
    }
    let load_ms: i64 = scalar!(
        tx,
        "SELECT COALESCE((SELECT load_ms FROM pace WHERE worker = $1 AND model = digest),
                         CAST(1000 * CAST(COALESCE(spec -> 'cost' ->> 'load', '0') AS DOUBLE PRECISION) AS BIGINT))
         FROM model WHERE digest = $2",
        search.worker,
        first.model.to_string()
    )?;
    if search.now - first.due >= load_ms {
        return Ok(Some(first));
    }
    let mut loaded: Vec<Candidate> = in_line!(tx, OURS, search, &search.loaded, 1)?;
    Ok(Some(loaded.pop().unwrap_or(first)))
}

/// Those of a line that run together with its head, the head first. Nobody gains a turn by it: a member's first job may
/// overtake jobs of another kind, whose turn comes next, but further ones may overtake nobody else's.
fn together(head: &Candidate, line: &[Candidate], most: usize) -> Vec<String> {
    let mut ids = vec![head.id.clone()];
    let mut members = HashSet::from([head.member.as_str()]);
    let mut passed_over = HashSet::new();
    for job in line.iter().filter(|job| job.id != head.id) {
        if ids.len() == most {
            break;
        }
        let member = job.member.as_str();
        let alike = job.model == head.model && job.shape == head.shape && !job.shape.is_empty();
        let overtakes = passed_over.iter().any(|other| *other != member);
        if alike && (!overtakes || members.insert(member)) {
            members.insert(member);
            ids.push(job.id.clone());
        } else {
            passed_over.insert(member);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of jobs, written `member:shape`; gives the places of those that run together.
    fn batch(line: &str, most: usize) -> Vec<usize> {
        let job = |(place, text): (usize, &str)| {
            let (member, shape) = text.split_once(':').unwrap();
            let model = Digest::of_bytes(b"model");
            Candidate { id: place.to_string(), model, member: member.into(), shape: shape.into(), due: 0 }
        };
        let line: Vec<Candidate> = line.split(' ').enumerate().map(job).collect();
        together(&line[0], &line, most).iter().map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    fn jobs_of_one_shape_run_together_across_members() {
        assert_eq!(batch("a:x b:x c:y d:x", 8), [0, 1, 3]);
        assert_eq!(batch("a:x b:x c:x d:x", 3), [0, 1, 2]);
        assert_eq!(batch("a:y b:x", 8), [0]);
    }

    #[test]
    fn one_member_cannot_fill_a_batch_past_the_others() {
        assert_eq!(batch("a:x a:x a:x", 8), [0, 1, 2], "when nobody else waits");
        assert_eq!(batch("a:x b:y a:x a:x", 8), [0], "b waits");
        assert_eq!(batch("a:x a:x b:y a:x c:x c:x", 8), [0, 1, 4], "one of c's, and no more of a's");
        assert_eq!(batch("a:x a:y a:x", 8), [0, 2], "they overtake only themselves");
    }

    #[test]
    fn jobs_from_before_there_were_shapes_run_alone() {
        assert_eq!(batch("a: b:", 8), [0]);
    }
}
