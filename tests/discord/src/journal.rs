//! What happened: every request, and everything that a bot must not do.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Deref,
};

use serde_json::Value;

/// A request and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub method: String,
    /// The route's template, as `/channels/{channel_id}/messages`.
    pub template: String,
    pub path: String,
    pub status: u16,
    /// Milliseconds since 1970 by the fake's clock, when it came.
    pub at: u64,
    /// Milliseconds that the fake took to answer, by its clock.
    pub took: u64,
    pub body: Value,
}

/// Requests in the order of their answers.
#[derive(Debug, Clone, Default)]
pub struct Requests(pub Vec<Request>);

impl Requests {
    /// How many there were of a method and a part of the template or path.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.of(method, part).count()
    }

    /// Those of a method and a part of the template or path.
    pub fn of<'a>(&'a self, method: &'a str, part: &'a str) -> impl Iterator<Item = &'a Request> {
        let matches = move |request: &&Request| {
            request.method == method && (request.template.contains(part) || request.path.contains(part))
        };
        self.0.iter().filter(matches)
    }
}

impl Deref for Requests {
    type Target = [Request];

    fn deref(&self) -> &[Request] {
        &self.0
    }
}

/// Something that a bot must not do.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    pub kind: ViolationKind,
    pub method: String,
    pub path: String,
    pub message: String,
    pub body: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViolationKind {
    /// A body that Discord's description of the route does not allow.
    Body,
    /// A route that there is not.
    Route,
    /// A message that could ping somebody.
    Mentions,
}

/// The journal.
#[derive(Default)]
pub(crate) struct Journal {
    pub requests: VecDeque<Request>,
    pub statuses: BTreeMap<(String, String, u16), u64>,
    pub violations: Vec<Violation>,
    /// Requests over a rate.
    pub exceeded: u64,
    /// How many requests are kept; all of them where it is not said.
    pub keep: Option<usize>,
}

impl Journal {
    pub(crate) fn note(&mut self, mut request: Request) {
        let key = (request.method.clone(), request.template.clone(), request.status);
        *self.statuses.entry(key).or_default() += 1;
        if self.keep.is_some() {
            request.body = Value::Null;
        }
        self.requests.push_back(request);
        while self.keep.is_some_and(|keep| self.requests.len() > keep) {
            self.requests.pop_front();
        }
    }
}
