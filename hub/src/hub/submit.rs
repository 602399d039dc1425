//! The members' side of the loop: a line or a click becomes recipes, is admitted, and is queued.

use super::{Change, DAY_MS, Hub};
use crate::{
    admission::Refusal,
    job::{Job, Lane},
    model::{Cost, input},
    prompt::{self, Command, Draft, Prompt},
    recipe::{Move, Origin, Parent, Recipe},
    riff::{self, Pan, Strength},
    schema,
    seam::Millis,
    step,
    store::{Admitted, Ending, KnownModel, Member, NewJob, StoreError},
};

/// What to do with a result.
#[derive(Debug, Clone)]
pub enum Twist {
    /// A nearby result.
    Vary(Strength),
    /// The same again with a new seed.
    Reroll,
    /// More pixels.
    Upscale,
    /// From further away.
    Zoom,
    /// Looking elsewhere.
    Pan(Pan),
    /// Mixed with another result.
    Blend(Parent),
    /// As edited: a line of the prompt grammar, by whoever owns the parent or not.
    Edit(String),
    /// The next turn of a conversation.
    Reply(String),
}

/// A riff on one result.
#[derive(Debug, Clone)]
pub struct RiffRequest {
    /// The result.
    pub parent: Parent,
    /// What to do with it.
    pub twist: Twist,
}

impl Hub {
    /// Queues what a line of the prompt grammar asks for: one job, or one for each permutation; all or none.
    ///
    /// # Errors
    /// A [`Refusal`] whose sentence the asker reads. Nothing is queued then.
    pub async fn submit(&self, who: &Member, channel: &str, line: &str) -> Result<Vec<Job>, Refusal> {
        self.admit_asker(who, channel).await?;
        self.blocklist.check(line)?;
        let mut recipes = Vec::new();
        for draft in prompt::parse_line(line)? {
            let model = self.model_for(&draft).await?;
            let recipe = self.complete_draft(&draft, &model, None)?;
            recipes.push((recipe, model));
        }
        self.enqueue(who, channel, recipes).await
    }

    /// Queues a riff on a result.
    ///
    /// # Errors
    /// A [`Refusal`] whose sentence the asker reads. Nothing is queued then.
    pub async fn riff(
        &self,
        who: &Member,
        channel: &str,
        request: &RiffRequest,
    ) -> Result<Vec<Job>, Refusal> {
        self.admit_asker(who, channel).await?;
        let (parent, model) = self.recipe_and_model(&request.parent).await?;
        let index = request.parent.index;
        let seed = self.seam.seed();
        let recipe = match &request.twist {
            Twist::Vary(strength) => riff::vary(&parent, &model.spec, index, *strength, seed)?,
            Twist::Reroll => riff::reroll(&parent, &model.spec, index, seed)?,
            Twist::Upscale => riff::upscale(&parent, &model.spec, index)?,
            Twist::Zoom => riff::zoom(&parent, &model.spec, index)?,
            Twist::Pan(pan) => riff::pan(&parent, &model.spec, index, *pan)?,
            Twist::Blend(other) => {
                let (second, _) = self.recipe_and_model(other).await?;
                riff::blend(&[(&parent, index), (&second, other.index)], &model.spec, seed)?
            }
            Twist::Edit(line) => return self.edit(who, channel, request, &parent, line).await,
            Twist::Reply(text) => {
                self.blocklist.check(text)?;
                let answer = self.answer_of(&request.parent).await?;
                riff::reply(&parent, &model.spec, Prompt::verbatim(text)?, &answer, seed)?
            }
        };
        self.enqueue(who, channel, vec![(recipe, model)]).await
    }

    async fn edit(
        &self,
        who: &Member,
        channel: &str,
        request: &RiffRequest,
        parent: &Recipe,
        line: &str,
    ) -> Result<Vec<Job>, Refusal> {
        self.blocklist.check(line)?;
        let mut recipes = Vec::new();
        for draft in prompt::parse_line(line)? {
            let model = self.model_for(&draft).await?;
            let made_by = match draft.resolve(&model.spec)?.0 == parent.prompt {
                true => Move::Fork,
                false => Move::Remix,
            };
            let origin = Origin { made_by, parents: vec![request.parent.clone()] };
            recipes.push((self.complete_draft(&draft, &model, Some((origin, parent)))?, model));
        }
        self.enqueue(who, channel, recipes).await
    }

