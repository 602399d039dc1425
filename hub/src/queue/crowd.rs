//! Who waits in the play, and which tags their jobs get: those that they would get in the store, by the same arithmetic.

use std::collections::{BTreeMap, HashMap};

use super::Standing;
use crate::fair::{self, Flow, Shares, Tags};

/// The members and communities of a play. Those of them who are asked about go by numbers.
pub(super) struct Crowds<'a> {
    numbers: HashMap<(&'a str, &'a str), usize>,
    flows: Vec<Flowing>,
    communities: Vec<Community>,
    community_numbers: HashMap<&'a str, usize>,
    standing: &'a Standing,
}

struct Flowing {
    community: usize,
    weight: f64,
    crowd: f64,
    last_start: i64,
    last_finish: i64,
}

struct Community {
    weight: f64,
    next_tag: i64,
    /// Those who may wait, by the start tags of their last jobs; who is behind virtual time is taken out when somebody looks.
    waiting: BTreeMap<(i64, usize), f64>,
    /// What they weigh together.
    crowd: f64,
}

impl Community {
    fn put(&mut self, key: (i64, usize), weight: f64) {
        self.waiting.insert(key, weight);
        self.crowd += weight;
    }

    fn take(&mut self, key: &(i64, usize)) {
        self.crowd -= self.waiting.remove(key).unwrap_or_default();
    }

    /// What those weigh together who wait.
    fn crowd(&mut self, virtual_time: i64) -> f64 {
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= virtual_time) {
            self.crowd -= first.remove();
        }
        if self.waiting.is_empty() { 0.0 } else { self.crowd }
    }
}

impl<'a> Crowds<'a> {
    /// Those who wait.
    pub fn new(standing: &'a Standing) -> Self {
        let mut crowds = Self {
            numbers: HashMap::new(),
            flows: Vec::new(),
            communities: Vec::new(),
            community_numbers: HashMap::new(),
            standing,
        };
        for flow in &standing.flows {
            let number = crowds.number(&flow.community, &flow.member, flow.weight);
            let flowing = &mut crowds.flows[number];
            (flowing.crowd, flowing.last_start, flowing.last_finish) =
                (flow.crowd, flow.last_start, flow.last_finish);
            let community = flowing.community;
            crowds.communities[community].put((flow.last_start, number), flow.weight);
        }
        crowds
    }

    /// The number of a member in a community, who may be new.
    pub fn number(&mut self, community: &'a str, member: &'a str, weight: f64) -> usize {
        if let Some(number) = self.numbers.get(&(community, member)) {
            return *number;
        }
        let next = self.communities.len();
        let community_number = *self.community_numbers.entry(community).or_insert(next);
        if community_number == next {
            let weight = self.standing.weights.get(community).copied().unwrap_or(1.0);
            let next_tag = self.standing.clocks.get(community).copied().unwrap_or_default();
            self.communities.push(Community { weight, next_tag, waiting: BTreeMap::new(), crowd: 0.0 });
        }
        let number = self.flows.len();
        let new = Flow::default();
        self.flows.push(Flowing {
            community: community_number,
            weight,
            crowd: 1.0,
            last_start: new.last_start,
            last_finish: new.last_finish,
        });
        self.numbers.insert((community, member), number);
        number
    }

    /// How many have numbers.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// The tags of a member's next job.
    pub fn enqueue(&mut self, number: usize, cost_ms: i64, virtual_time: i64) -> Tags {
        let flowing = &mut self.flows[number];
        let community = &mut self.communities[flowing.community];
        community.take(&(flowing.last_start, number));
        let mut flow = Flow {
            virtual_time,
            next_tag: community.next_tag,
            others: community.crowd(virtual_time),
            crowd: flowing.crowd,
            last_start: flowing.last_start,
            last_finish: flowing.last_finish,
        };
        let shares = Shares { community: community.weight, member: flowing.weight };
        let tags = flow.enqueue(cost_ms, shares);
        (flowing.crowd, flowing.last_start, flowing.last_finish) = (tags.crowd, tags.start, tags.finish);
        community.next_tag = community.next_tag.max(tags.next);
        community.put((tags.start, number), flowing.weight);
        tags
    }

    /// By how much the tags of a member who is served are stretched, if they are.
    pub fn serve(&mut self, number: usize, virtual_time: i64) -> Option<f64> {
        let flowing = &mut self.flows[number];
        if flowing.last_start <= virtual_time {
            return None;
        }
        let community = &mut self.communities[flowing.community];
        let now = community.crowd(virtual_time);
        let by = fair::drift(flowing.crowd, now)?;
        community.take(&(flowing.last_start, number));
        let stretched = |tag| fair::stretched(tag, virtual_time, by);
        (flowing.last_start, flowing.last_finish) =
            (stretched(flowing.last_start), stretched(flowing.last_finish));
        flowing.crowd = now;
        community.put((flowing.last_start, number), flowing.weight);
        Some(by)
    }
}
