//! A channel as an open page sees it: its event stream.

use std::pin::Pin;

use anyhow::{Context, bail};
use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures::{Stream, StreamExt};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{Card, PATIENCE};

type Events = Pin<Box<dyn Stream<Item = Result<Event, EventStreamError<reqwest::Error>>> + Send>>;

/// An open page of a channel.
pub struct Feed {
    events: Events,
    /// Everything that the page was told, in order.
    pub seen: Vec<Told>,
}

/// Something that an open page is told.
#[derive(Debug, Clone)]
pub enum Told {
    Card(Box<Card>),
    Progress(Value),
    Gone(String),
    Live(Vec<String>),
    Reload,
}

impl Feed {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        Self { events: Box::pin(response.bytes_stream().eventsource()), seen: Vec::new() }
    }

    /// The next thing that the page is told.
    pub async fn next(&mut self) -> anyhow::Result<Told> {
        self.next_by(Instant::now() + PATIENCE).await
    }

    async fn next_by(&mut self, deadline: Instant) -> anyhow::Result<Told> {
        let event = timeout_at(deadline, self.events.next()).await;
        let event = event.context("nothing happened in the channel")?.context("the stream ended")??;
        let told = match event.event.as_str() {
            "card" => Told::Card(Box::new(Card::read(&event.data)?)),
            "progress" => Told::Progress(serde_json::from_str(&event.data)?),
            "gone" => Told::Gone(event.data),
            "live" => Told::Live(serde_json::from_str(&event.data)?),
            "reload" => Told::Reload,
            other => bail!("an event of an unknown kind: {other}"),
        };
        self.seen.push(told.clone());
        Ok(told)
    }

    /// Waits for a card that is as asked.
    pub async fn card(&mut self, wanted: impl Fn(&Card) -> bool) -> anyhow::Result<Card> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next_by(deadline).await {
                Ok(Told::Card(card)) if wanted(&card) => return Ok(*card),
                Ok(_) => {}
                Err(error) => return Err(error.context(format!("the page was told: {:#?}", self.seen))),
            }
        }
    }

    /// Waits for the next card that has ended, however it ended.
    pub async fn posted(&mut self) -> anyhow::Result<Card> {
        self.card(|card| !card.live).await
    }

    /// Waits until a job's card is gone.
    pub async fn gone(&mut self, job: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Told::Gone(gone) = self.next_by(deadline).await?
                && gone == job
            {
                return Ok(());
            }
        }
    }

    /// What the page was told of progress so far.
    pub fn progress(&self) -> Vec<&Value> {
        let progress = self.seen.iter().filter_map(|told| match told {
            Told::Progress(value) => Some(value),
            _ => None,
        });
        progress.collect()
    }
}
