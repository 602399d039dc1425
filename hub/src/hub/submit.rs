//! The members' side of the loop: a line or a click becomes recipes, is admitted, and is queued.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Ask, Change, DAY_MS, Hub, Privacy, ask::Ground};
use crate::{
    admission::Refusal,
    canonical::Digest,
    job::{Job, Lane},
    model::{Media, ModelSpec, input},
    prompt::{self, Defaults, Params, Prompt},
    recipe::{Move, Origin, Parent, Recipe},
    riff::{self, BadRiff, Enlarging, Pan, Strength},
    schema,
    seam::Millis,
    step,
    store::{Admitted, KnownModel, NewJob, StoreError},
    trace,
};

/// What is asked of a picture where nothing else is.
const DESCRIBE: &str = "Describe this picture.";
/// What is asked of sound where nothing else is.
const TRANSCRIBE: &str = "Write down what is said.";

/// Recipes on their way to the queue, each with the model that runs it.
type Made = Vec<(Recipe, KnownModel)>;

/// What to do with a result.
#[derive(Debug, Clone)]
pub enum Twist {
    /// A nearby result.
    Vary(Strength),
    /// The same again with a new seed.
    Reroll,
    /// More pixels.
    Upscale(Enlarging),
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
    /// What the picture shows, in words.
    Describe,
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
    pub async fn submit(&self, ask: &Ask<'_>, line: &str) -> Result<Vec<Job>, Refusal> {
        self.line_submitted(ask, line).await.inspect_err(|refusal| self.metrics.refused(refusal))
    }

    async fn line_submitted(&self, ask: &Ask<'_>, line: &str) -> Result<Vec<Job>, Refusal> {
        let ground = self.admit_asker(ask).await?;
        ground.words.check(line)?;
        // They were read when they were set. What is not allowed here, or cannot be read any more, is as good as nothing.
        let allowed = ground.words.check(&ground.defaults).is_ok();
        let defaults = ground.defaults.parse().ok().filter(|_| allowed).unwrap_or_else(Defaults::default);
        let catalogue = self.catalogue().await?;
        let mut recipes = Vec::new();
        for mut draft in prompt::parse_line(line)? {
            let model = catalogue.choose(&draft, defaults.model.as_deref(), &ground)?;
            draft.add(&defaults, &model.spec);
            let typed = catalogue.resolve(&draft, model, &ground)?;
            recipes.push((self.recipe_of(typed, model, None)?, model.clone()));
        }
        self.enqueue(ask, &ground, recipes).await
    }

    /// Queues a riff on a result.
    ///
    /// # Errors
    /// A [`Refusal`] whose sentence the asker reads. Nothing is queued then.
    pub async fn riff(&self, ask: &Ask<'_>, request: &RiffRequest) -> Result<Vec<Job>, Refusal> {
        self.riffed(ask, request).await.inspect_err(|refusal| self.metrics.refused(refusal))
    }

    async fn riffed(&self, ask: &Ask<'_>, request: &RiffRequest) -> Result<Vec<Job>, Refusal> {
        let ground = self.admit_asker(ask).await?;
        let made = self.twisted(&ground, request).await?;
        self.enqueue(ask, &ground, made).await
    }

    /// Queues the question what a picture from elsewhere shows, or another question about it.
    ///
    /// # Errors
    /// A [`Refusal`] whose sentence the asker reads. Nothing is queued then.
    pub async fn describe(
        &self,
        ask: &Ask<'_>,
        image: Digest,
        prompt: Option<&str>,
    ) -> Result<Vec<Job>, Refusal> {
        let queued = async {
            let ground = self.admit_asker(ask).await?;
            let made = self.question(&ground, (input::IMAGE, image), prompt, None).await?;
            self.enqueue(ask, &ground, vec![made]).await
        };
        queued.await.inspect_err(|refusal| self.metrics.refused(refusal))
    }

    /// Queues the question what is said in a sound from elsewhere, or another question about it.
    ///
    /// # Errors
    /// A [`Refusal`] whose sentence the asker reads. Nothing is queued then.
    pub async fn transcribe(
        &self,
        ask: &Ask<'_>,
        sound: Digest,
        prompt: Option<&str>,
    ) -> Result<Vec<Job>, Refusal> {
        let queued = async {
            let ground = self.admit_asker(ask).await?;
            let made = self.question(&ground, (input::AUDIO, sound), prompt, None).await?;
            self.enqueue(ask, &ground, vec![made]).await
        };
        queued.await.inspect_err(|refusal| self.metrics.refused(refusal))
    }

