//! Which jobs a worker is given: of the first jobs of each version that it serves, in the fair order, the one that
//! [`crate::affinity`] chooses; and with it those that run together with it.

use std::collections::{HashMap, HashSet};

use super::{
    Store, StoreError,
    db::{Texts, Tx, all, on, scalars},
};
use crate::{
    affinity::{self, Asking, Choice, Head, Memory},
    canonical::{self, Digest},
    seam::Millis,
};

/// How many jobs of the line are looked at for each that may run together.
const LOOKED_AT: u32 = 8;

/// A job that was queued less than this before woke a worker then, which is about to take it. In milliseconds.
const JUST_NOW: Millis = 1_000;

/// What a worker looks for.
#[derive(Debug, Clone)]
pub struct Search {
    /// The worker.
    pub worker: String,
    /// The versions whose jobs it wants.
    pub wanted: Vec<Digest>,
    /// Those of them that it has in memory.
    pub loaded: Vec<Digest>,
    /// Versions that other workers, which are here, have in memory.
    pub elsewhere: HashSet<Digest>,
    /// Most part of its time that it loads models for while it could do without.
    pub swap_share: f64,
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
}

/// What a worker is given.
#[derive(Debug, Default)]
pub(super) struct Picked {
    /// Ids of jobs that run together; none, if there is nothing for it.
    pub jobs: Vec<String>,
    /// Whether it leaves other work for it, for which it would have to load nothing.
    pub swaps: bool,
}

/// Whether a worker ($1) can be given a job now ($2), of those that it may be given at all, but for what others were given in
/// this step (a JSON array, $7). A job that is too large for its
/// memory is left for another of the workers that are here (a JSON array, $4), if one has not run out of memory for it, too.
/// Of versions that it serves as overflow, it gets only the jobs in a JSON array ($6). What was learnt a day ago
/// (86,400,000 ms) is forgotten.
macro_rules! can_be_given {
    () => {
        "state = 'queued' AND not_before <= $2 AND expires_at > $2 AND job.id NOT IN (SELECT value FROM json_each($7))
           AND EXISTS (SELECT 1 FROM worker_model AS can WHERE can.worker = $1 AND can.model = job.model
                       AND (can.overflow_after_ms IS NULL OR job.id IN (SELECT value FROM json_each($6))))
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
                                               AND theirs.amount <= job.amount AND theirs.at > $2 - 86400000)))"
    };
}

/// The first jobs, at most $5, of the versions in a JSON array ($3), in the fair order.
const LINE: &str = concat!(
    "SELECT id, model, member, shape FROM job WHERE ",
    can_be_given!(),
    " AND job.model IN (SELECT value FROM json_each($3)) ORDER BY lane, start_tag, id LIMIT $5"
);

/// The first job of each version in a JSON array ($3), in the fair order: one look at an index for each, however many wait.
macro_rules! heads {
    ($begin:literal, $end:literal) => {
        concat!(
            "SELECT first.id, first.model, first.member, first.shape, first.lane, first.start_tag,
                    MAX(first.created_at, first.not_before) AS due, swapped_at,
                    COALESCE(load_ms, CAST(1000 * CAST(COALESCE(spec -> 'cost' ->> 'load', '0') AS DOUBLE PRECISION) AS BIGINT))
                        AS load_ms
             FROM json_each($3) AS wanted ",
            $begin,
            " FROM job WHERE job.model = wanted.value AND ",
            can_be_given!(),
            " ORDER BY lane, start_tag, id LIMIT 1",
            $end,
            " JOIN worker ON worker.name = $1 JOIN model ON digest = first.model
             LEFT JOIN pace ON pace.worker = $1 AND pace.model = first.model
             ORDER BY first.lane, first.start_tag, first.id"
        )
    };
}

const HEADS: Texts = Texts {
    sqlite: heads!("JOIN job AS first ON first.id = (SELECT job.id", ")"),
    postgres: heads!("CROSS JOIN LATERAL (SELECT job.*", ") AS first"),
};

/// The same, of the jobs that no other hub is about to give away; no other hub gives these away before this step ends.
const OURS: Texts = Texts {
    sqlite: HEADS.sqlite,
    postgres: heads!("CROSS JOIN LATERAL (SELECT job.*", " FOR NO KEY UPDATE OF job SKIP LOCKED) AS first"),
};

