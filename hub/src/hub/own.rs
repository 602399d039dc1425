//! What members do with what is theirs: cancel it, or take its post down.

use super::{Change, Hub};
use crate::{
    admission::Refusal,
    job::Job,
    step,
    store::{Ending, Member},
};

impl Hub {
    /// Cancels one's own job.
    pub async fn cancel(&self, who: &Member, job: &str) -> Result<Job, Refusal> {
        let found = self.own(who, job, "cancel").await?;
        let ending = self.store.cancel(&found.id, self.seam.now()).await?;
        step::done("cancelled");
        if let Ending::Now(job) = &ending {
            tracing::info!(job = job.id, member = who.id, "cancelled");
            self.ended(job).await;
            self.gone(job);
        }
        Ok(ending.job().clone())
    }

    /// Takes down one's own post.
    pub async fn delete_post(&self, who: &Member, job: &str) -> Result<(), Refusal> {
        let found = self.own(who, job, "delete").await?;
        if self.store.unpublish(&found.id, self.seam.now()).await? {
            tracing::info!(job = found.id, member = who.id, "post deleted");
            self.gone(&found);
        }
        Ok(())
    }

    /// A job or its post is gone, which its surface has to show.
    pub(super) fn gone(&self, job: &Job) {
        self.call_posters();
        self.tell(&job.channel, &job.id, Change::Gone);
    }

    async fn own(&self, who: &Member, job: &str, what: &'static str) -> Result<Job, Refusal> {
        let missing = || Refusal::Missing(format!("job “{job}”"));
        let found = self.store.job(job).await?.ok_or_else(missing)?;
        if found.member != who.id {
            let owner = self.store.member(&found.member).await?;
            let owner = owner.map_or_else(|| "its owner".to_owned(), |member| member.name);
            return Err(Refusal::NotYours { owner, what });
        }
        Ok(found)
    }
}
