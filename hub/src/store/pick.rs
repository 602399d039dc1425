//! Which jobs workers are given: each in its turn gets, of the first jobs of each version that it serves, in the fair order, the
//! one that [`crate::affinity`] chooses; and with it those that run together with it. The line is read once for all who look.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Texts, Tx, all, on, scalars},
    list,
};
use crate::{
    affinity::{self, Asking, Choice, Head, Memory},
    canonical::Digest,
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

/// A version of which a worker can be given jobs.
#[derive(Debug, sqlx::FromRow)]
struct Offer {
    /// Which of those that look the worker is.
    place: i64,
    #[sqlx(try_from = "String")]
    model: Digest,
    /// Whether it serves that as overflow.
    overflow: bool,
    load_ms: i64,
    swapped_at: Millis,
    /// The amount of a job for which it had too little memory.
    too_much: Option<i64>,
    /// The amount up to which another worker, which is here, may have enough.
    fits_others: Option<i64>,
}

/// For a JSON array of who looks: what each can be given jobs of, unless it is set aside. A job that is too large for its memory
/// is left for another of the workers that are here, if one has not run out of memory for it, too. What was learnt a day ago
/// (86,400,000 ms) is forgotten.
const OFFERS: &str = "
    WITH asked AS MATERIALIZED (
        SELECT key, value ->> 'worker' AS worker, value -> 'wanted' AS wanted, value -> 'present' AS present FROM json_each($1)
    )
    SELECT asked.key AS place, can.model, can.overflow_after_ms IS NOT NULL AS overflow, worker.swapped_at,
           COALESCE(load_ms, CAST(1000 * CAST(COALESCE(spec -> 'cost' ->> 'load', '0') AS DOUBLE PRECISION) AS BIGINT)) AS load_ms,
           own.amount AS too_much,
           (SELECT MAX(COALESCE(theirs.amount, 9223372036854775807))
            FROM worker_model AS other JOIN worker AS its ON its.name = other.worker
            LEFT JOIN shortage AS theirs
                ON theirs.worker = other.worker AND theirs.model = other.model AND theirs.at > $2 - 86400000
            WHERE own.amount IS NOT NULL AND other.model = can.model AND other.worker <> asked.worker
              AND its.set_aside_until <= $2 AND other.overflow_after_ms IS NULL
              AND other.worker IN (SELECT value FROM json_each(asked.present))) AS fits_others
    FROM asked JOIN worker ON worker.name = asked.worker AND worker.set_aside_until <= $2
    CROSS JOIN json_each(asked.wanted) AS wanted
    JOIN worker_model AS can ON can.worker = asked.worker AND can.model = wanted.value
    JOIN model ON model.digest = can.model
    LEFT JOIN pace ON pace.worker = can.worker AND pace.model = can.model
    LEFT JOIN shortage AS own ON own.worker = can.worker AND own.model = can.model AND own.at > $2 - 86400000
    ORDER BY asked.key, can.model";

/// Jobs of a version that some workers can be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Kind {
    model: Digest,
    /// Amounts from here on, below the next, are left to others.
    above: i64,
    below: i64,
    /// The only jobs, where it is served as overflow.
    these: Option<Vec<String>>,
}

#[derive(sqlx::FromRow)]
struct WaitingRow {
    kind: i64,
    #[sqlx(flatten)]
    job: Candidate,
    lane: i64,
    start_tag: i64,
    due: Millis,
}

macro_rules! lines {
    ($lock:literal) => {
        concat!(
            "SELECT kinds.place - 1 AS kind, line.* FROM ROWS FROM (json_to_recordset(CAST($1 AS JSON))
                 AS (model TEXT, above BIGINT, below BIGINT, these TEXT)) WITH ORDINALITY AS kinds (model, above, below, these, place)
             CROSS JOIN LATERAL (
                 SELECT id, model, member, shape, lane, start_tag, MAX(created_at, not_before) AS due FROM job
                 WHERE job.model = kinds.model AND state = 'queued' AND not_before <= $2 AND expires_at > $2
                   AND NOT (amount >= above AND amount < below)
                   AND (these IS NULL OR id IN (SELECT value FROM json_each(these)))
                   AND id NOT IN (SELECT value FROM json_each($4))
                 ORDER BY lane, start_tag, id LIMIT $3 ",
            $lock,
            ") AS line
             ORDER BY kind, lane, start_tag, id"
        )
    };
}

