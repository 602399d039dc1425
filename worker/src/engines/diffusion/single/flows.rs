//! Single files of Stable Diffusion 3 and 3.5 and of Flux.1: of their network, and of whatever else of a checkpoint is in them.

use std::{path::Path, sync::Arc};

use super::{
    rest,
    sizes::{HEAD, Sizes},
    tokenizer, unknown,
};
use crate::engines::diffusion::{
    family::{Family, Usual},
    flaw::Flaw,
    flow::Flow,
    folder,
    ldm::{FLUX_VAE, NET, Names, VAE},
    net::Whole,
    schedule::Trained,
    settings::Settings,
    source::{Held, NetConfig, Parts, Sentences, Source, TextPart},
    transformers::{FluxConfig, ThreeConfig, axes},
    weights::Safetensors,
};

/// Prefixes of the text encoders, as ComfyUI writes them.
pub const CLIP_L: &str = "text_encoders.clip_l.transformer.";
pub const CLIP_G: &str = "text_encoders.clip_g.transformer.";
pub const T5: &str = "text_encoders.t5xxl.transformer.";
/// Latents of a side that Stable Diffusion 3 is at its best at.
const SIDE: usize = 128;
/// What its latents are multiplied with, and what is taken from them before.
const SCALE: (f64, Option<f64>) = (1.5305, Some(0.0609));

