//! Pictures opened for the recipe in them, and results looked up to be used as pictures.

use super::Hub;
use crate::{
    admission::Refusal,
    canonical::Digest,
    embed::{self, Found},
    prompt,
    recipe::Parent,
};

/// What a picture was found to carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It is a result that was made here.
    Result(Parent),
    /// The line that makes it again, as far as its file says.
    Line(String),
}

impl Hub {
    /// Reads what a PNG carries: a result of this hub, or a line.
    ///
    /// # Errors
    /// [`Refusal::Media`] if it carries nothing, [`Refusal::Missing`] if it was made with a model that is not here.
    pub async fn open_picture(&self, bytes: impl AsRef<[u8]>) -> Result<Opened, Refusal> {
        let embedded = match embed::read(bytes.as_ref())? {
            Found::Recipe(embedded) => embedded,
            Found::Line(line) => return Ok(Opened::Line(line)),
        };
        let id = embedded.recipe.id();
        if self.store.recipe(id).await?.is_some() {
            return Ok(Opened::Result(Parent { recipe: id, index: embedded.index }));
        }
        let models = self.models().await?;
        let model = models.iter().find(|model| model.spec.name == embedded.model).ok_or_else(|| {
            Refusal::Missing(format!("model “{}”, which this picture was made with,", embedded.model))
        })?;
        Ok(Opened::Line(prompt::render(&embedded.recipe.prompt, &embedded.recipe.params, &model.spec)))
    }

    /// The blob of a result that is a picture, to be looked at by another model.
    pub(super) async fn picture_of(&self, parent: &Parent) -> Result<Digest, Refusal> {
        let missing = || Refusal::Missing("finished picture of that recipe".to_owned());
        let job = self.store.success_of(parent.recipe).await?.ok_or_else(missing)?;
        let outputs = self.store.outputs(&job).await?;
        let picture = outputs
            .into_iter()
            .find(|output| output.idx == i64::from(parent.index) && output.media_type.starts_with("image/"));
        Ok(picture.ok_or_else(missing)?.blob)
    }
}
