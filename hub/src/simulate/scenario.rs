//! What is simulated, as an operator writes it down.

use serde::{Deserialize, Serialize};

/// A fleet and what is asked of it. Whatever a file leaves out keeps its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Everything that is random comes from it.
    pub seed: u64,
    /// Hours for which jobs come.
    pub hours: f64,
    /// Work that is asked for, over what the fleet could do without ever loading a model.
    pub load: f64,
    /// How much more than on average is asked for at the busiest time, as a part: once up and down within the hours.
    pub swing: f64,
    /// Mean number of prompts that a member sends in a row; half of them within a minute.
    pub burst: f64,
    /// Standard deviation of the logarithm of what a job takes over what its model takes on average.
    pub noise: f64,
    /// The same of what a model takes on average over what it announces.
    pub bias: f64,
    /// Most part of its time that a GPU loads models for while it could do without (`queue.swap_share`).
    pub swap_share: f64,
    /// The models.
    pub models: Models,
    /// The fleet.
    pub gpus: Vec<GpuKind>,
    /// Who asks.
    pub communities: Vec<Community>,
    /// Somebody who sends very many prompts at once.
    pub adversary: Option<Adversary>,
}

/// Models, each drawn from these ranges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Models {
    /// How many.
    pub count: usize,
    /// The n-th is asked for with a frequency of 1/nˢ (Zipf).
    pub zipf: f64,
    /// Seconds to load, from and to.
    pub load_seconds: [f64; 2],
    /// Announced seconds of a run on a GPU of speed 1, from and to.
    pub run_seconds: [f64; 2],
    /// GB of a GPU's memory, from and to.
    pub memory_gb: [f64; 2],
}

/// GPUs that are alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuKind {
    /// How many.
    pub count: usize,
    /// Work that it does a second; 1 is what models announce their costs for.
    pub speed: f64,
    /// What models share.
    pub memory_gb: f64,
}

/// Members who share what one community gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Community {
    /// How many.
    pub members: usize,
    /// Part of all prompts that come from here, relative to the other communities.
    pub activity: f64,
    /// Share of the fleet relative to the other communities.
    #[serde(default = "ordinary")]
    pub weight: f64,
    /// How many of the members have a weight of 2, as a part.
    #[serde(default)]
    pub patrons: f64,
}

fn ordinary() -> f64 {
    1.0
}

/// Somebody who sends very many prompts at once, each for a model as popular as any.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversary {
    /// How many prompts.
    pub prompts: usize,
    /// When, in minutes.
    pub at_minutes: f64,
    /// In which community, from 0.
    pub community: usize,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 1,
            hours: 2.0,
            load: 0.85,
            swing: 0.3,
            burst: 4.0,
            noise: 0.15,
            bias: 0.3,
            models: Models::default(),
            gpus: vec![
                GpuKind { count: 4, speed: 1.0, memory_gb: 24.0 },
                GpuKind { count: 2, speed: 2.0, memory_gb: 48.0 },
                GpuKind { count: 2, speed: 0.6, memory_gb: 16.0 },
            ],
            communities: vec![
                Community { members: 120, activity: 3.0, weight: 1.0, patrons: 0.1 },
                Community { members: 40, activity: 2.0, weight: 1.0, patrons: 0.1 },
                Community { members: 12, activity: 1.0, weight: 1.0, patrons: 0.0 },
            ],
            adversary: Some(Adversary { prompts: 500, at_minutes: 30.0, community: 1 }),
            swap_share: 0.05,
        }
    }
}

impl Default for Models {
    fn default() -> Self {
        Self {
            count: 12,
            zipf: 1.0,
            load_seconds: [5.0, 60.0],
            run_seconds: [2.0, 12.0],
            memory_gb: [4.0, 15.0],
        }
    }
}

/// A scenario that makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the scenario's {key} is refused: {found}; expected is {expected}")]
pub struct BadScenario {
    key: &'static str,
    found: String,
    expected: &'static str,
}

fn check(
    key: &'static str,
    fits: bool,
    found: impl std::fmt::Debug,
    expected: &'static str,
) -> Result<(), BadScenario> {
    let found = format!("{found:?}");
    if fits { Ok(()) } else { Err(BadScenario { key, found, expected }) }
}

impl Scenario {
    /// Refuses what cannot be simulated.
    ///
    /// # Errors
    /// [`BadScenario`] with the key, what it is, and what is expected.
    pub fn check(&self) -> Result<(), BadScenario> {
        let part = |x: f64| (0.0..=1.0).contains(&x);
        let range = |[from, to]: [f64; 2]| 0.0 < from && from <= to && to.is_finite();
        check("hours", 0.0 < self.hours && self.hours <= 240.0, self.hours, "above 0, at most 240")?;
        check("load", 0.0 < self.load && self.load <= 10.0, self.load, "above 0, at most 10")?;
        check("swing", part(self.swing), self.swing, "from 0 to 1")?;
        check("burst", (1.0..=100.0).contains(&self.burst), self.burst, "from 1 to 100")?;
        check("noise", part(self.noise), self.noise, "from 0 to 1")?;
        check("bias", part(self.bias), self.bias, "from 0 to 1")?;
        check(
            "swap_share",
            self.swap_share > 0.0 && part(self.swap_share),
            self.swap_share,
            "above 0, at most 1",
        )?;
        let models = &self.models;
        check("models.count", (1..=200).contains(&models.count), models.count, "from 1 to 200")?;
        check("models.zipf", (0.0..=10.0).contains(&models.zipf), models.zipf, "from 0 to 10")?;
        let ranges = [
            ("models.load_seconds", models.load_seconds),
            ("models.run_seconds", models.run_seconds),
            ("models.memory_gb", models.memory_gb),
        ];
        ranges.into_iter().try_for_each(|(key, found)| {
            check(key, range(found), found, "two numbers above 0, the larger last")
        })?;
        let largest = self.gpus.iter().map(|gpu| gpu.memory_gb).fold(0.0, f64::max);
        check(
            "gpus",
            largest >= models.memory_gb[1],
            largest,
            "at least one GPU with memory for every model",
        )?;
        let gpus = self.gpus.iter().all(|gpu| gpu.count > 0 && gpu.speed > 0.0 && gpu.speed.is_finite());
        check("gpus", gpus, &self.gpus, "a count and a speed above 0 for each")?;
        self.check_communities()
    }

    fn check_communities(&self) -> Result<(), BadScenario> {
        let communities = &self.communities;
        let fits = |c: &Community| {
            c.members > 0 && c.activity > 0.0 && c.weight > 0.0 && (0.0..=1.0).contains(&c.patrons)
        };
        let expected =
            "at least one, each with members, activity and weight above 0, and patrons from 0 to 1";
        check("communities", !communities.is_empty() && communities.iter().all(fits), communities, expected)?;
        let known = self.adversary.is_none_or(|adversary| adversary.community < communities.len());
        check("adversary.community", known, self.adversary, "the number of one of the communities, from 0")
    }
}
