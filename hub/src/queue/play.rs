//! The queue played forward: workers that get free ask for a job, [`affinity::choose`] says which one they get as it does in
//! the store, and jobs that are expected to come join the line meanwhile. So an expected time counts what loading costs, for
//! which workers jobs are kept, and who will pass by.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use super::{Moment, Pace, Server, Turn, Waiting, crowd::Crowds};
use crate::{
    affinity::{self, Asking, Choice, Head, Memory},
    canonical::Digest,
    fair,
    seam::Millis,
};

/// Most jobs that come in a play: it ends, whatever is asked for.
const MOST_COMING: usize = 5_000;

/// A place in the line: lane, start tag, and a number that grows.
type Place = (i64, i64, usize);

/// A job in the line.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Its number in the queue; nothing for one that came in the play.
    number: Option<usize>,
    due: Millis,
    estimate_ms: i64,
    /// The number of its member.
    member: usize,
}

/// A worker. Models go by their numbers.
struct Worker {
    /// How it runs each model, if it serves that whatever others do.
    paces: Vec<Option<Pace>>,
    /// Of each model whether it is in memory. Nobody knows which one makes room for another: none does, in the play.
    loaded: Vec<bool>,
    swapped_at: Millis,
    /// Since when it is idle, if it is.
    idle_since: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker has nothing to do.
    Free(usize),
    /// A job of the queue may be given.
    Due(usize),
    /// A job comes that is like this one of those of late.
    Comes(usize),
    /// A worker that is idle may take now what it left to others.
    Look,
}

struct Play<'a> {
    moment: &'a Moment,
    queue: &'a [Waiting],
    now: Millis,
    virtual_time: i64,
    /// Those that somebody serves, in an order.
    models: Vec<Digest>,
    /// Of each model.
    lines: Vec<BTreeMap<Place, Entry>>,
    crowds: Crowds<'a>,
    /// Of each member the places of the jobs that wait, and the numbers of their models.
    waiting: Vec<BTreeMap<Place, usize>>,
    /// In how many workers' memory each model is.
    holders: Vec<usize>,
    workers: Vec<Worker>,
    events: BinaryHeap<Reverse<(Millis, Event)>>,
    done_ms: Vec<Option<i64>>,
    /// Jobs of the queue that wait.
    left: usize,
    came: usize,
}

/// When each job of a queue is done, in milliseconds from now; nothing for those that nobody serves, and those left out.
pub(super) fn play(
    queue: &[Waiting],
    fleet: &[Server],
    moment: &Moment,
    is_left_out: impl Fn(usize) -> bool,
) -> Vec<Option<i64>> {
    let mut play = Play::new(queue, fleet, moment);
    play.set_out(is_left_out);
    while play.left > 0
        && let Some(Reverse((at, event))) = play.events.pop()
    {
        play.now = at;
        play.happens(event);
        // Whoever asks sees all that has happened by then.
        if play.events.peek().is_none_or(|Reverse((next, _))| *next > at) {
            play.ask_all();
        }
    }
    play.done_ms
}

impl<'a> Play<'a> {
    fn new(queue: &'a [Waiting], fleet: &[Server], moment: &'a Moment) -> Self {
        let models: BTreeSet<Digest> = fleet.iter().flat_map(Server::ordinary).copied().collect();
        let models: Vec<Digest> = models.into_iter().collect();
        let worker = |server: &Server| Worker {
            paces: models.iter().map(|model| server.ordinary_pace(model)).collect(),
            loaded: models.iter().map(|model| server.loaded.contains(model)).collect(),
            swapped_at: server.swapped_at,
            idle_since: None,
        };
        let workers: Vec<Worker> = fleet.iter().map(worker).collect();
        let held = |model: usize| workers.iter().filter(|worker| worker.loaded[model]).count();
        let mut events = BinaryHeap::new();
        for (number, server) in fleet.iter().enumerate() {
            events.push(Reverse((moment.now + server.busy_ms, Event::Free(number))));
        }
        Self {
            moment,
            queue,
            now: moment.now,
            virtual_time: moment.standing.virtual_time,
            crowds: Crowds::new(&moment.standing),
            waiting: Vec::new(),
            lines: vec![BTreeMap::new(); models.len()],
            holders: (0..models.len()).map(held).collect(),
            models,
            workers,
            events,
            done_ms: vec![None; queue.len()],
            left: 0,
            came: 0,
        }
    }

    fn set_out(&mut self, is_left_out: impl Fn(usize) -> bool) {
        for (number, job) in self.queue.iter().enumerate() {
            if self.number_of(&job.turn.model).is_some() && !is_left_out(number) {
                self.left += 1;
                self.events.push(Reverse((job.due.max(self.now), Event::Due(number))));
            }
        }
        for (number, coming) in self.moment.coming.jobs.iter().enumerate() {
            if self.number_of(&coming.model).is_some() {
                self.events.push(Reverse((coming.at.max(self.now), Event::Comes(number))));
            }
        }
    }

    fn number_of(&self, model: &Digest) -> Option<usize> {
        self.models.binary_search(model).ok()
    }