/// The first jobs, at most $3, of each kind in a JSON array ($1), in the fair order, but for those in another ($4): one look at an
/// index for each kind, however many wait.
const LINES: Texts = Texts {
    sqlite: "
    SELECT kinds.key AS kind, job.id, job.model, member, shape, lane, start_tag, MAX(created_at, not_before) AS due
    FROM json_each($1) AS kinds JOIN job ON job.id IN (
        SELECT line.id FROM job AS line
        WHERE line.model = kinds.value ->> 'model' AND line.state = 'queued' AND line.not_before <= $2 AND line.expires_at > $2
          AND NOT (line.amount >= kinds.value ->> 'above' AND line.amount < kinds.value ->> 'below')
          AND (kinds.value ->> 'these' IS NULL OR line.id IN (SELECT value FROM json_each(kinds.value -> 'these')))
          AND line.id NOT IN (SELECT value FROM json_each($4))
        ORDER BY line.lane, line.start_tag, line.id LIMIT $3)
    ORDER BY kinds.key, lane, start_tag, job.id",
    postgres: lines!(""),
};

/// The same, of the jobs that no other hub is about to give away; no other hub gives these away before this step ends.
const OURS: Texts = Texts { sqlite: LINES.sqlite, postgres: lines!("FOR NO KEY UPDATE SKIP LOCKED") };

/// The line, as those see it who look.
struct Line {
    /// What each of them can be given, by their places, and of which kind that is.
    offers: Vec<Vec<(Offer, usize)>>,
    kinds: Vec<Kind>,
    /// The first jobs of each kind.
    first: Vec<Vec<WaitingRow>>,
}

macro_rules! jobs {
    ($on:expr, $lines:expr, $kinds:expr, $now:expr, $most:expr, $but:expr) => {
        all!($on, $lines, list($kinds), $now, i64::from($most), list($but))
    };
}

/// Reads the line for some who look, but for jobs that are gone.
macro_rules! line {
    ($on:expr, $lines:expr, $searches:expr, $gone:expr) => {{
        let (searches, now) = ($searches, now($searches));
        let offers: Vec<Offer> = all!($on, OFFERS, list(searches.iter().map(|search| search.asked())), now)?;
        let mut line = Line::of(searches, offers);
        let most: u32 = searches.iter().map(|search| search.most()).sum();
        let waiting: Vec<WaitingRow> = jobs!($on, $lines, &line.kinds, now, most, $gone)?;
        for row in waiting {
            line.first[row.kind as usize].push(row);
        }
        line
    }};
}

fn now(searches: &[&Search]) -> Millis {
    searches.iter().map(|search| search.now).max().unwrap_or(0)
}

/// Who looks, as a statement is told.
#[derive(Serialize)]
struct Asked<'a> {
    worker: &'a str,
    wanted: &'a [Digest],
    present: &'a [String],
}

impl Search {
    fn asked(&self) -> Asked<'_> {
        Asked { worker: &self.worker, wanted: &self.wanted, present: &self.present }
    }

    /// The most jobs that it is given at once.
    fn most(&self) -> u32 {
        self.batch.values().copied().max().unwrap_or(1).max(1)
    }

    /// The kind of the jobs that it can be given by an offer.
    fn kind(&self, offer: &Offer) -> Kind {
        let (above, below) = offer.too_much.zip(offer.fits_others).unwrap_or((0, 0));
        let these = offer.overflow.then(|| self.overflowing.clone());
        Kind { model: offer.model, above, below, these }
    }
}