/// The network of a file, by the prefix of its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Net {
    /// Of Stable Diffusion 3.
    Three(&'static str),
    /// Of Flux.
    Flux(&'static str),
}

impl Net {
    /// The one that a file has, if it is one of these.
    pub fn of(file: &Safetensors) -> Option<Self> {
        let has = |prefix: &str, name: &str| file.shape(&format!("{prefix}{name}")).is_some();
        [NET, ""].into_iter().find_map(|prefix| {
            let three = has(prefix, "joint_blocks.0.x_block.attn.qkv.weight").then_some(Self::Three(prefix));
            let flux = has(prefix, "double_blocks.0.img_attn.qkv.weight").then_some(Self::Flux(prefix));
            three.or(flux)
        })
    }

    /// Reads what a file's header says, and what else is needed.
    ///
    /// # Errors
    /// [`Flaw`], saying what is wrong with it or what it lacks.
    pub fn read(self, file: &Arc<Safetensors>, settings: &Settings) -> Result<Parts, Flaw> {
        match &settings.config {
            Some(config) => self.with(config, file, settings),
            None => self.alone(file, settings),
        }
    }

    fn family(self) -> Family {
        match self {
            Self::Three(_) => Family::Three,
            Self::Flux(_) => Family::Flux,
        }
    }

    /// With a folder for what the file lacks and what shapes do not tell.
    fn with(self, config: &Path, file: &Arc<Safetensors>, settings: &Settings) -> Result<Parts, Flaw> {
        let (said, family) = (folder::read(config, settings)?, self.family());
        if said.family != family {
            let (title, other) = (family.title(), said.family.title());
            let found = format!("a network of {title}, and {} is of {other}", config.display());
            return Err(unknown(file, found, "a folder of its family in config"));
        }
        let held = self.held(Sizes { file });
        let (usual, net) = self.sizes(Sizes { file }, Some(&said.net), said.vae.latent_channels)?;
        if given(&net) != given(&said.net) {
            let ((words, whole), (others, other)) = (given(&net), given(&said.net));
            let found = format!(
                "a network for words of {words} numbers and prompts of {whole}, and {} has text encoders for {others} \
                 and {other}",
                config.display()
            );
            return Err(unknown(
                file,
                found,
                "a folder with the text encoders that it was trained with in config",
            ));
        }
        // Folders of Flux differ by guidance in nothing but network and schedule, so that one serves for files of both kinds.
        let trained = match net.guidance() == said.net.guidance() {
            true => said.trained,
            false => Trained::Instead(Flow::published(family, net.guidance())),
        };
        let texts = said.texts.into_iter().zip(&held.texts).enumerate().map(|(number, (text, names))| {
            let whole = names.as_ref().map_or(text.whole, |_| self.whole(number));
            TextPart { whole, ..text }
        });
        Ok(Parts {
            texts: texts.collect(),
            sentences: said.sentences.and_then(|sentences| Sentences::of(&net, sentences.t5)),
            source: Source::File { file: file.clone(), held, rest: rest(settings) },
            usual,
            trained,
            net,
            ..said
        })
    }

    /// By the tensors alone, which only files of Stable Diffusion 3 without T5 have enough of: its tokenizer is in none.
    fn alone(self, file: &Arc<Safetensors>, settings: &Settings) -> Result<Parts, Flaw> {
        if settings.prediction.is_some() {
            return Err(Flaw::Prediction(file.path.clone()));
        }
        let (sizes, family) = (Sizes { file }, self.family());
        let held = self.held(sizes);
        let Some(Names::Vae { prefix, .. }) = held.vae.as_ref().filter(|_| self.lacks(&held).is_empty())
        else {
            let example = match self {
                Self::Three(_) => "stabilityai/stable-diffusion-3.5-medium",
                Self::Flux(_) => "black-forest-labs/FLUX.1-schnell",
            };
            let parts = self.lacks(&held).join(", no ");
            return Err(Flaw::Lacks { file: file.path.clone(), parts, family: family.title(), example });
        };
        let vae = sizes.vae(prefix, SCALE)?;
        let (usual, net) = self.sizes(sizes, None, vae.latent_channels)?;
        let (tokenizer, plain) = tokenizer(file, settings)?;
        let kinds = [("quick_gelu", "<|endoftext|>"), ("gelu", "!")];
        let texts =
            held.texts.iter().flatten().zip(kinds).enumerate().map(|(number, (names, (act, pad)))| {
                let (config, tokenizer) = (sizes.text(names, act)?, tokenizer.clone());
                Ok(TextPart { config, tokenizer, pad: Some(pad), whole: self.whole(number) })
            });
        Ok(Parts {
            texts: texts.collect::<Result<_, Flaw>>()?,
            sentences: Sentences::of(&net, None),
            trained: Trained::Instead(Flow::published(family, net.guidance())),
            source: Source::File { file: file.clone(), held, rest: None },
            empty_is_zero: false,
            family,
            usual,
            net,
            vae,
            plain,
        })
    }

    /// What stands for a prompt as a whole in an encoder within the file. As in diffusers, the projection of the first one is left
    /// out, whether the file has one or not.
    fn whole(self, number: usize) -> Whole {
        match number {
            0 => Whole::End,
            _ => self.family().whole(number),
        }
    }

    fn held(self, sizes: Sizes) -> Held {
        let text = |prefix: &'static str| {
            let words = format!("{prefix}text_model.embeddings.token_embedding.weight");
            sizes.has(&words).then_some(Names::Clip(prefix))
        };
        let (net, texts) = match self {
            Self::Three(prefix) => {
                let blocks = sizes.count(|i| format!("{prefix}joint_blocks.{i}.x_block.attn.qkv.weight"));
                (Names::Three { prefix, blocks }, vec![text(CLIP_L), text(CLIP_G)])
            }
            Self::Flux(prefix) => (Names::Flux(prefix), vec![text(CLIP_L)]),
        };
        let t5 = sizes.has(&format!("{T5}encoder.final_layer_norm.weight")).then_some(Names::T5(T5));
        let vae = [VAE, FLUX_VAE].into_iter().find_map(|prefix| sizes.vae_names(prefix));
        Held { net, vae, texts, t5 }
    }

    /// What a run needs that is not in the file.
    fn lacks(self, held: &Held) -> Vec<&'static str> {
        let parts = [
            ("autoencoder", held.vae.is_none()),
            ("text encoder of CLIP", held.texts.contains(&None)),
            ("text encoder of T5", held.t5.is_none() && self.family() == Family::Flux),
            ("tokenizer of T5", held.t5.is_some()),
        ];
        parts.into_iter().filter_map(|(part, lacks)| lacks.then_some(part)).collect()
    }

    /// The network's sizes, and what is usual for it; what shapes do not tell is as `said`, or as published.
    fn sizes(
        self,
        sizes: Sizes,
        said: Option<&NetConfig>,
        channels: usize,
    ) -> Result<(Usual, NetConfig), Flaw> {
        let file = &sizes.file.path;
        match self {
            Self::Three(prefix) => {
                let said = match said {
                    Some(NetConfig::Three(said)) => Some(said),
                    _ => None,
                };
                let config = three(sizes, prefix, said)?;
                config.check(file, channels)?;
                Ok((Usual::of_three(&config), NetConfig::Three(config)))
            }
            Self::Flux(prefix) => {
                let axes = match said {
                    Some(NetConfig::Flux(said)) => said.axes_dims_rope,
                    _ => axes(),
                };
                let config = flux(sizes, prefix, axes)?;
                config.check(file, channels)?;
                Ok((Usual::of_flux(&config), NetConfig::Flux(config)))
            }
        }
    }
}

