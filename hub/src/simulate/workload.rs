//! Models, members and jobs, drawn from a scenario's seed before anything runs: every scheduler gets the same.

use rand::{
    Rng, SeedableRng,
    distr::{Distribution, weighted::WeightedIndex},
    rngs::StdRng,
};
use rand_distr::{Exp, LogNormal, Zipf};

use super::{BadScenario, Gpu, Scenario};

/// Prompts of a burst are so many seconds apart, on average.
const APART_S: f64 = 15.0;

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Milliseconds to load it.
    pub load_ms: i64,
    /// Announced milliseconds of a run on a GPU of speed 1.
    pub announced_ms: i64,
    /// What runs take on average, over what is announced.
    pub bias: f64,
    /// GB of memory.
    pub memory_gb: f64,
}

/// Somebody who asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// In which community.
    pub community: usize,
    /// Share relative to the community's other members.
    pub weight: f64,
}

/// Something asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// When, in milliseconds from the start.
    pub at_ms: i64,
    /// By whom.
    pub member: usize,
    /// Of which model.
    pub model: usize,
    /// What the model announces for it: milliseconds of a GPU of speed 1.
    pub announced_ms: i64,
    /// What it takes, in the same.
    pub work_ms: i64,
}

/// All that happens, but for what a scheduler decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// What it was drawn from.
    pub scenario: Scenario,
    /// The models.
    pub models: Vec<Model>,
    /// The fleet, with nothing in memory.
    pub gpus: Vec<Gpu>,
    /// The members; the adversary is the last one, where there is one.
    pub members: Vec<Member>,
    /// The jobs, in the order in which they are asked for.
    pub jobs: Vec<Job>,
    /// Until when new jobs come, in milliseconds.
    pub horizon_ms: i64,
}

impl Workload {
    /// Draws a scenario.
    ///
    /// # Errors
    /// [`BadScenario`] if it makes no sense.
    pub fn draw(scenario: &Scenario) -> Result<Self, BadScenario> {
        scenario.check()?;
        let mut rng = StdRng::seed_from_u64(scenario.seed);
        let models = (0..scenario.models.count).map(|_| Model::draw(scenario, &mut rng)).collect();
        let gpus = scenario.gpus.iter().flat_map(|kind| (0..kind.count).map(|_| Gpu::new(kind))).collect();
        let horizon_ms = (scenario.hours * 3_600_000.0) as i64;
        let members = members(scenario);
        let mut workload =
            Self { scenario: scenario.clone(), models, gpus, members, jobs: Vec::new(), horizon_ms };
        workload.draw_jobs(&mut rng);
        Ok(workload)
    }

    /// Work that the fleet does in a second, in seconds of a GPU of speed 1.
    pub fn capacity(&self) -> f64 {
        self.gpus.iter().map(|gpu| gpu.speed).sum()
    }

    fn draw_jobs(&mut self, rng: &mut StdRng) {
        let wanted_ms = self.scenario.load * self.capacity() * self.horizon_ms as f64;
        let mut drawn_ms = self.attack(rng);
        let who = Asking::of(self, rng);
        while drawn_ms < wanted_ms {
            drawn_ms += self.draw_burst(&who, rng);
        }
        self.jobs.sort_by_key(|job| job.at_ms);
    }

    /// One member's prompts in a row, all of one model; gives the work that they ask for.
    fn draw_burst(&mut self, who: &Asking, rng: &mut StdRng) -> f64 {
        let (member, model) = (who.member.sample(rng), self.popular(rng));
        let mut at_ms = who.moment(&self.scenario, rng) * self.horizon_ms as f64;
        let mut drawn_ms = 0.0;
        loop {
            if at_ms < self.horizon_ms as f64 {
                drawn_ms += self.draw_job(at_ms as i64, member, model, rng);
            }
            if rng.random_bool(1.0 / self.scenario.burst) {
                return drawn_ms;
            }
            at_ms += who.apart_ms.sample(rng);
        }
    }

