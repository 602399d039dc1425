//! Paints with the `abstract` engine; several prompts make a sheet of four columns, row by row, each with the next seed:
//! `cargo run --example paint -- 7 512 out.png "calm ocean" "neon city"`. `docs/abstract.webp` began as such a sheet.

use std::time::Instant;

use image::{RgbImage, imageops};
use riff_hub::{model::ModelSpec, recipe::Recipe};
use riff_worker::{
    engine::{Engine, RunContext},
    engines::abstract_,
};

/// Pictures side by side in a sheet.
const COLUMNS: u32 = 4;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seed, size, file, prompts @ ..] = arguments.as_slice() else {
        anyhow::bail!("give a seed, a size in pixels, a file and prompts");
    };
    let (seed, size): (u32, u32) = (seed.parse()?, size.parse()?);
    let engine = abstract_::engine();
    let [spec] =
        engine.discover().await?.try_into().map_err(|_| anyhow::anyhow!("one model was expected"))?;
    let count = prompts.len() as u32;
    let mut sheet = RgbImage::new(size * count.min(COLUMNS), size * count.div_ceil(COLUMNS));
    for (i, prompt) in (0..).zip(prompts) {
        let started = Instant::now();
        let picture = paint(&*engine, &spec, prompt, seed + i, size).await?;
        println!("{prompt}: {:?}", started.elapsed());
        let place = |at: u32| i64::from(at * size);
        imageops::replace(&mut sheet, &picture, place(i % COLUMNS), place(i / COLUMNS));
    }
    Ok(sheet.save(file)?)
}

async fn paint(
    engine: &dyn Engine,
    spec: &ModelSpec,
    prompt: &str,
    seed: u32,
    size: u32,
) -> anyhow::Result<RgbImage> {
    let mut params = std::collections::BTreeMap::new();
    for (name, value) in [("seed", seed), ("count", 1), ("width", size), ("height", size)] {
        params.insert(name.to_owned(), value.into());
    }
    riff_hub::schema::fill_defaults(&mut params, spec);
    let recipe = Recipe { riff: 1, model: spec.digest(), prompt: prompt.parse()?, params, origin: None };
    let [picture] = engine
        .run(&recipe, &RunContext::default())
        .await?
        .try_into()
        .map_err(|_| anyhow::anyhow!("one picture was expected"))?;
    Ok(image::load_from_memory(&picture.bytes)?.to_rgb8())
}
