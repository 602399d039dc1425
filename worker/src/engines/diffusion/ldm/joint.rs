//! Names that layers of transformers have in the first implementations, of Stable Diffusion 3
//! (<https://github.com/Stability-AI/sd3-ref>) and of Flux.1 (<https://github.com/black-forest-labs/flux>).

use super::{Part, Place, THIRDS, rows};

/// [`THIRDS`], and below them the layer beside attention, four times as wide, in the blocks of Flux that have one stream.
const SEVENTHS: [Part; 4] = [rows(0, 1, 7), rows(1, 2, 7), rows(2, 3, 7), rows(3, 7, 7)];

fn place(name: impl Into<String>, part: Part) -> Option<Place> {
    Some(Place { name: name.into(), part })
}

/// The layer of Stable Diffusion 3 that has this one, in a network of so many blocks.
pub fn three(layer: &str, blocks: usize) -> Option<Place> {
    let name = match layer {
        "pos_embed.proj" => "x_embedder.proj",
        "context_embedder" => "context_embedder",
        "time_text_embed.timestep_embedder.linear_1" => "t_embedder.mlp.0",
        "time_text_embed.timestep_embedder.linear_2" => "t_embedder.mlp.2",
        "time_text_embed.text_embedder.linear_1" => "y_embedder.mlp.0",
        "time_text_embed.text_embedder.linear_2" => "y_embedder.mlp.2",
        "norm_out.linear" => return place("final_layer.adaLN_modulation.1", Part::Exchanged),
        "proj_out" => "final_layer.linear",
        _ => return three_block(layer, blocks),
    };
    place(name, Part::Whole)
}

fn three_block(layer: &str, blocks: usize) -> Option<Place> {
    let (block, layer) = layer.strip_prefix("transformer_blocks.")?.split_once('.')?;
    // Of a stream that ends, scale and shift are the other way round.
    let ending = block.parse::<usize>().ok()? + 1 == blocks;
    let (name, part) = match layer {
        "norm1.linear" => ("x_block.adaLN_modulation.1", Part::Whole),
        "norm1_context.linear" if ending => ("context_block.adaLN_modulation.1", Part::Exchanged),
        "norm1_context.linear" => ("context_block.adaLN_modulation.1", Part::Whole),
        "attn.to_q" => ("x_block.attn.qkv", THIRDS[0]),
        "attn.to_k" => ("x_block.attn.qkv", THIRDS[1]),
        "attn.to_v" => ("x_block.attn.qkv", THIRDS[2]),
        "attn.norm_q" => ("x_block.attn.ln_q", Part::Whole),
        "attn.norm_k" => ("x_block.attn.ln_k", Part::Whole),
        "attn.to_out.0" => ("x_block.attn.proj", Part::Whole),
        "attn.add_q_proj" => ("context_block.attn.qkv", THIRDS[0]),
        "attn.add_k_proj" => ("context_block.attn.qkv", THIRDS[1]),
        "attn.add_v_proj" => ("context_block.attn.qkv", THIRDS[2]),
        "attn.norm_added_q" => ("context_block.attn.ln_q", Part::Whole),
        "attn.norm_added_k" => ("context_block.attn.ln_k", Part::Whole),
        "attn.to_add_out" => ("context_block.attn.proj", Part::Whole),
        "attn2.to_q" => ("x_block.attn2.qkv", THIRDS[0]),
        "attn2.to_k" => ("x_block.attn2.qkv", THIRDS[1]),
        "attn2.to_v" => ("x_block.attn2.qkv", THIRDS[2]),
        "attn2.norm_q" => ("x_block.attn2.ln_q", Part::Whole),
        "attn2.norm_k" => ("x_block.attn2.ln_k", Part::Whole),
        "attn2.to_out.0" => ("x_block.attn2.proj", Part::Whole),
        "ff.net.0.proj" => ("x_block.mlp.fc1", Part::Whole),
        "ff.net.2" => ("x_block.mlp.fc2", Part::Whole),
        "ff_context.net.0.proj" => ("context_block.mlp.fc1", Part::Whole),
        "ff_context.net.2" => ("context_block.mlp.fc2", Part::Whole),
        _ => return None,
    };
    place(format!("joint_blocks.{block}.{name}"), part)
}