    /// Cancels one's own job.
    pub async fn cancel(&self, who: &Member, job: &str) -> Result<Job, Refusal> {
        let found = self.own(who, job, "cancel").await?;
        let ending = self.store.cancel(&found.id, self.seam.now()).await?;
        step::done("cancelled");
        if let Ending::Now(job) = &ending {
            tracing::info!(job = job.id, member = who.id, "cancelled");
            self.ended(job);
            self.tell(&job.channel, &job.id, Change::Gone);
        }
        Ok(ending.job().clone())
    }

    /// Takes down one's own post.
    pub async fn delete_post(&self, who: &Member, job: &str) -> Result<(), Refusal> {
        let found = self.own(who, job, "delete").await?;
        if self.store.unpublish(&found.id, self.seam.now()).await? {
            tracing::info!(job = found.id, member = who.id, "post deleted");
            self.tell(&found.channel, &found.id, Change::Gone);
        }
        Ok(())
    }

    async fn own(&self, who: &Member, job: &str, what: &'static str) -> Result<Job, Refusal> {
        let missing = || Refusal::Missing(format!("job “{job}”"));
        let found = self.store.job(job).await?.ok_or_else(missing)?;
        if found.member != who.id {
            let owner = self.store.member(&found.member).await?;
            let owner = owner.map_or_else(|| "its owner".to_owned(), |member| member.name);
            return Err(Refusal::NotYours { owner, what });
        }
        Ok(found)
    }

    async fn admit_asker(&self, who: &Member, channel: &str) -> Result<(), Refusal> {
        if !self.store.channels().await?.iter().any(|known| known.id == channel) {
            return Err(Refusal::Missing(format!("channel “{channel}”")));
        }
        self.rates.check(&who.id, channel)
    }

    /// The model that a draft names, or the community's default for its command.
    async fn model_for(&self, draft: &Draft) -> Result<KnownModel, Refusal> {
        let media = draft.command.media();
        let mut models = self.store.models().await?;
        models.retain(|model| model.spec.media == media);
        let Some(wanted) = &draft.model else {
            let preferred = |model: &KnownModel| self.settings.default_models.contains(&model.spec.name);
            let chosen = models.iter().position(preferred).unwrap_or(0);
            return models
                .into_iter()
                .nth(chosen)
                .ok_or(Refusal::NoModel { command: draft.command.as_str() });
        };
        if let Some(found) = models.iter().position(|model| model.spec.name == *wanted) {
            return Ok(models.swap_remove(found));
        }
        let names: Vec<&str> = models.iter().map(|model| model.spec.name.as_str()).collect();
        Err(Refusal::NoSuchModel {
            wanted: wanted.clone(),
            nearest: nearest_model(wanted, &names, draft.command),
        })
    }

    fn complete_draft(
        &self,
        draft: &Draft,
        model: &KnownModel,
        origin: Option<(Origin, &Recipe)>,
    ) -> Result<Recipe, Refusal> {
        let (prompt, mut params) = draft.resolve(&model.spec)?;
        if model.spec.takes(input::SEED) {
            params.entry(input::SEED.to_owned()).or_insert_with(|| self.seam.seed().into());
        }
        if let Some((_, parent)) = origin.as_ref().filter(|(_, parent)| parent.model == model.spec.digest()) {
            riff::keep_hidden(&mut params, parent, &model.spec);
        }
        schema::validate(&params, &model.spec)?;
        Ok(Recipe {
            riff: Recipe::FORMAT,
            model: model.spec.digest(),
            prompt,
            params,
            origin: origin.map(|(origin, _)| origin),
        })
    }