    /// What the adversary asks for; gives the work.
    fn attack(&mut self, rng: &mut StdRng) -> f64 {
        let Some(adversary) = self.scenario.adversary else {
            return 0.0;
        };
        let (at_ms, member) = ((adversary.at_minutes * 60_000.0) as i64, self.members.len() - 1);
        let mut drawn_ms = 0.0;
        for _ in 0..adversary.prompts {
            let model = self.popular(rng);
            drawn_ms += self.draw_job(at_ms, member, model, rng);
        }
        drawn_ms
    }

    fn popular(&self, rng: &mut StdRng) -> usize {
        let zipf = Zipf::new(self.models.len() as f64, self.scenario.models.zipf);
        zipf.map_or(0, |zipf| zipf.sample(rng) as usize - 1)
    }

    fn draw_job(&mut self, at_ms: i64, member: usize, model: usize, rng: &mut StdRng) -> f64 {
        let Model { announced_ms, bias, .. } = self.models[model];
        let work_ms = ((announced_ms as f64 * bias * around_one(self.scenario.noise, rng)) as i64).max(1);
        self.jobs.push(Job { at_ms, member, model, announced_ms, work_ms });
        work_ms as f64
    }
}

impl Model {
    fn draw(scenario: &Scenario, rng: &mut StdRng) -> Self {
        let mut within = |[from, to]: [f64; 2]| rng.random_range(from..=to);
        let (load_s, run_s) = (within(scenario.models.load_seconds), within(scenario.models.run_seconds));
        let memory_gb = within(scenario.models.memory_gb);
        let (load_ms, announced_ms) = ((load_s * 1_000.0) as i64, (run_s * 1_000.0) as i64);
        Self { load_ms, announced_ms: announced_ms.max(1), bias: around_one(scenario.bias, rng), memory_gb }
    }
}

fn members(scenario: &Scenario) -> Vec<Member> {
    let of = |(community, it): (usize, &super::Community)| {
        let patrons = (it.patrons * it.members as f64).round() as usize;
        let member = move |i: usize| Member { community, weight: if i < patrons { 2.0 } else { 1.0 } };
        (0..it.members).map(member).collect::<Vec<_>>()
    };
    let mut members: Vec<Member> = scenario.communities.iter().enumerate().flat_map(of).collect();
    members
        .extend(scenario.adversary.map(|adversary| Member { community: adversary.community, weight: 1.0 }));
    members
}

/// Who asks, and when.
struct Asking {
    member: WeightedIndex<f64>,
    apart_ms: Exp<f64>,
}

impl Asking {
    /// Members of a community are as active as an exponential distribution makes them: a few ask for most.
    #[allow(clippy::expect_used, reason = "weights and rates were checked to be above 0")]
    fn of(workload: &Workload, rng: &mut StdRng) -> Self {
        let scenario = &workload.scenario;
        let ordinary = &workload.members[..scenario.communities.iter().map(|c| c.members).sum()];
        let mut activity: Vec<f64> =
            ordinary.iter().map(|_| -(1.0 - rng.random::<f64>()).ln() + 0.05).collect();
        for (number, community) in scenario.communities.iter().enumerate() {
            let its = |of: &Member| of.community == number;
            let sum: f64 = ordinary.iter().zip(&activity).filter(|(of, _)| its(of)).map(|(_, a)| a).sum();
            let each = ordinary.iter().zip(&mut activity).filter(|(of, _)| its(of));
            each.for_each(|(_, a)| *a *= community.activity / sum);
        }
        Self {
            member: WeightedIndex::new(activity).expect("activities are above 0"),
            apart_ms: Exp::new(1.0 / (APART_S * 1_000.0)).expect("a rate above 0"),
        }
    }

    /// When a burst begins, as a part of the hours: busiest in their middle.
    fn moment(&self, scenario: &Scenario, rng: &mut StdRng) -> f64 {
        loop {
            let at: f64 = rng.random();
            let busy = 1.0 - scenario.swing * (at * std::f64::consts::TAU).cos();
            if rng.random::<f64>() * (1.0 + scenario.swing) <= busy {
                return at;
            }
        }
    }
}

/// A factor whose mean is 1 and whose logarithm has that standard deviation.
fn around_one(deviation: f64, rng: &mut StdRng) -> f64 {
    LogNormal::new(-deviation * deviation / 2.0, deviation).map_or(1.0, |factor| factor.sample(rng))
}
