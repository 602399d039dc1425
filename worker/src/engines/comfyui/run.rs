//! One prompt from the queue to its end: shown while it runs, and not lost when the socket is.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    outcome,
    progress::{Progress, Share},
    server::{Queued, Server},
    socket::{Events, News},
};
use crate::{
    engine::{EngineError, RunContext},
    engines::{comfyui::model::Model, picture},
};

/// How often the server is asked what became of a prompt: while it tells by itself, and while it does not.
const LOOK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(500));
/// First and longest wait before it is asked again after it said that a prompt has ended: it says so a moment early.
const SOON: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));
/// How often in a row it may be silent.
const SILENCES: u32 = 3;
/// How long a cancelled prompt may take to end.
const CLEAN_UP: Duration = Duration::from_secs(4);
/// How often it is looked whether it has.
const CLEAN_UP_LOOK: Duration = Duration::from_millis(50);

/// A run of a workflow.
pub struct Run<'a> {
    /// Where.
    pub server: &'a Server,
    /// Which.
    pub model: &'a Model,
    /// For whom.
    pub client: &'a str,
    /// For which part of the job.
    pub share: Share,
    /// Whom it is shown to.
    pub context: &'a RunContext,
}

/// What was heard of a prompt.
struct Heard<'a> {
    progress: Progress<'a>,
    /// Whether what the server works on now is this one.
    ours: bool,
}

/// When the server is asked what became of a prompt.
struct Looks {
    next: Instant,
    /// How long to wait after the next answer that it has not ended.
    wait: Duration,
    /// The same, while nothing else is to be expected.
    usual: Duration,
    silences: u32,
}

impl Looks {
    /// Those at a server that tells nothing.
    fn new() -> Self {
        Self { next: Instant::now() + LOOK.1, wait: LOOK.1, usual: LOOK.1, silences: 0 }
    }

    fn joined(&mut self) {
        (self.usual, self.wait) = (LOOK.0, LOOK.0);
        self.next = Instant::now() + LOOK.0;
    }

    fn lost(&mut self) {
        (self.usual, self.wait) = (LOOK.1, LOOK.1);
        self.next = self.next.min(Instant::now() + LOOK.1);
    }

    fn soon(&mut self) {
        (self.next, self.wait) = (Instant::now(), SOON.0);
    }

    fn not_yet(&mut self) {
        self.silences = 0;
        self.next = Instant::now() + self.wait;
        self.wait = if self.wait < SOON.1 { self.wait * 2 } else { self.usual };
    }

    fn silent(&mut self, error: &EngineError) -> Result<(), EngineError> {
        self.silences += 1;
        self.next = Instant::now() + LOOK.1;
        match self.silences {
            SILENCES => Err(EngineError::Unavailable(format!("the server is lost: {error}"))),
            _ => Ok(()),
        }
    }
}

/// Where a prompt is.
enum Place {
    /// In the history, with what became of it.
    Ended(Value),
    /// In the queue.
    Queued,
    /// Nowhere.
    Nowhere,
}

impl Run<'_> {
    /// Queues a prompt and gives what the history has of it in the end.
    pub async fn to_the_end(&self, prompt: &Value, events: &mut Events) -> Result<Value, EngineError> {
        let name = match self.server.prompt(prompt, self.client).await? {
            Queued::As(name) => name,
            Queued::Refused(answer) => return Err(outcome::refusal(&answer, self.model)),
        };
        let mut heard = Heard { progress: Progress::new(&self.model.weights, self.share), ours: false };
        let mut looks = Looks::new();
        if events.is_open() {
            looks.joined();
        }
        loop {
            tokio::select! {
                news = events.next() => self.hear(news, &name, &mut heard, &mut looks).await,
                () = sleep_until(looks.next) => match self.place(&name).await {
                    Ok(Place::Ended(entry)) => return Ok(entry),
                    Ok(Place::Queued) => looks.not_yet(),
                    Ok(Place::Nowhere) => return Err(forgotten()),
                    Err(error) => looks.silent(&error)?,
                },
            }
        }
    }

    async fn hear(&self, news: News, name: &str, heard: &mut Heard<'_>, looks: &mut Looks) {
        match news {
            News::Joined => looks.joined(),
            News::Lost => looks.lost(),
            News::Over { prompt } if prompt == name => {
                heard.ours = false;
                looks.soon();
            }
            News::Over { .. } => {}
            News::Begun { prompt } => heard.ours = prompt == name,
            News::Preview(bytes) if heard.ours => {
                let preview = picture::preview(bytes).await;
                heard.progress.show(preview, self.context);
            }
            News::Preview(_) => {}
            news if is_of(&news, name, heard.ours) => {
                // Whoever joins late has not heard that it began.
                heard.ours = true;
                heard.progress.take(&news);
                heard.progress.show(None, self.context);
            }
            _ => {}
        }
    }

    async fn place(&self, name: &str) -> Result<Place, EngineError> {
        if let Some(entry) = self.server.history(name).await? {
            return Ok(Place::Ended(entry));
        }
        if self.server.queue().await?.iter().any(|item| item.prompt == name) {
            return Ok(Place::Queued);
        }
        // It may have ended between the two.
        Ok(self.server.history(name).await?.map_or(Place::Nowhere, Place::Ended))
    }
}

fn is_of(news: &News, name: &str, ours: bool) -> bool {
    match news {
        News::Cached { prompt, .. } | News::Node { prompt, .. } => prompt == name,
        News::Part { prompt: Some(prompt), .. } => prompt == name,
        News::Part { prompt: None, .. } => ours,
        _ => false,
    }
}

fn forgotten() -> EngineError {
    EngineError::Unavailable(
        "the server does not know the prompt any more: it was started anew, or somebody cleared its queue"
            .to_owned(),
    )
}

/// Stops whatever a client has in the queue, and waits until it is out of it.
///
/// # Errors
/// What the server says, or that it took too long.
pub async fn stop(server: &Server, client: &str) -> Result<(), EngineError> {
    let until = Instant::now() + CLEAN_UP;
    let mut told = Vec::new();
    loop {
        let queue = server.queue().await?;
        let ours: Vec<_> = queue.into_iter().filter(|item| item.client == client).collect();
        if ours.is_empty() {
            return Ok(());
        }
        for item in ours {
            if !told.contains(&item) {
                server.stop(&item).await?;
                told.push(item);
            }
        }
        if Instant::now() > until {
            return Err(EngineError::Unavailable(format!("a prompt did not stop within {CLEAN_UP:?}")));
        }
        sleep(CLEAN_UP_LOOK).await;
    }
}
