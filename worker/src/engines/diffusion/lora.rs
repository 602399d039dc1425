//! LoRAs (<https://arxiv.org/abs/2106.09685>), merged into the weights while these are read: to each weight that a file
//! speaks of, `strength × alpha / rank × up × down` is added.
//!
//! Files are read with the names of kohya's scripts (those of diffusers and, from XL on, those of the first implementations),
//! with those of diffusers and PEFT (<https://huggingface.co/docs/diffusers/api/loaders/lora>), and, for transformers, with
//! those of the first implementations as they are.

use std::{path::Path, sync::Arc};

use candle_core::{DType, Error, Tensor};

use super::{
    Result,
    flaw::Flaw,
    ldm::{self, Part, Place, joint},
    weights::Safetensors,
};

/// What files of other methods have in their names; leaving it out would give another picture than was meant.
const OTHERS: [&str; 6] = ["hada_", "lokr_", "dora_scale", "lora_mid", "oft_", "lora_B.bias"];
/// Names of the two factors, `down` and `up`, behind a layer's name.
const FACTORS: [(&str, &str); 4] = [
    (".lora_down.weight", ".lora_up.weight"),
    (".lora_A.weight", ".lora_B.weight"),
    (".lora.down.weight", ".lora.up.weight"),
    (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
];

/// A LoRA, opened.
pub struct Lora {
    file: Safetensors,
    strength: f64,
}

impl Lora {
    /// Opens a file.
    ///
    /// # Errors
    /// Those of [`Safetensors::open`], and [`Flaw::Lora`] for other methods than LoRA.
    pub fn open(path: &Path, strength: f64) -> Result<Self, Flaw> {
        let file = Safetensors::open(path)?;
        let other = file.names().find(|name| OTHERS.iter().any(|other| name.contains(other)));
        if let Some(name) = other {
            let why = format!("{name} is of another method; plain LoRAs are merged");
            return Err(Flaw::Lora { file: path.to_owned(), why });
        }
        Ok(Self { file, strength })
    }

    /// Whether every layer of the file was merged, once all networks are read.
    ///
    /// # Errors
    /// [`Flaw::Lora`] naming one that was not.
    pub fn all_used(&self) -> Result<(), Flaw> {
        let layer = |name: &&str| FACTORS.iter().any(|(down, _)| name.ends_with(down)) || is_processor(name);
        let left = self.file.unread(|name| layer(&name));
        match left.first() {
            None if !self.file.names().any(|name| layer(&name)) => {
                Err(self.misfit("it has no layer of a LoRA".to_owned()))
            }
            None => Ok(()),
            Some(first) => Err(self.misfit(format!(
                "{} of its layers, such as {first}, are not there: it was made for another family of models",
                left.len()
            ))),
        }
    }

    fn misfit(&self, why: String) -> Flaw {
        Flaw::Lora { file: self.file.path.clone(), why }
    }

    /// What is added to a weight, where the file speaks of it.
    fn delta(&self, layer: &Layer, weight: &Tensor) -> Result<Option<Tensor>> {
        let has = |name: &str| self.file.shape(name).is_some();
        let pair = layer.places.iter().flat_map(|Place { name, part }| {
            FACTORS
                .iter()
                .map(move |(down, up)| (name, *part, format!("{name}{down}"), format!("{name}{up}")))
        });
        let pair = pair.chain(
            layer
                .processor
                .iter()
                .map(|name| (name, Part::Whole, format!("{name}.down.weight"), format!("{name}.up.weight"))),
        );
        let Some((name, part, down, up)) = pair.into_iter().find(|(_, _, down, _)| has(down)) else {
            return Ok(None);
        };
        let alpha = format!("{name}.alpha");
        let factor = |name: &str| self.file.tensor(name)?.to_dtype(DType::F32);
        // Rows of the product are those of the upper factor.
        let (low, high) = (factor(&down)?, part.of(factor(&up)?)?);
        let rank = low.dim(0)?;
        let alpha = match has(&alpha) {
            true => f64::from(factor(&alpha)?.flatten_all()?.get(0)?.to_scalar::<f32>()?),
            false => rank as f64,
        };
        let product = high.reshape(((), rank))?.matmul(&low.reshape((rank, ()))?)?;
        let product = product.affine(self.strength * alpha / rank as f64, 0.0)?;
        let fitting = product.reshape(weight.shape()).map_err(|_| {
            let (found, wanted) = (product.dims().to_vec(), weight.dims().to_vec());
            let why = format!("{down} makes {found:?} where {wanted:?} was expected");
            Error::Msg(self.misfit(why).to_string())
        })?;
        Ok(Some(fitting))
    }
}

fn is_processor(name: &str) -> bool {
    name.ends_with("_lora.down.weight")
}

/// Which network of a checkpoint weights belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// `unet`, with the layers of each of its blocks.
    Unet(usize),
    /// `transformer` of Stable Diffusion 3, with the number of its blocks.
    Three(usize),
    /// `transformer` of Flux.
    Flux,
    /// The text encoder of a checkpoint that has one.
    Text,
    /// One of several text encoders, counted from 0.
    TextOf(usize),
    /// The text encoder of T5, counted from 0 among all of them, which LoRAs leave alone.
    Sentences(usize),
    /// `vae`, which LoRAs leave alone.
    Vae,
}

