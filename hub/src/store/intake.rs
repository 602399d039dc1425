//! Requests that are asked for at the same moment, taken or refused one after the other, before any is written down.

use super::{Admitted, NewJob, StoreError};
use crate::fair::{Flow, Tags};

/// What a member asks for at once.
#[derive(Debug)]
pub(super) struct Request {
    pub admitted: Admitted,
    pub jobs: Vec<NewJob>,
}

/// What a member has at the moment of asking.
#[derive(sqlx::FromRow)]
pub(super) struct Standing {
    /// The first job of the same request.
    repeated: Option<String>,
    /// Unfinished jobs.
    waiting: i64,
    /// Sum of the ledger in the period, in milliseconds of the device; never above what was granted.
    balance_ms: i64,
    /// What the next job's tags are made of.
    #[sqlx(flatten)]
    flow: Flow,
}

impl Request {
    /// The surface's own name of it.
    pub fn name(&self) -> Option<&str> {
        self.jobs.first()?.request.as_deref()
    }

    fn needs_ms(&self) -> i64 {
        self.jobs.iter().map(|job| job.estimate_ms).sum()
    }

    fn check(&self, standing: &Standing) -> Result<(), StoreError> {
        if let Some(job) = &standing.repeated {
            return Err(StoreError::Repeated { job: job.clone() });
        }
        if standing.waiting + self.jobs.len() as i64 > self.admitted.max_waiting {
            return Err(StoreError::TooManyWaiting { waiting: standing.waiting });
        }
        let (needed_ms, left_ms) = (self.needs_ms(), self.admitted.allowance_ms + standing.balance_ms);
        if needed_ms > left_ms {
            return Err(StoreError::QuotaExceeded { needed_ms, left_ms });
        }
        Ok(())
    }
}

/// What was taken so far.
#[derive(Default)]
pub(super) struct Intake<'a> {
    pub taken: Vec<Taken<'a>>,
}

/// A request that was taken.
pub(super) struct Taken<'a> {
    pub request: &'a Request,
    /// Of each of its jobs.
    pub tags: Vec<Tags>,
    /// What the next request of the flow starts from.
    pub flow: Flow,
    /// Whether the member waits only since then.
    joins: bool,
}

impl<'a> Intake<'a> {
    /// Takes a request or refuses it, as if those taken before were written down.
    pub fn take(&mut self, request: &'a Request, standing: Standing) -> Result<(), StoreError> {
        let mut standing = self.caught_up(request, standing);
        request.check(&standing)?;
        let waited = standing.flow.waits();
        let shares = request.admitted.shares;
        let tags = request.jobs.iter().map(|job| standing.flow.enqueue(job.estimate_ms, shares)).collect();
        let joins = !waited && standing.flow.waits();
        self.taken.push(Taken { request, tags, flow: standing.flow, joins });
        Ok(())
    }

    fn caught_up(&self, request: &Request, mut standing: Standing) -> Standing {
        let Request { admitted, .. } = request;
        for Taken { request: before, flow, joins, .. } in &self.taken {
            let is_own = before.admitted.member == admitted.member;
            let is_near = before.admitted.community == admitted.community;
            if is_own {
                standing.waiting += before.jobs.len() as i64;
                if before.admitted.period == admitted.period {
                    standing.balance_ms -= before.needs_ms();
                }
                if before.name().is_some() && before.name() == request.name() {
                    standing.repeated = before.jobs.first().map(|job| job.id.clone());
                }
            }
            if is_near && is_own {
                standing.flow = Flow { others: standing.flow.others, ..*flow };
            } else if is_near {
                standing.flow.others += if *joins { before.admitted.shares.member } else { 0.0 };
                standing.flow.next_tag = standing.flow.next_tag.max(flow.next_tag);
            }
        }
        standing
    }
}
