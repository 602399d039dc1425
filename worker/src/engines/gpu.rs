//! GPUs, each opened once: engines and threads share it, and what they have it compute is computed in the order in which they
//! said so.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use candle_core::{Device, Result, utils::cuda_is_available};

/// What the driver says where there is no GPU: <https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html>.
const NONE: &str = "CUDA_ERROR_NO_DEVICE";

/// The first GPU in a build for GPUs, where there is one; else the CPU.
///
/// # Errors
/// What the driver says of a GPU that cannot be used.
pub fn found() -> Result<Device> {
    if !cuda_is_available() {
        return Ok(Device::Cpu);
    }
    match numbered(0) {
        Err(error) if error.to_string().contains(NONE) => Ok(Device::Cpu),
        gpu => gpu,
    }
}

/// A GPU, counted from 0.
///
/// Candle's usual device has a stream for each thread, so that one thread would read what another has yet to compute.
///
/// # Errors
/// As [`found`].
pub fn numbered(number: usize) -> Result<Device> {
    static OPEN: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = open.get(&number) {
        return Ok(gpu.clone());
    }
    let gpu = Device::new_cuda_with_stream(number)?;
    open.insert(number, gpu.clone());
    Ok(gpu)
}
