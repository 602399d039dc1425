//! The comparison as people and programs read it.

use std::fmt::{self, Write};

use super::{Eta, Figures, Scenario, Scheduler};

/// One scenario under every scheduler.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What was simulated.
    pub scenario: Scenario,
    /// What no scheduler can exceed, as [`Figures::goodput`].
    pub bound: f64,
    /// How many jobs there were.
    pub jobs: usize,
    /// One for each scheduler, in the order of [`Scheduler::ALL`].
    pub rows: Vec<Row>,
}

/// What a scheduler reached.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which.
    pub scheduler: Scheduler,
    /// What.
    pub figures: Figures,
}

/// The columns of the CSV.
pub const CSV_HEADER: &str = "seed,load,scheduler,jobs,goodput,bound,utilisation,swaps,wait_p50_s,wait_p95_s,wait_p99_s,jain,jain_5_min,jain_20_min,\
                              jain_communities,adversary,eta_right,eta_within_quarter,done_hours\n";

impl Comparison {
    /// What a scheduler reached.
    pub fn of(&self, scheduler: Scheduler) -> Option<&Figures> {
        self.rows.iter().find(|row| row.scheduler == scheduler).map(|row| &row.figures)
    }

    /// Lines of CSV, one for each scheduler, without the header.
    pub fn csv(&self) -> String {
        let mut text = String::new();
        for Row { scheduler, figures: f } in &self.rows {
            let [p50, p95, p99] = f.wait_s;
            let part = |part: Option<f64>| part.map(|part| format!("{part:.4}")).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{},{},\"{}\",{},{:.4},{:.4},{:.4},{},{p50:.1},{p95:.1},{p99:.1},{:.4},{:.4},{:.4},{:.4},{},{},{},{:.3}",
                self.scenario.seed,
                self.scenario.load,
                scheduler.name(),
                self.jobs,
                f.goodput,
                self.bound,
                f.utilisation,
                f.swaps,
                f.jain,
                f.jain_around[0],
                f.jain_around[1],
                f.jain_communities,
                part(f.adversary),
                part(f.eta_right(Eta::is_right)),
                part(f.eta_right(Eta::is_within_quarter)),
                f.done_hours,
            );
        }
        text
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scenario { seed, load, hours, .. } = self.scenario;
        writeln!(
            out,
            "seed {seed}, load {load}, {} jobs in {hours} h; no scheduler exceeds a goodput of {:.3}\n",
            self.jobs, self.bound
        )?;
        writeln!(
            out,
            "| scheduler | goodput | of bound | utilisation | swaps | wait p50, p95, p99 (s) | Jain, members (5, 20 min) | communities | adversary | ETA right | ±25 % | all done (h) |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        for Row { scheduler, figures: f } in &self.rows {
            let [p50, p95, p99] = f.wait_s;
            let or_dash = |text: Option<String>| text.unwrap_or("–".to_owned());
            let percent = |part: Option<f64>| or_dash(part.map(|part| format!("{:.1} %", part * 100.0)));
            let of_bound = f.goodput / self.bound * 100.0;
            writeln!(
                out,
                "| {} | {:.3} | {of_bound:.1} % | {:.1} % | {} | {p50:.1}, {p95:.1}, {p99:.1} | {:.3} ({:.3}, {:.3}) | {:.3} | {} | {} | {} | {:.2} |",
                scheduler.name(),
                f.goodput,
                f.utilisation * 100.0,
                f.swaps,
                f.jain,
                f.jain_around[0],
                f.jain_around[1],
                f.jain_communities,
                or_dash(f.adversary.map(|part| format!("{part:.2}"))),
                percent(f.eta_right(Eta::is_right)),
                percent(f.eta_right(Eta::is_within_quarter)),
                f.done_hours,
            )?;
        }
        Ok(())
    }
}
