//! `riff simulate`: reads a scenario, has the hub's scheduling code simulated, and prints what came of it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
};
use riff_hub::simulate::{CSV_HEADER, Comparison, Scenario, compare};
use riff_worker::settings::error_lines;

/// What is simulated, and where it is written to.
#[derive(Args)]
pub struct Simulate {
    /// A TOML file with what differs from the default scenario; see docs/scheduling.md.
    #[arg(long)]
    workload: Option<PathBuf>,
    /// Seed of everything that is random, instead of the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Work that is asked for, over what the fleet can do, instead of the scenario's; several, separated by commas, are
    /// simulated one after the other.
    #[arg(long, value_delimiter = ',')]
    load: Vec<f64>,
    /// Write the figures to this file as CSV.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Print the scenario as TOML and simulate nothing.
    #[arg(long)]
    print: bool,
}

/// Simulates, prints a table for each load, and writes the files.
pub async fn run(asked: Simulate) -> anyhow::Result<()> {
    let scenario = scenario(&asked)?;
    if asked.print {
        print!("{}", toml::to_string(&scenario)?);
        return Ok(());
    }
    let loads = if asked.load.is_empty() { vec![scenario.load] } else { asked.load.clone() };
    let mut comparisons = Vec::new();
    for load in loads {
        let comparison = simulated(&Scenario { load, ..scenario.clone() }).await?;
        println!("{comparison}");
        comparisons.push(comparison);
    }
    if let Some(file) = &asked.csv {
        let lines: String = comparisons.iter().map(Comparison::csv).collect();
        std::fs::write(file, format!("{CSV_HEADER}{lines}"))
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

fn scenario(asked: &Simulate) -> anyhow::Result<Scenario> {
    let mut figment = Figment::from(Serialized::defaults(Scenario::default()));
    if let Some(file) = &asked.workload {
        anyhow::ensure!(file.is_file(), "the workload {} is not there", file.display());
        figment = figment.merge(Toml::file_exact(file));
    }
    let refused = |errors| anyhow::anyhow!("the workload is refused:\n{}", error_lines(errors));
    let mut scenario: Scenario = figment.extract().map_err(refused)?;
    scenario.seed = asked.seed.unwrap_or(scenario.seed);
    Ok(scenario)
}

/// The databases are needed for as long as the simulation takes.
async fn simulated(scenario: &Scenario) -> anyhow::Result<Comparison> {
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    Ok(compare(scenario, folder.path()).await?)
}
