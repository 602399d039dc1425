//! One prediction, from the money put by for it to its end.
//!
//! Whatever happens to the run that wanted it (cancelled, dropped, out of patience), a prediction that was begun is stopped
//! and paid for: [`Begun`] sees to that when it is dropped.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use reqwest12::Url;
use riff_hub::seam::Seam;
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    super::predictor::progress::{News, Share},
    ReplicateEngine, Served,
    api::{Api, Remote},
    fault::Fault,
    ledger::{Entry, Ledger, LedgerError},
    money::{Price, Reached, Usd},
};
use crate::engine::{EngineError, RunContext};

/// First and longest wait before a prediction is looked at again.
const LOOK: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// The same while its text comes by itself.
const LOOK_STREAMED: Duration = Duration::from_secs(10);
/// How often in a row the API may be silent about a prediction.
const SILENCES: u32 = 5;
/// How long the answer to a new prediction of pictures is held: fast models are done by then.
const HOLD: Duration = Duration::from_secs(1);
/// How long the answer to a new prediction may take once nobody wants it any more.
const LAST_WORD: Duration = Duration::from_secs(4);
/// How long to go on asking for a prediction while there are too many, and first wait.
const THROTTLED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(1));
/// What a run may take beyond its limit, at which the API stops it.
const GRACE: Duration = Duration::from_secs(30);
/// How often a stopped prediction is looked at for what it cost.
const LAST_LOOKS: u32 = 20;

/// One of the predictions that a recipe takes.
pub struct Run<'a> {
    pub served: &'a Served,
    pub input: Value,
    pub share: Share,
    pub context: &'a RunContext,
}

/// What is needed to end a prediction.
#[derive(Clone)]
pub struct Account {
    pub api: Arc<Api>,
    pub ledger: Arc<Ledger>,
    pub seam: Arc<dyn Seam>,
    /// Predictions that are being stopped. They end with the engine.
    pub stopping: Arc<Mutex<JoinSet<()>>>,
}

impl Account {
    /// Asks the ledger, which waits for the disk.
    pub async fn ledger<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Ledger, i64) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (ledger, now) = (self.ledger.clone(), self.seam.now());
        let asked = tokio::task::spawn_blocking(move || ask(&ledger, now)).await;
        let asked = asked.map_err(|error| EngineError::Failed(format!("the ledger crashed: {error}")))?;
        asked.map_err(|error| EngineError::Unavailable(error.to_string()))
    }

    /// Notes what a run cost. What was put by for it stays counted where that is not known.
    async fn settle(&self, entry: Entry, cost: Option<Usd>) {
        let Some(cost) = cost else { return };
        if let Err(error) = self.ledger(move |ledger, now| ledger.settle(&entry, cost, now)).await {
            tracing::warn!(%error, "the most that a run may cost stays counted");
        }
    }

    /// Stops a prediction and notes what it cost.
    async fn stop(self, id: String, entry: Entry, price: Price) {
        let mut seen = self.api.cancel(&id).await;
        for _ in 0..LAST_LOOKS {
            match seen {
                Ok(remote) if remote.state.has_ended() => {
                    return self.settle(entry, cost(&remote, price)).await;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(prediction = id, %error, "it may not be cancelled yet"),
            }
            sleep(LOOK.0).await;
            seen = self.api.get(&id).await;
        }
    }
}

/// What an ended prediction cost.
fn cost(remote: &Remote, price: Price) -> Option<Usd> {
    price.of(if remote.has_begun() { Reached::Begun(remote.took()) } else { Reached::Nothing })
}

/// A prediction that was begun. Dropped before its end, it is stopped.
struct Begun {
    account: Account,
    id: String,
    price: Price,
    entry: Option<Entry>,
}

impl Begun {
    async fn ended(mut self, remote: &Remote) {
        if let Some(entry) = self.entry.take() {
            self.account.settle(entry, cost(remote, self.price)).await;
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let (Some(entry), Ok(runtime)) = (self.entry.take(), Handle::try_current()) else { return };
        let mut stopping = self.account.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        while stopping.try_join_next().is_some() {}
        stopping.spawn_on(self.account.clone().stop(self.id.clone(), entry, self.price), &runtime);
    }
}

impl ReplicateEngine {
    /// Runs a prediction; gives its output.
    pub(super) async fn predict(&self, run: &Run<'_>) -> Result<Value, EngineError> {
        let most = run.served.price.most(run.served.timeout);
        let (name, job) = (format!("{:016x}", self.account.seam.random()), run.context.job.clone());
        let entry = self.account.ledger(move |ledger, now| ledger.reserve(&name, &job, most, now)).await?;
        let remote = self.begin(run, &entry).await?;
        let begun = Begun {
            account: self.account.clone(),
            id: remote.id.clone(),
            price: run.served.price,
            entry: Some(entry),
        };
        let ended = self.attend(remote, run).await?;
        begun.ended(&ended).await;
        outcome(ended)
    }

    /// Creates the prediction. A request that is on its way is waited for even if nobody wants its result any more: only the
    /// answer says what to stop.
    async fn begin(&self, run: &Run<'_>, entry: &Entry) -> Result<Remote, EngineError> {
        let mut create = pin!(self.create(run));
        let created = tokio::select! {
            created = &mut create => created,
            () = run.context.cancel.cancelled() => {
                return Err(match timeout(LAST_WORD, create).await {
                    Ok(created) => {
                        self.forget(created, run, entry).await;
                        EngineError::Cancelled
                    }
                    // It is not known whether there is a prediction: the most that it may cost stays counted.
                    Err(_) => EngineError::Cancelled,
                });
            }
        };
        match created {
            Ok(remote) => Ok(remote),
            Err(fault) => {
                if !fault.may_have_begun() {
                    self.account.settle(entry.clone(), Some(Usd::default())).await;
                }
                Err(fault.into())
            }
        }
    }

