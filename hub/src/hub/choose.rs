//! Which model answers: the one that is named, the member's own default, or the community's.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use tokio::sync::watch;

use super::{Hub, ask::Ground};
use crate::{
    admission::Refusal,
    canonical::Digest,
    model::{Media, ModelSpec},
    prompt::{self, BadPrompt, Defaults, Draft, Params, Prompt},
    seam::Millis,
    store::{KnownModel, StoreError},
};

/// How old the picture of the models may be, in milliseconds. What this process changes of it is seen at once.
const FRESH_MS: Millis = 1_000;

/// The models to choose from, as they were at one moment.
pub(super) struct Catalogue {
    /// The newest version of each, by name.
    models: Arc<[KnownModel]>,
    /// The versions that a present worker serves.
    served: HashSet<Digest>,
    /// The settings' order.
    preferred: Vec<String>,
    /// When it was read.
    at: Millis,
}

impl Hub {
    /// The newest version of every model that a worker ever announced, by name.
    pub async fn models(&self) -> Result<Arc<[KnownModel]>, StoreError> {
        Ok(self.catalogue().await?.models.clone())
    }

    /// One version, however old.
    pub async fn model(&self, digest: Digest) -> Result<Option<KnownModel>, StoreError> {
        match self.catalogue().await?.models.iter().find(|model| model.digest == digest) {
            Some(newest) => Ok(Some(newest.clone())),
            None => self.store.model(digest).await,
        }
    }

    /// The models to choose from now.
    pub(super) async fn catalogue(&self) -> Result<Arc<Catalogue>, StoreError> {
        let mut catalogue = self.catalogue.lock().await;
        let now = self.seam.now();
        if let Some(fresh) = catalogue.as_ref().filter(|known| (0..FRESH_MS).contains(&(now - known.at))) {
            return Ok(fresh.clone());
        }
        let read = Arc::new(Catalogue {
            models: self.store.models().await?.into(),
            served: self.store.served_by(&self.present_workers(), now).await?,
            preferred: self.settings.default_models.clone(),
            at: now,
        });
        *catalogue = Some(read.clone());
        Ok(read)
    }

    /// The model that a channel's prompts of a kind go to where none is named.
    pub async fn default_model(&self, channel: &str, media: Media) -> Result<Option<ModelSpec>, Refusal> {
        let ground = self.look_at(channel).await?;
        let catalogue = self.catalogue().await?;
        let fits = |model: &KnownModel| makes(model, media) && ground.check_model(&model.spec).is_ok();
        Ok(catalogue.first_choice(fits).map(|model| model.spec.clone()))
    }

    /// Resolves when a model version was announced that this process had not seen, or a model's presence changed.
    pub fn models_changed(&self) -> watch::Receiver<u64> {
        self.served.subscribe()
    }

    /// Reads anew which models there are and who serves them, and tells who watches if other versions are served than before.
    pub(super) async fn look_at_models(&self) -> Result<(), StoreError> {
        *self.catalogue.lock().await = None;
        let number = |digest: &Digest| {
            let mut hasher = DefaultHasher::new();
            digest.hash(&mut hasher);
            hasher.finish()
        };
        let now = self.catalogue().await?.served.iter().map(number).fold(0, u64::wrapping_add);
        self.served.send_if_modified(|before| std::mem::replace(before, now) != now);
        Ok(())
    }
}

impl Catalogue {
    /// The model that a draft names, or else the member's default, or else the first choice for its command.
    pub fn choose(&self, draft: &Draft, own: Option<&str>, ground: &Ground) -> Result<&KnownModel, Refusal> {
        let media = draft.command.media();
        let of_kind = || self.models.iter().filter(|model| model.spec.media == media);
        let admitted = |model: &KnownModel| ground.check_model(&model.spec).is_ok();
        if let Some(wanted) = &draft.model {
            let found = of_kind().find(|model| model.spec.name == *wanted);
            let found = found
                .ok_or_else(|| no_such(wanted, of_kind(), &format!(" for {}", draft.command.as_str())))?;
            ground.check_model(&found.spec)?;
            return Ok(found);
        }
        let own = own.and_then(|name| of_kind().find(|model| model.spec.name == name && admitted(model)));
        if let Some(own) = own {
            return Ok(own);
        }
        match self.first_choice(|model| makes(model, media) && admitted(model)) {
            Some(first) => Ok(first),
            None => {
                // There may be some that are not used here: then why not.
                of_kind().try_for_each(|model| ground.check_model(&model.spec))?;
                Err(Refusal::NoModel { command: draft.command.as_str() })
            }
        }
    }