    fn stand_in_line(&mut self, model: &Digest, place: Place, entry: Entry) {
        if let Some(model) = self.number_of(model) {
            self.lines[model].insert(place, entry);
            if self.waiting.len() <= entry.member {
                self.waiting.resize(self.crowds.len(), BTreeMap::new());
            }
            self.waiting[entry.member].insert(place, model);
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Free(worker) => self.workers[worker].idle_since = Some(self.now),
            Event::Due(number) => {
                let job = &self.queue[number];
                let member = self.crowds.number(&job.community, &job.member, 1.0);
                let Turn { model, estimate_ms, lane, start_tag, .. } = job.turn;
                let entry = Entry { number: Some(number), due: job.due, estimate_ms, member };
                self.stand_in_line(&model, (lane, start_tag, number), entry);
            }
            Event::Comes(number) if self.came < MOST_COMING => {
                let coming = &self.moment.coming.jobs[number];
                let estimate_ms = coming.estimate_ms;
                let member = self.crowds.number(&coming.community, &coming.member, coming.weight);
                let tags = self.crowds.enqueue(member, estimate_ms, self.virtual_time);
                let place = (coming.lane, tags.start, self.queue.len() + self.came);
                let entry = Entry { number: None, due: self.now, estimate_ms, member };
                self.stand_in_line(&coming.model, place, entry);
                self.came += 1;
                // What was asked for of late is asked for again and again.
                self.events.push(Reverse((self.now + self.moment.coming.within_ms, event)));
            }
            Event::Comes(_) | Event::Look => {}
        }
    }

    /// Idle workers ask, first those that have in memory what somebody waits for, and then those that are idle for longest.
    fn ask_all(&mut self) {
        let mut idle: Vec<(bool, Millis, usize)> = Vec::new();
        for (number, worker) in self.workers.iter().enumerate() {
            if let Some(since) = worker.idle_since {
                let has_work =
                    (0..self.models.len()).any(|model| worker.loaded[model] && !self.lines[model].is_empty());
                idle.push((!has_work, since, number));
            }
        }
        idle.sort_unstable();
        for (.., worker) in idle {
            self.ask(worker);
        }
    }

    fn ask(&mut self, number: usize) {
        let heads = self.heads(&self.workers[number]);
        let asking = Asking {
            now: self.now,
            swapped_at: self.workers[number].swapped_at,
            swap_share: self.moment.swap_share,
        };
        match affinity::choose(&heads, asking) {
            Some(Choice { head, swaps }) => self.take(number, head, swaps),
            // What it leaves to others it takes once that has waited for as long as loading takes.
            None => {
                let patient = heads.iter().map(|head| head.due + head.load_ms);
                if let Some(at) = patient.filter(|at| *at > self.now).min() {
                    self.events.push(Reverse((at, Event::Look)));
                }
            }
        }
    }

    /// The first job of each model that a worker serves, in the fair order.
    fn heads(&self, worker: &Worker) -> Vec<Head<Place>> {
        let head = |model: usize| {
            let (place, entry) = self.lines[model].first_key_value()?;
            let pace = worker.paces[model]?;
            let (memory, load_ms) = match self.holders[model] {
                _ if worker.loaded[model] => (Memory::Here, 0),
                0 => (Memory::Nowhere, pace.load_ms),
                _ => (Memory::Elsewhere, pace.load_ms),
            };
            let (lane, start_tag, _) = *place;
            let model = self.models[model];
            Some(Head { job: *place, model, lane, start_tag, due: entry.due, load_ms, memory })
        };
        let mut heads: Vec<Head<Place>> = (0..self.models.len()).filter_map(head).collect();
        heads.sort_unstable_by_key(|head| head.job);
        heads
    }

    fn take(&mut self, number: usize, head: &Head<Place>, swaps: bool) {
        let Some(model) = self.number_of(&head.model) else { return };
        let Some(entry) = self.lines[model].remove(&head.job) else { return };
        self.waiting[entry.member].remove(&head.job);
        self.virtual_time = self.virtual_time.max(head.start_tag);
        self.keep_up(entry.member);
        let worker = &mut self.workers[number];
        let run_ms = worker.paces[model].map_or(entry.estimate_ms, |pace| pace.runs_ms(entry.estimate_ms));
        if !std::mem::replace(&mut worker.loaded[model], true) {
            self.holders[model] += 1;
        }
        if swaps {
            worker.swapped_at = self.now;
        }
        worker.idle_since = None;
        let done = self.now + head.load_ms + run_ms;
        self.events.push(Reverse((done, Event::Free(number))));
        if let Some(number) = entry.number {
            self.done_ms[number] = Some(done - self.moment.now);
            self.left -= 1;
        }
    }

    /// Stretches the tags of a member who is served, if the crowd has changed much.
    fn keep_up(&mut self, member: usize) {
        let Some(by) = self.crowds.serve(member, self.virtual_time) else { return };
        let later = std::mem::take(&mut self.waiting[member]);
        for (place, model) in later {
            let (lane, start_tag, number) = place;
            let mut moved = place;
            if start_tag > self.virtual_time {
                moved = (lane, fair::stretched(start_tag, self.virtual_time, by), number);
            }
            if let Some(entry) = self.lines[model].remove(&place) {
                self.lines[model].insert(moved, entry);
            }
            self.waiting[member].insert(moved, model);
        }
    }
}
