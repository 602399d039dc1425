//! Progress of running jobs on Discord: the message that answers a job is edited while it runs. Only the newest state is
//! ever sent, no oftener than Discord likes, and never when the rate limit has no room to spare.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use riff_hub::{
    hub::{Change, Event, JobView},
    job::Job,
};
use serenity::{
    http::{LightMethod, Route},
    model::id::MessageId,
};
use tokio::{
    sync::broadcast::error::RecvError,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Discord, SURFACE,
    chat::Sent,
    message::{File, Outgoing},
    note::{Note, Shows},
    rest::{Call, RestError, Urgency},
};

/// How often it is looked what there is to tell.
const TICK: Duration = Duration::from_millis(250);
/// Least time between two edits of one message.
const SPACING: Duration = Duration::from_millis(1_500);
/// How often the places of waiting jobs are looked at.
const PLACES: Duration = Duration::from_secs(5);
/// A job's message is noted when it took that long, well before the interaction's token ends; most are done by then.
const REMEMBERED_AFTER: Duration = Duration::from_secs(5 * 60);
/// Wait before a result is once more said to be due.
const AGAIN: Duration = Duration::from_millis(500);
/// Edits on their way at once.
const MOST_AT_ONCE: usize = 16;

/// What was last told of a job.
struct Told {
    at: Instant,
    content: String,
    preview: Option<u32>,
}

/// Edits until `stop` is cancelled.
pub async fn run(discord: &Arc<Discord>, stop: &CancellationToken) {
    let mut live = Live {
        discord: discord.clone(),
        changed: HashSet::new(),
        told: HashMap::new(),
        editing: JoinSet::new(),
        busy: HashSet::new(),
    };
    let mut events = discord.hub.subscribe();
    // Of several hubs one edits for all: it hears of what the others do.
    let mut leads = false;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut places = interval(PLACES);
    places.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => match event {
                Ok(event) if leads => live.heard(&event),
                Err(RecvError::Lagged(_)) if leads => live.look().await,
                Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            },
            _ = places.tick(), if leads => live.look().await,
            _ = tick.tick() => {
                leads = discord.hub.leads("discord/progress").await;
                if leads {
                    live.edit_some().await;
                }
            }
            Some(edited) = live.editing.join_next() => live.edited(edited.ok()),
        }
    }
}

struct Live {
    discord: Arc<Discord>,
    /// Jobs with something new to tell.
    changed: HashSet<String>,
    told: HashMap<String, Told>,
    editing: JoinSet<(String, Option<Told>)>,
    /// Jobs whose edit is on its way.
    busy: HashSet<String>,
}

impl Live {
    fn heard(&mut self, event: &Event) {
        if !event.channel.starts_with(SURFACE) {
            return;
        }
        match event.change {
            Change::State | Change::Progress => {
                self.changed.insert(event.job.to_string());
            }
            Change::Posted | Change::Gone => {
                self.changed.remove(&*event.job);
                self.told.remove(&*event.job);
            }
        }
    }

    /// Jobs whose place in the queue may have changed, and those of which events were missed.
    async fn look(&mut self) {
        match self.discord.hub.store.live_on(SURFACE).await {
            Ok(jobs) => {
                self.changed.extend(jobs);
                // What is not among them has ended, perhaps while an edit was on its way.
                self.told.retain(|id, _| self.changed.contains(id) || self.busy.contains(id));
            }
            Err(error) => tracing::warn!(%error, "the jobs of Discord cannot be read"),
        }
    }

    async fn edit_some(&mut self) {
        let due = |id: &&String| {
            !self.busy.contains(*id) && self.told.get(*id).is_none_or(|told| told.at.elapsed() >= SPACING)
        };
        let room = MOST_AT_ONCE.saturating_sub(self.editing.len());
        let ready: Vec<String> = self.changed.iter().filter(due).take(room).cloned().collect();
        for id in ready {
            self.changed.remove(&id);
            self.busy.insert(id.clone());
            let discord = self.discord.clone();
            let told = self.told.remove(&id);
            self.editing.spawn(async move {
                let told = edit(&discord, &id, told).await;
                (id, told)
            });
        }
    }

