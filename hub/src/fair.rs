//! Tags: where a job stands in the fair order, a number that is made when it is enqueued.
//!
//! Start-time fair queueing over communities and, within each, over its members (Goyal, Vin, Cheng, SIGCOMM 1996, also for
//! the hierarchy). A hierarchy needs no column of its own here: a member's share is its community's over what the members
//! who wait there weigh together (the *crowd*), so a job takes `cost × crowd / weights` of virtual time. A member who has
//! none waiting stands at the community's own clock, which moves on by `cost / weight` for each such job: a thousand
//! members with one prompt each are served at the rate of one community. The crowd changes; when it has changed much, the
//! tags of a member who is served are stretched to it.

use serde::Serialize;

/// Microseconds in a millisecond: tags are microseconds of weighted device time.
const TAG_A_MS: f64 = 1_000.0;
/// By which factor the crowd may have changed before tags are made anew.
const DRIFT: f64 = 1.2;

/// How much of the fleet a job is entitled to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// The community's, relative to other communities; 1 is ordinary.
    pub community: f64,
    /// The member's, relative to others in the community; 1 is ordinary.
    pub member: f64,
}

/// A member's flow, and what it meets.
#[derive(Debug, Clone, Copy, Default, Serialize, sqlx::FromRow)]
pub(crate) struct Flow {
    /// Start tag of the job that was last put into service.
    pub virtual_time: i64,
    /// Start tag of the next job of a member who has none waiting.
    pub next_tag: i64,
    /// What the community's other waiting members weigh together.
    pub others: f64,
    /// The crowd by which the flow's tags were made.
    pub crowd: f64,
    pub last_start: i64,
    pub last_finish: i64,
}

/// The tags of a job, and what they leave behind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tags {
    pub start: i64,
    pub finish: i64,
    /// The crowd by which they were made.
    pub crowd: f64,
    /// The community's clock after it.
    pub next: i64,
}

impl Flow {
    /// Whether jobs of it are waiting.
    pub fn waits(&self) -> bool {
        self.last_start > self.virtual_time
    }

    /// The tags of the member's next job, which the flow holds from then on.
    pub fn enqueue(&mut self, cost_ms: i64, shares: Shares) -> Tags {
        let cost = cost_ms as f64 * TAG_A_MS / shares.community;
        let waits = self.waits();
        let crowd = if waits { self.crowd } else { self.others + shares.member };
        // What was tagged in a crowd that has gone weighs no longer as much.
        let finish = match waits {
            true => self.last_finish,
            false => stretched(self.last_finish, self.last_start, crowd / self.crowd),
        };
        let own_turn = self.virtual_time.max(self.next_tag);
        let is_new = finish <= self.virtual_time;
        let start = if is_new { own_turn } else { finish };
        let next = if is_new { start + cost as i64 } else { self.next_tag };
        let tags = Tags { start, finish: start + (cost * crowd / shares.member) as i64, crowd, next };
        *self = Self { next_tag: next, last_start: start, last_finish: tags.finish, crowd, ..*self };
        tags
    }
}

/// By how much the tags of a flow are to be stretched, if the crowd has changed much since they were made by it.
pub(crate) fn drift(crowd: f64, now: f64) -> Option<f64> {
    let by = now / crowd;
    (!(1.0 / DRIFT..=DRIFT).contains(&by)).then_some(by)
}

/// A tag, its distance from `from` stretched.
pub(crate) fn stretched(tag: i64, from: i64, by: f64) -> i64 {
    from + ((tag - from) as f64 * by) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const EQUAL: Shares = Shares { community: 1.0, member: 1.0 };

    fn flow(others: f64) -> Flow {
        Flow { others, crowd: 1.0, ..Flow::default() }
    }

    #[test]
    fn a_members_jobs_are_as_far_apart_as_its_share_is_small() {
        let starts = |others, shares| {
            let mut flow = flow(others);
            [1_000, 1_000, 1_000].map(|cost| flow.enqueue(cost, shares).start / 1_000)
        };
        assert_eq!(starts(0.0, EQUAL), [0, 1_000, 2_000]);
        assert_eq!(starts(3.0, EQUAL), [0, 4_000, 8_000], "three others wait");
        assert_eq!(starts(3.0, Shares { community: 2.0, member: 1.0 }), [0, 2_000, 4_000]);
        assert_eq!(starts(3.0, Shares { community: 1.0, member: 3.0 }), [0, 2_000, 4_000]);
    }

    #[test]
    fn members_with_one_prompt_each_are_served_at_the_rate_of_their_community() {
        let mut next_tag = 0;
        let mut starts = Vec::new();
        for others in 0..4 {
            let tags = Flow { next_tag, ..flow(f64::from(others)) }.enqueue(1_000, EQUAL);
            next_tag = tags.next;
            starts.push(tags.start / 1_000);
        }
        assert_eq!(starts, [0, 1_000, 2_000, 3_000]);
    }

    #[test]
    fn who_comes_back_after_a_crowd_has_gone_is_not_held_to_it() {
        let mut crowded = flow(99.0);
        assert_eq!(crowded.enqueue(1_000, EQUAL).finish, 100_000_000);
        let mut later = Flow { virtual_time: 50_000_000, others: 0.0, ..crowded };
        assert_eq!(later.enqueue(1_000, EQUAL).start, 50_000_000);
    }
}
