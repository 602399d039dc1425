//! Recipes and the graph of who was made from what.

use super::{
    Store, StoreError,
    db::{all, on, scalar_optional},
    read_json,
};
use crate::recipe::{Recipe, RecipeId};

/// A neighbour in the lineage graph.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Relative {
    /// The neighbour's recipe.
    #[sqlx(try_from = "String")]
    pub recipe: RecipeId,
    /// Which result of the parent the move started from.
    pub idx: i64,
    /// The move's name.
    pub made_by: String,
    /// The neighbour's prompt.
    pub prompt: String,
    /// A successful public job of the neighbour, where there is one.
    pub job: Option<String>,
}

impl Store {
    /// A recipe by its id.
    pub async fn recipe(&self, id: RecipeId) -> Result<Option<Recipe>, StoreError> {
        let body: Option<String> =
            scalar_optional!(self.read, "SELECT body FROM recipe WHERE id = $1", id.to_string())?;
        body.map(|body| read_json("recipe", &body)).transpose()
    }

    /// What a recipe was made from.
    pub async fn parents(&self, id: RecipeId) -> Result<Vec<Relative>, StoreError> {
        let relatives = all!(
            self.read,
            "SELECT recipe.id AS recipe, idx, made_by, body ->> 'prompt' AS prompt,
                    (SELECT MAX(id) FROM job WHERE job.recipe = recipe.id AND state = 'succeeded' AND NOT private) AS job
             FROM recipe_parent JOIN recipe ON recipe.id = parent WHERE child = $1 ORDER BY position",
            id.to_string()
        )?;
        Ok(relatives)
    }

    /// What was made from a recipe in public, newest first, at most 200.
    pub async fn children(&self, id: RecipeId) -> Result<Vec<Relative>, StoreError> {
        let relatives = all!(
            self.read,
            "SELECT recipe.id AS recipe, MIN(idx) AS idx, MIN(made_by) AS made_by, body ->> 'prompt' AS prompt,
                    (SELECT MAX(id) FROM job WHERE job.recipe = recipe.id AND state = 'succeeded' AND NOT private) AS job
             FROM recipe_parent JOIN recipe ON recipe.id = child
             WHERE parent = $1 AND EXISTS (SELECT 1 FROM job WHERE job.recipe = recipe.id AND NOT private)
             GROUP BY recipe.id ORDER BY created_at DESC, recipe.id LIMIT 200",
            id.to_string()
        )?;
        Ok(relatives)
    }
}
