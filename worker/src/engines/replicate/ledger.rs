//! What was spent, in a file for each month (UTC): a line when a run is about to begin, with the most that it may cost, and
//! one when it ended, with what it did cost. The first is on the disk before anything is sent, so whatever happens to the
//! worker, no more than the cap is ever spent.
//!
//! The file is locked while it is read and added to: workers that share a folder share the cap.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use riff_hub::seam::{Millis, utc};
use serde::{Deserialize, Serialize};

use super::money::Usd;

/// The ledger of an account.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    cap: Usd,
}

/// A run that may cost something.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    month: String,
    run: String,
    job: String,
}

/// Why nothing may be spent.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is too little left of the month's money.
    #[error(
        "the cap of {cap}, which monthly_usd sets, is reached: {file} has {counted} for {month}, and the next run may cost {next}. \
         Nothing more runs there until the month is over, unless monthly_usd is raised"
    )]
    Reached {
        /// The cap.
        cap: Usd,
        /// What is spent, or may be by runs that have not ended.
        counted: Usd,
        /// What the next run may cost.
        next: Usd,
        /// The month.
        month: String,
        /// Where that is written.
        file: String,
    },
    /// A file.
    #[error("the ledger {0} cannot be used, so nothing is spent: {1}. Check the folder that `ledger` names")]
    File(String, std::io::Error),
    /// A line.
    #[error("line {1} of the ledger {0} cannot be read, so nothing is spent: correct it, or take it out")]
    Line(String, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The most that a run may cost which has not ended.
    Reserved,
    /// What it cost.
    Spent,
}

#[derive(Serialize, Deserialize)]
struct Line {
    at: String,
    run: String,
    job: String,
    kind: Kind,
    usd_millionths: Usd,
}

/// A month's file, held against others.
struct Open {
    file: File,
    path: String,
    counted: Usd,
    /// Whether the last line was cut off by a crash.
    torn: bool,
}

impl Ledger {
    /// The ledger in a folder, which is made when it is first needed.
    pub fn new(folder: &Path, cap: Usd) -> Self {
        Self { folder: folder.to_owned(), cap }
    }

    /// Counts the most that a run may cost, if there is that much left.
    ///
    /// # Errors
    /// [`LedgerError`]. Nothing is counted then.
    pub fn reserve(&self, run: &str, job: &str, most: Usd, now: Millis) -> Result<Entry, LedgerError> {
        let entry = Entry { month: month(now), run: run.to_owned(), job: job.to_owned() };
        let open = self.open(&entry.month)?;
        self.check(&open, most, &entry.month)?;
        open.add(&entry, Kind::Reserved, most, now)?;
        Ok(entry)
    }

    /// Replaces what was reserved for a run by what it cost.
    ///
    /// # Errors
    /// [`LedgerError`]. What was reserved stays counted then.
    pub fn settle(&self, entry: &Entry, cost: Usd, now: Millis) -> Result<(), LedgerError> {
        self.open(&entry.month)?.add(entry, Kind::Spent, cost, now)
    }

    /// Whether a run that may cost so much would be let through.
    ///
    /// # Errors
    /// [`LedgerError`], as [`Self::reserve`].
    pub fn allows(&self, most: Usd, now: Millis) -> Result<(), LedgerError> {
        let month = month(now);
        self.check(&self.open(&month)?, most, &month)
    }

    fn check(&self, open: &Open, next: Usd, month: &str) -> Result<(), LedgerError> {
        match open.counted.plus(next) <= self.cap {
            true => Ok(()),
            false => Err(LedgerError::Reached {
                cap: self.cap,
                counted: open.counted,
                next,
                month: month.to_owned(),
                file: open.path.clone(),
            }),
        }
    }

    fn open(&self, month: &str) -> Result<Open, LedgerError> {
        let path = self.folder.join(format!("{month}.jsonl"));
        let name = path.display().to_string();
        let failed = |error| LedgerError::File(name.clone(), error);
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let torn = !text.is_empty() && !text.ends_with('\n');
        let counted = count(&text, &name)?;
        Ok(Open { file, path: name, counted, torn })
    }
}

impl Open {
    fn add(mut self, entry: &Entry, kind: Kind, amount: Usd, now: Millis) -> Result<(), LedgerError> {
        let (run, job) = (entry.run.clone(), entry.job.clone());
        let line = Line { at: utc(now), run, job, kind, usd_millionths: amount };
        let line = serde_json::to_string(&line).unwrap_or_default();
        let text = if self.torn { format!("\n{line}\n") } else { format!("{line}\n") };
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| LedgerError::File(self.path, error))
    }
}