    /// What becomes of a prediction that was created for nobody.
    async fn forget(&self, created: Result<Remote, Fault>, run: &Run<'_>, entry: &Entry) {
        match created {
            Ok(remote) => drop(Begun {
                account: self.account.clone(),
                id: remote.id,
                price: run.served.price,
                entry: Some(entry.clone()),
            }),
            Err(fault) if !fault.may_have_begun() => {
                self.account.settle(entry.clone(), Some(Usd::default())).await;
            }
            Err(_) => {}
        }
    }

    /// Asks for a prediction, again while there are too many.
    async fn create(&self, run: &Run<'_>) -> Result<Remote, Fault> {
        let until = Instant::now() + THROTTLED.0;
        let mut wait = THROTTLED.1;
        let hold = (!run.share.text).then_some(HOLD);
        loop {
            let asked =
                self.account.api.create(&run.served.place, &run.input, run.served.timeout, hold).await;
            match asked {
                Err(Fault::Throttled { after, words }) => {
                    let pause = after.unwrap_or(wait);
                    if Instant::now() + pause > until {
                        self.close(pause, &words);
                        return Err(Fault::Throttled { after, words });
                    }
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = run.context.cancel.cancelled() => {
                            return Err(Fault::Throttled { after, words });
                        }
                    }
                    wait *= 2;
                }
                Err(Fault::Account(words)) => {
                    self.close(super::CLOSED, &words);
                    return Err(Fault::Account(words));
                }
                asked => return asked,
            }
        }
    }

    /// Shows a prediction until it ended.
    async fn attend(&self, remote: Remote, run: &Run<'_>) -> Result<Remote, EngineError> {
        let (tell, mut told) = watch::channel(News::default());
        let limit = run.served.timeout + GRACE;
        let mut end = pin!(timeout(limit, self.end(remote, run.share.text, &tell)));
        loop {
            tokio::select! {
                biased;
                () = run.context.cancel.cancelled() => return Err(EngineError::Cancelled),
                Ok(()) = told.changed() => run.share.show(&told.borrow_and_update(), run.context),
                ended = &mut end => return ended.unwrap_or_else(|_| {
                    Err(EngineError::Failed(format!("the model took longer than {limit:?}")))
                }),
            }
        }
    }

    /// Looks at a prediction until it ended.
    async fn end(
        &self,
        mut remote: Remote,
        text: bool,
        tell: &watch::Sender<News>,
    ) -> Result<Remote, EngineError> {
        let stream = remote.stream().filter(|_| text);
        let mut streams = stream.is_some();
        let mut follow = pin!(self.follow(stream, tell));
        let (mut wait, mut silences) = (LOOK.0, 0);
        loop {
            if !streams {
                tell.send_if_modified(|news| news.catch_up(&remote.state));
            }
            if remote.state.has_ended() {
                return Ok(remote);
            }
            tokio::select! {
                () = &mut follow, if streams => streams = false,
                () = sleep(if streams { LOOK_STREAMED } else { wait }) => wait = (wait * 3 / 2).min(LOOK.1),
            }
            match self.account.api.get(&remote.id).await {
                Ok(newer) => (remote, silences) = (newer, 0),
                Err(Fault::Throttled { after, .. }) => sleep(after.unwrap_or(LOOK.1)).await,
                Err(fault @ (Fault::Account(_) | Fault::Missing(_))) => return Err(fault.into()),
                Err(fault) => {
                    silences += 1;
                    if silences == SILENCES {
                        return Err(EngineError::Unavailable(format!("a prediction is lost: {fault}")));
                    }
                }
            }
        }
    }

    /// Tells the words of a prediction as they come. A stream that breaks off costs the progress and nothing else.
    async fn follow(&self, stream: Option<Url>, tell: &watch::Sender<News>) {
        let Some(url) = stream else { return };
        let events = match self.account.api.events(url).await {
            Ok(events) => events,
            Err(error) => return tracing::warn!(%error, "words are not shown as they come"),
        };
        let mut events = pin!(events);
        while let Some(Ok(event)) = events.next().await {
            match event.event.as_str() {
                "output" => tell.send_modify(|news| news.push(&event.data.into())),
                "logs" => tell.send_modify(|news| news.log(&event.data)),
                "done" | "error" => return,
                _ => {}
            }
        }
    }
}

/// The output of a prediction that ended. The same seed meets the same filter again.
fn outcome(remote: Remote) -> Result<Value, EngineError> {
    let never = !remote.has_begun() && matches!(remote.state.status.as_str(), "aborted" | "canceled");
    match remote.state.outcome() {
        Err(EngineError::Failed(reason)) if is_filtered(&reason) => Err(EngineError::Input(reason)),
        Err(EngineError::Failed(_)) if never => Err(EngineError::Unavailable(
            "the prediction never began: no hardware was free at Replicate in time".to_owned(),
        )),
        outcome => outcome,
    }
}

/// Whether a model says that its own filter stopped it.
fn is_filtered(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["nsfw", "flagged as sensitive", "safety"].iter().any(|sign| reason.contains(sign))
}