    /// A recipe and the model version that runs it.
    pub async fn recipe_and_model(&self, parent: &Parent) -> Result<(Recipe, KnownModel), Refusal> {
        let missing = || Refusal::Missing(format!("recipe {}", parent.recipe.short()));
        let recipe = self.store.recipe(parent.recipe).await?.ok_or_else(missing)?;
        if parent.index >= recipe.count() {
            return Err(Refusal::Missing(format!("result {} of that recipe", parent.index + 1)));
        }
        let model = self.store.model(recipe.model).await?.ok_or_else(missing)?;
        Ok((recipe, model))
    }

    async fn answer_of(&self, parent: &Parent) -> Result<String, Refusal> {
        let missing = || Refusal::Missing("finished answer to reply to".to_owned());
        let job = self.store.success_of(parent.recipe).await?.ok_or_else(missing)?;
        let output = self.store.outputs(&job).await?.into_iter().next().ok_or_else(missing)?;
        let bytes = self.blobs.get(output.blob).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn enqueue(
        &self,
        who: &Member,
        channel: &str,
        recipes: Vec<(Recipe, KnownModel)>,
    ) -> Result<Vec<Job>, Refusal> {
        let now = self.seam.now();
        let jobs: Vec<NewJob> = recipes
            .into_iter()
            .map(|(recipe, model)| NewJob {
                id: self.seam.id(),
                estimate_ms: estimate_ms(&recipe, &model.spec.cost, model.cost_ratio),
                recipe,
            })
            .collect();
        let admitted = Admitted {
            member: &who.id,
            channel,
            lane: Lane::Fast,
            weight: 1.0,
            allowance_ms: self.settings.allowance_ms,
            period: Self::period(now),
            max_waiting: self.settings.max_waiting,
            now,
            expires_at: now + self.settings.expire_after.as_millis() as Millis,
        };
        let queued = self.store.enqueue(&admitted, &jobs).await;
        queued.map_err(|error| quota_sentence(error, now))?;
        step::done("enqueued");
        self.work_ready.notify_waiters();
        let mut enqueued = Vec::new();
        for job in &jobs {
            tracing::info!(job = job.id, member = who.id, channel, estimate_ms = job.estimate_ms, "enqueued");
            self.tell(channel, &job.id, Change::State);
            enqueued.extend(self.store.job(&job.id).await?);
        }
        Ok(enqueued)
    }

    /// The line that makes a recipe again: *copy as command*.
    pub async fn command_of(&self, parent: &Parent) -> Result<String, Refusal> {
        let (recipe, model) = self.recipe_and_model(parent).await?;
        Ok(prompt::render(&recipe.prompt, &recipe.params, &model.spec))
    }
}

fn nearest_model(wanted: &str, names: &[&str], command: Command) -> String {
    let best = names
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(wanted, a).total_cmp(&strsim::jaro_winkler(wanted, b)));
    match best {
        Some(best) => {
            format!(" for {}: did you mean “{best}”? Here are: {}", command.as_str(), names.join(", "))
        }
        None => format!(" for {}, nor any other yet", command.as_str()),
    }
}

/// What a run is expected to cost in milliseconds of the device; at least 1.
pub fn estimate_ms(recipe: &Recipe, cost: &Cost, ratio: f64) -> i64 {
    let (width, height) = recipe.size().unwrap_or((0, 0));
    let megapixels = f64::from(width) * f64::from(height) * f64::from(recipe.count()) / 1e6;
    let tokens = recipe.integer("max_tokens").unwrap_or(0) as f64;
    let seconds = cost.fixed + cost.per_megapixel * megapixels + cost.per_token * tokens;
    ((seconds * ratio * 1_000.0).ceil() as i64).max(1)
}

fn quota_sentence(error: StoreError, now: Millis) -> Refusal {
    match error {
        StoreError::QuotaExceeded { needed_ms, left_ms } => Refusal::Quota {
            needed_s: needed_ms as f64 / 1_000.0,
            left_s: left_ms.max(0) as f64 / 1_000.0,
            hours: (DAY_MS - now.rem_euclid(DAY_MS) + 60 * 60 * 1_000 - 1).div_euclid(60 * 60 * 1_000),
            smaller: if left_ms > 0 { "; a smaller size or a smaller --n costs less" } else { "" },
        },
        other => other.into(),
    }
}
