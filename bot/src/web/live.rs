//! The event stream of a channel's page (server-sent events, WHATWG HTML §9.2): whole cards when a job changes, small
//! updates while it runs or waits.
//!
//! Events: `card` (HTML; its id is that of the newest post), `progress` (JSON), `gone` (a job's id), `live` (the ids of
//! all unfinished jobs, at the start), `reload` (too much was missed).

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    http::HeaderMap,
    response::sse::{Event as Sent, KeepAlive, Sse},
};
use futures::{Stream, stream};
use riff_hub::{
    hub::{Change, Event, Hub},
    store::StoreError,
};
use serde_json::json;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    card::{self, Card, Reader},
    identity::Visitor,
};
use crate::{problem::Problem, state::AppState};

/// How often places in the queue are looked at.
const PLACES: Duration = Duration::from_secs(1);
/// Most posts that a page that was away gets at once.
const CATCH_UP: i64 = 50;

struct Live {
    hub: Arc<Hub>,
    channel: String,
    reader: Reader,
    events: Receiver<Event>,
    places: Interval,
    /// The last place told of each waiting job.
    told: HashMap<String, String>,
    ready: VecDeque<Sent>,
    draining: CancellationToken,
}

/// `GET /c/{channel}/events?after=POST`.
pub async fn events(
    State(state): State<AppState>,
    Path(channel): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    visitor: Visitor,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, Problem> {
    let seen = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .or(query.get("after").map(String::as_str));
    let after: i64 = seen.and_then(|text| text.parse().ok()).unwrap_or(i64::MAX);
    let mut places = interval(PLACES);
    places.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut live = Live {
        events: state.hub.subscribe(),
        reader: Reader { member: visitor.id().to_owned(), blend: query.get("blend").cloned() },
        hub: state.hub,
        channel,
        places,
        told: HashMap::new(),
        ready: VecDeque::new(),
        draining: state.draining,
    };
    live.catch_up(after).await?;
    let stream = stream::unfold(live, async |mut live| live.next().await.map(|sent| (Ok(sent), live)));
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

impl Live {
    /// Everything that changed between the page and its stream.
    async fn catch_up(&mut self, after: i64) -> Result<(), StoreError> {
        let posts = self.hub.store.posts(&self.channel, None, CATCH_UP).await?;
        for post in posts.iter().take_while(|post| post.id > after).collect::<Vec<_>>().into_iter().rev() {
            self.card(&post.job, Some(post.id)).await;
        }
        let jobs = self.hub.store.live_in(&self.channel).await?;
        let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
        self.ready.push_back(Sent::default().event("live").data(json!(ids).to_string()));
        for job in &jobs {
            self.card(&job.id, None).await;
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(sent) = self.ready.pop_front() {
                return Some(sent);
            }
            tokio::select! {
                () = self.draining.cancelled() => return None,
                _ = self.places.tick() => self.tell_places().await,
                event = self.events.recv() => match event {
                    Ok(event) if *event.channel == *self.channel => self.take(&event).await,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.ready.push_back(Sent::default().event("reload").data("")),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    async fn take(&mut self, event: &Event) {
        match event.change {
            Change::Gone => self.ready.push_back(Sent::default().event("gone").data(&*event.job)),
            Change::Progress => self.progress(&event.job).await,
            Change::State => {
                // The card of an ended job follows with its post.
                if let Ok(Some(job)) = self.hub.store.job(&event.job).await
                    && !job.private
                    && !job.state.is_final()
                {
                    self.card(&event.job, None).await;
                }
            }
            Change::Posted => {
                let newest = self.hub.store.posts(&self.channel, None, 1).await;
                let id = newest.ok().and_then(|posts| posts.first().map(|post| post.id));
                self.told.remove(&*event.job);
                self.card(&event.job, id).await;
            }
        }
    }

    async fn card(&mut self, job: &str, post: Option<i64>) {
        let html = match Card::of(&self.hub, job, &self.reader).await {
            Ok(card) => card.render().map_err(|error| error.to_string()),
            Err(refusal) => Err(refusal.to_string()),
        };
        match html {
            Ok(html) => {
                let sent = Sent::default().event("card").data(html);
                self.ready.push_back(match post {
                    Some(id) => sent.id(id.to_string()),
                    None => sent,
                });
            }
            Err(error) => tracing::error!(job, error, "a card cannot be rendered"),
        }
    }

    async fn progress(&mut self, job: &str) {
        if let Ok(view) = self.hub.view(job).await
            && !view.job.private
        {
            let preview = view.live.preview.as_ref().map(|(_, number)| card::preview_url(job, *number));
            let update = json!({
                "job": job,
                "status": view.status(),
                "percent": view.percent(),
                "preview": preview,
                "text": view.text(),
            });
            self.ready.push_back(Sent::default().event("progress").data(update.to_string()));
        }
    }

    /// Tells waiting jobs' places that changed because others moved.
    async fn tell_places(&mut self) {
        let jobs = self.hub.store.live_in(&self.channel).await.unwrap_or_default();
        for job in jobs.iter().filter(|job| job.state == riff_hub::job::State::Queued) {
            let Ok(view) = self.hub.view(&job.id).await else {
                continue;
            };
            let status = view.status();
            if self.told.insert(job.id.clone(), status.clone()).as_ref() != Some(&status) {
                let update = json!({"job": job.id, "status": status, "percent": 0});
                self.ready.push_back(Sent::default().event("progress").data(update.to_string()));
            }
        }
    }
}
