//! A sheet of four pictures of 1024², from PNG files to a PNG and to a WebP file: Riff, sharp and Pillow, one after the
//! other in one go, on pictures that the model `abstract` paints. `benches/pictures/install` installs the other two.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, ensure};
use image::RgbImage;
use riff_hub::{
    pictures::{self, Format},
    recipe::Recipe,
};
use riff_worker::{engine::RunContext, engines::abstract_};
use serde::Deserialize;
use serde_json::json;

/// Times that each way is gone.
const ROUNDS: usize = 15;
const PROMPTS: [&str; 4] = ["calm ocean", "neon city", "a mandala of gold", "autumn forest"];
/// Where the other two are installed.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pictures");

/// What one way to code the sheet gave.
#[derive(Debug, Deserialize)]
struct Measured {
    who: String,
    way: String,
    /// Milliseconds of each round.
    took: Vec<f64>,
    /// The file of the last round.
    file: PathBuf,
}

impl Measured {
    fn median(&self) -> f64 {
        let mut took = self.took.clone();
        took.sort_by(f64::total_cmp);
        took[took.len() / 2]
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("riff-pictures-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    measured
}

async fn measure(folder: &Path) -> anyhow::Result<()> {
    paint(folder).await?;
    let mut all = vec![
        ours(folder, "PNG, as results are written", Format::Png)?,
        ours(folder, "WebP 80, as sheets are written", Format::WebP(80))?,
    ];
    all.extend(theirs(Command::new("node").arg("sharp.mjs"), folder)?);
    all.extend(theirs(Command::new(Path::new(PEERS).join(".venv/bin/python")).arg("pillow.py"), folder)?);
    let truth = sheet(folder)?;
    println!("| who | how | median of {ROUNDS} | bytes | PSNR |\n|---|---|---|---|---|");
    for one in &all {
        let bytes = std::fs::read(&one.file)?;
        let psnr = psnr(&truth, &image::load_from_memory(&bytes)?.into_rgb8());
        println!("| {} | {} | {:.1} ms | {} | {psnr:.1} dB |", one.who, one.way, one.median(), bytes.len());
    }
    for (format, riff) in ["PNG", "WebP"].into_iter().zip(&all) {
        let peers = all[2..].iter().filter(|one| one.way.starts_with(format));
        let fastest = peers.map(Measured::median).fold(f64::INFINITY, f64::min);
        println!("{format}: {:.2} times the fastest of them", fastest / riff.median());
    }
    Ok(())
}

/// Has the model `abstract` paint the four files.
async fn paint(folder: &Path) -> anyhow::Result<()> {
    let engine = abstract_::engine();
    let spec = engine.discover().await?.pop().context("the engine has no model")?;
    for (number, prompt) in PROMPTS.into_iter().enumerate() {
        let mut params = std::collections::BTreeMap::new();
        let settings = json!({"seed": number, "count": 1, "width": 1024, "height": 1024});
        params.extend(settings.as_object().cloned().unwrap_or_default());
        riff_hub::schema::fill_defaults(&mut params, &spec);
        let recipe = Recipe { riff: 1, model: spec.digest(), prompt: prompt.parse()?, params, origin: None };
        let painted = engine.run(&recipe, &RunContext::default()).await?.pop().context("no picture")?;
        std::fs::write(folder.join(format!("{number}.png")), painted.bytes)?;
    }
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    (0..PROMPTS.len()).map(|number| Ok(std::fs::read(folder.join(format!("{number}.png")))?)).collect()
}

fn sheet(folder: &Path) -> anyhow::Result<RgbImage> {
    Ok(pictures::sheet(&pictures::decode(&files(folder)?)?)?)
}

fn ours(folder: &Path, way: &str, format: Format) -> anyhow::Result<Measured> {
    let files = files(folder)?;
    let mut took = Vec::new();
    let mut made = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        made = pictures::encode(&pictures::sheet(&pictures::decode(&files)?)?, format)?;
        took.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    let file = folder.join(format!("riff.{}", format.extension()));
    std::fs::write(&file, made)?;
    Ok(Measured { who: "Riff".to_owned(), way: way.to_owned(), took, file })
}

fn theirs(command: &mut Command, folder: &Path) -> anyhow::Result<Vec<Measured>> {
    let ran = command.arg(folder).arg(ROUNDS.to_string()).current_dir(PEERS).output();
    let ran = ran.context("sharp and Pillow are not there: run benches/pictures/install")?;
    ensure!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    let lines = String::from_utf8(ran.stdout)?;
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Peak signal-to-noise ratio in decibels; infinite for equal pictures.
fn psnr(truth: &RgbImage, other: &RgbImage) -> f64 {
    let squares = truth.iter().zip(other.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum::<f64>();
    10.0 * (255.0_f64.powi(2) / (squares / truth.as_raw().len() as f64)).log10()
}
