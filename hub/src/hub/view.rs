//! A job as people see it: everything that a card, a page or an API answer shows, gathered once.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Hub, Live, work::changed};
use crate::{
    admission::Refusal,
    job::{Job, Output, State},
    model::{Media, ModelSpec},
    queue::{Coming, Line, Moment, Place, Standing, Turn},
    recipe::{Move, Recipe, RecipeId},
    riff::{self, Enlarging},
    seam::Millis,
    step,
    store::{StoreError, Whole},
};

/// Jobs up to which the queue is looked at anew for each place in it.
const SHORT: usize = 200;
/// How old the picture of a longer queue may be, in milliseconds.
const FRESH_MS: Millis = 500;
/// For so long jobs are expected to come as they did of late.
const LATE_MS: i64 = 900_000;

/// A job with all that is shown of it.
#[derive(Debug, Clone)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// What it runs.
    pub recipe: Recipe,
    /// The model version that runs it.
    pub model: ModelSpec,
    /// The name of who asked.
    pub member: String,
    /// Where it stands in the queue, while it does.
    pub place: Option<Place>,
    /// How far it is, while it runs.
    pub live: Live,
    /// Its results, once it succeeded.
    pub outputs: Vec<OutputView>,
    /// What can be made of its results now, in the order of the buttons.
    pub moves: Vec<Move>,
    /// The ways in which its pictures can get larger now: anew by its own model, by an upscaler, or both.
    pub enlarging: Vec<Enlarging>,
}

/// One result.
#[derive(Debug, Clone)]
pub struct OutputView {
    /// What is stored of it.
    pub output: Output,
    /// The text itself, for text.
    pub text: Option<String>,
}

impl JobView {
    /// One line on where the job stands.
    pub fn status(&self) -> String {
        let retried =
            if self.job.tries() > 1 { format!(", attempt {}", self.job.tries()) } else { String::new() };
        match self.job.state {
            State::Queued => match self.place {
                Some(place) => place_line(&self.model.name, place),
                None => "In line".to_owned(),
            },
            State::Leased => format!("Starting{retried}"),
            State::Running => format!("Running, {} %{retried}", self.percent()),
            State::Succeeded => "Done".to_owned(),
            State::Failed => "Failed; nothing was charged".to_owned(),
            State::Cancelled => "Cancelled; nothing was charged".to_owned(),
            State::Expired => "Given up; nothing was charged".to_owned(),
        }
    }

    /// Part done, in percent.
    pub fn percent(&self) -> u32 {
        (self.live.progress * 100.0) as u32
    }

    /// Its results that are pictures.
    pub fn pictures(&self) -> impl Iterator<Item = &OutputView> {
        self.outputs.iter().filter(|shown| shown.output.media_type.starts_with("image/"))
    }

    /// Its results that are sound.
    pub fn sounds(&self) -> impl Iterator<Item = &OutputView> {
        self.outputs.iter().filter(|shown| shown.output.media_type.starts_with("audio/"))
    }

    /// Text of the answer: final, or so far.
    pub fn text(&self) -> Option<&str> {
        let done = self.outputs.first().and_then(|output| output.text.as_deref());
        done.or(self.live.text.as_deref())
    }
}

fn place_line(model: &str, place: Place) -> String {
    let position = match place.position {
        1 => "Next in line".to_owned(),
        position => format!("Number {position} in line"),
    };
    match place.eta_ms {
        Some(ms) => format!("{position}, about {} s", (ms + 999) / 1_000),
        None => format!("{position}; no worker for {model} is here right now"),
    }
}

impl Hub {
    /// The newest success of a recipe as people see it: a public one, or else a private one, which whoever asks must not
    /// show to others.
    ///
    /// # Errors
    /// [`Refusal::Missing`] if there is none.
    pub async fn shown(&self, recipe: RecipeId) -> Result<JobView, Refusal> {
        let job = self.store.success_of(recipe).await?;
        let job = job.ok_or_else(|| Refusal::Missing(format!("result of recipe {}", recipe.short())))?;
        self.view(&job.id).await
    }

    /// A job as people see it.
    ///
    /// # Errors
    /// [`Refusal::Missing`] if there is no such job.
    pub async fn view(&self, id: &str) -> Result<JobView, Refusal> {
        let whole = self.store.whole(id).await?;
        step::heard("view").map_err(StoreError::from)?;
        let Whole { job, recipe, model, member } =
            whole.ok_or_else(|| Refusal::Missing(format!("job “{id}”")))?;
        let (moves, enlarging) = self.moves(&job, &model).await?;
        Ok(JobView {
            place: self.place(&job).await?,
            live: self.live_of(&job).await?,
            outputs: self.output_views(&job).await?,
            moves,
            enlarging,
            member,
            recipe,
            model,
            job,
        })
    }

