//! The poster of the web channel: makes the posts that the outbox holds. It owns nothing; a post that it could not make
//! stays in the outbox, and making one twice changes nothing.

use std::time::Duration;

use futures::future::join_all;
use riff_hub::{
    hub::{Change, Hub},
    measure::Outcome,
    span::Span,
    store::{Due, StoreError, WEB},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Deliveries taken in hand at once.
const MOST_AT_ONCE: usize = 100;
/// How often it looks although nobody called it: what a crash left behind, and deliveries that were put off.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Wait after a failed delivery, in milliseconds; doubles with each up to 2¹⁰ times.
const BACKOFF_MS: i64 = 500;

/// Delivers until `stop` is cancelled, and then once more.
pub async fn run(hub: &Hub, stop: &CancellationToken) {
    let mut posts = hub.posts_due();
    loop {
        posts.mark_unchanged();
        if let Err(error) = deliver(hub).await {
            tracing::error!(%error, "the outbox cannot be read");
        }
        if stop.is_cancelled() {
            return;
        }
        tokio::select! {
            _ = timeout(LOOK_AGAIN, posts.changed()) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn deliver(hub: &Hub) -> Result<(), StoreError> {
    let due = hub.store.due(WEB, MOST_AT_ONCE, hub.seam.now()).await?;
    // What is wrong with one does not break off the others.
    join_all(due.iter().map(|due| post(hub, due))).await.into_iter().collect()
}

async fn post(hub: &Hub, due: &Due) -> Result<(), StoreError> {
    match hub.store.publish(due, None, hub.seam.now()).await {
        Ok(()) if due.private => hub.metrics.delivered(WEB, Outcome::Delivered),
        Ok(()) => {
            hub.metrics.delivered(WEB, Outcome::Delivered);
            riff_hub::step::done("published");
            tracing::info!(job = due.job, trace = riff_hub::trace::of(&due.job), surface = WEB, "posted");
            hub.traced(|now| Span::post(&due.job, WEB, now));
            hub.tell(&due.channel, &due.job, Change::Posted);
        }
        Err(error) => {
            tracing::warn!(job = due.job, %error, "put off a post");
            hub.metrics.delivered(WEB, Outcome::PutOff);
            put_off(hub, due).await?;
        }
    }
    Ok(())
}

async fn put_off(hub: &Hub, due: &Due) -> Result<(), StoreError> {
    let wait = BACKOFF_MS << due.attempts.clamp(0, 10);
    hub.store.postpone(due, hub.seam.now() + wait).await
}