/// The layer of Flux that has this one.
pub fn flux(layer: &str) -> Option<Place> {
    let name = match layer {
        "x_embedder" => "img_in",
        "context_embedder" => "txt_in",
        "time_text_embed.timestep_embedder.linear_1" => "time_in.in_layer",
        "time_text_embed.timestep_embedder.linear_2" => "time_in.out_layer",
        "time_text_embed.guidance_embedder.linear_1" => "guidance_in.in_layer",
        "time_text_embed.guidance_embedder.linear_2" => "guidance_in.out_layer",
        "time_text_embed.text_embedder.linear_1" => "vector_in.in_layer",
        "time_text_embed.text_embedder.linear_2" => "vector_in.out_layer",
        "norm_out.linear" => return place("final_layer.adaLN_modulation.1", Part::Exchanged),
        "proj_out" => "final_layer.linear",
        _ => return flux_joint(layer).or_else(|| flux_single(layer)),
    };
    place(name, Part::Whole)
}

fn flux_joint(layer: &str) -> Option<Place> {
    let (block, layer) = layer.strip_prefix("transformer_blocks.")?.split_once('.')?;
    let (name, part) = match layer {
        "norm1.linear" => ("img_mod.lin", Part::Whole),
        "norm1_context.linear" => ("txt_mod.lin", Part::Whole),
        "attn.to_q" => ("img_attn.qkv", THIRDS[0]),
        "attn.to_k" => ("img_attn.qkv", THIRDS[1]),
        "attn.to_v" => ("img_attn.qkv", THIRDS[2]),
        "attn.norm_q" => ("img_attn.norm.query_norm", Part::Whole),
        "attn.norm_k" => ("img_attn.norm.key_norm", Part::Whole),
        "attn.to_out.0" => ("img_attn.proj", Part::Whole),
        "attn.add_q_proj" => ("txt_attn.qkv", THIRDS[0]),
        "attn.add_k_proj" => ("txt_attn.qkv", THIRDS[1]),
        "attn.add_v_proj" => ("txt_attn.qkv", THIRDS[2]),
        "attn.norm_added_q" => ("txt_attn.norm.query_norm", Part::Whole),
        "attn.norm_added_k" => ("txt_attn.norm.key_norm", Part::Whole),
        "attn.to_add_out" => ("txt_attn.proj", Part::Whole),
        "ff.net.0.proj" => ("img_mlp.0", Part::Whole),
        "ff.net.2" => ("img_mlp.2", Part::Whole),
        "ff_context.net.0.proj" => ("txt_mlp.0", Part::Whole),
        "ff_context.net.2" => ("txt_mlp.2", Part::Whole),
        _ => return None,
    };
    place(format!("double_blocks.{block}.{name}"), part)
}

fn flux_single(layer: &str) -> Option<Place> {
    let (block, layer) = layer.strip_prefix("single_transformer_blocks.")?.split_once('.')?;
    let (name, part) = match layer {
        "norm.linear" => ("modulation.lin", Part::Whole),
        "attn.to_q" => ("linear1", SEVENTHS[0]),
        "attn.to_k" => ("linear1", SEVENTHS[1]),
        "attn.to_v" => ("linear1", SEVENTHS[2]),
        "proj_mlp" => ("linear1", SEVENTHS[3]),
        "attn.norm_q" => ("norm.query_norm", Part::Whole),
        "attn.norm_k" => ("norm.key_norm", Part::Whole),
        "proj_out" => ("linear2", Part::Whole),
        _ => return None,
    };
    place(format!("single_blocks.{block}.{name}"), part)
}
