//! Whether what must always hold does, after everything has settled. It looks into the database, the folder of blobs, what the
//! fake Discord shows, what people were told and what workers heard, and runs no code of the hub.

mod leases;
mod life;
pub mod posts;
mod prompts;

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use riff_tests::Checker;

use crate::{asked::Asked, community::Community, history};

/// Examples of each rule's violations that are shown.
const SHOWN: usize = 5;

/// What does not hold, by the rule that it breaks.
#[derive(Debug, Default)]
pub struct Violations(BTreeMap<&'static str, Vec<String>>);

impl Violations {
    pub fn add(&mut self, rule: &'static str, what: impl Into<String>) {
        self.0.entry(rule).or_default().push(what.into());
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rule, all) in &self.0 {
            writeln!(f, "{}: {rule}", all.len())?;
            for what in all.iter().take(SHOWN) {
                writeln!(f, "    {what}")?;
            }
        }
        Ok(())
    }
}

/// Looks at everything. Nothing runs any more but the database and Discord.
///
/// # Errors
/// If something cannot be looked at.
pub async fn check(community: &Community, asked: &Asked) -> anyhow::Result<Violations> {
    let mut violations = Violations::default();
    let changes = history::read(&community.database).await?;
    prompts::check(&community.database, asked, &mut violations).await?;
    life::check(&changes, &mut violations);
    leases::check(&changes, &community.balancer.calls(), &mut violations);
    posts::check(community, &mut violations).await?;
    let checker: Checker = community.hubs[0].checker().await?;
    for broken in checker.broken().await? {
        violations.add("what is stored belongs together (ledger, outputs, posts, blobs)", broken);
    }
    Ok(violations)
}