    async fn twisted(&self, ground: &Ground, request: &RiffRequest) -> Result<Made, Refusal> {
        let (parent, model) = self.recipe_and_model(&request.parent).await?;
        let (spec, index, seed) = (&model.spec, request.parent.index, self.seam.seed());
        if !matches!(request.twist, Twist::Edit(_) | Twist::Describe) {
            ground.words.check(parent.prompt.as_str())?;
        }
        let recipe = match &request.twist {
            Twist::Vary(strength) => riff::vary(&parent, spec, index, *strength, seed)?,
            Twist::Reroll => riff::reroll(&parent, spec, index, seed)?,
            Twist::Upscale(how) => return self.enlarged(ground, request, (parent, model), *how).await,
            Twist::Zoom => {
                self.viewed(request, &parent, spec, |parent| riff::zoom(parent, spec, index)).await?
            }
            Twist::Pan(pan) => {
                self.viewed(request, &parent, spec, |parent| riff::pan(parent, spec, index, *pan)).await?
            }
            Twist::Blend(other) => {
                let (second, _) = self.recipe_and_model(other).await?;
                ground.words.check(second.prompt.as_str())?;
                riff::blend(&[(&parent, index), (&second, other.index)], spec, seed)?
            }
            Twist::Reply(text) => {
                ground.words.check(text)?;
                let answer = self.answer_of(&request.parent).await?;
                riff::reply(&parent, spec, Prompt::verbatim(text)?, &answer, seed)?
            }
            Twist::Edit(line) => return self.edited(ground, request, &parent, line).await,
            Twist::Describe => {
                let image = self.picture_of(&request.parent).await?;
                let origin = Origin { made_by: Move::Describe, parents: vec![request.parent.clone()] };
                return Ok(vec![self.question(ground, (input::IMAGE, image), None, Some(origin)).await?]);
            }
        };
        Ok(vec![(recipe, model)])
    }

    /// A move of the view, on the recipe alone or, where views are of pictures, on the picture that the result is.
    async fn viewed(
        &self,
        request: &RiffRequest,
        parent: &Recipe,
        spec: &ModelSpec,
        twist: impl FnOnce(&Recipe) -> Result<Recipe, BadRiff>,
    ) -> Result<Recipe, Refusal> {
        if !riff::views_pictures(spec) {
            return Ok(twist(parent)?);
        }
        let image = self.picture_of(&request.parent).await?;
        Ok(riff::on_picture(parent, spec, (request.parent.index, image), twist)?)
    }

    /// A result with more pixels, by its own model or by an upscaler.
    async fn enlarged(
        &self,
        ground: &Ground,
        request: &RiffRequest,
        (parent, model): (Recipe, KnownModel),
        how: Enlarging,
    ) -> Result<Made, Refusal> {
        let index = request.parent.index;
        let anew = match how {
            Enlarging::Upscaler => None,
            Enlarging::Best | Enlarging::Anew => {
                let spec = &model.spec;
                Some(self.viewed(request, &parent, spec, |parent| riff::upscale(parent, spec, index)).await)
            }
        };
        let refusal = match anew {
            Some(Ok(recipe)) => return Ok(vec![(recipe, model)]),
            Some(Err(refusal)) if how == Enlarging::Anew => return Err(refusal),
            Some(Err(refusal)) => refusal,
            None => Refusal::NoUpscaler,
        };
        let catalogue = self.catalogue().await?;
        let upscaler = catalogue.upscaler(|model| ground.check_model(&model.spec).is_ok()).ok_or(refusal)?;
        let image = self.picture_of(&request.parent).await?;
        let recipe = riff::enlarge(&parent, index, image, (upscaler.digest, &upscaler.spec))?;
        Ok(vec![(recipe, upscaler.clone())])
    }

    async fn edited(
        &self,
        ground: &Ground,
        request: &RiffRequest,
        parent: &Recipe,
        line: &str,
    ) -> Result<Made, Refusal> {
        ground.words.check(line)?;
        let catalogue = self.catalogue().await?;
        let mut recipes = Vec::new();
        for draft in prompt::parse_line(line)? {
            let model = catalogue.choose(&draft, None, ground)?;
            let typed = catalogue.resolve(&draft, model, ground)?;
            let made_by = if typed.0 == parent.prompt { Move::Fork } else { Move::Remix };
            let origin = Origin { made_by, parents: vec![request.parent.clone()] };
            recipes.push((self.recipe_of(typed, model, Some((origin, parent)))?, model.clone()));
        }
        Ok(recipes)
    }

