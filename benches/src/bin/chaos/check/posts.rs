//! Posts on Discord: every job that ended and was asked for there has one message, which shows its result, and no message shows
//! a result besides.

use std::collections::{HashMap, HashSet};

use fake_discord::Message;
use serde_json::Value;

use super::Violations;
use crate::community::Community;

/// A job whose end is posted on Discord.
#[derive(sqlx::FromRow)]
struct Posted {
    id: String,
    state: String,
    /// The surface's note, which names the message.
    reply: Option<String>,
    blob: Option<String>,
}

const POSTED: &str = "
    SELECT job.id, state, reply, (SELECT blob FROM output WHERE output.job = job.id AND output.attempt = job.attempt) AS blob
    FROM job JOIN channel ON channel.id = job.channel JOIN post ON post.job = job.id WHERE surface = 'discord'";

pub async fn check(community: &Community, violations: &mut Violations) -> anyhow::Result<()> {
    let messages = messages(community);
    let posted: Vec<Posted> = sqlx::query_as(POSTED).fetch_all(&community.database).await?;
    let mut named = HashSet::new();
    for job in posted {
        let note: Value = serde_json::from_str(job.reply.as_deref().unwrap_or("null"))?;
        let Some(message) = note["message"].as_str().and_then(|id| messages.get(id)) else {
            violations.add("every post is there on Discord", format!("{} ({})", job.id, job.state));
            continue;
        };
        if !named.insert(message.id.clone()) {
            violations.add("every post has a message of its own", job.id.clone());
        }
        if job.state != "succeeded" {
            continue;
        }
        let shown = match message.attachments.as_slice() {
            [picture] => Some(blake3::hash(&picture.bytes().await?).to_hex().to_string()),
            _ => None,
        };
        if shown != job.blob || is_waiting(message) {
            violations.add("a post shows its job's own result", format!("{}: {}", job.id, message.content));
        }
    }
    for message in messages.values().filter(|message| !named.contains(&message.id)) {
        if !message.attachments.is_empty() && !is_waiting(message) {
            violations.add("no result is posted besides", format!("{}: {}", message.id, message.content));
        }
    }
    Ok(())
}

/// Every message of the bot, by id.
fn messages(community: &Community) -> HashMap<String, Message> {
    let all = community.channels.iter().flat_map(|channel| community.discord.messages(channel));
    all.map(|message| (message.id.clone(), message)).collect()
}

/// Whether it shows a job that has not ended.
fn is_waiting(message: &Message) -> bool {
    message.custom_id("Cancel").is_ok()
}

/// How many answers are still promised, and how many messages still show a job as waiting: what the asker sees of a hub that
/// died between two steps.
pub fn left_over(community: &Community) -> (usize, usize) {
    let messages = messages(community);
    let loading = messages.values().filter(|message| message.loading).count();
    let waiting = messages.values().filter(|message| is_waiting(message)).count();
    (loading, waiting)
}
