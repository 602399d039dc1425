//! Whether there is memory for what is about to be done. A GPU says so itself; on the CPU a process that takes too much is
//! killed, so it is reckoned up before.

use super::{config::VaeConfig, source::NetConfig};
use crate::engine::EngineError;

/// Bytes of a number of single precision.
const NUMBER: u64 = 4;
/// Copies of the widest layer that a decoder holds at once: before and after a norm, an activation, a border, and a
/// convolution.
const DECODER_COPIES: u64 = 5;
/// Layers as wide as the first that the network holds at once: what it keeps for the way up, and the widest one of a
/// transformer, which has eight times its channels, twice.
const NETWORK_COPIES: u64 = 28;
/// Layers as wide as a transformer that it holds at once for every place: words and picture, what they look for, are found by
/// and give, side by side and turned, and what they draw.
const PLACES_COPIES: u64 = 18;

/// The memory that may be taken.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// In bytes; what is free, without.
    pub limit: Option<u64>,
}

impl Memory {
    /// Refuses what does not fit.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`] saying how much is needed and what to do.
    pub fn check(self, needs: u64, what: &str, help: &str) -> Result<(), EngineError> {
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        match self.limit.or_else(free) {
            Some(has) if needs > has => Err(EngineError::OutOfMemory(format!(
                "{what} needs about {:.1} GB, and there are {:.1} GB: {help}",
                gigabytes(needs),
                gigabytes(has)
            ))),
            _ => Ok(()),
        }
    }
}

/// Bytes that a run takes beside the weights, by tokens of a prompt, rows of a pass and pixels of a picture.
pub fn of_run(net: &NetConfig, vae: &VaeConfig, words: u64, rows: u64, pixels: u64) -> u64 {
    let widest = vae.block_out_channels.iter().take(2).max().copied().unwrap_or(1) as u64;
    let decoder = DECODER_COPIES * widest * pixels * NUMBER;
    let latents = pixels / (vae.factor() * vae.factor()) as u64;
    let places = words + latents / (net.patch() * net.patch()) as u64;
    let network = match net {
        NetConfig::Unet(config) => NETWORK_COPIES * config.block_out_channels[0] as u64 * latents,
        NetConfig::Three(config) => PLACES_COPIES * config.caption_projection_dim as u64 * places,
        NetConfig::Flux(config) => {
            PLACES_COPIES * (config.num_attention_heads * config.attention_head_dim) as u64 * places
        }
    };
    decoder.max(network * rows * NUMBER)
}

/// What Linux has to give: <https://docs.kernel.org/filesystems/proc.html>. Nothing is known of other systems.
fn free() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kibibytes| kibibytes * 1_024)
}
