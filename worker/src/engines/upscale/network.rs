//! A network of ncnn, run by candle: on an NVIDIA GPU with the feature `cuda`, else on the processor.

use std::path::Path;

use candle_core::{Device, Result, Tensor};

use super::ncnn::{Flaw, Graph, Layer, Node};
use crate::engines::{
    gpu,
    neural::{Edge, Pass, conv},
};

/// A network in memory.
pub struct Network {
    graph: Graph,
    device: Device,
    /// How many layers read each blob, so that each is dropped after the last.
    readers: Vec<usize>,
}

impl Network {
    /// Reads a network from the texts of its files.
    ///
    /// # Errors
    /// [`Flaw`] if they are none, or do not fit on the device.
    pub fn read(param: &str, bin: &[u8]) -> std::result::Result<Self, Flaw> {
        let device = gpu::found()?;
        let graph = Graph::read(param, bin, &device)?;
        let mut readers = vec![0; graph.blobs];
        graph.nodes.iter().flat_map(|node| &node.inputs).for_each(|blob| readers[*blob] += 1);
        Ok(Self { graph, device, readers })
    }

    /// How many times as many pixels a side the result has.
    pub fn factor(&self) -> usize {
        self.graph.factor
    }

    /// Enlarges pixels `[height, width, 3]` from 0 to 1; nothing if `keep_on` says so between two layers.
    ///
    /// # Errors
    /// What the device says: most often that there is too little memory.
    pub fn run(
        &self,
        pixels: Vec<f32>,
        (width, height): (usize, usize),
        keep_on: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<f32>>> {
        let mut blobs: Vec<Option<Tensor>> = vec![None; self.graph.blobs];
        blobs[0] = Some(Tensor::from_vec(pixels, (1, height, width, 3), &self.device)?);
        let mut readers = self.readers.clone();
        let mut last = 0;
        for node in &self.graph.nodes {
            if !keep_on() {
                return Ok(None);
            }
            let value = evaluate(node, &blobs)?;
            for blob in &node.inputs {
                readers[*blob] -= 1;
                if readers[*blob] == 0 {
                    blobs[*blob] = None;
                }
            }
            last = node.outputs[0];
            node.outputs.iter().for_each(|blob| blobs[*blob] = Some(value.clone()));
        }
        blobs[last].take().map(|result| result.flatten_all()?.to_vec1()).transpose()
    }
}

fn evaluate(node: &Node, blobs: &[Option<Tensor>]) -> Result<Tensor> {
    let inputs: Vec<&Tensor> = node.inputs.iter().filter_map(|blob| blobs[*blob].as_ref()).collect();
    let first = *inputs.first().ok_or_else(|| candle_core::Error::Msg("a layer reads nothing".to_owned()))?;
    match &node.layer {
        // Whether to keep on is asked between layers.
        Layer::Convolution(conv) => conv.forward(first, &Pass { edge: Edge::Zero, wanted: &|| true }),
        Layer::PRelu(slopes) => conv::sloped(first, &Tensor::new(slopes.as_slice(), first.device())?),
        Layer::PixelShuffle(factor) => conv::shuffled(first, *factor),
        Layer::Enlarge(factor) => conv::enlarged(first, *factor),
        Layer::Sum(factors) => {
            let mut sum = scaled(first, factors[0])?;
            for (input, factor) in inputs.iter().zip(factors).skip(1) {
                sum = (sum + scaled(input, *factor)?)?;
            }
            Ok(sum)
        }
        Layer::Concat => Tensor::cat(&inputs, 3),
        Layer::Split => Ok(first.clone()),
    }
}

fn scaled(tensor: &Tensor, factor: f64) -> Result<Tensor> {
    match factor {
        1.0 => Ok(tensor.clone()),
        factor => tensor * factor,
    }
}

/// Reads the two files of a network.
///
/// # Errors
/// With a sentence, if one cannot be read or they are no network.
pub fn open(param: &Path) -> std::result::Result<Network, String> {
    let bin = param.with_extension("bin");
    let unreadable =
        |path: &Path, error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let text = std::fs::read_to_string(param).map_err(|error| unreadable(param, error))?;
    let weights = std::fs::read(&bin).map_err(|error| unreadable(&bin, error))?;
    Network::read(&text, &weights).map_err(|flaw| format!("{}: {flaw}", param.display()))
}
