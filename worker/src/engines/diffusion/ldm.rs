//! Names that layers have in the first implementations, and so in checkpoints of a single file: those of latent diffusion
//! (<https://github.com/CompVis/latent-diffusion>, <https://github.com/Stability-AI/generative-models>) for the networks of
//! pictures, and those of OpenCLIP (<https://github.com/mlfoundations/open_clip>) for the text encoders of version 2 and XL.
//! Those of the transformers of Stable Diffusion 3 and Flux are in [`joint`].
//!
//! Networks here go by the names of diffusers and transformers; this says where their weights lie in such a file, and so which
//! of them a LoRA with these names speaks of.

pub mod joint;

use candle_core::{Result, Tensor};

/// Where a network's weights lie in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Under the names that the network has here.
    Own,
    /// The network that says what is noise.
    Unet {
        /// Layers of each block, by which blocks are counted through.
        layers: usize,
    },
    /// The transformer of Stable Diffusion 3, behind this prefix.
    Three {
        /// The prefix.
        prefix: &'static str,
        /// How many blocks it has; words end in the last.
        blocks: usize,
    },
    /// The transformer of Flux, behind this prefix.
    Flux(&'static str),
    /// The autoencoder.
    Vae {
        /// Its prefix.
        prefix: &'static str,
        /// How many sizes it has; the way up is counted from the largest.
        blocks: usize,
    },
    /// A text encoder of CLIP under its own names, behind this prefix.
    Clip(&'static str),
    /// A text encoder under the names of OpenCLIP, behind this prefix.
    OpenClip(&'static str),
    /// A text encoder of T5 under its own names, behind this prefix.
    T5(&'static str),
}

/// The network's prefix, in files that have other networks too.
pub const NET: &str = "model.diffusion_model.";
/// The autoencoder's prefix.
pub const VAE: &str = "first_stage_model.";
/// The same in files of Flux that ComfyUI writes.
pub const FLUX_VAE: &str = "vae.";
/// Prefixes of other networks, by which they are told from one that says what is noise and has no prefix.
const OTHERS: [&str; 5] = [VAE, FLUX_VAE, "text_encoders.", "cond_stage_model.", "conditioner."];

/// Queries, keys and values in one layer before attention.
pub const THIRDS: [Part; 3] = [rows(0, 1, 3), rows(1, 2, 3), rows(2, 3, 3)];

const fn rows(from: usize, to: usize, of: usize) -> Part {
    Part::Rows { from, to, of }
}

/// A weight's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The tensor's name.
    pub name: String,
    /// What of the tensor.
    pub part: Part,
}

/// What of a tensor a weight is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All.
    Whole,
    /// Some of the rows, where several weights lie one below the other.
    Rows {
        /// Where they begin, in parts of all rows.
        from: usize,
        /// Where they end.
        to: usize,
        /// How many parts all rows are.
        of: usize,
    },
    /// All, the second half of the rows before the first: what shift and scale are to the one is scale and shift to the other.
    Exchanged,
    /// All, rows and columns exchanged.
    Transposed,
    /// All, a convolution of one pixel as the matrix that it is.
    Matrix,
}

impl Part {
    /// The weight, by its tensor.
    ///
    /// # Errors
    /// Candle's, if the tensor has another shape.
    pub fn of(self, tensor: Tensor) -> Result<Tensor> {
        match self {
            Self::Whole => Ok(tensor),
            Self::Rows { from, to, of } => {
                let rows = tensor.dim(0)? / of;
                tensor.narrow(0, from * rows, (to - from) * rows)?.contiguous()
            }
            Self::Exchanged => {
                let half = tensor.dim(0)? / 2;
                Tensor::cat(&[tensor.narrow(0, half, half)?, tensor.narrow(0, 0, half)?], 0)
            }
            Self::Transposed => tensor.t()?.contiguous(),
            Self::Matrix if tensor.rank() == 4 => tensor.flatten_from(1),
            Self::Matrix => Ok(tensor),
        }
    }
}

impl Names {
    /// The places where a weight may lie; files have one of them.
    pub fn places(&self, weight: &str) -> Vec<Place> {
        let whole = |name: String| Place { name, part: Part::Whole };
        let Some((layer, kind)) = weight.rsplit_once('.') else {
            return match self {
                Self::Own => vec![whole(weight.to_owned())],
                _ => Vec::new(),
            };
        };
        match self {
            Self::Own => vec![whole(weight.to_owned())],
            Self::Unet { layers } => {
                unet(layer, *layers).into_iter().map(|name| whole(format!("{NET}{name}.{kind}"))).collect()
            }
            Self::Three { prefix, .. } if weight == "pos_embed.pos_embed" => {
                vec![whole(format!("{prefix}pos_embed"))]
            }
            Self::Three { prefix, blocks } => named(joint::three(layer, *blocks), prefix, kind),
            Self::Flux(prefix) => {
                let place = joint::flux(layer);
                let norm = place.as_ref().is_some_and(|place| place.name.ends_with("_norm"));
                named(place, prefix, if norm { "scale" } else { kind })
            }
            Self::Vae { prefix, blocks } => {
                let attention = layer.contains(".attentions.") && !layer.ends_with("group_norm");
                let part = if attention && kind == "weight" { Part::Matrix } else { Part::Whole };
                let name = vae(layer, *blocks).map(|name| format!("{prefix}{name}.{kind}"));
                name.into_iter().map(|name| Place { name, part }).collect()
            }
            Self::Clip(prefix) => {
                // Some files were written by a version of transformers that left `text_model` out.
                let short = weight.strip_prefix("text_model.").unwrap_or(weight);
                vec![whole(format!("{prefix}{weight}")), whole(format!("{prefix}{short}"))]
            }
            Self::OpenClip(prefix) => open_clip(layer, kind)
                .map(|place| Place { name: format!("{prefix}{}", place.name), ..place })
                .into_iter()
                .collect(),
            Self::T5(prefix) => vec![whole(format!("{prefix}{weight}"))],
        }
    }

    /// Whether a tensor is one of this network.
    pub fn own(&self, tensor: &str) -> bool {
        let prefix = match self {
            Self::Own => return true,
            Self::Unet { .. } => NET,
            Self::Three { prefix, .. } | Self::Vae { prefix, .. } => *prefix,
            Self::Flux(prefix) | Self::Clip(prefix) | Self::OpenClip(prefix) | Self::T5(prefix) => *prefix,
        };
        match prefix {
            "" => !OTHERS.iter().any(|other| tensor.starts_with(other)),
            prefix => tensor.starts_with(prefix),
        }
    }
}

/// The place of a weight of a layer, where the file may have that.
fn named(layer: Option<Place>, prefix: &str, kind: &str) -> Vec<Place> {
    let place = layer.map(|layer| Place { name: format!("{prefix}{}.{kind}", layer.name), ..layer });
    place.into_iter().collect()
}

/// The names of a layer of the network: blocks are counted through, so that `input_blocks.4.1` is the attention behind the
/// first resnet of `down_blocks.1`. Where a block ends in more pixels, the name says whether it has attention, which the
/// layer's own name does not: both are given.
pub fn unet(layer: &str, layers: usize) -> Vec<String> {
    let whole = match layer {
        "conv_in" => "input_blocks.0.0",
        "time_embedding.linear_1" => "time_embed.0",
        "time_embedding.linear_2" => "time_embed.2",
        "add_embedding.linear_1" => "label_emb.0.0",
        "add_embedding.linear_2" => "label_emb.0.2",
        "conv_norm_out" => "out.0",
        "conv_out" => "out.2",
        _ => return unet_block(layer, layers).unwrap_or_default(),
    };
    vec![whole.to_owned()]
}

fn unet_block(layer: &str, layers: usize) -> Option<Vec<String>> {
    let (side, rest) = layer.split_once('.')?;
    if side == "mid_block" {
        let (kind, rest) = rest.split_once('.')?;
        let (index, rest) = rest.split_once('.')?;
        let place = match (kind, index) {
            ("resnets", "0") => 0,
            ("attentions", _) => 1,
            _ => 2,
        };
        return Some(vec![format!("middle_block.{place}.{}", unet_inner(kind, rest))]);
    }
    let (block, rest) = rest.split_once('.')?;
    let (kind, rest) = rest.split_once('.')?;
    let (index, rest) = rest.split_once('.')?;
    let (block, index): (usize, usize) = (block.parse().ok()?, index.parse().ok()?);
    let attention = usize::from(kind == "attentions");
    match (side, kind) {
        ("down_blocks", "downsamplers") => {
            Some(vec![format!("input_blocks.{}.0.op", (block + 1) * (layers + 1))])
        }
        ("down_blocks", _) => {
            let place = 1 + block * (layers + 1) + index;
            Some(vec![format!("input_blocks.{place}.{attention}.{}", unet_inner(kind, rest))])
        }
        ("up_blocks", "upsamplers") => {
            let place = block * (layers + 1) + layers;
            Some([1, 2].map(|after| format!("output_blocks.{place}.{after}.conv")).into())
        }
        ("up_blocks", _) => {
            let place = block * (layers + 1) + index;
            Some(vec![format!("output_blocks.{place}.{attention}.{}", unet_inner(kind, rest))])
        }
        _ => None,
    }
}

/// A resnet's parts are numbered there; an attention's have the same names.
fn unet_inner(kind: &str, rest: &str) -> String {
    let name = match (kind, rest) {
        ("resnets", "norm1") => "in_layers.0",
        ("resnets", "conv1") => "in_layers.2",
        ("resnets", "norm2") => "out_layers.0",
        ("resnets", "conv2") => "out_layers.3",
        ("resnets", "time_emb_proj") => "emb_layers.1",
        ("resnets", "conv_shortcut") => "skip_connection",
        (_, other) => other,
    };
    name.to_owned()
}

fn vae(layer: &str, blocks: usize) -> Option<String> {
    let parts: Vec<&str> = layer.split('.').collect();
    Some(match parts.as_slice() {
        [one @ ("quant_conv" | "post_quant_conv")] => (*one).to_owned(),
        [side, one] => {
            let one = if *one == "conv_norm_out" { "norm_out" } else { one };
            format!("{side}.{one}")
        }
        [side, "mid_block", "resnets", index, part] => {
            format!("{side}.mid.block_{}.{part}", index.parse::<usize>().ok()? + 1)
        }
        [side, "mid_block", "attentions", "0", part @ ..] => {
            let part = match part {
                ["group_norm"] => "norm",
                ["to_q"] => "q",
                ["to_k"] => "k",
                ["to_v"] => "v",
                ["to_out", "0"] => "proj_out",
                _ => return None,
            };
            format!("{side}.mid.attn_1.{part}")
        }
        [side, sort, block, kind, index, part] => {
            let block: usize = block.parse().ok()?;
            let (way, block) = match *sort {
                "down_blocks" => ("down", block),
                _ => ("up", blocks.checked_sub(block + 1)?),
            };
            match *kind {
                "resnets" => {
                    let part = if *part == "conv_shortcut" { "nin_shortcut" } else { part };
                    format!("{side}.{way}.{block}.block.{index}.{part}")
                }
                _ => format!("{side}.{way}.{block}.{way}sample.{part}"),
            }
        }
        _ => return None,
    })
}

fn open_clip(layer: &str, kind: &str) -> Option<Place> {
    let whole = |name: String| Some(Place { name, part: Part::Whole });
    match layer {
        "text_projection" => {
            return Some(Place { name: "text_projection".to_owned(), part: Part::Transposed });
        }
        "text_model.embeddings.token_embedding" => return whole(format!("token_embedding.{kind}")),
        "text_model.embeddings.position_embedding" => return whole("positional_embedding".to_owned()),
        "text_model.final_layer_norm" => return whole(format!("ln_final.{kind}")),
        _ => {}
    }
    let (index, part) = layer.strip_prefix("text_model.encoder.layers.")?.split_once('.')?;
    let block = format!("transformer.resblocks.{index}");
    let third =
        |index: usize| Some(Place { name: format!("{block}.attn.in_proj_{kind}"), part: THIRDS[index] });
    let part = match part {
        "layer_norm1" => "ln_1",
        "layer_norm2" => "ln_2",
        "mlp.fc1" => "mlp.c_fc",
        "mlp.fc2" => "mlp.c_proj",
        "self_attn.out_proj" => "attn.out_proj",
        "self_attn.q_proj" => return third(0),
        "self_attn.k_proj" => return third(1),
        "self_attn.v_proj" => return third(2),
        _ => return None,
    };
    whole(format!("{block}.{part}.{kind}"))
}
