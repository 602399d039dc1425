//! Overflow: which jobs go to workers whose runs cost money.
//!
//! Such a worker says of a model beyond which expected wait it takes jobs. The hub alone knows the queue and the others, so
//! it decides here which jobs those are. What a run costs, and how much may be spent, is the worker's own affair.

use std::collections::HashMap;

use super::Hub;
use crate::{canonical::Digest, store::StoreError};

/// Jobs that one look considers. Some of them may still wait for their next attempt.
const MOST: usize = 256;

impl Hub {
    /// The jobs that a worker may take which serves these versions as overflow, each beyond its milliseconds.
    pub(super) async fn overflowing(&self, offers: &HashMap<Digest, i64>) -> Result<Vec<String>, StoreError> {
        match offers.is_empty() {
            true => Ok(Vec::new()),
            false => Ok(self.line().await?.overflowing(offers, MOST)),
        }
    }
}
