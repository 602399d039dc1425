//! People and programs that keep prompting, riffing and cancelling until they are told to stop: in the web channel, over the
//! API, and on Discord. What they are told goes into [`Asked`].

use std::{sync::Arc, time::Duration};

use fake_discord::{Channel, Message, Shown};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use reqwest::StatusCode;
use riff_tests::{Member, Program};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{asked::Asked, community::Community};

/// How many there are of each kind.
pub const EACH: usize = 6;
/// Between two things that somebody does, in milliseconds.
const PACE: std::ops::Range<u64> = 50..450;
/// What somebody remembers of what they asked for.
const REMEMBERED: usize = 8;
/// Sides of pictures: large enough that workers are mostly at work.
const SIDES: [u32; 4] = [512, 640, 768, 1_024];

/// Everybody begins; they end when `stop` is cancelled.
pub async fn begin(
    community: &Community,
    asked: &Arc<Asked>,
    seed: u64,
    stop: &CancellationToken,
) -> anyhow::Result<JoinSet<()>> {
    let mut people = JoinSet::new();
    let url = &community.balancer.url;
    for number in 0..EACH {
        let name = format!("robot{number}");
        let token = community.hubs[0].cli(&["token", "create", "--member", &name]).await?;
        let program = Scripted { program: Program::new(url, &token), jobs: Vec::new() };
        spawn(&mut people, program, asked, seed + number as u64, stop);
    }
    for number in EACH..2 * EACH {
        let visitor = Visitor(Member::new(url, &format!("visitor{number}"))?);
        spawn(&mut people, visitor, asked, seed + number as u64, stop);
    }
    for number in 2 * EACH..3 * EACH {
        let person = Person {
            member: community.guild.member(&format!("member{number}")),
            channels: community.channels.clone(),
            messages: Vec::new(),
        };
        spawn(&mut people, person, asked, seed + number as u64, stop);
    }
    Ok(people)
}

/// Somebody who asks for things.
trait Asks: Send + 'static {
    fn prompt(&mut self, asked: &Asked, random: &mut StdRng) -> impl Future<Output = ()> + Send;
    fn riff(&mut self, asked: &Asked, random: &mut StdRng) -> impl Future<Output = ()> + Send;
    fn cancel(&mut self, asked: &Asked, random: &mut StdRng) -> impl Future<Output = ()> + Send;
}