    /// The prompt and the inputs of a draft. Where the model lacks a flag, the refusal names another that has it.
    pub fn resolve(
        &self,
        draft: &Draft,
        model: &KnownModel,
        ground: &Ground,
    ) -> Result<(Prompt, Params), BadPrompt> {
        draft.resolve(&model.spec).map_err(|mut refusal| {
            if let BadPrompt::UnknownFlag { flag, nearest, .. } = &mut refusal {
                let other = self.first_choice(|other| {
                    let could = makes(other, model.spec.media) && self.is_served(other);
                    could && ground.check_model(&other.spec).is_ok() && prompt::has_flag(&other.spec, flag)
                });
                if let Some(KnownModel { spec: ModelSpec { name, .. }, .. }) = other {
                    *nearest = format!(" ({name} has it: add --model {name}).");
                }
            }
            refusal
        })
    }

    /// Of those that fit: one that a present worker serves before others, in the settings' order, then by name.
    pub fn first_choice(&self, fits: impl Fn(&KnownModel) -> bool) -> Option<&KnownModel> {
        let rank = |model: &&KnownModel| {
            let name = &model.spec.name;
            let preferred = self.preferred.iter().position(|preferred| preferred == name);
            (!self.is_served(model), preferred.unwrap_or(usize::MAX), name.clone())
        };
        self.models.iter().filter(|model| fits(model)).min_by_key(rank)
    }

    /// Of the upscalers that a present worker serves, the first choice.
    pub fn upscaler(&self, fits: impl Fn(&KnownModel) -> bool) -> Option<&KnownModel> {
        self.first_choice(|model| model.spec.is_upscaler() && self.is_served(model) && fits(model))
    }

    /// Whether a present worker serves it.
    pub fn is_served(&self, model: &KnownModel) -> bool {
        self.served.contains(&model.digest)
    }

    /// Refuses defaults that nothing here takes.
    pub fn check_defaults(&self, defaults: &Defaults) -> Result<(), Refusal> {
        let mut models: Vec<&KnownModel> = self.models.iter().filter(|model| self.is_served(model)).collect();
        if models.is_empty() {
            models = self.models.iter().collect();
        }
        if let Some(wanted) = &defaults.model
            && !self.models.iter().any(|model| model.spec.name == *wanted)
        {
            return Err(no_such(wanted, models.into_iter(), ""));
        }
        // What the default model says of a flag is nearest to what the member meant.
        models.sort_by_key(|model| defaults.model.as_ref() != Some(&model.spec.name));
        let specs: Vec<&ModelSpec> = models.iter().map(|model| &model.spec).collect();
        Ok(defaults.check(&specs)?)
    }
}

/// Whether a model makes something of words alone.
fn makes(model: &KnownModel, media: Media) -> bool {
    model.spec.media == media && model.spec.takes_words_alone()
}

fn no_such<'a>(wanted: &str, models: impl Iterator<Item = &'a KnownModel>, purpose: &str) -> Refusal {
    let names: Vec<&str> = models.map(|model| model.spec.name.as_str()).collect();
    let best = names
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(wanted, a).total_cmp(&strsim::jaro_winkler(wanted, b)));
    let nearest = match best {
        Some(best) => {
            format!("{purpose}: did you mean “{best}”? Here are: {}", names.join(", "))
        }
        None => format!("{purpose}, nor any other yet"),
    };
    Refusal::NoSuchModel { wanted: wanted.to_owned(), nearest }
}
