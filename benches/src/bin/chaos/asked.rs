//! What people asked for, and what they were told of it. Every prompt has a word of its own, by which its jobs are found
//! whichever way it came; a riff has its parent's.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// How often something with that word was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// It was taken, and the asker was told so.
    pub taken: u64,
    /// Refused, with a sentence.
    pub refused: u64,
    /// Nobody can say from the answer, or there was none: it may have been taken or not.
    pub unknown: u64,
}

/// All of it.
#[derive(Default)]
pub struct Asked {
    next: AtomicU64,
    words: Mutex<BTreeMap<String, Told>>,
    cancelled: Mutex<Vec<String>>,
}

/// What prompts' words begin with.
pub const WORD: &str = "mark";

impl Asked {
    /// A word that no prompt had.
    pub fn word(&self) -> String {
        format!("{WORD}{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The word of a prompt as it is shown somewhere.
    pub fn word_in(shown: &str) -> Option<String> {
        let from = shown.find(WORD)?;
        let digits: String = shown[from + WORD.len()..].chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then(|| format!("{WORD}{digits}"))
    }

    pub fn taken(&self, word: &str) {
        self.words().entry(word.to_owned()).or_default().taken += 1;
    }

    pub fn refused(&self, word: &str) {
        self.words().entry(word.to_owned()).or_default().refused += 1;
    }

    pub fn unknown(&self, word: &str) {
        self.words().entry(word.to_owned()).or_default().unknown += 1;
    }

    /// Somebody was told that this job is cancelled.
    pub fn cancelled(&self, job: &str) {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).push(job.to_owned());
    }

    fn words(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn all(&self) -> BTreeMap<String, Told> {
        self.words().clone()
    }

    pub fn all_cancelled(&self) -> Vec<String> {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
