//! Predictions that no request is held for (`Prefer: respond-async`): the server reports their end.
//!
//! Cog says how a prediction is to whoever asks for one of the same id again. That is how one is looked at whose reports do
//! not arrive; one that has ended meanwhile begins anew then, and is given up.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::super::predictor::{Prediction, progress::News};
use super::{CLEAN_UP, CogEngine, NO_ROOM, Prefer, ROOM, Run, TEXT_EVENTS, server};
use crate::engine::EngineError;

/// How often a prediction is looked at that the server should report on.
const LOOK: Duration = Duration::from_secs(10);
/// The reports that are asked for.
const PICTURE_EVENTS: [&str; 3] = ["start", "logs", "completed"];

impl CogEngine {
    /// Refuses settings under which no end would ever be heard of.
    pub(super) async fn check_background(&self) -> Result<(), EngineError> {
        if self.settings.own.prefer == Prefer::RespondAsync && self.hooks().await.is_none() {
            return Err(EngineError::Unavailable(format!(
                "{} would report to nobody: prefer = \"respond-async\" needs a webhook that this worker can listen at",
                self.settings
            )));
        }
        Ok(())
    }

    /// Begins a prediction and waits until its end is reported; `None` if there is no room for it now.
    pub(super) async fn ask_in_background(
        &self,
        id: &str,
        run: &Run<'_>,
        tell: &watch::Sender<News>,
    ) -> Result<Option<Prediction>, EngineError> {
        self.check_background().await?;
        let Some(hooks) = self.hooks().await else { return Ok(None) };
        self.clear(id).await?;
        let (url, mut heard) = hooks.listen(id, tell.clone());
        let text = [TEXT_EVENTS.as_slice(), &["completed"]].concat();
        let events = if run.share.text { text.as_slice() } else { &PICTURE_EVENTS };
        let request = server::request(id, run.request.clone(), Some((url, events)));
        let mut seen = match self.server.begin(id, &request).await? {
            Some(begun) => begun,
            None => return Ok(None),
        };
        loop {
            if seen.has_ended() {
                return Ok(Some(seen));
            }
            tokio::select! {
                biased;
                end = heard.end() => return Ok(Some(end)),
                () = sleep(LOOK) => {}
            }
            let again = self.server.begin(id, &request).await?;
            let Some(again) = again.filter(|again| again.status != "starting") else {
                self.server.cancel(id).await;
                return Err(EngineError::Unavailable(format!(
                    "{} does not report: is the address of `webhook` one that it reaches?",
                    self.settings
                )));
            };
            tell.send_if_modified(|news| news.catch_up(&again));
            seen = again;
        }
    }

    /// Stops a prediction of that id that an earlier attempt left behind: its reports go elsewhere.
    async fn clear(&self, id: &str) -> Result<(), EngineError> {
        let until = Instant::now() + CLEAN_UP.max(NO_ROOM);
        let mut wait = ROOM.0;
        while self.server.stops(id).await? {
            if Instant::now() > until {
                return Err(EngineError::Unavailable(format!(
                    "{} does not end a prediction that was left behind",
                    self.settings
                )));
            }
            sleep(wait).await;
            wait = (wait * 2).min(ROOM.1);
        }
        Ok(())
    }
}
