//! A checkpoint as a folder in the layout of diffusers: what its files of JSON say.

use std::path::Path;

use super::{
    config::{self, Index, ScheduleConfig, TextConfig, UnetConfig, VaeConfig},
    flaw::Flaw,
    schedule::Training,
    settings::Settings,
    source::{Parts, Source, TextPart},
    words::Family,
};

/// Reads and checks all configuration.
///
/// # Errors
/// [`Flaw`], naming the file and what is wrong.
pub fn read(folder: &Path, settings: &Settings) -> Result<Parts, Flaw> {
    let index: Index = config::read(&folder.join("model_index.json"))?;
    let family = family(&index, folder)?;
    let unet: UnetConfig = part(folder, "unet")?;
    unet.check(&folder.join("unet/config.json"))?;
    let vae: VaeConfig = part(folder, "vae")?;
    let file = folder.join("scheduler/scheduler_config.json");
    let mut scheduler: ScheduleConfig = config::read(&file)?;
    scheduler.prediction_type = settings.prediction.unwrap_or(scheduler.prediction_type);
    let training = Training::new(&scheduler, &file)?;
    let mut plain =
        ["model_index.json", "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"]
            .map(|name| folder.join(name))
            .to_vec();
    let mut texts = Vec::new();
    for number in numbers(family) {
        let file = folder.join(format!("text_encoder{number}/config.json"));
        let tokenizer = folder.join(format!("tokenizer{number}"));
        let config: TextConfig = config::read(&file)?;
        plain.push(file);
        plain
            .extend(["vocab.json", "merges.txt", "special_tokens_map.json"].map(|name| tokenizer.join(name)));
        texts.push(TextPart { config, tokenizer, pad: None });
    }
    Ok(Parts {
        source: Source::Folder { folder: folder.to_owned(), variant: settings.variant.clone() },
        family,
        empty_is_zero: family == Family::Xl && index.force_zeros_for_empty_prompt,
        unet,
        vae,
        texts,
        scheduler,
        training,
        plain,
    })
}

fn part<T: serde::de::DeserializeOwned>(folder: &Path, part: &str) -> Result<T, Flaw> {
    config::read(&folder.join(part).join("config.json"))
}

fn family(index: &Index, folder: &Path) -> Result<Family, Flaw> {
    match index.class.as_str() {
        "StableDiffusionPipeline" | "StableDiffusionImg2ImgPipeline" | "StableDiffusionInpaintPipeline" => {
            Ok(Family::One)
        }
        "StableDiffusionXLPipeline"
        | "StableDiffusionXLImg2ImgPipeline"
        | "StableDiffusionXLInpaintPipeline" => Ok(Family::Xl),
        other => Err(Flaw::Unsupported {
            file: folder.join("model_index.json"),
            what: "pipeline",
            found: other.to_owned(),
            can: "StableDiffusionPipeline and StableDiffusionXLPipeline",
        }),
    }
}

/// What the folders of the text encoders and tokenizers end in.
fn numbers(family: Family) -> &'static [&'static str] {
    match family {
        Family::One => &[""],
        Family::Xl => &["", "_2"],
    }
}