    fn edited(&mut self, edited: Option<(String, Option<Told>)>) {
        let Some((id, told)) = edited else {
            return;
        };
        self.busy.remove(&id);
        if let Some(told) = told {
            self.told.insert(id, told);
        }
    }
}

/// Edits one job's message if it would look different. Gives what was told, or nothing once the job has ended.
async fn edit(discord: &Discord, id: &str, told: Option<Told>) -> Option<Told> {
    let turn = discord.turn(id).await;
    let job = discord.hub.store.job(id).await.ok().flatten()?;
    if job.state.is_final() {
        discord.forget_turn(id);
        return None;
    }
    let age = discord.hub.seam.now() - job.created_at;
    if told.is_none() && age < SPACING.as_millis() as i64 {
        // What the answer showed is still true, or the result is about to be.
        return Some(Told { at: Instant::now(), content: String::new(), preview: None });
    }
    let mut note = Note::of(&job)?;
    if note.message.is_none() && age > REMEMBERED_AFTER.as_millis() as i64 {
        remember(discord, &job, &note, *turn).await;
    }
    note.message = note.message.or(*turn);
    let view = discord.hub.view(id).await.ok()?;
    let message = picture(discord, &note, &view);
    let preview = view.live.preview.as_ref().map(|(_, number)| *number);
    if told.as_ref().is_some_and(|told| told.content == message.content && told.preview == preview) {
        return told;
    }
    let sent = send(discord, &job, &note, &message).await;
    put_right(discord, id).await;
    match sent {
        Ok(()) => Some(Told { at: Instant::now(), content: message.content, preview }),
        Err(RestError::Busy) => Some(Told { at: Instant::now(), content: String::new(), preview: None }),
        Err(error) => {
            tracing::debug!(job = id, %error, "progress was not shown");
            Some(Told { at: Instant::now(), content: message.content, preview })
        }
    }
}

/// Another hub may have posted the result while an edit of this one was on its way, which then stands in its place: it is
/// posted once more. In this process, turns keep that from happening.
pub async fn put_right(discord: &Discord, id: &str) {
    let hub = &discord.hub;
    if hub.store.is_alone() {
        return;
    }
    while let Err(error) = hub.store.deliver_again(id, SURFACE, hub.seam.now()).await {
        tracing::warn!(job = id, %error, "an edit may stand where the result was");
        tokio::time::sleep(AGAIN).await;
    }
}

/// Notes which message answers a job that is still not done, while the interaction's token can tell.
async fn remember(discord: &Discord, job: &Job, note: &Note, known: Option<MessageId>) {
    if let Some(message) = known {
        return discord.remember(job, message).await;
    }
    let Some(token) = note.live_token(discord.hub.seam.now()) else {
        return;
    };
    let route = Route::WebhookOriginalInteractionResponse { application_id: discord.application, token };
    match discord.rest.get::<Sent>(Call::new(LightMethod::Get, route)).await {
        Ok(sent) => discord.remember(job, sent.id).await,
        Err(error) => tracing::info!(job = job.id, %error, "the message of a job cannot be looked up"),
    }
}

fn picture(discord: &Discord, note: &Note, view: &JobView) -> Outgoing {
    let mut message = match note.shows {
        Shows::Talk => discord.cards.talking(view),
        Shows::Post => discord.cards.waiting(view, note.user),
        Shows::Shorter => Outgoing::private(format!("-# {}", view.status())),
    };
    if let Some((bytes, number)) = &view.live.preview {
        let kind = if bytes.starts_with(b"\x89PNG") { "png" } else { "jpg" };
        message.files.push(File { name: format!("preview-{number}.{kind}"), bytes: bytes.clone() });
    }
    message
}

async fn send(discord: &Discord, job: &Job, note: &Note, message: &Outgoing) -> Result<(), RestError> {
    let route = match (note.live_token(discord.hub.seam.now()), note.message) {
        (Some(token), _) => {
            Route::WebhookOriginalInteractionResponse { application_id: discord.application, token }
        }
        (None, Some(message_id)) if !job.private => {
            Route::ChannelMessage { channel_id: note.channel, message_id }
        }
        _ => return Ok(()),
    };
    let call = Call::new(LightMethod::Patch, route).body(message.edit()).files(message.files.clone());
    discord.rest.tell(call.urgency(Urgency::Skip)).await
}
