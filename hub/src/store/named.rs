//! Which blobs are named: by outputs, and as inputs of recipes.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    Store, StoreError,
    db::{Texts, all, on, scalars},
    read_json,
};
use crate::{canonical::Digest, recipe::Recipe};

/// Recipes that are read at once.
const PAGE: i64 = 1_000;

const OUTPUTS: Texts = Texts {
    sqlite: "SELECT DISTINCT blob FROM output WHERE blob IN (SELECT value FROM json_each($1))",
    postgres: "SELECT DISTINCT blob FROM output WHERE blob = ANY (ARRAY(SELECT json_array_elements_text($1::json)))",
};

impl Store {
    /// Those of the blobs that are outputs.
    pub async fn outputs_among(&self, blobs: &[Digest]) -> Result<HashSet<Digest>, StoreError> {
        let names: Vec<String> = scalars!(self.read, OUTPUTS, super::list(blobs))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Every blob that an input of a recipe names, whatever the input is called: each word that could be a name.
    pub async fn named_by_recipes(&self) -> Result<HashSet<Digest>, StoreError> {
        let mut named = HashSet::new();
        let mut after = String::new();
        loop {
            let rows: Vec<(String, String)> = all!(
                self.read,
                "SELECT id, body FROM recipe WHERE id > $1 ORDER BY id LIMIT $2",
                &after,
                PAGE
            )?;
            for (_, body) in &rows {
                let recipe: Recipe = read_json("recipe", body)?;
                recipe.params.values().for_each(|value| collect(value, &mut named));
            }
            match rows.into_iter().next_back() {
                Some((last, _)) => after = last,
                None => return Ok(named),
            }
        }
    }
}

fn collect(value: &Value, named: &mut HashSet<Digest>) {
    match value {
        Value::String(word) => named.extend(word.parse::<Digest>()),
        Value::Array(values) => values.iter().for_each(|value| collect(value, named)),
        Value::Object(values) => values.values().for_each(|value| collect(value, named)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