impl Line {
    fn of(searches: &[&Search], offers: Vec<Offer>) -> Self {
        let mut line = Self {
            offers: searches.iter().map(|_| Vec::new()).collect(),
            kinds: Vec::new(),
            first: Vec::new(),
        };
        for offer in offers {
            let place = offer.place as usize;
            let kind = searches[place].kind(&offer);
            let known = line.kinds.iter().position(|known| *known == kind);
            let number = known.unwrap_or_else(|| {
                line.kinds.push(kind);
                line.first.push(Vec::new());
                line.kinds.len() - 1
            });
            line.offers[place].push((offer, number));
        }
        line
    }

    /// The job for one of those who look, of those that are not taken, and the number of its kind.
    fn choose(
        &self,
        search: &Search,
        place: usize,
        taken: &HashSet<String>,
    ) -> Option<(Head<(&Candidate, usize)>, bool)> {
        let head = |(offer, kind): &'_ (Offer, usize)| {
            let first = self.first[*kind].iter().find(|row| !taken.contains(&row.job.id))?;
            Some(first.head(search, offer, *kind))
        };
        let mut heads: Vec<Head<(&Candidate, usize)>> = self.offers[place].iter().filter_map(head).collect();
        heads.sort_by(|a, b| (a.lane, a.start_tag, &a.job.0.id).cmp(&(b.lane, b.start_tag, &b.job.0.id)));
        let swapped_at = self.offers[place].first().map_or(0, |(offer, _)| offer.swapped_at);
        let asking = Asking { now: search.now, swapped_at, swap_share: search.swap_share };
        let Choice { head, swaps } = affinity::choose(&heads, asking)?;
        Some((head.clone(), swaps))
    }
}

impl WaitingRow {
    fn head(&self, search: &Search, offer: &Offer, kind: usize) -> Head<(&Candidate, usize)> {
        let Self { job, lane, start_tag, due, .. } = self;
        let model = job.model;
        let (memory, load_ms) = if search.loaded.contains(&model) {
            (Memory::Here, 0)
        } else if search.elsewhere.contains(&model) {
            (Memory::Elsewhere, offer.load_ms)
        } else {
            (Memory::Nowhere, offer.load_ms)
        };
        Head { job: (job, kind), model, lane: *lane, start_tag: *start_tag, due: *due, load_ms, memory }
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
            list(models),
            now,
            now - JUST_NOW
        )?;
        Ok(waiting.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// The version of the job that comes next for a worker. A read, that lets idle workers look without taking the writer.
    pub async fn next_for(&self, search: &Search) -> Result<Option<Digest>, StoreError> {
        let (searches, gone): (_, [&str; 0]) = (&[search], []);
        let line = if self.is_alone() {
            line!(self.read, LINES, searches, gone)
        } else {
            let mut tx = self.write.begin_in_line().await?;
            line!(tx, LINES, searches, gone)
        };
        Ok(line.choose(search, 0, &HashSet::new()).map(|(head, _)| head.model))
    }
}

/// The jobs that each worker is to be given, which run together, in the order in which they look. None is given what is gone.
/// What is `held` no other hub can take meanwhile.
pub(super) async fn pick(
    tx: &mut Tx,
    searches: &[&Search],
    gone: &HashSet<String>,
    held: bool,
) -> Result<Vec<Picked>, StoreError> {
    let lines = if held { OURS } else { LINES };
    let line = line!(tx, lines, searches, gone);
    let mut taken = gone.clone();
    let mut picked = Vec::with_capacity(searches.len());
    for (place, search) in searches.iter().enumerate() {
        let Some((head, swaps)) = line.choose(search, place, &taken) else {
            picked.push(Picked::default());
            continue;
        };
        let (job, kind) = head.job;
        let most = search.batch.get(&head.model).copied().unwrap_or(1);
        let jobs = match most {
            0 | 1 => vec![job.id.clone()],
            most => {
                let kind = &line.kinds[kind];
                let rows: Vec<WaitingRow> = jobs!(tx, lines, [kind], search.now, most * LOOKED_AT, &taken)?;
                let line: Vec<Candidate> = rows.into_iter().map(|row| row.job).collect();
                together(job, &line, most as usize)
            }
        };
        taken.extend(jobs.iter().cloned());
        picked.push(Picked { jobs, swaps });
    }
    Ok(picked)
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
