//! Curves of simulations as SVG.

use anyhow::anyhow;
use plotters::prelude::*;
use riff_hub::simulate::{Comparison, Figures, Scheduler};

const SIZE: (u32, u32) = (720, 420);
/// Okabe and Ito's colours, which the colour-blind can tell apart.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(120, 120, 120),
];

/// One line of a chart.
struct Curve {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// A chart; its axes begin at 0.
struct Chart<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    curves: Vec<Curve>,
}

/// File names and pictures: goodput, swaps and waits over the load, and how good the expected times were.
///
/// # Errors
/// If nothing can be drawn.
pub fn curves(comparisons: &[Comparison]) -> anyhow::Result<Vec<(&'static str, String)>> {
    let over_load = |of: fn(&Figures) -> f64| -> Vec<Curve> {
        let curve = |scheduler: Scheduler| {
            let point = |c: &Comparison| Some((c.scenario.load, of(c.of(scheduler)?)));
            Curve { name: scheduler.name(), points: comparisons.iter().filter_map(point).collect() }
        };
        Scheduler::ALL.map(curve).into()
    };
    let x = "work asked for, over what the fleet can do";
    let bound = comparisons.iter().map(|c| (c.scenario.load, c.bound)).collect();
    let mut goodput = over_load(|figures| figures.goodput);
    goodput.push(Curve { name: "bound", points: bound });
    let charts = [
        (
            "goodput.svg",
            Chart { title: "Goodput", x, y: "work done (s of a GPU of speed 1, a second)", curves: goodput },
        ),
        (
            "swaps.svg",
            Chart {
                title: "Models loaded",
                x,
                y: "loads",
                curves: over_load(|figures| figures.swaps as f64),
            },
        ),
        (
            "wait.svg",
            Chart {
                title: "Wait, p95",
                x,
                y: "minutes",
                curves: over_load(|figures| figures.wait_s[1] / 60.0),
            },
        ),
        (
            "fairness.svg",
            Chart {
                title: "Jain's index over members",
                x,
                y: "index",
                curves: over_load(|figures| figures.jain),
            },
        ),
        ("eta.svg", eta(comparisons)),
    ];
    charts.into_iter().map(|(name, chart)| Ok((name, draw(&chart)?))).collect()
}

/// How many jobs had at most so much said over what they took.
fn eta(comparisons: &[Comparison]) -> Chart<'static> {
    const MOST: f64 = 2.0;
    let of = |comparison: &Comparison| {
        let eta = &comparison.of(Scheduler::Riff)?.eta;
        let part = |at: f64| eta.partition_point(|said| *said <= at) as f64 / eta.len().max(1) as f64;
        let points =
            (0..=200).map(|step| f64::from(step) * MOST / 200.0).map(|at| (at, part(at) * 100.0)).collect();
        let name: &'static str = match comparison.scenario.load {
            load if load <= 0.5 => "load up to 0.5",
            load if load <= 0.9 => "load up to 0.9",
            _ => "load above 0.9",
        };
        Some(Curve { name, points })
    };
    let mut curves: Vec<Curve> = comparisons.iter().filter_map(of).collect();
    // Of each kind of load the highest.
    curves.reverse();
    let mut seen = Vec::new();
    curves.retain(|curve| {
        !seen.contains(&curve.name) && {
            seen.push(curve.name);
            true
        }
    });
    Chart {
        title: "Expected time over real time",
        x: "expected over real time",
        y: "percent of jobs",
        curves,
    }
}

fn draw(chart: &Chart<'_>) -> anyhow::Result<String> {
    let mut svg = String::new();
    paint(&mut svg, chart).map_err(|error| anyhow!("{} cannot be drawn: {error}", chart.title))?;
    Ok(svg)
}

fn paint(svg: &mut String, chart: &Chart<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let most = |of: fn(&(f64, f64)) -> f64| {
        chart.curves.iter().flat_map(|curve| &curve.points).map(of).fold(0.0, f64::max)
    };
    let (x, y) = (most(|point| point.0).max(0.1), most(|point| point.1).max(0.1) * 1.05);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut on = ChartBuilder::on(&area)
        .caption(chart.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..x, 0.0..y)?;
    on.configure_mesh().x_desc(chart.x).y_desc(chart.y).light_line_style(WHITE).draw()?;
    for (curve, colour) in chart.curves.iter().zip(COLOURS) {
        on.draw_series(LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    on.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    area.present()?;
    Ok(())
}
