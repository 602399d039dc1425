"""Writes Stable Diffusion 3.5 and Flux.1 as single files, with the names of the first implementations, LoRAs with the names of
kohya's scripts and with those of the first implementations, and what diffusers makes of them.

`sd35/single.safetensors` has the weights of that folder's transformer, and its LoRAs are the one of the folder once more, so
that the references there are those of the single file too. `flux` is narrower than `dev`, whose files are large: it has a
network of its own and the autoencoder of `dev` inside, and shares the rest of that folder.

The way back is diffusers' own: what it converts from each file has to be what the file was made of. Its converters have the
sizes of the published network in them, in the place of which they get those of this one. To write them again, with the
packages that make_newer.py names:

    /tmp/newer/bin/python worker/tests/diffusion/make_single_newer.py
"""

import inspect
import re
from collections import defaultdict

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.loaders import lora_conversion_utils, single_file_utils
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint, convert_sd3_transformer_checkpoint_to_diffusers
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

import make_single
from make_newer import CHANNELS, SIZE, Sheet
from make_single import same
from make_tiny import COLUMNS, HERE, ROWS, randomise

NET = "model.diffusion_model."
WIDTH = 16
STRENGTH = 0.7
# Layers of the transformers' blocks in diffusers, and what they are called elsewhere: with three or four below each other,
# a place among them.
THREE = {
    "attn.to_q": ("x_block.attn.qkv", 0), "attn.to_k": ("x_block.attn.qkv", 1), "attn.to_v": ("x_block.attn.qkv", 2),
    "attn.add_q_proj": ("context_block.attn.qkv", 0), "attn.add_k_proj": ("context_block.attn.qkv", 1),
    "attn.add_v_proj": ("context_block.attn.qkv", 2), "attn2.to_q": ("x_block.attn2.qkv", 0),
    "attn2.to_k": ("x_block.attn2.qkv", 1), "attn2.to_v": ("x_block.attn2.qkv", 2), "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k", "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k", "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k", "attn.to_out.0": "x_block.attn.proj", "attn2.to_out.0": "x_block.attn2.proj",
    "attn.to_add_out": "context_block.attn.proj", "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1", "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2", "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}
THREE_ENDS = {
    "pos_embed.proj": "x_embedder.proj", "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2", "context_embedder": "context_embedder",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0", "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "proj_out": "final_layer.linear", "norm_out.linear": "final_layer.adaLN_modulation.1",
}
DOUBLE = {
    "attn.to_q": ("img_attn.qkv", 0), "attn.to_k": ("img_attn.qkv", 1), "attn.to_v": ("img_attn.qkv", 2),
    "attn.add_q_proj": ("txt_attn.qkv", 0), "attn.add_k_proj": ("txt_attn.qkv", 1), "attn.add_v_proj": ("txt_attn.qkv", 2),
    "attn.norm_q": "img_attn.norm.query_norm", "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm", "attn.norm_added_k": "txt_attn.norm.key_norm",
    "attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj", "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin", "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2",
}
SINGLE = {
    "attn.to_q": ("linear1", 0), "attn.to_k": ("linear1", 1), "attn.to_v": ("linear1", 2), "proj_mlp": ("linear1", 3),
    "attn.norm_q": "norm.query_norm", "attn.norm_k": "norm.key_norm", "norm.linear": "modulation.lin", "proj_out": "linear2",
}
FLUX_ENDS = {
    "x_embedder": "img_in", "context_embedder": "txt_in", "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer", "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}


def place(layer, ends, blocks):
    """What a layer is called, and which part of that it is."""
    for ours, (theirs, names) in blocks.items():
        if match := re.fullmatch(rf"{ours}\.(\d+)\.(.+)", layer):
            name = names[match[2]]
            name, part = name if isinstance(name, tuple) else (name, 0)
            return f"{theirs}.{match[1]}.{name}", part
    return ends[layer], 0


def first_names(tensors, ends, blocks, swapped):
    parts = defaultdict(dict)
    for key, value in tensors.items():
        if key == "pos_embed.pos_embed":
            parts["pos_embed"][0] = value
            continue
        layer, kind = key.rsplit(".", 1)
        if layer in swapped:
            scale, shift = value.chunk(2)
            value = torch.cat([shift, scale])
        name, part = place(layer, ends, blocks)
        kind = "scale" if name.endswith("_norm") else kind
        parts[f"{name}.{kind}"][part] = value
    return {key: torch.cat([part for _, part in sorted(parts.items())]) for key, parts in parts.items()}


def half(tensors):
    return {key: value.half().contiguous() for key, value in tensors.items()}


def of_size(converter, **sizes):
    """A converter of diffusers with other sizes in it."""
    source = inspect.getsource(converter)
    for found, ours in sizes.values():
        assert found in source, found
        source = source.replace(found, ours)
    scope = dict(vars(inspect.getmodule(converter)))
    exec(source, scope)
    return scope[converter.__name__]


def three():
    folder = HERE / "sd35"
    tensors = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    blocks = {"transformer_blocks": ("joint_blocks", THREE)}
    last = max(int(key.split(".")[1]) for key in tensors if key.startswith("transformer_blocks."))
    made = first_names(tensors, THREE_ENDS, blocks, ("norm_out.linear", f"transformer_blocks.{last}.norm1_context.linear"))
    single = {NET + key: value for key, value in made.items()}
    same("sd35 transformer", convert_sd3_transformer_checkpoint_to_diffusers(dict(single)), tensors)
    save_file(half(single), folder / "single.safetensors")
    fused(folder, blocks)


def fused(folder, blocks):
    """The LoRA of the folder on the layers that lie below each other: its rows are zeros where others' are."""
    peft, layers = load_file(folder / "loras" / "peft.safetensors"), defaultdict(dict)
    for key, down in peft.items():
        if key.endswith(".lora_A.weight"):
            layer = key.removesuffix(".lora_A.weight")
            name, part = place(layer.removeprefix("transformer."), {}, blocks)
            layers[name][part] = down, peft[f"{layer}.lora_B.weight"]
    kohya, dotted = {}, {}
    for name, parts in layers.items():
        down = torch.cat([down for down, _ in parts.values()])
        wide, rank = next(iter(parts.values()))[1].shape[0], down.shape[0]
        up, column = torch.zeros(wide * (3 if name.endswith("qkv") else 1), rank, dtype=down.dtype), 0
        for part, (_, high) in parts.items():
            up[part * wide:(part + 1) * wide, column:column + high.shape[1]] = high
            column += high.shape[1]
        flat = "lora_unet_" + name.replace(".", "_")
        kohya |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": rank * up, f"{flat}.alpha": torch.tensor(1.0)}
        dotted |= {f"diffusion_model.{name}.lora_A.weight": down, f"diffusion_model.{name}.lora_B.weight": up}
    for name, tensors in (("kohya", kohya), ("dotted", dotted)):
        save_file(half(tensors), folder / "loras" / f"{name}.safetensors")


def flux():
    folder, dev = HERE / "flux", HERE / "dev"
    (folder / "loras").mkdir(parents=True, exist_ok=True)
    transformer = randomise(FluxTransformer2DModel(
        in_channels=4 * CHANNELS, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=1,
        joint_attention_dim=24, pooled_projection_dim=16, guidance_embeds=True, axes_dims_rope=(4, 6, 6)))
    tensors = transformer.state_dict()
    blocks = {"transformer_blocks": ("double_blocks", DOUBLE), "single_transformer_blocks": ("single_blocks", SINGLE)}
    made = first_names(tensors, FLUX_ENDS, blocks, ("norm_out.linear",))
    convert = of_size(single_file_utils.convert_flux_transformer_checkpoint_to_diffusers,
                      width=("inner_dim = 3072", f"inner_dim = {WIDTH}"))
    single = {NET + key: value for key, value in made.items()}
    same("flux transformer", convert(dict(single)), tensors)
    vae = load_file(dev / "vae" / "diffusion_pytorch_model.safetensors")
    first = make_single.vae(vae, {"block_out_channels": [0] * 4})
    same("flux vae", convert_ldm_vae_checkpoint(dict(first), {"down_block_types": [0] * 4, "up_block_types": [0] * 4}), vae)
    single |= {key.replace("first_stage_model.", "vae."): value for key, value in first.items()}
    save_file(half(single), folder / "single.safetensors")

    # transformers asks for a model of sentencepiece beside what it wrote itself, when it goes by the name of T5.
    words = PreTrainedTokenizerFast(tokenizer_file=str(dev / "tokenizer_2" / "tokenizer.json"), pad_token="<pad>")
    pipe = FluxPipeline.from_pretrained(dev, transformer=transformer, tokenizer_2=words, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    sheet = Sheet()
    packed = FluxPipeline._pack_latents(sheet["noise"], 1, CHANNELS, ROWS, COLUMNS)
    run = dict(guidance_scale=3.5, latents=packed, **SIZE)
    sheet.latents("txt2img.euler", pipe, run)
    loras = {"kohya": kohya(), "dotted": dotted(made)}
    before, after = convert(merged(made, loras["dotted"][0], "")), merged(tensors, loras["dotted"][1], "transformer.")
    for key, value in before.items():
        assert torch.allclose(value, after[key], atol=1e-5), f"{key} is another when the LoRA is merged before the conversion"
    for name, (lora, converted) in loras.items():
        save_file(half(lora), folder / "loras" / f"{name}.safetensors")
        pipe.load_lora_weights(converted, adapter_name=name)
        pipe.set_adapters([name], [STRENGTH])
        sheet.latents(f"{name}.euler", pipe, run)
        pipe.unload_lora_weights()
    sheet.save(folder)


def merged(tensors, lora, prefix):
    made = dict(tensors)
    for key, down in lora.items():
        if key.endswith(".lora_A.weight"):
            layer = key.removesuffix(".lora_A.weight")
            made[f"{layer.removeprefix(prefix)}.weight"] = (
                made[f"{layer.removeprefix(prefix)}.weight"] + lora[f"{layer}.lora_B.weight"] @ down)
    return made


def factors(wide, narrow):
    return [(0.3 * torch.randn(shape)).half().float() for shape in ((2, narrow), (wide, 2))]


def kohya():
    """As kohya's scripts write them, the text encoder of CLIP among them; by `out_proj` diffusers knows the names of that."""
    sides = {
        "unet_double_blocks_0_img_attn_qkv": (48, 16), "unet_double_blocks_0_txt_attn_qkv": (48, 16),
        "unet_double_blocks_0_img_attn_proj": (16, 16), "unet_double_blocks_0_txt_mlp_0": (64, 16),
        "unet_double_blocks_0_img_mod_lin": (96, 16), "unet_single_blocks_0_linear1": (112, 16),
        "unet_single_blocks_1_linear2": (16, 80), "unet_single_blocks_1_modulation_lin": (48, 16),
        "te1_text_model_encoder_layers_0_self_attn_q_proj": (16, 16), "te1_text_model_encoder_layers_1_mlp_fc1": (32, 16),
        "te1_text_model_encoder_layers_0_self_attn_out_proj": (16, 16),
    }
    lora = {}
    for name, (wide, narrow) in sides.items():
        down, up = factors(wide, narrow)
        lora |= {f"lora_{name}.lora_down.weight": down, f"lora_{name}.lora_up.weight": up,
                 f"lora_{name}.alpha": torch.tensor(3.0)}
    convert = of_size(lora_conversion_utils._convert_kohya_flux_lora_to_diffusers,
                      dims=("[3072, 3072, 3072, 12288]", f"[{WIDTH}, {WIDTH}, {WIDTH}, {4 * WIDTH}]"))
    # It multiplies some in place.
    return lora, convert({key: value.clone() for key, value in lora.items()})


def dotted(made):
    """On every layer of the network, as Black Forest Labs publish them."""
    lora = {}
    for key, value in made.items():
        if value.dim() == 2:
            name = key.removesuffix(".weight")
            lora[f"{name}.lora_A.weight"], lora[f"{name}.lora_B.weight"] = factors(*value.shape)
    norms = {key: value for key, value in made.items() if key.endswith("_norm.scale")}
    convert = of_size(lora_conversion_utils._convert_bfl_flux_control_lora_to_diffusers,
                      double=("num_layers = 19", "num_layers = 1"), single=("num_single_layers = 38", "num_single_layers = 2"),
                      width=("inner_dim = 3072", f"inner_dim = {WIDTH}"))
    converted = convert({**lora, **norms})
    # It exchanges the halves of the lower factor too, whose rows are no shift and scale but those that the upper one adds up.
    converted["transformer.norm_out.linear.lora_A.weight"] = lora["final_layer.adaLN_modulation.1.lora_A.weight"]
    return lora, {key: value for key, value in converted.items() if ".lora_" in key}


if __name__ == "__main__":
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(5)
    with torch.no_grad():
        three()
        flux()
