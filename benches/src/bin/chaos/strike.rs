//! What goes wrong: once a second a part of the community is killed, stopped or cut off, chosen at random, and comes back a
//! while later.

use std::{collections::BTreeMap, time::Duration};

use nix::sys::signal::Signal;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::community::{Community, LEASE};

const EVERY: Duration = Duration::from_secs(1);
/// How long something killed stays away, and something stopped or cut off: longer than a lease.
const DEAD: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(2));
const SILENT: (Duration, Duration) = (LEASE.saturating_add(Duration::from_secs(1)), LEASE.saturating_mul(3));
/// Of all strikes, those on hubs and those on the database; the rest are on workers.
const ON_HUBS: f64 = 0.2;
const ON_DATABASE: f64 = 0.2;

/// A part of the community.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Hub(usize),
    Worker(usize),
}

/// What was done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hit {
    Killed,
    Stopped,
    CutOff,
}

/// Strikes one community.
pub struct Striker {
    random: StdRng,
    /// What is away, and when it comes back.
    away: Vec<(Part, Hit, Instant)>,
    /// How many strikes there were of each kind.
    pub done: BTreeMap<&'static str, u64>,
}

impl Striker {
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), away: Vec::new(), done: BTreeMap::new() }
    }

    /// Strikes for so long, and then lets everything come back.
    pub async fn strike(&mut self, community: &mut Community, lasts: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + lasts;
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < end {
            tick.tick().await;
            self.bring_back(community, Instant::now()).await?;
            self.strike_once(community).await?;
        }
        while let Some(last) = self.away.iter().map(|(_, _, at)| *at).max() {
            self.bring_back(community, last).await?;
        }
        Ok(())
    }

    async fn strike_once(&mut self, community: &mut Community) -> anyhow::Result<()> {
        let which = self.random.random::<f64>();
        if which < ON_DATABASE {
            let (what, part) = if self.random.random() {
                ("all connections to PostgreSQL ended", 1.0)
            } else {
                ("half of them ended", 0.5)
            };
            community.end_connections(part).await?;
            *self.done.entry(what).or_default() += 1;
            return Ok(());
        }
        let part = match which < ON_DATABASE + ON_HUBS {
            true => Part::Hub(self.random.random_range(0..community.hubs.len())),
            false => Part::Worker(self.random.random_range(0..community.machines.len())),
        };
        if self.away.iter().any(|(away, ..)| *away == part) {
            return Ok(());
        }
        let hit = match (part, self.random.random_range(0..3)) {
            (_, 0) => Hit::Killed,
            (Part::Worker(_), 1) => Hit::CutOff,
            _ => Hit::Stopped,
        };
        *self.done.entry(self.hit(community, part, hit).await?).or_default() += 1;
        let (least, most) = if hit == Hit::Killed { DEAD } else { SILENT };
        self.away.push((part, hit, Instant::now() + self.random.random_range(least..most)));
        Ok(())
    }

    /// Does it; gives what it is called.
    async fn hit(&self, community: &mut Community, part: Part, hit: Hit) -> anyhow::Result<&'static str> {
        Ok(match (part, hit) {
            (Part::Hub(number), Hit::Killed) => {
                community.kill_hub(number).await?;
                "hub killed"
            }
            (Part::Hub(number), Hit::Stopped | Hit::CutOff) => {
                community.signal_hub(number, Signal::SIGSTOP)?;
                "hub stopped for a while"
            }
            (Part::Worker(number), Hit::Killed) => {
                community.kill_worker(number).await?;
                "worker killed"
            }
            (Part::Worker(number), Hit::Stopped) => {
                community.signal_worker(number, Signal::SIGSTOP)?;
                "worker stopped for a while"
            }
            (Part::Worker(number), Hit::CutOff) => {
                community.balancer.cut(&community.machines[number].name);
                "worker cut off for a while"
            }
        })
    }

    /// What is due by then comes back. A hub that does not start, because its connections were ended meanwhile, is tried again
    /// as its supervisor would.
    async fn bring_back(&mut self, community: &mut Community, by: Instant) -> anyhow::Result<()> {
        let (due, away) = self.away.drain(..).partition(|(_, _, at)| *at <= by);
        self.away = away;
        let due: Vec<(Part, Hit, Instant)> = due;
        for (part, hit, at) in due {
            match (part, hit) {
                (Part::Hub(number), Hit::Killed) => {
                    if let Err(error) = community.start_hub(number).await {
                        community.logs.push((format!("hub{number}"), format!("{error:#}")));
                        *self.done.entry("hub did not start at once").or_default() += 1;
                        self.away.push((part, hit, at + EVERY));
                    }
                }
                (Part::Hub(number), _) => community.signal_hub(number, Signal::SIGCONT)?,
                (Part::Worker(number), Hit::Killed) => community.start_worker(number)?,
                (Part::Worker(number), Hit::Stopped) => community.signal_worker(number, Signal::SIGCONT)?,
                (Part::Worker(number), Hit::CutOff) => {
                    community.balancer.join(&community.machines[number].name);
                }
            }
        }
        Ok(())
    }
}
