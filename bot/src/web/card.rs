//! A job's card: what a channel shows of it, from enqueue to post. One type and one template render it everywhere.

use askama::Template;
use riff_hub::{
    admission::Refusal,
    hub::{Hub, JobView},
    job::State,
    model::Media,
    prompt,
    recipe::Move,
    riff::Enlarging,
};

/// For whom a card is rendered.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// The member, or nothing.
    pub member: String,
    /// The result that was picked to be blended with another.
    pub blend: Option<String>,
}

/// A card.
#[derive(Template)]
#[template(path = "card.html")]
pub struct Card {
    pub id: String,
    pub channel: String,
    pub member: String,
    pub own: bool,
    pub at: i64,
    pub recipe: String,
    pub prompt: String,
    pub command: String,
    pub model: String,
    pub origin: Option<(&'static str, String)>,
    pub live: bool,
    pub status: String,
    pub percent: u32,
    pub preview: Option<String>,
    pub text: Option<String>,
    pub pictures: Vec<Picture>,
    /// Where its results that are sound are.
    pub sounds: Vec<String>,
    pub reason: Option<String>,
    pub blend: Option<String>,
    moves: Vec<Move>,
    enlarging: Vec<Enlarging>,
}

/// One picture of a card.
pub struct Picture {
    pub number: u32,
    pub index: u32,
    pub full: String,
    /// Where it is to be looked at: small, in a format that the browser takes.
    pub look: String,
    pub width: i64,
    pub height: i64,
}

impl Card {
    /// The card of a job.
    pub async fn of(hub: &Hub, job: &str, reader: &Reader) -> Result<Self, Refusal> {
        Ok(Self::new(hub.view(job).await?, reader))
    }

    /// The card of a job that was looked up.
    pub fn new(view: JobView, reader: &Reader) -> Self {
        let pictures = view.pictures().filter_map(|shown| {
            let output = &shown.output;
            Some(Picture {
                number: output.idx as u32 + 1,
                index: output.idx as u32,
                full: format!("/blobs/{}", output.blob),
                look: format!("/pictures/{}", output.blob),
                width: output.width?,
                height: output.height?,
            })
        });
        let sounds = view.sounds().map(|shown| format!("/blobs/{}", shown.output.blob)).collect();
        let origin = view.recipe.origin.as_ref().and_then(|origin| {
            let parent = origin.parents.first()?;
            Some((origin.made_by.as_str(), format!("/r/{}", parent.recipe)))
        });
        let succeeded = view.job.state == State::Succeeded;
        Self {
            pictures: pictures.collect(),
            sounds,
            origin,
            own: !reader.member.is_empty() && view.job.member == reader.member,
            at: view.job.created_at,
            recipe: view.job.recipe.to_string(),
            prompt: view.recipe.prompt.to_string(),
            command: prompt::render(&view.recipe.prompt, &view.recipe.params, &view.model),
            live: !view.job.state.is_final(),
            status: view.status(),
            percent: view.percent(),
            preview: view.live.preview.as_ref().map(|(_, number)| preview_url(&view.job.id, *number)),
            text: view.text().map(str::to_owned).filter(|_| view.model.media == Media::Text),
            reason: view.job.reason.clone().filter(|_| view.job.state.is_final() && !succeeded),
            blend: reader.blend.clone(),
            moves: view.moves,
            enlarging: view.enlarging,
            model: view.model.name,
            member: view.member,
            channel: view.job.channel,
            id: view.job.id,
        }
    }

    fn offers(&self, made_by: Move) -> bool {
        self.moves.contains(&made_by)
    }

    fn upscale(&self) -> bool {
        self.offers(Move::Upscale)
    }

    /// Whether there is a choice how a picture gets larger.
    fn enlarges_either_way(&self) -> bool {
        self.enlarging.len() > 1
    }

    fn vary(&self) -> bool {
        self.offers(Move::Vary)
    }

    fn reroll(&self) -> bool {
        self.offers(Move::Reroll)
    }

    fn blends(&self) -> bool {
        self.offers(Move::Blend)
    }

    fn replies(&self) -> bool {
        self.offers(Move::Reply)
    }

    fn single(&self) -> bool {
        self.pictures.len() == 1
    }

    /// Zoom and pan are offered for one picture at a time.
    fn looks(&self) -> bool {
        self.single() && self.offers(Move::Zoom) && self.offers(Move::Pan)
    }
}

/// Where a job's newest preview is; the number changes with the picture.
pub fn preview_url(job: &str, number: u32) -> String {
    format!("/jobs/{job}/preview?{number}")
}
