//! YOLOv8 in its smallest size, run by candle: a detector whose layers are named as Ultralytics writes them
//! (<https://docs.ultralytics.com/models/yolov8/>, <https://docs.ultralytics.com/reference/nn/modules/block/>).

use std::collections::HashMap;

use candle_core::{D, Device, Result, Tensor};

use super::onnx::Weights;

/// Bins of the distribution that says where a side of a box is.
const BINS: usize = 16;
/// Pixels between neighbours in the three maps that boxes are read from.
const STRIDES: [usize; 3] = [8, 16, 32];

/// A box around a thing: centre and size in pixels, and how much it looks like each class, 0 to 1.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Centre x, centre y, width, height.
    pub place: [f32; 4],
    /// A number for each class.
    pub scores: Vec<f32>,
}

/// The network with its weights.
pub struct Yolo {
    weights: HashMap<String, Tensor>,
}

impl Yolo {
    /// Puts weights into memory.
    pub fn new(weights: HashMap<String, Weights>) -> Result<Self> {
        let device = Device::Cpu;
        let tensor = |(name, weights): (String, Weights)| {
            Ok((name, Tensor::from_vec(weights.values, weights.shape, &device)?))
        };
        Ok(Self { weights: weights.into_iter().map(tensor).collect::<Result<_>>()? })
    }

    /// Looks at a picture `[3, side, side]` from 0 to 1, its side a multiple of 32.
    pub fn run(&self, pixels: Vec<f32>, side: usize) -> Result<Vec<Candidate>> {
        let picture = Tensor::from_vec(pixels, (1, 3, side, side), &Device::Cpu)?;
        let maps = self.maps(&picture)?;
        let mut found = Vec::new();
        for (level, map) in maps.iter().enumerate() {
            found.extend(self.detect(map, level)?);
        }
        Ok(found)
    }

    /// The maps that boxes are read from: the backbone, then down and up again.
    fn maps(&self, picture: &Tensor) -> Result<[Tensor; 3]> {
        let first = self.conv(&self.conv(picture, "model.0", 2)?, "model.1", 2)?;
        let fine =
            self.c2f(&self.conv(&self.c2f(&first, "model.2", true)?, "model.3", 2)?, "model.4", true)?;
        let middle = self.c2f(&self.conv(&fine, "model.5", 2)?, "model.6", true)?;
        let coarse = self.c2f(&self.conv(&middle, "model.7", 2)?, "model.8", true)?;
        let coarse = self.pooled(&coarse, "model.9")?;
        let up = self.c2f(&Tensor::cat(&[&twice(&coarse)?, &middle], 1)?, "model.12", false)?;
        let small = self.c2f(&Tensor::cat(&[&twice(&up)?, &fine], 1)?, "model.15", false)?;
        let down = self.conv(&small, "model.16", 2)?;
        let medium = self.c2f(&Tensor::cat(&[&down, &up], 1)?, "model.18", false)?;
        let down = self.conv(&medium, "model.19", 2)?;
        let large = self.c2f(&Tensor::cat(&[&down, &coarse], 1)?, "model.21", false)?;
        Ok([small, medium, large])
    }

    fn weight(&self, name: &str) -> Result<&Tensor> {
        let missing = || candle_core::Error::Msg(format!("it has no weights {name}: a YOLOv8n was expected"));
        self.weights.get(name).ok_or_else(missing)
    }

