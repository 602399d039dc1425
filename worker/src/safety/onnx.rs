//! The weights in an ONNX file, by name. A file is one message of protocol buffers
//! (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>, <https://protobuf.dev/programming-guides/encoding/>), of which
//! only the initializers are read: what network they belong to is known.

use std::collections::HashMap;

/// Field numbers of `onnx.proto3`.
mod field {
    pub const MODEL_GRAPH: u64 = 7;
    pub const GRAPH_INITIALIZER: u64 = 5;
    pub const TENSOR_DIMS: u64 = 1;
    pub const TENSOR_DATA_TYPE: u64 = 2;
    pub const TENSOR_NAME: u64 = 8;
    pub const TENSOR_RAW_DATA: u64 = 9;
}

/// `TensorProto.DataType.FLOAT`.
const FLOAT: u64 = 1;

/// Weights of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Their shape.
    pub shape: Vec<usize>,
    /// Their values, the last dimension fastest.
    pub values: Vec<f32>,
}

/// The weights in single precision of an ONNX file.
///
/// # Errors
/// A sentence, if it is cut off or no such file.
pub fn weights(file: &[u8]) -> Result<HashMap<String, Weights>, String> {
    let graph = fields(file)?.into_iter().find_map(|(number, value)| match value {
        Value::Bytes(bytes) if number == field::MODEL_GRAPH => Some(bytes),
        _ => None,
    });
    let mut found = HashMap::new();
    for (number, value) in fields(graph.ok_or("it has no graph: an ONNX file was expected")?)? {
        if let (field::GRAPH_INITIALIZER, Value::Bytes(bytes)) = (number, value)
            && let Some((name, weights)) = tensor(bytes)?
        {
            found.insert(name, weights);
        }
    }
    Ok(found)
}

/// A tensor; nothing for one of another type.
fn tensor(message: &[u8]) -> Result<Option<(String, Weights)>, String> {
    let (mut shape, mut kind, mut name, mut raw) = (Vec::new(), 0, String::new(), &[][..]);
    for (number, value) in fields(message)? {
        match (number, value) {
            (field::TENSOR_DIMS, Value::Number(length)) => shape.push(length as usize),
            // Several in one.
            (field::TENSOR_DIMS, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    shape.push(varint(&mut packed)? as usize);
                }
            }
            (field::TENSOR_DATA_TYPE, Value::Number(number)) => kind = number,
            (field::TENSOR_NAME, Value::Bytes(bytes)) => name = String::from_utf8_lossy(bytes).into_owned(),
            (field::TENSOR_RAW_DATA, Value::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    if kind != FLOAT {
        return Ok(None);
    }
    let count = shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length));
    if count.and_then(|count| count.checked_mul(4)) != Some(raw.len()) {
        return Err(format!(
            "its weights {name} have {} bytes, which does not fit the shape {shape:?}",
            raw.len()
        ));
    }
    let single = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    Ok(Some((name, Weights { shape, values: raw.chunks_exact(4).map(single).collect() })))
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message in their order; those of fixed width are left out.
fn fields(mut message: &[u8]) -> Result<Vec<(u64, Value<'_>)>, String> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let number = key >> 3;
        match key & 7 {
            0 => found.push((number, Value::Number(varint(&mut message)?))),
            1 => drop(take(&mut message, 8)?),
            2 => {
                let length = varint(&mut message)?;
                found.push((number, Value::Bytes(take(&mut message, length)?)));
            }
            5 => drop(take(&mut message, 4)?),
            other => return Err(format!("it has a field of wire type {other}: an ONNX file was expected")),
        }
    }
    Ok(found)
}

fn varint(message: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("it has a number of more than 64 bits: an ONNX file was expected".to_owned())
}

fn take<'a>(message: &mut &'a [u8], length: u64) -> Result<&'a [u8], String> {
    let split = usize::try_from(length).ok().and_then(|length| message.split_at_checked(length));
    let (taken, left) = split.ok_or("it is cut off: fetch it again")?;
    *message = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model whose graph has one initializer `w` of shape `[2]`.
    fn file() -> Vec<u8> {
        let mut tensor = vec![0x08, 2, 0x10, 1, 0x42, 1, b'w', 0x4a, 8];
        tensor.extend([1.5_f32, -2.0].iter().flat_map(|value| value.to_le_bytes()));
        let mut graph = vec![0x2a, tensor.len() as u8];
        graph.extend(tensor);
        // A producer's name before it, as real files have.
        let mut file = vec![0x12, 2, b'm', b'e', 0x3a, graph.len() as u8];
        file.extend(graph);
        file
    }

    #[test]
    fn weights_are_found_by_name() {
        let found = weights(&file()).unwrap();
        assert_eq!(found["w"], Weights { shape: vec![2], values: vec![1.5, -2.0] });
    }

    #[test]
    fn what_is_cut_off_or_no_such_file_is_refused() {
        let file = file();
        for length in 1..file.len() {
            assert!(weights(&file[..length]).is_err(), "{length}");
        }
        assert!(weights(b"GIF89a").is_err() && weights(&[]).is_err());
        let mut other = file.clone();
        // The shape says three.
        other[9] = 3;
        assert!(weights(&other).unwrap_err().contains("does not fit"));
    }
}
