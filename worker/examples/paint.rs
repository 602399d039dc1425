//! Paints one picture with the `abstract` engine: `cargo run --release --example paint -- "calm ocean" 7 512 out.png`.

use std::{sync::Arc, time::Instant};

use riff_hub::recipe::Recipe;
use riff_worker::{engine::RunContext, engines::abstract_};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [prompt, seed, size, file] = arguments.as_slice() else {
        anyhow::bail!("give a prompt, a seed, a size in pixels and a file");
    };
    let engine = abstract_::engine();
    let [spec] = engine.models().try_into().map_err(|_| anyhow::anyhow!("one model was expected"))?;
    let mut params = std::collections::BTreeMap::new();
    let (seed, size): (u32, u32) = (seed.parse()?, size.parse()?);
    for (name, value) in [("seed", seed), ("count", 1), ("width", size), ("height", size)] {
        params.insert(name.to_owned(), value.into());
    }
    riff_hub::schema::fill_defaults(&mut params, &spec);
    let recipe = Recipe { riff: 1, model: spec.digest(), prompt: prompt.parse()?, params, origin: None };
    let context = RunContext { updates: Arc::new(|_| {}), cancel: Default::default() };
    let started = Instant::now();
    let pictures = engine.run(&recipe, &context).await?;
    println!("{:?}", started.elapsed());
    for picture in pictures {
        std::fs::write(file, picture.bytes)?;
    }
    Ok(())
}