macro_rules! asked {
    ($on:expr, $told:expr, $search:expr, $most:expr, $taken:expr) => {
        all!(
            $on,
            $told,
            &$search.worker,
            $search.now,
            canonical::to_string(&$search.wanted),
            canonical::to_string(&$search.present),
            i64::from($most),
            canonical::to_string(&$search.overflowing),
            canonical::to_string(&$taken)
        )
    };
}

#[derive(sqlx::FromRow)]
struct HeadRow {
    #[sqlx(flatten)]
    job: Candidate,
    lane: i64,
    start_tag: i64,
    due: Millis,
    load_ms: i64,
    swapped_at: Millis,
}

/// What a worker chooses from.
struct Heads {
    heads: Vec<Head<Candidate>>,
    asking: Asking,
}

impl Heads {
    fn choose(&self) -> Option<Choice<'_, Candidate>> {
        affinity::choose(&self.heads, self.asking)
    }
}

impl Store {
    /// Of these versions, those that a job waits for which can be given now, and which was not queued just now.
    pub async fn waiting_of(&self, models: &[Digest], now: Millis) -> Result<Vec<Digest>, StoreError> {
        let waiting: Vec<String> = scalars!(
            self.read,
            "SELECT value FROM json_each($1) AS wanted
             WHERE EXISTS (SELECT 1 FROM job WHERE model = wanted.value AND state = 'queued'
                           AND not_before <= $2 AND expires_at > $2 AND (created_at <= $3 OR not_before > 0))",
            canonical::to_string(&models),
            now,
            now - JUST_NOW
        )?;
        Ok(waiting.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// The version of the job that comes next for a worker. A read, that lets idle workers look without taking the writer.
    pub async fn next_for(&self, search: &Search) -> Result<Option<Digest>, StoreError> {
        let rows: Vec<HeadRow> = if self.is_alone() {
            asked!(self.read, HEADS, search, 0, [""; 0])?
        } else {
            let mut tx = self.write.begin_in_line().await?;
            asked!(tx, HEADS, search, 0, [""; 0])?
        };
        Ok(Heads::of(rows, search).choose().map(|choice| choice.head.model))
    }
}

/// The jobs that a worker is given, which run together, of those that are not taken.
pub(super) async fn pick(
    tx: &mut Tx,
    search: &Search,
    taken: impl Iterator<Item = &String>,
) -> Result<Picked, StoreError> {
    let taken: Vec<&String> = taken.collect();
    let heads = Heads::of(asked!(tx, OURS, search, 0, taken)?, search);
    let Some(Choice { head, swaps }) = heads.choose() else {
        return Ok(Picked::default());
    };
    let most = search.batch.get(&head.model).copied().unwrap_or(1);
    let jobs = match most {
        0 | 1 => vec![head.job.id.clone()],
        most => {
            let line: Vec<Candidate> = asked!(tx, LINE, search, most * LOOKED_AT, taken)?;
            together(&head.job, &line, most as usize)
        }
    };
    Ok(Picked { jobs, swaps })
}

impl Heads {
    fn of(rows: Vec<HeadRow>, search: &Search) -> Self {
        let swapped_at = rows.first().map_or(0, |row| row.swapped_at);
        let asking = Asking { now: search.now, swapped_at, swap_share: search.swap_share };
        Self { heads: rows.into_iter().map(|row| row.head(search)).collect(), asking }
    }
}

impl HeadRow {
    fn head(self, search: &Search) -> Head<Candidate> {
        let Self { job, lane, start_tag, due, load_ms, .. } = self;
        let model = job.model;
        let (memory, load_ms) = if search.loaded.contains(&model) {
            (Memory::Here, 0)
        } else if search.elsewhere.contains(&model) {
            (Memory::Elsewhere, load_ms)
        } else {
            (Memory::Nowhere, load_ms)
        };
        Head { job, model, lane, start_tag, due, load_ms, memory }
    }
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
            Candidate { id: place.to_string(), model, member: member.into(), shape: shape.into() }
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