    fn plain(&self, input: &Tensor, name: &str, stride: usize) -> Result<Tensor> {
        let kernel = self.weight(&format!("{name}.weight"))?;
        let bias = self.weight(&format!("{name}.bias"))?;
        let sum = input.conv2d(kernel, kernel.dim(D::Minus1)? / 2, stride, 1, 1)?;
        sum.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?)
    }

    /// A convolution and `x · σ(x)`.
    fn conv(&self, input: &Tensor, name: &str, stride: usize) -> Result<Tensor> {
        self.plain(input, &format!("{name}.conv"), stride)?.silu()
    }

    /// Two halves, of which one goes through bottlenecks, and each of them joined in the end.
    fn c2f(&self, input: &Tensor, name: &str, shortcut: bool) -> Result<Tensor> {
        let split = self.conv(input, &format!("{name}.cv1"), 1)?;
        let mut parts = split.chunk(2, 1)?;
        for number in 0.. {
            let bottleneck = format!("{name}.m.{number}");
            if !self.weights.contains_key(&format!("{bottleneck}.cv1.conv.weight")) {
                break;
            }
            let last = &parts[parts.len() - 1];
            let through = self.conv(
                &self.conv(last, &format!("{bottleneck}.cv1"), 1)?,
                &format!("{bottleneck}.cv2"),
                1,
            )?;
            let through = if shortcut { (last + through)? } else { through };
            parts.push(through);
        }
        self.conv(&Tensor::cat(&parts, 1)?, &format!("{name}.cv2"), 1)
    }

    /// The largest of 5×5, of 9×9 and of 13×13 pixels beside each pixel.
    fn pooled(&self, input: &Tensor, name: &str) -> Result<Tensor> {
        let first = self.conv(input, &format!("{name}.cv1"), 1)?;
        let second = largest(&first)?;
        let third = largest(&second)?;
        let fourth = largest(&third)?;
        self.conv(&Tensor::cat(&[first, second, third, fourth], 1)?, &format!("{name}.cv2"), 1)
    }

    /// The boxes of a map.
    fn detect(&self, map: &Tensor, level: usize) -> Result<Vec<Candidate>> {
        let head = |branch: &str| -> Result<Vec<Vec<f32>>> {
            let name = |number: usize| format!("model.22.{branch}.{level}.{number}");
            let through = self.conv(&self.conv(map, &name(0), 1)?, &name(1), 1)?;
            // One row for each place.
            self.plain(&through, &name(2), 1)?.squeeze(0)?.flatten_from(1)?.t()?.to_vec2()
        };
        let (sides, classes) = (head("cv2")?, head("cv3")?);
        let (columns, stride) = (map.dim(D::Minus1)?, STRIDES[level] as f32);
        let candidate = |(at, (sides, classes)): (usize, (Vec<f32>, Vec<f32>))| {
            let (x, y) = ((at % columns) as f32 + 0.5, (at / columns) as f32 + 0.5);
            let [left, top, right, bottom] = [0, 1, 2, 3].map(|side| expected(&sides[side * BINS..][..BINS]));
            let centre = [x + (right - left) / 2.0, y + (bottom - top) / 2.0];
            let place = [centre[0], centre[1], left + right, top + bottom].map(|length| length * stride);
            let scores = classes.into_iter().map(|score| 1.0 / (1.0 + (-score).exp())).collect();
            Candidate { place, scores }
        };
        Ok(sides.into_iter().zip(classes).enumerate().map(candidate).collect())
    }
}

/// The mean of a distribution over the bins, given as logits.
fn expected(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = logits.iter().map(|logit| (logit - most).exp());
    let (sum, total) = weights
        .enumerate()
        .fold((0.0, 0.0), |(sum, total), (bin, weight)| (sum + bin as f32 * weight, total + weight));
    sum / total
}

/// The largest value within two pixels of each. Beyond the edge there is nothing: candle pads with zeros, so the values are
/// made positive first.
fn largest(input: &Tensor) -> Result<Tensor> {
    let least = input.min_all()?;
    let positive = input.broadcast_sub(&least)?;
    let padded = positive.pad_with_zeros(D::Minus1, 2, 2)?.pad_with_zeros(D::Minus2, 2, 2)?;
    padded.max_pool2d_with_stride(5, 1)?.broadcast_add(&least)
}

fn twice(input: &Tensor) -> Result<Tensor> {
    input.upsample_nearest2d(input.dim(D::Minus2)? * 2, input.dim(D::Minus1)? * 2)
}
