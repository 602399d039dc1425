//! Networks as ncnn writes them: a `.param` file with a layer in each line, and a `.bin` file with the weights in the order
//! of the layers (<https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure>). Only the layers that networks of
//! the ESRGAN family are made of.

use std::{collections::HashMap, str::FromStr};

use candle_core::{Device, Tensor};

use crate::engines::neural::conv::Conv;

/// First line of a `.param` file.
const MAGIC: &str = "7767517";
/// Tag of weights in half precision; 0 tags single precision.
const HALF: u32 = 0x0130_6B47;

/// Why files are no network that can be run.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// The `.param` file.
    #[error("line {line} of its .param file cannot be read: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What was wrong and what was expected.
        why: String,
    },
    /// The `.bin` file.
    #[error("its .bin file is not the one of its .param file: {0}")]
    Weights(String),
    /// The device.
    #[error("its weights cannot be loaded: {0}")]
    Device(#[from] candle_core::Error),
}

/// What a layer does.
pub enum Layer {
    /// A convolution that keeps the size, with zeros beyond the border.
    Convolution(Conv),
    /// A slope below zero for each channel.
    PRelu(Vec<f32>),
    /// Channels to pixels, this many times as many a side.
    PixelShuffle(usize),
    /// Nearest pixels, this many times as many a side.
    Enlarge(usize),
    /// The sum of inputs times their factors.
    Sum(Vec<f64>),
    /// All channels of the inputs.
    Concat,
    /// Its input, for several layers.
    Split,
}

/// A layer and where its values come from and go to, as numbers of blobs.
pub struct Node {
    /// What it does.
    pub layer: Layer,
    /// Blobs that it reads.
    pub inputs: Vec<usize>,
    /// Blobs that it writes.
    pub outputs: Vec<usize>,
}

/// A network that can be run.
pub struct Graph {
    /// Every layer, each after those that it reads.
    pub nodes: Vec<Node>,
    /// How many blobs there are. The first is the input, the last layer's first output is the result.
    pub blobs: usize,
    /// How many times as many pixels a side the result has.
    pub factor: usize,
}

impl Graph {
    /// Reads a network, its weights on a device.
    ///
    /// # Errors
    /// [`Flaw`] for a layer that is not known, and files that do not belong together.
    pub fn read(param: &str, bin: &[u8], device: &Device) -> Result<Self, Flaw> {
        let mut reader =
            Reader { weights: Weights { bin, device }, blobs: HashMap::new(), scale: Vec::new() };
        let mut lines = param.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        match lines.next() {
            Some((_, MAGIC)) => {}
            _ => return Err(flaw(1, format!("{MAGIC} was expected"))),
        }
        let mut nodes = Vec::new();
        for (line, text) in lines.skip(1).filter(|(_, text)| !text.is_empty()) {
            if let Some(node) = reader.node(text).map_err(|error| error.at(line))? {
                join(&mut nodes, node).map_err(|error| error.at(line))?;
            }
        }
        let left = reader.weights.bin.len();
        if left > 0 {
            return Err(Flaw::Weights(format!("{left} bytes are left over")));
        }
        let last = nodes.last().and_then(|node: &Node| node.outputs.first().copied());
        let factor = last.and_then(|last| reader.scale.get(last).map(|(factor, _)| *factor));
        let factor = factor.ok_or_else(|| flaw(2, "there is no layer".to_owned()))?;
        Ok(Self { nodes, blobs: reader.scale.len(), factor })
    }
}

/// Adds a node, or has the convolution before it do what it does.
fn join(nodes: &mut Vec<Node>, node: Node) -> Result<(), Wrong> {
    match (node, nodes.last_mut()) {
        // Nobody else reads what it writes: for several, a network of ncnn has a layer that splits.
        (
            Node { layer: Layer::PRelu(slopes), inputs, outputs: ours },
            Some(Node { layer: Layer::Convolution(before), outputs, .. }),
        ) if inputs == *outputs => {
            before.slope(&slopes)?;
            *outputs = ours;
        }
        (node, _) => nodes.push(node),
    }
    Ok(())
}

fn flaw(line: usize, why: String) -> Flaw {
    Flaw::Line { line, why }
}

/// What went wrong in a line, before it is known which.
enum Wrong {
    Text(String),
    Flaw(Flaw),
}

