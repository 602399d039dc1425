//! Names that layers have in the first implementations, and so in checkpoints of a single file: those of latent diffusion
//! (<https://github.com/CompVis/latent-diffusion>, <https://github.com/Stability-AI/generative-models>) for the networks of
//! pictures, and those of OpenCLIP (<https://github.com/mlfoundations/open_clip>) for the text encoders of version 2 and XL.
//!
//! Networks here go by the names of diffusers and transformers; this says where their weights lie in such a file.

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
    /// The autoencoder.
    Vae {
        /// How many sizes it has; the way up is counted from the largest.
        blocks: usize,
    },
    /// A text encoder under its own names, behind this prefix.
    Clip(&'static str),
    /// A text encoder under the names of OpenCLIP, behind this prefix.
    OpenClip(&'static str),
}

/// The network's prefix.
pub const UNET: &str = "model.diffusion_model.";
/// The autoencoder's prefix.
pub const VAE: &str = "first_stage_model.";
/// Prefixes of everything that a run needs.
pub const PREFIXES: [&str; 4] = [UNET, VAE, "cond_stage_model.", "conditioner."];

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
    /// One of three that lie one below the other: those of queries, keys and values.
    Third(usize),
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
            Self::Third(index) => {
                let rows = tensor.dim(0)? / 3;
                tensor.narrow(0, index * rows, rows)?.contiguous()
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
                unet(layer, *layers).into_iter().map(|name| whole(format!("{UNET}{name}.{kind}"))).collect()
            }
            Self::Vae { blocks } => {
                let attention = layer.contains(".attentions.") && !layer.ends_with("group_norm");
                let part = if attention && kind == "weight" { Part::Matrix } else { Part::Whole };
                let name = vae(layer, *blocks).map(|name| format!("{VAE}{name}.{kind}"));
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
        }
    }
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
        |third| Some(Place { name: format!("{block}.attn.in_proj_{kind}"), part: Part::Third(third) });
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
