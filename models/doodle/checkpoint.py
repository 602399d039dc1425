"""What a training run leaves on disk: a checkpoint to go on from, and weights to draw with.

Weights are in parts that each stay below 16 MB: large matrices and kernels as bytes, 128 for 0, with a scale for each row as
NAME.scale, the rest in half precision. Those of doodle are the averaged network's, and every part's header says the network's shape
(`shape`, JSON), whether it was distilled (`stage`), after how many steps (`step`), and which things it knows (`things`, JSON; none
where they are too many to be named).
"""

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from config import Shape
from model import Doodle

PART_BYTES = 15_500_000
# Numbers from which on a tensor is kept as bytes.
LARGE = 1 << 16


def save(path, state):
    """Writes a checkpoint such that a stop in between leaves the last one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def load(path, device):
    """The checkpoint at `path`, None where there is none. Only a file of one's own: it is unpickled."""
    return torch.load(path, map_location=device, weights_only=True) if path.is_file() else None


def export(folder, name, network, step, stage, things=()):
    """Writes the weights of a network with what is told of it."""
    header = {"shape": json.dumps(network.shape.plain()), "step": str(step), "stage": stage}
    if things:
        header["things"] = json.dumps(things)
    write(folder, name, network.state_dict(), header, LARGE)


def write(folder, name, state, header, large):
    """Writes weights as NAME-1-of-N.safetensors …, matrices of `large` numbers as bytes, and removes what was there under the name."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{name}-*-of-*.safetensors"):
        old.unlink()
    parts = [{}]
    for key, tensor in state.items():
        kept = packed(key, tensor.detach().cpu(), large)
        if sum(each.nbytes for each in (*parts[-1].values(), *kept.values())) > PART_BYTES:
            parts.append({})
        parts[-1].update(kept)
    for index, part in enumerate(parts, 1):
        save_file(part, folder / f"{name}-{index}-of-{len(parts)}.safetensors", metadata=header)


def packed(key, tensor, large):
    """What is kept of a tensor."""
    if tensor.dim() < 2 or tensor.numel() < large:
        return {key: tensor.half().contiguous()}
    scale = tensor.flatten(1).abs().amax(1).clamp(min=1e-8) / 127
    steps = (tensor / scale.view(-1, *[1] * (tensor.dim() - 1))).round() + 128
    return {key: steps.to(torch.uint8).contiguous(), f"{key}.scale": scale.contiguous()}


def unpacked(kept):
    """The tensors of what `packed` kept of them."""
    out = {}
    for key, tensor in kept.items():
        if tensor.dtype == torch.uint8:
            out[key] = (tensor.float() - 128) * kept[f"{key}.scale"].view(-1, *[1] * (tensor.dim() - 1))
        elif not key.endswith(".scale"):
            out[key] = tensor.float()
    return out


def parts(folder, name):
    """(state, header) of the weights of `name` in a folder; nothing where there are none."""
    state, header = {}, {}
    for file in sorted(Path(folder).glob(f"{name}-*-of-*.safetensors")):
        with safe_open(file, "pt") as opened:
            header = opened.metadata()
            state.update(unpacked({key: opened.get_tensor(key) for key in opened.keys()}))
    return state, header


def read(folder, name, device):
    """(network, distilled) from the weights of `name` in a folder."""
    state, header = parts(folder, name)
    if not state:
        raise SystemExit(f"doodle: {folder} holds no weights of {name}; train them with models/doodle/train.py")
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(header["shape"]).items()}
    network = Doodle(Shape(**plain))
    network.load_state_dict(state)
    return network.requires_grad_(False).eval().to(device), header["stage"] == "distil"