/// The LoRAs of one network.
pub struct Patches {
    loras: Arc<Vec<Lora>>,
    network: Network,
}

impl Patches {
    /// Those of a run.
    pub fn new(loras: Arc<Vec<Lora>>, network: Network) -> Self {
        Self { loras, network }
    }

    /// A weight with all of them merged in.
    ///
    /// # Errors
    /// [`Error::Msg`] naming the file that does not fit.
    pub fn apply(&self, name: &str, weight: Tensor) -> Result<Tensor> {
        let Some(layer) = name.strip_suffix(".weight").filter(|_| !self.loras.is_empty()) else {
            return Ok(weight);
        };
        let layer = Layer::new(layer, self.network);
        let mut weight = weight;
        for lora in self.loras.iter() {
            if let Some(delta) = lora.delta(&layer, &weight)? {
                weight = (weight.to_dtype(DType::F32)? + delta)?;
            }
        }
        Ok(weight)
    }
}

/// Where a file may speak of a layer.
struct Layer {
    places: Vec<Place>,
    /// The name that attention had in older files of diffusers.
    processor: Option<String>,
}

impl Layer {
    fn new(layer: &str, network: Network) -> Self {
        let flat = layer.replace('.', "_");
        let kohya = |name: &str| format!("lora_unet_{}", name.replace('.', "_"));
        let names: Vec<String> = match network {
            Network::Unet(layers) => {
                let first = ldm::unet(layer, layers).into_iter().map(|name| kohya(&name));
                [kohya(layer), format!("unet.{layer}")].into_iter().chain(first).collect()
            }
            Network::Text | Network::TextOf(0) => {
                vec![format!("lora_te_{flat}"), format!("lora_te1_{flat}"), format!("text_encoder.{layer}")]
            }
            Network::TextOf(n) => {
                vec![format!("lora_te{}_{flat}", n + 1), format!("text_encoder_{}.{layer}", n + 1)]
            }
            Network::Three(_) | Network::Flux => vec![format!("transformer.{layer}")],
            Network::Vae | Network::Sentences(_) => Vec::new(),
        };
        let first = match network {
            Network::Three(blocks) => joint::three(layer, blocks),
            Network::Flux => joint::flux(layer),
            _ => None,
        };
        let first = first.into_iter().flat_map(|Place { name, part }| {
            [kohya(&name), format!("diffusion_model.{name}"), name].map(|name| Place { name, part })
        });
        let whole = names.into_iter().map(|name| Place { name, part: Part::Whole });
        let processor = || {
            let (attention, part) = layer.rsplit_once(".to_")?;
            Some(format!("unet.{attention}.processor.to_{}_lora", part.trim_end_matches(".0")))
        };
        let processor = matches!(network, Network::Unet(_)).then(processor).flatten();
        Self { places: whole.chain(first).collect(), processor }
    }
}
