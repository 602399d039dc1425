//! Pixels to numbers and back.

use bytes::Bytes;
use candle_core::{DType, Device, Error, IndexOp, Tensor};
use image::{DynamicImage, GrayImage, RgbImage, imageops, imageops::FilterType};
use riff_hub::media;

use crate::engine::EngineError;

type Result<T, E = Error> = std::result::Result<T, E>;

/// A mask's grey from which on a place is painted anew.
const PAINTED: u8 = 128;

/// A picture to begin with, in the size of the results.
pub struct Pixels {
    /// The picture.
    pub image: RgbImage,
    /// White where it is painted anew.
    pub mask: Option<GrayImage>,
}

impl Pixels {
    /// Decodes a picture and its mask. What is beyond the size's proportions is cut off.
    ///
    /// # Errors
    /// [`EngineError::Input`] if one of them is no picture.
    pub fn read(
        image: &Bytes,
        mask: Option<&Bytes>,
        (width, height): (u32, u32),
    ) -> Result<Self, EngineError> {
        let image = decode(image, "image")?;
        let fit = |picture: &DynamicImage, filter| picture.resize_to_fill(width, height, filter);
        let mask = mask.map(|mask| {
            // The mask's places are the picture's, whatever its own size.
            let mask = decode(mask, "mask")?;
            let same = mask.resize_exact(image.width(), image.height(), FilterType::Triangle);
            Ok::<_, EngineError>(fit(&same, FilterType::Triangle).to_luma8())
        });
        Ok(Self { mask: mask.transpose()?, image: fit(&image, FilterType::Lanczos3).to_rgb8() })
    }

    /// The same in another size.
    pub fn shrunk(&self, (width, height): (u32, u32)) -> Self {
        let mask = self.mask.as_ref();
        Self {
            image: imageops::resize(&self.image, width, height, FilterType::Triangle),
            mask: mask.map(|mask| imageops::resize(mask, width, height, FilterType::Triangle)),
        }
    }

    /// The picture from -1 to 1, (1, 3, rows, columns).
    ///
    /// # Errors
    /// Those of the device.
    pub fn tensor(&self, device: &Device) -> Result<Tensor> {
        tensor(&self.image, device)
    }

    /// The same with grey where it is painted anew.
    ///
    /// # Errors
    /// Those of the device.
    pub fn around(&self, device: &Device) -> Result<Tensor> {
        let (width, height) = self.image.dimensions();
        let kept: Vec<f32> = match &self.mask {
            Some(mask) => mask.as_raw().iter().map(|grey| f32::from(u8::from(*grey < PAINTED))).collect(),
            None => vec![0.0; (width * height) as usize],
        };
        let kept = Tensor::from_vec(kept, (1, 1, height as usize, width as usize), device)?;
        self.tensor(device)?.broadcast_mul(&kept)
    }

    /// The mask by latents, (1, 1, rows, columns): one is painted anew if any of its pixels is.
    ///
    /// # Errors
    /// Those of the device.
    pub fn latent_mask(&self, factor: usize, device: &Device) -> Result<Option<Tensor>> {
        let Some(mask) = &self.mask else {
            return Ok(None);
        };
        let (columns, rows) = (mask.width() as usize / factor, mask.height() as usize / factor);
        let mut cells = vec![0.0_f32; rows * columns];
        for (x, y, grey) in mask.enumerate_pixels() {
            let (row, column) = (y as usize / factor, x as usize / factor);
            if grey.0[0] >= PAINTED && row < rows && column < columns {
                cells[row * columns + column] = 1.0;
            }
        }
        Tensor::from_vec(cells, (1, 1, rows, columns), device).map(Some)
    }

    /// Lays what was made over the picture where the mask is white, and leaves every other pixel as it was.
    pub fn lay(&self, made: &mut RgbImage) {
        let Some(mask) = &self.mask else {
            return;
        };
        for ((made, kept), grey) in made.pixels_mut().zip(self.image.pixels()).zip(mask.pixels()) {
            let part = u32::from(grey.0[0]);
            for (made, kept) in made.0.iter_mut().zip(kept.0) {
                *made = ((u32::from(*made) * part + u32::from(kept) * (255 - part) + 127) / 255) as u8;
            }
        }
    }
}

fn decode(bytes: &Bytes, name: &str) -> Result<DynamicImage, EngineError> {
    media::decode(bytes)
        .map_err(|error| EngineError::Input(format!("{name} is no picture that can be used: {error}")))
}

fn tensor(picture: &RgbImage, device: &Device) -> Result<Tensor> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let numbers: Vec<f32> = picture.as_raw().iter().map(|colour| f32::from(*colour) / 127.5 - 1.0).collect();
    let tensor = Tensor::from_vec(numbers, (1, height, width, 3), &Device::Cpu)?;
    tensor.permute((0, 3, 1, 2))?.contiguous()?.to_device(device)
}

