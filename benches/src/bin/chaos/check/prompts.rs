//! Prompts and riffs: what was taken is there, once, and what nobody asked for is not.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgPool;

use super::Violations;
use crate::asked::{Asked, WORD};

pub async fn check(database: &PgPool, asked: &Asked, violations: &mut Violations) -> anyhow::Result<()> {
    let sql = "SELECT substring(body FROM $1 || '[0-9]+') AS word, COUNT(*) FROM job JOIN recipe ON recipe.id = job.recipe
               GROUP BY word";
    let jobs: Vec<(Option<String>, i64)> = sqlx::query_as(sql).bind(WORD).fetch_all(database).await?;
    let jobs: BTreeMap<String, u64> =
        jobs.into_iter().map(|(word, count)| (word.unwrap_or_default(), count as u64)).collect();
    let all = asked.all();
    for (word, told) in &all {
        let made = jobs.get(word).copied().unwrap_or_default();
        if made < told.taken {
            let what = format!("{word}: {} taken, {made} jobs", told.taken);
            violations.add("a prompt that was taken has its job", what);
        }
        if made > told.taken + told.unknown {
            let what = format!("{word}: {} taken, {} perhaps, {made} jobs", told.taken, told.unknown);
            violations.add("a prompt has no more jobs than it was sent for", what);
        }
    }
    for word in jobs.keys().filter(|word| !all.contains_key(*word)) {
        violations.add("a job was asked for", word.clone());
    }
    let states: Vec<(String, String)> =
        sqlx::query_as("SELECT id, state FROM job").fetch_all(database).await?;
    let states: HashMap<String, String> = states.into_iter().collect();
    for job in asked.all_cancelled() {
        let state = states.get(&job).map_or("not there", String::as_str);
        if state != "cancelled" {
            violations.add("a cancel that was confirmed holds", format!("{job} is {state}"));
        }
    }
    Ok(())
}
