//! What the hub does with what the classifier says: it keeps it with each result, shows no flagged preview, and withholds
//! flagged results from channels that are not age-restricted.

use std::sync::Arc;

use super::{Hub, WorkError};
use crate::{
    community::{Act, WEB},
    job::Job,
    media,
    safety::{Finding, Watch},
    step,
    store::{Desk, Member, StoreError},
};

/// Who withholds, as the log has it.
const WATCHER: &str = "riff";

impl Hub {
    /// Has a classifier look at every picture from now on. Called once, before workers come.
    pub fn watch(&self, watch: Watch) {
        if self.watch.set(Arc::new(watch)).is_err() {
            tracing::warn!("there is a safety classifier already; the first one stays");
        }
    }

    /// Whether a preview may be shown: not if it is flagged, or cannot be looked at, outside age-restricted channels.
    pub(super) async fn may_show(&self, job: &Job, preview: &[u8]) -> Result<bool, StoreError> {
        let Some(watch) = self.watch.get().cloned() else {
            return Ok(true);
        };
        if self.audience_of(job).await?.mature {
            return Ok(true);
        }
        let preview = preview.to_vec();
        let looked = tokio::task::spawn_blocking(move || {
            let picture = media::decode(&preview).map_err(|error| error.to_string())?.into_rgb8();
            let findings = watch.classifier.look(&picture)?;
            Ok::<_, String>(watch.flagged(&findings).is_empty())
        });
        Ok(looked.await.is_ok_and(|looked| looked.unwrap_or(false)))
    }

    /// Ends a job whose results are flagged where they must not be shown: refunded, with a sentence for its member and a line
    /// in the community's log. Returns whether it did.
    pub(super) async fn withhold(&self, worker: &str, job: &str, attempt: u32) -> Result<bool, WorkError> {
        let Some(watch) = self.watch.get() else {
            return Ok(false);
        };
        let Some((job, _)) = self.store.held(job, worker, attempt).await? else {
            return Ok(false);
        };
        let outputs = self.store.outputs(&job).await?;
        let findings: Vec<Finding> = outputs.iter().flat_map(|output| output.findings()).collect();
        let flagged = watch.flagged(&findings);
        let audience = self.audience_of(&job).await?;
        if flagged.is_empty() || audience.mature {
            return Ok(false);
        }
        let found: Vec<String> =
            flagged.iter().map(|finding| format!("{} {:.2}", finding.label, finding.score)).collect();
        let act = Act::Withhold { job: job.id.clone(), found: found.join(", ") };
        let now = self.seam.now();
        let watcher = Member { id: WATCHER.to_owned(), name: "Riff".to_owned() };
        let desk = Desk { actor: &watcher, community: &audience.community, period: Self::period(now), now };
        let ended = self.store.moderate(desk, &act).await?;
        step::done("withheld");
        tracing::warn!(job = job.id, found = found.join(", "), "withheld");
        for job in &ended {
            self.ended(job).await;
        }
        Ok(true)
    }

    /// Where a job's results go. A channel that is gone is like one that is not age-restricted.
    async fn audience_of(&self, job: &Job) -> Result<Audience, StoreError> {
        let ground = self.store.ground(&job.channel, None, self.seam.now()).await?;
        Ok(ground.map_or(Audience { community: WEB.to_owned(), mature: false }, |ground| Audience {
            community: ground.community,
            mature: ground.mature,
        }))
    }
}

struct Audience {
    community: String,
    mature: bool,
}
