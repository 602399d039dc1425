//! `riff-worker doctor`: looks at everything that a worker needs, and says in plain words what is wrong. It changes
//! nothing, takes no job, and never shows the token.

mod hub;
mod machine;

use std::fmt;

pub use self::machine::{Disk, Gpu, Machine, Memory};
use crate::{
    engines::{Condition, Engines},
    settings::{BadSettings, Settings},
};

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// Worth knowing; the worker works.
    Note,
    /// The worker, or a part of it, does not work.
    Trouble,
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was looked at.
    pub topic: String,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it, where there is something to do.
    pub advice: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, topic: &str, found: impl Into<String>) -> Self {
        Self { topic: topic.to_owned(), verdict, found: found.into(), advice: None }
    }

    fn fine(topic: &str, found: impl Into<String>) -> Self {
        Self::new(Verdict::Fine, topic, found)
    }

    fn note(topic: &str, found: impl Into<String>) -> Self {
        Self::new(Verdict::Note, topic, found)
    }

    fn trouble(topic: &str, found: impl Into<String>) -> Self {
        Self::new(Verdict::Trouble, topic, found)
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What there is to say of settings that cannot be used.
    pub fn of_bad_settings(error: &BadSettings) -> Self {
        Self { findings: vec![Finding::trouble("settings", error.to_string())] }
    }

    /// Whether nothing is in trouble.
    pub fn is_well(&self) -> bool {
        self.troubles() == 0
    }

    fn troubles(&self) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Trouble).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.findings.iter().map(|finding| finding.topic.chars().count()).max().unwrap_or(0);
        for finding in &self.findings {
            let mark = match finding.verdict {
                Verdict::Fine => "ok  ",
                Verdict::Note => "note",
                Verdict::Trouble => "BAD ",
            };
            let mut lines = finding.found.lines();
            writeln!(f, "{mark}  {:width$}  {}", finding.topic, lines.next().unwrap_or_default())?;
            for line in lines.chain(finding.advice.iter().flat_map(|advice| advice.lines())) {
                writeln!(f, "      {:width$}  {line}", "")?;
            }
        }
        match self.troubles() {
            0 => write!(f, "All is well."),
            1 => write!(f, "One thing is wrong."),
            troubles => write!(f, "{troubles} things are wrong."),
        }
    }
}

/// Looks at everything.
pub async fn examine(settings: &Settings) -> Report {
    let sources = settings.sources();
    let sections = match settings.engines.len() {
        0 => "no section [[engine]]".to_owned(),
        1 => "one section [[engine]]".to_owned(),
        many => format!("{many} sections [[engine]]"),
    };
    let mut findings = vec![Finding::fine("settings", sections)];
    findings.extend(hub::examine(&settings.hub, settings.token.expose()).await);
    match tokio::task::spawn_blocking(move || Engines::open(sources)).await {
        Ok(engines) => {
            engines.discover().await;
            findings.extend(of_engines(&engines.conditions()));
        }
        Err(_) => findings.push(Finding::trouble("engines", "an engine crashed when it was opened")),
    }
    findings.extend(Machine::look(&settings.weights).findings());
    Report { findings }
}

/// What there is to say of engines.
pub fn of_engines(conditions: &[Condition]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Condition { engine, serves, left_out, trouble } in conditions {
        findings.push(match (trouble, serves.as_slice()) {
            (Some(trouble), _) => Finding::trouble("engine", format!("{engine}: {trouble}"))
                .advise("docs/workers.md lists what goes wrong with each kind of engine."),
            (None, []) => Finding::note("engine", format!("{engine}: serves nothing")),
            (None, names) => Finding::fine("engine", format!("{engine}: serves {}", names.join(", "))),
        });
        let left_out = left_out.iter().map(|what| format!("{engine}: left out: {what}"));
        findings.extend(left_out.map(|found| Finding::note("engine", found)));
    }
    if conditions.iter().all(|condition| condition.serves.is_empty()) {
        findings.push(Finding::trouble("models", "this worker serves none, and would get no work"));
    }
    findings
}