impl Wrong {
    fn at(self, line: usize) -> Flaw {
        match self {
            Self::Text(why) => flaw(line, why),
            Self::Flaw(flaw) => flaw,
        }
    }
}

impl From<Flaw> for Wrong {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

impl From<candle_core::Error> for Wrong {
    fn from(error: candle_core::Error) -> Self {
        Self::Flaw(error.into())
    }
}

struct Reader<'a> {
    weights: Weights<'a>,
    /// Numbers of blobs by name.
    blobs: HashMap<String, usize>,
    /// Of each blob, how many times the input's side it has, and its channels.
    scale: Vec<(usize, usize)>,
}

impl Reader<'_> {
    /// A layer; nothing for the input, which is none.
    fn node(&mut self, text: &str) -> Result<Option<Node>, Wrong> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [kind, _name, inputs, outputs, rest @ ..] = words.as_slice() else {
            return Err(Wrong::Text(
                "a layer, its name and its numbers of inputs and outputs were expected".into(),
            ));
        };
        let (inputs, outputs): (usize, usize) = (number(inputs)?, number(outputs)?);
        if rest.len() < inputs.saturating_add(outputs) || outputs == 0 {
            return Err(Wrong::Text("it names fewer blobs than it says".into()));
        }
        let (read, rest) = rest.split_at(inputs);
        let (written, settings) = rest.split_at(outputs);
        if *kind == "Input" {
            self.write(written, (1, 3));
            return Ok(None);
        }
        let unknown = |name: &&str| Wrong::Text(format!("no layer before it writes {name}"));
        let find = |name: &&str| self.blobs.get(*name).copied().ok_or_else(|| unknown(name));
        let inputs = read.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let shapes: Vec<(usize, usize)> = inputs.iter().map(|blob| self.scale[*blob]).collect();
        let first = *shapes.first().ok_or_else(|| Wrong::Text("it reads nothing".into()))?;
        let (layer, shape) = self.layer(kind, &Settings(settings), first, &shapes)?;
        Ok(Some(Node { layer, inputs, outputs: self.write(written, shape) }))
    }

    fn write(&mut self, names: &[&str], shape: (usize, usize)) -> Vec<usize> {
        let one = |name: &&str| {
            self.blobs.insert((*name).to_owned(), self.scale.len());
            self.scale.push(shape);
            self.scale.len() - 1
        };
        names.iter().map(one).collect()
    }

    /// A layer and the shape of what it writes.
    fn layer(
        &mut self,
        kind: &str,
        settings: &Settings<'_>,
        (scale, channels): (usize, usize),
        all: &[(usize, usize)],
    ) -> Result<(Layer, (usize, usize)), Wrong> {
        Ok(match kind {
            "Convolution" => self.convolution(settings, scale, channels)?,
            "PReLU" => {
                settings.expect("0", channels)?;
                (Layer::PRelu(self.weights.singles(channels)?), (scale, channels))
            }
            "PixelShuffle" => {
                let factor: usize = settings.get("0", 1)?;
                if factor == 0 || !channels.is_multiple_of(factor * factor) {
                    return Err(Wrong::Text(format!(
                        "{channels} channels cannot be shuffled {factor} times"
                    )));
                }
                (Layer::PixelShuffle(factor), (scale * factor, channels / (factor * factor)))
            }
            "Interp" => {
                let factor = settings.enlargement()?;
                (Layer::Enlarge(factor), (scale * factor, channels))
            }
            "BinaryOp" => {
                settings.expect("0", 0)?;
                (Layer::Sum(vec![1.0; all.len()]), (scale, channels))
            }
            "Eltwise" => {
                settings.expect("0", 1)?;
                (Layer::Sum(settings.list("-23301", all.len())?), (scale, channels))
            }
            "Concat" => (Layer::Concat, (scale, all.iter().map(|(_, channels)| channels).sum())),
            "Split" => (Layer::Split, (scale, channels)),
            other => return Err(Wrong::Text(format!("layers of kind {other} are not known"))),
        })
    }

    fn convolution(
        &mut self,
        settings: &Settings<'_>,
        scale: usize,
        channels: usize,
    ) -> Result<(Layer, (usize, usize)), Wrong> {
        let (out, side): (usize, usize) = (settings.get("0", 0)?, settings.get("1", 0)?);
        // Dilation, stride, padding and bias as every layer of these networks has them.
        settings.expect("2", 1)?;
        settings.expect("3", 1)?;
        settings.expect("5", 1)?;
        if settings.get::<usize>("4", 0)? != side / 2 || ![1, 3].contains(&side) {
            return Err(Wrong::Text("a kernel of 1 or 3 pixels that keeps the size was expected".to_owned()));
        }
        settings.expect("6", out * channels * side * side)?;
        let slope = match settings.get("9", 0)? {
            0 => 1.0,
            1 => 0.0,
            2 => settings.list("-23310", 1)?[0],
            other => return Err(Wrong::Text(format!("activations of kind {other} are not known"))),
        };
        let kernel = self.weights.tagged(&[out, channels, side, side])?;
        let then = (self.weights.singles(out)?, vec![slope as f32; out]);
        Ok((Layer::Convolution(Conv::of(&kernel, Some(then))?), (scale, out)))
    }
}

