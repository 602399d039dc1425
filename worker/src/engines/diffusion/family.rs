//! Which families of checkpoints there are, and how they differ in what members and operators see of them.

use candle_core::DType;

use super::{
    config::{Prediction, ScheduleConfig, Spacing, UnetConfig},
    net::Whole,
    sampler::Sampler,
    transformers::{FluxConfig, ThreeConfig},
};
use crate::engines::neural::pixels::{ROUGH, ROUGH_FLUX, ROUGH_THREE, ROUGH_XL, Rough};

/// A family of checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Stable Diffusion 1 and 2: words by the last layer of one encoder.
    One,
    /// XL: words by the layer before the last of each encoder, side by side.
    Xl,
    /// Stable Diffusion 3 and 3.5: words as XL has them, and behind them those of T5.
    Three,
    /// Flux.1: words by T5, and the prompt as a whole by CLIP.
    Flux,
}

/// What `guidance_scale` is to a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guidance {
    /// How far results are pushed away from what must not be there: <https://arxiv.org/abs/2207.12598>.
    Push,
    /// A number that the network is told, as it was distilled from one that was pushed: <https://arxiv.org/abs/2210.03142>.
    Told,
    /// Nothing: what it does was distilled into the network.
    Fixed,
}

/// What counts where neither members nor operators choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usual {
    /// Steps of a run.
    pub steps: u32,
    /// Guidance.
    pub guidance: f64,
    /// Sampler.
    pub sampler: Sampler,
}

impl Family {
    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::One => "Stable Diffusion",
            Self::Xl => "Stable Diffusion XL",
            Self::Three => "Stable Diffusion 3",
            Self::Flux => "Flux.1",
        }
    }

    /// How its latents look, roughly.
    pub fn rough(self) -> Rough {
        match self {
            Self::One => ROUGH,
            Self::Xl => ROUGH_XL,
            Self::Three => ROUGH_THREE,
            Self::Flux => ROUGH_FLUX,
        }
    }

    /// Whether noise takes the place of the latent as it grows, and the network says the velocity between both.
    pub fn flows(self) -> bool {
        matches!(self, Self::Three | Self::Flux)
    }

    /// What stands for a prompt as a whole in its text encoders of CLIP, counted from 0, in the layout of diffusers.
    pub fn whole(self, encoder: usize) -> Whole {
        match (self, encoder) {
            (Self::One | Self::Flux, _) | (Self::Xl, 0) => Whole::End,
            (Self::Xl | Self::Three, _) => Whole::Projected,
        }
    }

    /// Whether its pictures can repeat without a seam: a network that is told where its places are knows the border.
    pub fn repeats(self) -> bool {
        !self.flows()
    }

    /// The samplers that work with it.
    pub fn samplers(self) -> Vec<Sampler> {
        let all = Sampler::ALL.iter().map(|(_, sampler)| *sampler);
        all.filter(|sampler| !self.flows() || sampler.flows()).collect()
    }

    /// The half precision that it was published in.
    pub fn half(self) -> DType {
        match self.flows() {
            true => DType::BF16,
            false => DType::F16,
        }
    }
}

impl Usual {
    /// Of checkpoints of 1, 2 and XL.
    const ORDINARY: (u32, f64) = (25, 7.0);
    /// Of those that were distilled to few steps: <https://huggingface.co/stabilityai/sdxl-turbo>.
    const TURBO: (u32, f64) = (4, 1.0);
    /// What diffusers takes for latent consistency models, which are told the guidance.
    const CONSISTENT: (u32, f64) = (4, 8.5);
    /// What diffusers takes for Stable Diffusion 3, and what the authors of 3.5 recommend:
    /// <https://huggingface.co/stabilityai/stable-diffusion-3.5-large>.
    const THREE: (u32, f64) = (28, 7.0);
    const THREE_AND_A_HALF: (u32, f64) = (28, 4.5);
    /// What diffusers takes for Flux.1 dev, and what the authors say of schnell:
    /// <https://huggingface.co/black-forest-labs/FLUX.1-schnell>.
    const DEV: (u32, f64) = (28, 3.5);
    const SCHNELL: (u32, f64) = (4, 1.0);

    /// Of 1, 2 or XL. Checkpoints that were distilled to few steps mostly say so in nothing but how their scheduler is set.
    pub fn of_unet(net: &UnetConfig, config: &ScheduleConfig) -> Self {
        let turbo = config.timestep_spacing == Some(Spacing::Trailing)
            && config.class.starts_with("Euler")
            && config.prediction_type == Prediction::Noise
            && !config.rescale_betas_zero_snr;
        let turbo = turbo || config.class == "LCMScheduler";
        let (steps, guidance) = match turbo {
            true if net.time_cond_proj_dim.is_some() => Self::CONSISTENT,
            true => Self::TURBO,
            false => Self::ORDINARY,
        };
        Self { steps, guidance, sampler: Sampler::of_class(&config.class) }
    }

    /// Of Stable Diffusion 3 and 3.5, which differ by the norms of queries and keys.
    pub fn of_three(config: &ThreeConfig) -> Self {
        let (steps, guidance) = match config.qk_norm {
            Some(_) => Self::THREE_AND_A_HALF,
            None => Self::THREE,
        };
        Self { steps, guidance, sampler: Sampler::Euler }
    }

    /// Of Flux.1.
    pub fn of_flux(config: &FluxConfig) -> Self {
        let (steps, guidance) = if config.guidance_embeds { Self::DEV } else { Self::SCHNELL };
        Self { steps, guidance, sampler: Sampler::Euler }
    }
}
