//! Attention, a piece of the queries at a time, so that its scores fit into memory and a run can end in between.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::{
    Pass,
    layers::{piece, whole},
};

/// What each query draws from the values, by (batch, heads, length, size). `mask` is added to the scores, (length, length) or
/// (heads, length, length).
pub fn attend(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    mask: Option<&Tensor>,
    pass: &Pass,
) -> Result<Tensor> {
    let (batch, heads, length, size) = queries.dims4()?;
    let keys = keys.transpose(2, 3)?.contiguous()?;
    let values = values.contiguous()?;
    // Scaled first: in half precision the scores of some checkpoints do not fit otherwise.
    let queries = queries.affine(1.0 / (size as f64).sqrt(), 0.0)?;
    let row = batch * heads * keys.dim(3)? * DType::F32.size_in_bytes();
    let rows = (piece(queries.device()) / row.max(1)).max(1);
    let mut pieces = Vec::new();
    for first in (0..length).step_by(rows) {
        pass.check()?;
        let count = rows.min(length - first);
        let scores = queries.narrow(2, first, count)?.contiguous()?.matmul(&keys)?.to_dtype(DType::F32)?;
        let scores = match mask {
            Some(mask) => scores.broadcast_add(&mask.narrow(D::Minus2, first, count)?)?,
            None => scores,
        };
        let weights = softmax_last_dim(&scores)?.to_dtype(values.dtype())?;
        pieces.push(weights.matmul(&values)?);
    }
    whole(&pieces, 2)
}

/// (batch, length, heads × size) to (batch, heads, length, size).
pub fn split(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, length, all) = x.dims3()?;
    x.reshape((batch, length, heads, all / heads))?.transpose(1, 2)
}

/// The way back from [`split`].
pub fn join(x: &Tensor) -> Result<Tensor> {
    x.transpose(1, 2)?.contiguous()?.flatten_from(D::Minus2)
}