fn spawn(
    people: &mut JoinSet<()>,
    mut who: impl Asks,
    asked: &Arc<Asked>,
    seed: u64,
    stop: &CancellationToken,
) {
    let (asked, stop) = (asked.clone(), stop.clone());
    people.spawn(async move {
        let mut random = StdRng::seed_from_u64(seed);
        while !stop.is_cancelled() {
            match random.random_range(0..10) {
                0..7 => who.prompt(&asked, &mut random).await,
                7..9 => who.riff(&asked, &mut random).await,
                _ => who.cancel(&asked, &mut random).await,
            }
            let pause = Duration::from_millis(random.random_range(PACE));
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    });
}

fn side(random: &mut StdRng) -> u32 {
    SIDES[random.random_range(0..SIDES.len())]
}

/// Remembers the newest.
fn remember<T>(all: &mut Vec<T>, new: T) {
    if all.len() == REMEMBERED {
        all.remove(0);
    }
    all.push(new);
}

/// A script.
struct Scripted {
    program: Program,
    jobs: Vec<String>,
}

impl Asks for Scripted {
    async fn prompt(&mut self, asked: &Asked, random: &mut StdRng) {
        let (word, side) = (asked.word(), side(random));
        let line = format!("a lighthouse {word} --n 1 --width {side} --height {side}");
        match self.program.create(&line).await {
            Ok(answer) if answer.status == StatusCode::CREATED => {
                asked.taken(&word);
                remember(&mut self.jobs, answer.text("id").to_owned());
            }
            // A refusal of 4xx made nothing, which the checker holds it to.
            Ok(answer) if answer.status.is_client_error() => asked.refused(&word),
            _ => asked.unknown(&word),
        }
    }

    /// The API has no riffs: it asks for the end of a job, as scripts do.
    async fn riff(&mut self, _: &Asked, random: &mut StdRng) {
        if let Some(job) = self.jobs.choose(random) {
            let _may_be_lost = self.program.show(job).await;
        }
    }

    async fn cancel(&mut self, asked: &Asked, random: &mut StdRng) {
        let Some(job) = self.jobs.choose(random).cloned() else {
            return;
        };
        if let Ok(answer) = self.program.cancel(&job).await
            && answer.status.is_success()
        {
            asked.cancelled(&job);
        }
    }
}

/// Somebody in the web channel.
struct Visitor(Member);

impl Asks for Visitor {
    async fn prompt(&mut self, asked: &Asked, random: &mut StdRng) {
        let (word, side) = (asked.word(), side(random));
        let line = format!("/imagine a calm sea {word} --n 1 --width {side} --height {side}");
        match self.0.send(&line).await {
            Ok(()) => asked.taken(&word),
            Err(_) => asked.unknown(&word),
        }
    }

    async fn riff(&mut self, asked: &Asked, random: &mut StdRng) {
        let cards = self.0.cards().await.unwrap_or_default();
        let done: Vec<_> = cards.iter().filter(|card| !card.live && !card.pictures.is_empty()).collect();
        let Some(card) = done.choose(random) else {
            return;
        };
        let Some(word) = Asked::word_in(&card.prompt) else {
            return;
        };
        match self.0.click(card, ["V1", "🎲", "V strong"][random.random_range(0..3)]).await {
            Ok(_) => asked.taken(&word),
            Err(_) => asked.unknown(&word),
        }
    }

    async fn cancel(&mut self, asked: &Asked, random: &mut StdRng) {
        let cards = self.0.cards().await.unwrap_or_default();
        let live: Vec<_> = cards.iter().filter(|card| card.live && card.member == self.0.name).collect();
        if let Some(card) = live.choose(random)
            && self.0.click(card, "Cancel").await.is_ok()
        {
            asked.cancelled(&card.job);
        }
    }
}

/// Somebody on Discord.
struct Person {
    member: fake_discord::Member,
    channels: Vec<Channel>,
    /// What answers the prompts with these words.
    messages: Vec<(String, Message)>,
}

impl Person {
    /// What was shown for a prompt or a riff says whether it was taken.
    fn shown(&mut self, asked: &Asked, word: &str, shown: anyhow::Result<Shown>) {
        match shown {
            Ok(Shown::Message(message)) if message.content.contains(word) => {
                asked.taken(word);
                remember(&mut self.messages, (word.to_owned(), message));
            }
            Ok(Shown::Deferred { private: false, message }) => {
                asked.unknown(word);
                remember(&mut self.messages, (word.to_owned(), message));
            }
            _ => asked.unknown(word),
        }
    }
}

impl Asks for Person {
    async fn prompt(&mut self, asked: &Asked, random: &mut StdRng) {
        let (word, side) = (asked.word(), side(random));
        let Some(channel) = self.channels.choose(random).cloned() else {
            return;
        };
        let options = json!({"prompt": format!("a fox {word}"), "count": 1, "width": side, "height": side});
        let shown = self.member.slash(&channel, "/imagine", options).await;
        self.shown(asked, &word, shown);
    }

    async fn riff(&mut self, asked: &Asked, random: &mut StdRng) {
        let Some((word, message)) = self.messages.choose(random).cloned() else {
            return;
        };
        match self.member.click(&message, "🎲").await {
            // A message without results has no such button: nothing was sent.
            Err(error) if error.to_string().contains("no button") => {}
            shown => self.shown(asked, &word, shown),
        }
    }

    async fn cancel(&mut self, _: &Asked, random: &mut StdRng) {
        if let Some((_, message)) = self.messages.choose(random) {
            let _may_be_lost = self.member.click(message, "Cancel").await;
        }
    }
}
