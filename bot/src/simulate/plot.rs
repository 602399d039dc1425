//! Curves of simulations as SVG.

use std::ops::Range;

use anyhow::anyhow;
use plotters::{
    coord::ranged1d::{AsRangedCoord, ValueFormatter},
    prelude::*,
};
use riff_hub::simulate::{Comparison, Eta, Figures, Scheduler};

const SIZE: (u32, u32) = (720, 420);
/// Okabe and Ito's colours, which the colour-blind can tell apart.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(120, 120, 120),
];
const LOAD: &str = "work asked for, over what the fleet can do";
/// Largest expected time over the real one that is drawn.
const MOST_ETA: f64 = 2.0;

/// One line of a chart: a point's `x` and `y`.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// A chart, whose axes begin at 0 if they are not logarithmic.
struct Chart {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    /// Whether `y` grows by factors.
    is_logarithmic: bool,
    curves: Vec<Curve>,
}

/// File names and pictures: what each scheduler reached over the load, and how good Riff's expected times were at each.
///
/// # Errors
/// If something cannot be drawn.
pub fn curves(comparisons: &[Comparison]) -> anyhow::Result<Vec<(&'static str, String)>> {
    let of_bound = |comparison: &Comparison, figures: &Figures| figures.goodput / comparison.bound * 100.0;
    let charts = [
        (
            "goodput.svg",
            Chart {
                title: "Goodput",
                x: LOAD,
                y: "percent of what no scheduler exceeds",
                is_logarithmic: false,
                curves: over_load(comparisons, of_bound),
            },
        ),
        (
            "swaps.svg",
            Chart {
                title: "Models loaded",
                x: LOAD,
                y: "loads",
                is_logarithmic: true,
                curves: over_load(comparisons, |_, figures| figures.swaps as f64),
            },
        ),
        (
            "wait.svg",
            Chart {
                title: "Wait of the slowest 5 %",
                x: LOAD,
                y: "seconds",
                is_logarithmic: true,
                curves: over_load(comparisons, |_, figures| figures.wait_s[1]),
            },
        ),
        (
            "fairness.svg",
            Chart {
                title: "Jain's index over members",
                x: LOAD,
                y: "index",
                is_logarithmic: false,
                curves: over_load(comparisons, |_, figures| figures.jain),
            },
        ),
        (
            "eta.svg",
            Chart {
                title: "Expected time over real time",
                x: "expected over real time",
                y: "percent of jobs with at most that",
                is_logarithmic: false,
                // No more of them than there are colours.
                curves: comparisons
                    .iter()
                    .step_by(comparisons.len().div_ceil(COLOURS.len()).max(1))
                    .filter_map(eta)
                    .collect(),
            },
        ),
    ];
    charts.into_iter().map(|(name, chart)| Ok((name, draw(&chart)?))).collect()
}

fn over_load(comparisons: &[Comparison], of: impl Fn(&Comparison, &Figures) -> f64) -> Vec<Curve> {
    let curve = |scheduler: Scheduler| {
        let point = |c: &Comparison| Some((c.scenario.load, of(c, c.of(scheduler)?)));
        Curve { name: scheduler.name().to_owned(), points: comparisons.iter().filter_map(point).collect() }
    };
    Scheduler::ALL.map(curve).into()
}

/// The part of the jobs that had at most so much said over what they took.
fn eta(comparison: &Comparison) -> Option<Curve> {
    const STEPS: u32 = 200;
    let said = |eta: &Eta| eta.said_ms as f64 / eta.took_ms.max(1) as f64;
    let mut said: Vec<f64> = comparison.of(Scheduler::Riff)?.eta.iter().map(said).collect();
    said.sort_by(f64::total_cmp);
    let point = |step: u32| {
        let at = f64::from(step) * MOST_ETA / f64::from(STEPS);
        (at, said.partition_point(|said| *said <= at) as f64 / said.len().max(1) as f64 * 100.0)
    };
    let name = format!("load {}", comparison.scenario.load);
    Some(Curve { name, points: (0..=STEPS).map(point).collect() })
}

fn draw(chart: &Chart) -> anyhow::Result<String> {
    let mut svg = String::new();
    let ends = |of: fn(&(f64, f64)) -> f64| {
        let all = chart.curves.iter().flat_map(|curve| &curve.points).map(of);
        all.fold((f64::INFINITY, 0.1), |(least, most): (f64, f64), value| (least.min(value), most.max(value)))
    };
    let (least_x, most_x) = ends(|point| point.0);
    let (least_y, most_y) = ends(|point| point.1);
    let drawn = match chart.is_logarithmic {
        true => paint(&mut svg, chart, least_x..most_x, (least_y.max(1.0) * 0.8..most_y * 1.25).log_scale()),
        false => paint(&mut svg, chart, least_x..most_x, 0.0..most_y * 1.05),
    };
    drawn.map_err(|error| anyhow!("{} cannot be drawn: {error}", chart.title))?;
    Ok(svg)
}

fn paint<Y>(svg: &mut String, chart: &Chart, x: Range<f64>, y: Y) -> Result<(), Box<dyn std::error::Error>>
where
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut on = ChartBuilder::on(&area)
        .caption(chart.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(x, y)?;
    on.configure_mesh().x_desc(chart.x).y_desc(chart.y).light_line_style(WHITE).draw()?;
    for (curve, colour) in chart.curves.iter().zip(COLOURS) {
        on.draw_series(LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    on.configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