    /// A question about a picture or a sound, for the first present model that takes one.
    async fn question(
        &self,
        ground: &Ground,
        (name, file): (&str, Digest),
        prompt: Option<&str>,
        origin: Option<Origin>,
    ) -> Result<(Recipe, KnownModel), Refusal> {
        let (usual, nobody) = match name {
            input::AUDIO => (TRANSCRIBE, Refusal::NoListener),
            _ => (DESCRIBE, Refusal::NoReader),
        };
        let prompt = prompt.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(usual);
        ground.words.check(prompt)?;
        let catalogue = self.catalogue().await?;
        let reads = |model: &KnownModel| {
            let spec = &model.spec;
            let here = catalogue.is_served(model) && ground.check_model(spec).is_ok();
            here && spec.media == Media::Text && spec.takes(name)
        };
        let model = catalogue.first_choice(reads).ok_or(nobody)?.clone();
        let mut params = BTreeMap::from([(name.to_owned(), Value::from(file.to_string()))]);
        self.draw_seed(&mut params, &model.spec);
        schema::fill_defaults(&mut params, &model.spec);
        schema::validate(&params, &model.spec)?;
        let prompt = Prompt::verbatim(prompt)?;
        let recipe = Recipe { riff: Recipe::FORMAT, model: model.digest, prompt, params, origin };
        Ok((recipe, model))
    }

    fn draw_seed(&self, params: &mut BTreeMap<String, Value>, spec: &ModelSpec) {
        if spec.takes(input::SEED) {
            params.entry(input::SEED.to_owned()).or_insert_with(|| self.seam.seed().into());
        }
    }

    fn recipe_of(
        &self,
        (prompt, mut params): (Prompt, Params),
        model: &KnownModel,
        origin: Option<(Origin, &Recipe)>,
    ) -> Result<Recipe, Refusal> {
        self.draw_seed(&mut params, &model.spec);
        if let Some((_, parent)) = origin.as_ref().filter(|(_, parent)| parent.model == model.digest) {
            riff::keep_hidden(&mut params, parent, &model.spec);
        }
        schema::validate(&params, &model.spec)?;
        Ok(Recipe {
            riff: Recipe::FORMAT,
            model: model.digest,
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
        let model = self.model(recipe.model).await?.ok_or_else(missing)?;
        Ok((recipe, model))
    }

    async fn answer_of(&self, parent: &Parent) -> Result<String, Refusal> {
        let missing = || Refusal::Missing("finished answer to reply to".to_owned());
        let job = self.store.success_of(parent.recipe).await?.ok_or_else(missing)?;
        let output = self.store.outputs(&job).await?.into_iter().next().ok_or_else(missing)?;
        let bytes = self.blobs.get(output.blob).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn enqueue(&self, ask: &Ask<'_>, ground: &Ground, made: Made) -> Result<Vec<Job>, Refusal> {
        for (recipe, model) in &made {
            ground.check_model(&model.spec)?;
            self.check_files(recipe, &model.spec, ground).await?;
        }
        let now = self.seam.now();
        let (mut reply, mut request) = (ask.reply.clone(), ask.request.clone());
        let jobs: Vec<NewJob> = made
            .into_iter()
            .map(|(recipe, model)| NewJob {
                id: self.seam.id(),
                estimate_ms: model.spec.cost.estimate_ms(&recipe, model.cost_ratio),
                recipe,
                reply: reply.take(),
                request: request.take(),
            })
            .collect();
        let admitted = Admitted {
            member: ask.who.id.clone(),
            channel: ask.channel.to_owned(),
            community: ground.community().to_owned(),
            private: ask.privacy == Privacy::Private,
            lane: Lane::Fast,
            shares: self.settings.fairness.shares(ground.community(), ask.roles),
            allowance_ms: self.allowance_ms(ground.community(), ask.roles).await?,
            period: Self::period(now),
            max_waiting: self.settings.max_waiting,
            now,
            expires_at: now + self.settings.expire_after.as_millis() as Millis,
        };
        let many = jobs.len();
        self.take_room(ground.community(), many)?;
        let enqueued = match self.store.enqueue(admitted, jobs).await {
            Ok(enqueued) => enqueued,
            Err(error) => {
                self.give_room(ground.community(), many);
                return match error {
                    StoreError::Repeated { job } => Ok(self.store.job(&job).await?.into_iter().collect()),
                    error => Err(quota_sentence(error, now)),
                };
            }
        };
        step::done("enqueued");
        step::heard("enqueue").map_err(StoreError::from)?;
        for Job { id, model, estimate_ms, .. } in &enqueued {
            let trace = trace::of(id);
            tracing::info!(
                job = id,
                trace,
                member = ask.who.id,
                channel = ask.channel,
                estimate_ms,
                "enqueued"
            );
            self.wake_for(*model);
            self.tell(ask.channel, id, Change::State);
        }
        Ok(enqueued)
    }

    /// The line that makes a recipe again: *copy as command*.
    pub async fn command_of(&self, parent: &Parent) -> Result<String, Refusal> {
        let (recipe, model) = self.recipe_and_model(parent).await?;
        Ok(prompt::render(&recipe.prompt, &recipe.params, &model.spec))
    }
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
