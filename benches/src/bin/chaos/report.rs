//! What happened, in figures, and the logs of whatever ran.

use std::{collections::BTreeMap, fs, time::Duration};

use crate::{
    asked::Asked,
    calls::{Act, Outcome},
    check::posts::left_over,
    community::Community,
};

/// Where logs are kept if something does not hold.
const LOGS: &str = "target/chaos";

pub async fn print(
    community: &Community,
    asked: &Asked,
    strikes: &BTreeMap<&'static str, u64>,
    settled: Option<&Duration>,
) -> anyhow::Result<()> {
    println!("| what | how many |\n|---|---|");
    for (what, many) in strikes {
        row(what, many);
    }
    let all = asked.all();
    let sum = |of: fn(&crate::asked::Told) -> u64| all.values().map(of).sum::<u64>();
    row("prompts and riffs taken", sum(|told| told.taken));
    row("refused by the API", sum(|told| told.refused));
    row("refused elsewhere, or without an answer", sum(|told| told.unknown));
    row("cancels confirmed", asked.all_cancelled().len());
    let states = "SELECT state, COUNT(*) FROM job GROUP BY state ORDER BY state";
    let states: Vec<(String, i64)> = sqlx::query_as(states).fetch_all(&community.database).await?;
    for (state, many) in states {
        row(&format!("jobs {state}"), many);
    }
    for (what, sql) in [
        ("of them at a further attempt", "SELECT COUNT(*) FROM job WHERE attempt > 1"),
        ("posts", "SELECT COUNT(*) FROM post"),
        (
            "of them on Discord",
            "SELECT COUNT(*) FROM post JOIN channel ON channel.id = channel WHERE surface = 'discord'",
        ),
        ("results stored", "SELECT COUNT(*) FROM output"),
        ("changes of jobs", "SELECT COUNT(*) FROM chaos.change"),
    ] {
        row(what, sqlx::query_scalar::<_, i64>(sql).fetch_one(&community.database).await?);
    }
    let calls = community.balancer.calls();
    for (what, outcome) in
        [("taken", Outcome::Taken), ("refused", Outcome::Refused), ("lost", Outcome::Unknown)]
    {
        let of = calls.iter().filter(|call| call.outcome == outcome);
        let mut by: BTreeMap<Act, usize> = BTreeMap::new();
        of.for_each(|call| *by.entry(call.act).or_default() += 1);
        let by: Vec<String> = by.iter().map(|(act, many)| format!("{act:?} {many}")).collect();
        row(&format!("calls of workers {what}"), by.join(", "));
    }
    let (loading, waiting) = left_over(community);
    row("Discord: answers promised that never came", loading);
    row("Discord: cards that still say a job waits", waiting);
    row(
        "Discord: rate limits exceeded, requests it forbids",
        format!("{}, {}", community.discord.exceeded(), community.discord.violations().len()),
    );
    row("settled after", settled.map_or("never".to_owned(), |after| format!("{:.1} s", after.as_secs_f64())));
    Ok(())
}

fn row(what: &str, many: impl std::fmt::Display) {
    println!("| {what} | {many} |");
}

/// Writes what every process logged, one file for each name.
pub fn keep_logs(community: &Community) -> anyhow::Result<()> {
    fs::create_dir_all(LOGS)?;
    let mut by_name: BTreeMap<&str, String> = BTreeMap::new();
    for (name, log) in &community.logs {
        let all = by_name.entry(name).or_default();
        all.push_str(log);
        all.push_str("---- ended\n");
    }
    for (name, log) in by_name {
        fs::write(format!("{LOGS}/{name}.log"), log)?;
    }
    println!("What they logged is in {LOGS}.");
    Ok(())
}
