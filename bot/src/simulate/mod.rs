//! `riff simulate`: reads a scenario, has the hub's scheduling code simulated, and prints what came of it.

mod plot;

use std::path::{Path, PathBuf};

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
    /// Draw curves over the loads into this folder, as SVG.
    #[arg(long)]
    plot: Option<PathBuf>,
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
        write(file, &format!("{CSV_HEADER}{lines}"))?;
    }
    if let Some(folder) = &asked.plot {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        for (name, svg) in plot::curves(&comparisons)? {
            write(&folder.join(name), &svg)?;
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_load_is_in_the_figures_and_every_scheduler_in_the_curves() {
        let folder = tempfile::tempdir().unwrap();
        let [workload, csv, plot] =
            ["fleet.toml", "figures.csv", "plot"].map(|name| folder.path().join(name));
        std::fs::write(
            &workload,
            "hours = 0.05\n[models]\ncount = 3\n[adversary]\nprompts = 3\nat_minutes = 1\ncommunity = 0",
        )
        .unwrap();
        let asked = Simulate {
            workload: Some(workload),
            seed: Some(7),
            load: vec![0.4, 0.8],
            csv: Some(csv.clone()),
            plot: Some(plot.clone()),
            print: false,
        };
        run(asked).await.unwrap();
        assert_eq!(std::fs::read_to_string(csv).unwrap().lines().count(), 1 + 2 * 4);
        for name in ["goodput", "swaps", "wait", "fairness", "eta"] {
            let svg = std::fs::read_to_string(plot.join(format!("{name}.svg"))).unwrap();
            let curves: &[&str] = match name {
                "eta" => &["load 0.4", "load 0.8"],
                _ => &["riff", "fifo", "per-model fifo", "per-model fifo, 60 s"],
            };
            assert_eq!(
                svg.matches("stroke-width=\"2\"").count(),
                2 * curves.len(),
                "a line and its key each: {svg}"
            );
            for curve in curves {
                assert!(svg.contains(&format!("\n{curve}\n")), "{curve} is missing in {name}: {svg}");
            }
        }
    }
}