/// What the lines of a file count together: of each run, its last. One that was cut off stands for a run that never began,
/// or for an end that was not noted, and its reservation counts on.
fn count(text: &str, path: &str) -> Result<Usd, LedgerError> {
    let mut runs = HashMap::new();
    let lines: Vec<&str> = text.split('\n').collect();
    for (index, text) in lines.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        match serde_json::from_str::<Line>(text) {
            Ok(line) => drop(runs.insert(line.run, line.usd_millionths)),
            Err(error) if error.is_eof() => {}
            Err(_) => return Err(LedgerError::Line(path.to_owned(), index + 1)),
        }
    }
    Ok(runs.into_values().fold(Usd::default(), Usd::plus))
}

/// The month of a moment, such as `2026-11`.
fn month(now: Millis) -> String {
    // Begun minutes are whole there.
    utc(now.div_euclid(60_000) * 60_000).chars().take(7).collect()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// 2026-01-01 00:00 UTC.
    const NEW_YEAR: Millis = 1_767_225_600_000;

    fn ledger(folder: &TempDir) -> Ledger {
        Ledger::new(&folder.path().join("spent"), Usd(1_000))
    }

    #[test]
    fn what_is_reserved_or_spent_counts_until_the_month_is_over() {
        let folder = TempDir::new().unwrap();
        let first = ledger(&folder).reserve("a", "job", Usd(600), NEW_YEAR).unwrap();
        let refused = ledger(&folder).reserve("b", "job", Usd(600), NEW_YEAR).unwrap_err();
        let told = refused.to_string().replace(&folder.path().display().to_string(), "FOLDER");
        insta::assert_snapshot!(told, @"the cap of 0.001000 USD, which monthly_usd sets, is reached: FOLDER/spent/2026-01.jsonl has 0.000600 USD for 2026-01, and the next run may cost 0.000600 USD. Nothing more runs there until the month is over, unless monthly_usd is raised");
        ledger(&folder).settle(&first, Usd(100), NEW_YEAR).unwrap();
        ledger(&folder).reserve("b", "job", Usd(900), NEW_YEAR).unwrap();
        assert!(ledger(&folder).allows(Usd(1), NEW_YEAR).is_err(), "to the last millionth");
        let february = NEW_YEAR + 31 * 24 * 60 * 60 * 1_000;
        assert!(ledger(&folder).allows(Usd(1), february - 1).is_err());
        ledger(&folder).allows(Usd(1_000), february).unwrap();
    }

    #[test]
    fn an_end_is_counted_in_the_month_of_its_begin() {
        let folder = TempDir::new().unwrap();
        let entry = ledger(&folder).reserve("a", "job", Usd(900), NEW_YEAR - 1).unwrap();
        ledger(&folder).settle(&entry, Usd(100), NEW_YEAR).unwrap();
        ledger(&folder).allows(Usd(900), NEW_YEAR - 1).unwrap();
        ledger(&folder).allows(Usd(1_000), NEW_YEAR).unwrap();
    }

    #[test]
    fn a_line_that_a_crash_cut_off_spoils_nothing() {
        let folder = TempDir::new().unwrap();
        let kept = ledger(&folder).reserve("a", "job", Usd(600), NEW_YEAR).unwrap();
        let path = folder.path().join("spent/2026-01.jsonl");
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"at\":\"2026-01-01 00:00 UTC\",\"run\":\"b\",\"jo");
        std::fs::write(&path, text).unwrap();
        ledger(&folder).reserve("c", "job", Usd(400), NEW_YEAR).unwrap();
        assert!(ledger(&folder).allows(Usd(1), NEW_YEAR).is_err());
        ledger(&folder).settle(&kept, Usd(0), NEW_YEAR).unwrap();
        ledger(&folder).allows(Usd(600), NEW_YEAR).unwrap();
    }

    #[test]
    fn what_cannot_be_read_or_written_stops_the_spending() {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("spent")).unwrap();
        std::fs::write(folder.path().join("spent/2026-01.jsonl"), "\nfive dollars\n").unwrap();
        let damaged = ledger(&folder).allows(Usd(1), NEW_YEAR).unwrap_err();
        assert!(damaged.to_string().starts_with("line 2 of the ledger "), "{damaged}");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let nowhere = Ledger::new(&file.join("spent"), Usd(1)).allows(Usd(0), NEW_YEAR).unwrap_err();
        assert!(matches!(nowhere, LedgerError::File(..)), "{nowhere}");
    }
}