/// The settings of a layer: `key=value`.
struct Settings<'a>(&'a [&'a str]);

impl Settings<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key))
            .map(|(_, text)| text)
    }

    fn get<T: FromStr>(&self, key: &str, default: T) -> Result<T, Wrong> {
        self.text(key).map_or(Ok(default), number)
    }

    fn expect<T: FromStr + PartialEq + std::fmt::Display + Default>(
        &self,
        key: &str,
        wanted: T,
    ) -> Result<(), Wrong> {
        // What a layer leaves out is 0 in ncnn, or 1 where only that makes sense.
        let found = match (self.text(key), key) {
            (None, "2" | "3") => return Ok(()),
            (found, _) => found.map_or(Ok(T::default()), number)?,
        };
        match found == wanted {
            true => Ok(()),
            false => Err(Wrong::Text(format!("its setting {key} is {found}; {wanted} was expected"))),
        }
    }

    /// How many times as many pixels a side a layer of kind Interp gives, by the nearest.
    fn enlargement(&self) -> Result<usize, Wrong> {
        self.expect("0", 1)?;
        let factor: f64 = self.get("1", 1.0)?;
        self.expect("2", factor)?;
        match factor.fract() == 0.0 && (1.0..=8.0).contains(&factor) {
            true => Ok(factor as usize),
            false => Err(Wrong::Text(format!("it enlarges {factor} times; 1 to 8 was expected"))),
        }
    }

    /// A list of numbers: its length and then each.
    fn list(&self, key: &str, length: usize) -> Result<Vec<f64>, Wrong> {
        let text = self.text(key).unwrap_or_default();
        let numbers = text.split(',').skip(1).map(number).collect::<Result<Vec<f64>, _>>()?;
        match numbers.len() == length {
            true => Ok(numbers),
            false => Err(Wrong::Text(format!(
                "its setting {key} has {} numbers; {length} were expected",
                numbers.len()
            ))),
        }
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, Wrong> {
    text.parse().map_err(|_| Wrong::Text(format!("{text:?} is no number that fits")))
}

/// What is left of a `.bin` file.
struct Weights<'a> {
    bin: &'a [u8],
    device: &'a Device,
}

impl Weights<'_> {
    /// Weights with a tag that says their precision.
    fn tagged(&mut self, shape: &[usize]) -> Result<Tensor, Flaw> {
        let count: usize = shape.iter().product();
        let tag = self.take(4)?;
        let values = match u32::from_le_bytes([tag[0], tag[1], tag[2], tag[3]]) {
            HALF => {
                let bytes = self.take((count * 2).next_multiple_of(4))?;
                let half = |pair: &[u8]| half::f16::from_le_bytes([pair[0], pair[1]]).to_f32();
                bytes.chunks_exact(2).take(count).map(half).collect()
            }
            0 => self.singles(count)?,
            other => return Err(Flaw::Weights(format!("weights of kind {other:#010x} are not known"))),
        };
        Ok(Tensor::from_vec(values, shape, self.device)?)
    }

    /// Values in single precision.
    fn singles(&mut self, count: usize) -> Result<Vec<f32>, Flaw> {
        let bytes = self.take(count * 4)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect())
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Flaw> {
        let short = || Flaw::Weights(format!("it ends {} bytes too soon", count - self.bin.len()));
        let (taken, left) = self.bin.split_at_checked(count).ok_or_else(short)?;
        self.bin = left;
        Ok(taken)
    }
}