    /// Waits up to `hold` for a job to end.
    ///
    /// # Errors
    /// [`Refusal::Missing`] if there is no such job.
    pub async fn ended_within(&self, id: &str, hold: Duration) -> Result<(), Refusal> {
        let mut events = self.subscribe();
        let deadline = Instant::now() + hold;
        loop {
            let job = self.store.job(id).await?;
            let job = job.ok_or_else(|| Refusal::Missing(format!("job “{id}”")))?;
            if job.state.is_final() || Instant::now() >= deadline {
                return Ok(());
            }
            let _ = timeout_at(deadline, changed(&mut events, id)).await;
        }
    }

    /// What is known of a job's progress.
    pub async fn live_of(&self, job: &Job) -> Result<Live, StoreError> {
        if job.state == State::Succeeded {
            return Ok(Live { progress: 1.0, ..Live::default() });
        }
        let here = self.live.get(&job.id).map(|live| live.clone());
        if here.is_some() || !job.state.is_held() || self.store.is_alone() {
            return Ok(here.unwrap_or_default());
        }
        Ok(self.store.live(&job.id).await?.unwrap_or_default())
    }

    async fn place(&self, job: &Job) -> Result<Option<Place>, Refusal> {
        if job.state != State::Queued {
            return Ok(None);
        }
        let turn = Turn {
            job: job.id.clone(),
            model: job.model,
            estimate_ms: job.estimate_ms,
            lane: job.lane,
            start_tag: job.start_tag,
        };
        Ok(Some(self.line().await?.place(&turn)))
    }

    /// The queue: as it is while it is short, and as it was a moment ago while it is long, if few came since.
    pub(super) async fn line(&self) -> Result<Arc<Line>, StoreError> {
        let mut played = self.line.lock().await;
        let now = self.seam.now();
        if let Some((at, line)) = &*played
            && line.len() > SHORT
            && (0..FRESH_MS).contains(&(now - at))
            && !line.is_outgrown()
        {
            return Ok(line.clone());
        }
        let fleet = self.store.fleet(&self.present(), now).await?;
        let moment = Moment {
            now,
            swap_share: self.settings.swap_share,
            standing: Standing {
                weights: self.settings.fairness.communities.clone(),
                ..self.store.standing_of_all().await?
            },
            coming: self.coming(now).await?,
        };
        let line = Arc::new(Line::play(self.store.waiting().await?, fleet, &moment));
        *played = Some((now, line.clone()));
        Ok(line)
    }

    /// What is expected to come: it changes slowly.
    async fn coming(&self, now: Millis) -> Result<Arc<Coming>, StoreError> {
        let mut looked = self.coming.lock().await;
        if let Some((at, coming)) = &*looked
            && (0..LATE_MS / 60).contains(&(now - at))
        {
            return Ok(coming.clone());
        }
        let coming = Arc::new(self.store.coming(now, LATE_MS).await?);
        *looked = Some((now, coming.clone()));
        Ok(coming)
    }

    /// The moves of the model itself, and *upscale* where somebody else can do that.
    async fn moves(&self, job: &Job, model: &ModelSpec) -> Result<(Vec<Move>, Vec<Enlarging>), Refusal> {
        if job.state != State::Succeeded {
            return Ok((vec![Move::Remix, Move::Fork], Vec::new()));
        }
        let mut moves = riff::moves_of(model);
        let mut enlarging = Vec::new();
        if moves.contains(&Move::Upscale) {
            enlarging.push(Enlarging::Anew);
        }
        if model.media == Media::Image && self.catalogue().await?.upscaler(|_| true).is_some() {
            enlarging.push(Enlarging::Upscaler);
        }
        if enlarging == [Enlarging::Upscaler] {
            moves.insert(0, Move::Upscale);
        }
        Ok((moves, enlarging))
    }

    async fn output_views(&self, job: &Job) -> Result<Vec<OutputView>, Refusal> {
        if job.state != State::Succeeded {
            return Ok(Vec::new());
        }
        let mut views = Vec::new();
        for output in self.store.outputs(job).await? {
            let text = match output.media_type.starts_with("text/") {
                true => {
                    let bytes = self.blobs.get(output.blob).await?;
                    Some(String::from_utf8_lossy(&bytes).into_owned())
                }
                false => None,
            };
            views.push(OutputView { output, text });
        }
        Ok(views)
    }
}