fn three(sizes: Sizes, prefix: &str, said: Option<&ThreeConfig>) -> Result<ThreeConfig, Flaw> {
    let name = |rest: &str| format!("{prefix}{rest}");
    let side = |rest: &str, side| sizes.side(&name(rest), side);
    let block = |i: usize, rest: &str| name(&format!("joint_blocks.{i}.x_block.{rest}.weight"));
    let width = side("x_embedder.proj.weight", 0)?;
    let norm = block(0, "attn.ln_q");
    let head = match sizes.has(&norm) {
        true => sizes.side(&norm, 0)?,
        false => said.map_or(HEAD, |said| said.attention_head_dim),
    };
    let num_layers = sizes.count(|i| block(i, "attn.qkv"));
    Ok(ThreeConfig {
        class: ThreeConfig::CLASS.to_owned(),
        sample_size: said.map_or(SIDE, |said| said.sample_size),
        patch_size: side("x_embedder.proj.weight", 2)?,
        in_channels: side("x_embedder.proj.weight", 1)?,
        out_channels: None,
        num_layers,
        attention_head_dim: head,
        num_attention_heads: width / head.max(1),
        joint_attention_dim: side("context_embedder.weight", 1)?,
        caption_projection_dim: side("context_embedder.weight", 0)?,
        pooled_projection_dim: side("y_embedder.mlp.0.weight", 1)?,
        pos_embed_max_size: side("pos_embed", 1)?.isqrt(),
        dual_attention_layers: (0..num_layers).filter(|i| sizes.has(&block(*i, "attn2.qkv"))).collect(),
        qk_norm: sizes.has(&norm).then(|| "rms_norm".to_owned()),
    })
}

fn flux(sizes: Sizes, prefix: &str, axes_dims_rope: [usize; 3]) -> Result<FluxConfig, Flaw> {
    let name = |rest: &str| format!("{prefix}{rest}");
    let side = |rest: &str, side| sizes.side(&name(rest), side);
    let head = side("double_blocks.0.img_attn.norm.query_norm.scale", 0)?;
    Ok(FluxConfig {
        class: FluxConfig::CLASS.to_owned(),
        patch_size: 1,
        in_channels: side("img_in.weight", 1)?,
        out_channels: Some(side("final_layer.linear.weight", 0)?),
        num_layers: sizes.count(|i| name(&format!("double_blocks.{i}.img_attn.qkv.weight"))),
        num_single_layers: sizes.count(|i| name(&format!("single_blocks.{i}.linear1.weight"))),
        attention_head_dim: head,
        num_attention_heads: side("img_in.weight", 0)? / head.max(1),
        joint_attention_dim: side("txt_in.weight", 1)?,
        pooled_projection_dim: side("vector_in.in_layer.weight", 1)?,
        guidance_embeds: sizes.has(&name("guidance_in.in_layer.weight")),
        axes_dims_rope,
    })
}

/// Numbers of a word, and of a prompt as a whole, as the network is given them.
fn given(net: &NetConfig) -> (usize, usize) {
    match net {
        NetConfig::Unet(config) => (config.cross_attention_dim, 0),
        NetConfig::Three(config) => (config.joint_attention_dim, config.pooled_projection_dim),
        NetConfig::Flux(config) => (config.joint_attention_dim, config.pooled_projection_dim),
    }
}
