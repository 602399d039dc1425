//! A checkpoint as a folder in the layout of diffusers: what its files of JSON say.

use std::path::{Path, PathBuf};

use super::{
    config::{self, Index, ScheduleConfig, TextConfig, UnetConfig, VaeConfig},
    family::{Family, Usual},
    flaw::Flaw,
    flow::{Flow, FlowConfig},
    pieces,
    schedule::{Trained, Training},
    settings::Settings,
    source::{Folder, NetConfig, Parts, Sentences, Source, TextPart},
    transformers::{FluxConfig, T5Config, ThreeConfig},
};

/// The file of every network with its sizes.
const CONFIG: &str = "config.json";
/// The file that says how a checkpoint was trained.
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// Reads and checks all configuration.
///
/// # Errors
/// [`Flaw`], naming the file and what is wrong.
pub fn read(folder: &Path, settings: &Settings) -> Result<Parts, Flaw> {
    let index: Index = config::read(&folder.join("model_index.json"))?;
    let family = family(&index, folder)?;
    let vae: VaeConfig = config::read(&folder.join("vae").join(CONFIG))?;
    let reader = Reader { folder, index: &index, family };
    let (net, trained, usual) = reader.network(&vae, settings)?;
    let (texts, mut plain) = reader.texts()?;
    let sentences = reader.sentences(&net, &mut plain)?;
    let part = if family.flows() { "transformer" } else { "unet" };
    let first = [
        "model_index.json".to_owned(),
        format!("{part}/{CONFIG}"),
        format!("vae/{CONFIG}"),
        SCHEDULER.to_owned(),
    ];
    plain.splice(0..0, first.map(|name| folder.join(name)));
    Ok(Parts {
        source: Source::Folder(Folder { path: folder.to_owned(), variant: settings.variant.clone() }),
        family,
        empty_is_zero: family == Family::Xl && index.force_zeros_for_empty_prompt,
        net,
        vae,
        texts,
        sentences,
        usual,
        trained,
        plain,
    })
}

fn family(index: &Index, folder: &Path) -> Result<Family, Flaw> {
    match index.class.as_str() {
        "StableDiffusionPipeline"
        | "StableDiffusionImg2ImgPipeline"
        | "StableDiffusionInpaintPipeline"
        | "LatentConsistencyModelPipeline"
        | "LatentConsistencyModelImg2ImgPipeline" => Ok(Family::One),
        "StableDiffusionXLPipeline"
        | "StableDiffusionXLImg2ImgPipeline"
        | "StableDiffusionXLInpaintPipeline" => Ok(Family::Xl),
        "StableDiffusion3Pipeline"
        | "StableDiffusion3Img2ImgPipeline"
        | "StableDiffusion3InpaintPipeline" => Ok(Family::Three),
        "FluxPipeline" | "FluxImg2ImgPipeline" | "FluxInpaintPipeline" => Ok(Family::Flux),
        other => Err(Flaw::Unsupported {
            file: folder.join("model_index.json"),
            what: "pipeline",
            found: other.to_owned(),
            can: "StableDiffusionPipeline, StableDiffusionXLPipeline, StableDiffusion3Pipeline and FluxPipeline",
        }),
    }
}

/// What reads the folder of a family.
struct Reader<'a> {
    folder: &'a Path,
    index: &'a Index,
    family: Family,
}

impl Reader<'_> {
    /// The network that is asked at every step, how it was trained, and what is usual.
    fn network(&self, vae: &VaeConfig, settings: &Settings) -> Result<(NetConfig, Trained, Usual), Flaw> {
        let (scheduler, channels) = (self.folder.join(SCHEDULER), vae.latent_channels);
        let file = |part: &str| self.folder.join(part).join(CONFIG);
        let (net, usual) = match self.family {
            Family::One | Family::Xl => {
                let config: UnetConfig = config::read(&file("unet"))?;
                config.check(&file("unet"))?;
                let mut schedule: ScheduleConfig = config::read(&scheduler)?;
                schedule.prediction_type = settings.prediction.unwrap_or(schedule.prediction_type);
                let trained = Trained::OnTop(Training::new(&schedule, &scheduler)?);
                let usual = Usual::of_unet(&config, &schedule);
                return Ok((NetConfig::Unet(config), trained, usual));
            }
            Family::Three => {
                let config: ThreeConfig = config::read(&file("transformer"))?;
                config.check(&file("transformer"), channels)?;
                let usual = Usual::of_three(&config);
                (NetConfig::Three(config), usual)
            }
            Family::Flux => {
                let config: FluxConfig = config::read(&file("transformer"))?;
                config.check(&file("transformer"), channels)?;
                let usual = Usual::of_flux(&config);
                (NetConfig::Flux(config), usual)
            }
        };
        if settings.prediction.is_some() {
            return Err(Flaw::Prediction(self.folder.to_owned()));
        }
        let schedule: FlowConfig = config::read(&scheduler)?;
        Ok((net, Trained::Instead(Flow::new(&schedule, self.family, &scheduler)?), usual))
    }

    /// The text encoders of CLIP, and the small files that count.
    fn texts(&self) -> Result<(Vec<TextPart>, Vec<PathBuf>), Flaw> {
        let (mut texts, mut plain) = (Vec::new(), Vec::new());
        let count = if matches!(self.family, Family::Xl | Family::Three) { 2 } else { 1 };
        for number in 0..count {
            let (file, tokenizer) = self.encoder(number);
            if self.index.lacks(&encoder(number)) {
                return Err(Flaw::NoEncoder { folder: self.folder.to_owned(), encoder: encoder(number) });
            }
            let config: TextConfig = config::read(&file)?;
            plain.push(file);
            plain.extend(
                ["vocab.json", "merges.txt", "special_tokens_map.json"].map(|name| tokenizer.join(name)),
            );
            texts.push(TextPart { config, tokenizer, pad: None, whole: self.family.whole(number) });
        }
        Ok((texts, plain))
    }

    /// The text encoder of T5, in families that have it, which Stable Diffusion 3 can go without.
    fn sentences(&self, net: &NetConfig, plain: &mut Vec<PathBuf>) -> Result<Option<Sentences>, Flaw> {
        let (number, size) = match net {
            NetConfig::Unet(_) => return Ok(None),
            NetConfig::Three(config) => (2, config.joint_attention_dim),
            NetConfig::Flux(config) => (1, config.joint_attention_dim),
        };
        match (self.index.lacks(&encoder(number)), self.family) {
            (false, _) => {}
            (true, Family::Three) => return Ok(Sentences::of(net, None)),
            (true, _) => {
                return Err(Flaw::NoEncoder { folder: self.folder.to_owned(), encoder: encoder(number) });
            }
        }
        let (file, tokenizer) = self.encoder(number);
        let config: T5Config = config::read(&file)?;
        config.check(&file, size)?;
        plain.extend([file, tokenizer.join(pieces::FILE)]);
        Ok(Sentences::of(net, Some((config, tokenizer))))
    }

    /// The configuration of a text encoder, counted from 0, and the folder of its tokenizer.
    fn encoder(&self, number: usize) -> (PathBuf, PathBuf) {
        (self.folder.join(encoder(number)).join(CONFIG), self.folder.join(numbered("tokenizer", number)))
    }
}

fn encoder(number: usize) -> String {
    numbered("text_encoder", number)
}

/// The first has no number, and the second has 2.
fn numbered(name: &str, number: usize) -> String {
    match number {
        0 => name.to_owned(),
        _ => format!("{name}_{}", number + 1),
    }
}
