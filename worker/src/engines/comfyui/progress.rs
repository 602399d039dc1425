//! How far a prompt is, from what the server tells of its nodes.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::socket::News;
use crate::engine::{RunContext, Update};

/// Which of several runs for one job this is.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// From 0.
    pub index: u32,
    /// How many.
    pub of: u32,
}

/// The progress of one run.
pub struct Progress<'a> {
    weights: &'a BTreeMap<String, f64>,
    done: BTreeMap<String, f64>,
    current: Option<String>,
    share: Share,
    shown: f32,
}

impl<'a> Progress<'a> {
    /// That of a prompt that has not begun. `weights` says how much of it each node is.
    pub fn new(weights: &'a BTreeMap<String, f64>, share: Share) -> Self {
        Self { weights, done: BTreeMap::new(), current: None, share, shown: 0.0 }
    }

    /// Takes news of this prompt.
    pub fn take(&mut self, news: &News) {
        match news {
            News::Cached { nodes, .. } => nodes.iter().for_each(|node| self.finish(node, 1.0)),
            News::Node { node, .. } => {
                if let Some(before) = self.current.replace(node.clone()) {
                    self.finish(&before, 1.0);
                }
            }
            News::Part { node, done, .. } => {
                if let Some(node) = node.clone().or_else(|| self.current.clone()) {
                    self.finish(&node, *done);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, node: &str, part: f64) {
        if let Some((known, _)) = self.weights.get_key_value(node) {
            let done = self.done.entry(known.clone()).or_default();
            *done = done.max(part);
        }
    }

    fn part(&self) -> f32 {
        let all: f64 = self.weights.values().sum();
        let done: f64 =
            self.done.iter().map(|(node, part)| part * self.weights.get(node).unwrap_or(&0.0)).sum();
        let part = if all > 0.0 { (done / all) as f32 } else { 0.0 };
        (self.share.index as f32 + part.min(1.0)) / self.share.of.max(1) as f32
    }

    /// Shows how far it is, where that is news.
    pub fn show(&mut self, preview: Option<Bytes>, context: &RunContext) {
        let part = self.part();
        if part > self.shown || preview.is_some() {
            self.shown = part.max(self.shown);
            (context.updates)(Update::Progress { done: self.shown, preview });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_count_by_their_steps() {
        let weights =
            [("1", 1.0), ("2", 8.0), ("3", 1.0)].map(|(node, weight)| (node.to_owned(), weight)).into();
        let mut progress = Progress::new(&weights, Share { index: 1, of: 2 });
        let mut after = |news: News| {
            progress.take(&news);
            progress.part()
        };
        let prompt = || "p".to_owned();
        assert_eq!(after(News::Cached { prompt: prompt(), nodes: vec!["1".to_owned()] }), 0.55);
        assert_eq!(after(News::Node { prompt: prompt(), node: "2".to_owned() }), 0.55);
        assert_eq!(after(News::Part { prompt: None, node: None, done: 0.5 }), 0.75);
        assert_eq!(after(News::Part { prompt: None, node: Some("2".to_owned()), done: 0.25 }), 0.75);
        assert_eq!(after(News::Part { prompt: None, node: Some("elsewhere".to_owned()), done: 1.0 }), 0.75);
        assert_eq!(after(News::Node { prompt: prompt(), node: "3".to_owned() }), 0.95);
    }
}
