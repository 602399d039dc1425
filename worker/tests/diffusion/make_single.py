"""Writes the tiny checkpoints of make_tiny.py once more as single files, tiny/NAME/single.safetensors, with the names of the
first implementations: those of latent diffusion for the networks of pictures, and of OpenCLIP for the text encoders of 2.1
and XL. The weights are the same, so results have to be the same to the bit.

The way back is diffusers' own: what it converts from each file has to be what is in the folder. To write them again, with
the packages that make_tiny.py names:

    /tmp/tiny/bin/python worker/tests/diffusion/make_single.py
"""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint, convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint, convert_open_clip_checkpoint,
)
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent / "tiny"
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
ENDS = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0",
        "conv_out": "out.2"}


def unet(tensors, config):
    """Numbers the blocks through, as they are listed in latent diffusion's `UNetModel`."""
    layers, blocks = config["layers_per_block"], len(config["block_out_channels"])
    places, number = dict(ENDS), 1
    for block in range(blocks):
        for layer in range(layers):
            places[f"down_blocks.{block}.resnets.{layer}"] = f"input_blocks.{number}.0"
            places[f"down_blocks.{block}.attentions.{layer}"] = f"input_blocks.{number}.1"
            number += 1
        places[f"down_blocks.{block}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
        number += 1
    places |= {"mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
               "mid_block.resnets.1": "middle_block.2"}
    number = 0
    for block in range(blocks):
        attention = config["up_block_types"][block].startswith("CrossAttn")
        for layer in range(layers + 1):
            places[f"up_blocks.{block}.resnets.{layer}"] = f"output_blocks.{number}.0"
            places[f"up_blocks.{block}.attentions.{layer}"] = f"output_blocks.{number}.1"
            number += 1
        places[f"up_blocks.{block}.upsamplers.0.conv"] = f"output_blocks.{number - 1}.{2 if attention else 1}.conv"

    def name(key):
        place = max((place for place in places if key.startswith(place + ".")), key=len)
        rest = key[len(place) + 1:]
        if ".resnets." in place:
            part, kind = rest.rsplit(".", 1)
            rest = f"{RESNET[part]}.{kind}"
        return f"model.diffusion_model.{places[place]}.{rest}"

    return {name(key): value for key, value in tensors.items()}


def vae(tensors, config):
    last = len(config["block_out_channels"]) - 1
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
                 "query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"}
    made = {}
    for key, value in tensors.items():
        key = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", key)
        key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
        key = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{last - int(m[1])}.block.", key)
        key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", key)
        key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
        key = key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if match := re.fullmatch(r"(.*)mid_block\.attentions\.0\.(.*)\.(weight|bias)", key):
            part = attention[match[2]]
            key = f"{match[1]}mid.attn_1.{part}.{match[3]}"
            if part != "norm" and match[3] == "weight":
                value = value[:, :, None, None]
        made[f"first_stage_model.{key}"] = value
    return made


def clip(tensors, prefix):
    made = {prefix + key: value for key, value in tensors.items() if key != "text_projection.weight"}
    places = made[prefix + "text_model.embeddings.position_embedding.weight"].shape[0]
    return made | {prefix + "text_model.embeddings.position_ids": torch.arange(places)[None]}


def open_clip(tensors, prefix, more_layers):
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "self_attn.out_proj": "attn.out_proj"}
    size = tensors["text_model.final_layer_norm.weight"].shape[0]
    made = {
        "token_embedding.weight": tensors["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": tensors["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": tensors["text_model.final_layer_norm.weight"],
        "ln_final.bias": tensors["text_model.final_layer_norm.bias"],
        "text_projection": tensors.get("text_projection.weight", torch.randn(size, size).half()).T.contiguous(),
        "logit_scale": torch.tensor(4.6).half(),
    }
    layers = 1 + max(int(key.split(".")[3]) for key in tensors if ".layers." in key)
    for layer in range(layers + more_layers):
        old, new = f"text_model.encoder.layers.{min(layer, layers - 1)}.", f"transformer.resblocks.{layer}."
        # Layers that the networks here leave out are there in the published files, with weights of their own.
        other = 1 if layer < layers else -1
        for kind in ("weight", "bias"):
            for part, theirs in names.items():
                made[f"{new}{theirs}.{kind}"] = other * tensors[f"{old}{part}.{kind}"]
            parts = [tensors[f"{old}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            made[f"{new}attn.in_proj_{kind}"] = other * torch.cat(parts)
    return {prefix + key: value for key, value in made.items()}


def same(name, made, wanted):
    wanted = {key: value for key, value in wanted.items() if key in made or not key.startswith("text_projection")}
    for key, value in wanted.items():
        assert torch.equal(made[key], value), f"{name}: {key}"
    print(name, len(wanted), "tensors are those of the folder")


def write(name, texts):
    folder = HERE / name
    config = {part: json.loads((folder / part / "config.json").read_text()) for part in ("unet", "vae")}
    networks = {part: load_file(folder / part / "diffusion_pytorch_model.safetensors") for part in config}
    single = unet(networks["unet"], config["unet"]) | vae(networks["vae"], config["vae"])
    single |= {"alphas_cumprod": torch.zeros(1000), "model_ema.decay": torch.tensor(0.9999)}
    old = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    renamed = {re.sub(r"(attentions\.0\.)(query|key|value|proj_attn)\.", lambda m: f"{m[1]}{old[m[2]]}.", key): value
               for key, value in networks["vae"].items()}
    for folder_name, kind, prefix in texts:
        tensors = load_file(folder / folder_name / "model.safetensors")
        if kind == "clip":
            made = clip(tensors, prefix)
            same(f"{name} {folder_name}", convert_ldm_clip_checkpoint(made, prefix), tensors)
        else:
            made = open_clip(tensors, prefix, 1 if name == "sd21" else 0)
            size = tensors["text_model.final_layer_norm.weight"].shape[0]
            model = SimpleNamespace(config=SimpleNamespace(projection_dim=size))
            same(f"{name} {folder_name}", convert_open_clip_checkpoint(model, dict(made), prefix), tensors)
        single |= made
    same(f"{name} unet", convert_ldm_unet_checkpoint(dict(single), config["unet"]), networks["unet"])
    same(f"{name} vae", convert_ldm_vae_checkpoint(dict(single), config["vae"]), renamed)
    save_file({key: value.contiguous() for key, value in single.items()}, folder / "single.safetensors")


if __name__ == "__main__":
    torch.manual_seed(5)
    write("sd15", [("text_encoder", "clip", "cond_stage_model.transformer.")])
    write("sd21", [("text_encoder", "open", "cond_stage_model.model.")])
    write("sdxl", [("text_encoder", "clip", "conditioner.embedders.0.transformer."),
                   ("text_encoder_2", "open", "conditioner.embedders.1.model.")])