/// Numbers from -1 to 1, (3, rows, columns), as a picture.
///
/// # Errors
/// [`Error::Msg`] if one of them is none.
pub fn picture(pixels: &Tensor) -> Result<RgbImage> {
    let (_, rows, columns) = pixels.dims3()?;
    let numbers = pixels.permute((1, 2, 0))?.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    if numbers.iter().any(|number| !number.is_finite()) {
        return Err(Error::Msg(
            "the model made a picture of numbers that are none (NaN): set precision = \"f32\", or check the checkpoint"
                .to_owned(),
        ));
    }
    let colours = numbers.iter().map(|number| ((number + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8);
    RgbImage::from_raw(columns as u32, rows as u32, colours.collect())
        .ok_or_else(|| Error::Msg("sizes disagree".to_owned()))
}

/// What lies around a picture that is painted anew as a whole, for networks for inpainting: grey.
///
/// # Errors
/// Those of the device.
pub fn grey((width, height): (u32, u32), device: &Device) -> Result<Tensor> {
    Tensor::zeros((1, 3, height as usize, width as usize), DType::F32, device)
}

/// Rough colours of latents: a picture as small as they are. The factors are a linear fit, known from ComfyUI's
/// `latent_formats.py`.
pub struct Rough {
    /// Red, green and blue of each channel.
    factors: &'static [[f32; 3]],
    /// What is added to each colour.
    bias: [f32; 3],
}

/// Of Stable Diffusion 1 and 2.
pub const ROUGH: Rough = Rough {
    factors: &[
        [0.3512, 0.2297, 0.3227],
        [0.3250, 0.4974, 0.2350],
        [-0.2829, 0.1762, 0.2721],
        [-0.2120, -0.2616, -0.7177],
    ],
    bias: [0.0; 3],
};
/// Of XL.
pub const ROUGH_XL: Rough = Rough {
    factors: &[
        [0.3651, 0.4232, 0.4341],
        [-0.2533, -0.0042, 0.1068],
        [0.1076, 0.1111, -0.0362],
        [-0.3165, -0.2492, -0.2188],
    ],
    bias: [0.0; 3],
};
/// Of Stable Diffusion 3.
pub const ROUGH_THREE: Rough = Rough {
    factors: &[
        [-0.0922, -0.0175, 0.0749],
        [0.0311, 0.0633, 0.0954],
        [0.1994, 0.0927, 0.0458],
        [0.0856, 0.0339, 0.0902],
        [0.0587, 0.0272, -0.0496],
        [-0.0006, 0.1104, 0.0309],
        [0.0978, 0.0306, 0.0427],
        [-0.0042, 0.1038, 0.1358],
        [-0.0194, 0.0020, 0.0669],
        [-0.0488, 0.0130, -0.0268],
        [0.0922, 0.0988, 0.0951],
        [-0.0278, 0.0524, -0.0542],
        [0.0332, 0.0456, 0.0895],
        [-0.0069, -0.0030, -0.0810],
        [-0.0596, -0.0465, -0.0293],
        [-0.1448, -0.1463, -0.1189],
    ],
    bias: [0.2394, 0.2135, 0.1925],
};
/// Of Flux.
pub const ROUGH_FLUX: Rough = Rough {
    factors: &[
        [-0.0346, 0.0244, 0.0681],
        [0.0034, 0.0210, 0.0687],
        [0.0275, -0.0668, -0.0433],
        [-0.0174, 0.0160, 0.0617],
        [0.0859, 0.0721, 0.0329],
        [0.0004, 0.0383, 0.0115],
        [0.0405, 0.0861, 0.0915],
        [-0.0236, -0.0185, -0.0259],
        [-0.0245, 0.0250, 0.1180],
        [0.1008, 0.0755, -0.0421],
        [-0.0515, 0.0201, 0.0011],
        [0.0428, -0.0012, -0.0036],
        [0.0817, 0.0765, 0.0749],
        [-0.1264, -0.0522, -0.1103],
        [-0.0280, -0.0881, -0.0499],
        [-0.1262, -0.0982, -0.0778],
    ],
    bias: [-0.0329, -0.0718, -0.0851],
};

impl Rough {
    /// A picture of each row of latents, with its longer side as long as asked.
    ///
    /// # Errors
    /// [`Error::Msg`] if a number is none.
    pub fn pictures(&self, latents: &Tensor, longer: u32) -> Result<Vec<RgbImage>> {
        let factors: Vec<f32> = self.factors.iter().flatten().copied().collect();
        let factors = Tensor::from_vec(factors, (self.factors.len(), 3), &Device::Cpu)?.t()?;
        let bias = Tensor::new(&self.bias, &Device::Cpu)?.reshape((3, 1, 1))?;
        let latents = latents.to_device(&Device::Cpu)?;
        let (rows, _, height, width) = latents.dims4()?;
        let one = |row: usize| {
            let colours = factors.matmul(&latents.i(row)?.flatten_from(1)?)?.reshape((3, height, width))?;
            let small = picture(&colours.broadcast_add(&bias)?)?;
            let scale = f64::from(longer) / height.max(width) as f64;
            let side = |side: usize| ((side as f64 * scale) as u32).max(1);
            Ok(image::imageops::resize(&small, side(width), side(height), FilterType::Triangle))
        };
        (0..rows).map(one).collect()
    }
}
