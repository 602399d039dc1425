//! What is known of a run before it ends, and how it is shown.

use serde_json::Value;

use super::{Prediction, output};
use crate::engine::{RunContext, Update};

/// How much of a log is looked at for progress, in bytes from its end.
const TAIL: usize = 4_096;

/// What a model has said so far.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct News {
    /// Text of the output.
    pub text: String,
    /// Pieces of output.
    pub pieces: usize,
    /// Part done by the log, 0 to 1.
    pub logged: f32,
    /// Whether anything has come.
    pub begun: bool,
    tail: String,
}

impl News {
    /// Takes a piece of output.
    pub fn push(&mut self, piece: &Value) {
        self.begun = true;
        self.pieces += 1;
        self.text.push_str(&output::words(piece));
    }

    /// Takes what was printed.
    pub fn log(&mut self, text: &str) {
        self.begun = true;
        self.tail.push_str(text);
        let surplus = self.tail.len().saturating_sub(TAIL);
        let cut = (surplus..).find(|at| self.tail.is_char_boundary(*at)).unwrap_or(surplus);
        self.tail.drain(..cut);
        self.logged = percentage(&self.tail).unwrap_or(self.logged);
    }

    /// Takes a report of all so far; gives whether it says anything new. Reports can overtake each other.
    pub fn catch_up(&mut self, report: &Prediction) -> bool {
        let before = self.clone();
        self.begun = true;
        if let Some(pieces) = report.output.as_array().filter(|pieces| pieces.len() > self.pieces) {
            self.pieces = pieces.len();
            self.text = pieces.iter().map(output::words).collect();
        }
        let logs = report.logs.as_deref().unwrap_or_default();
        let start =
            (logs.len().saturating_sub(TAIL)..).find(|at| logs.is_char_boundary(*at)).unwrap_or_default();
        self.logged = percentage(&logs[start..]).unwrap_or(0.0).max(self.logged);
        *self != before
    }
}

/// The last percentage in a log, as progress bars print it ([tqdm](https://tqdm.github.io): ` 45%|████▌     |`), 0 to 1.
pub fn percentage(log: &str) -> Option<f32> {
    log.rmatch_indices('%').find_map(|(at, _)| {
        let before = &log[..at];
        let digits = before
            .rfind(|c: char| !c.is_ascii_digit() && c != '.')
            .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        let percent: f32 = before[digits..].parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
    })
}

/// Which of several runs for one job this is.
#[derive(Clone, Copy)]
pub struct Share {
    /// From 0.
    pub index: u32,
    /// How many.
    pub of: u32,
    /// Pieces that the text will have at most, where that is known.
    pub pieces: Option<u64>,
    /// Whether the output is text.
    pub text: bool,
}

impl Share {
    /// Shows what is known.
    pub fn show(&self, news: &News, context: &RunContext) {
        let by_pieces =
            self.pieces.filter(|most| *most > 0).map_or(0.0, |most| news.pieces as f32 / most as f32);
        let part = news.logged.max(by_pieces.min(1.0));
        let done = (self.index as f32 + part) / self.of.max(1) as f32;
        (context.updates)(match self.text && !news.text.is_empty() {
            true => Update::Text { done, text: news.text.clone() },
            false => Update::Progress { done, preview: None },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_percentage_of_a_log_is_the_progress() {
        let bar = "  0%|          | 0/20\r 45%|████▌     | 9/20 [00:01<00:01]";
        assert_eq!(percentage(bar), Some(0.45));
        assert_eq!(percentage("step 12.5% of it"), Some(0.125));
        assert_eq!(percentage("é7%"), Some(0.07));
        for none in ["", "no bar", "%", "loss 400%", "NaN%", "1.2.3%"] {
            assert_eq!(percentage(none), None, "{none}");
        }
    }

    #[test]
    fn reports_that_were_overtaken_change_nothing() {
        let report = |output: Value, logs: &str| Prediction {
            output,
            logs: Some(logs.to_owned()),
            ..Prediction::default()
        };
        let mut news = News::default();
        assert!(news.catch_up(&report(serde_json::json!(["a", "b"]), "50%")));
        assert!(!news.catch_up(&report(serde_json::json!(["a"]), "20%")));
        assert_eq!((news.text.as_str(), news.logged), ("ab", 0.5));
    }
}
