"""How long torch takes for a picture, and a folder for the worker to take the same network from.

    python models/doodle/speed.py --out /tmp/doodle --threads 2
    cargo run --release --example draw -- /tmp/doodle "a blue cat" 1 /tmp/cat

Weights are random unless given: what they are makes no difference to the time.
"""

import argparse
import time
from pathlib import Path

import torch

import checkpoint
import flow
from config import CONFIGS
from model import Doodle
from text import Tokens, encoder

HERE = Path(__file__).parent
WEIGHTS = HERE.parent.parent / "weights"
READER = ("minilm-l6-v2-1-of-2.safetensors", "minilm-l6-v2-2-of-2.safetensors", "minilm-l6-v2.txt")
UPSCALER = ("realesr-animevideov3-x4.param", "realesr-animevideov3-x4.bin")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", choices=CONFIGS, default="large")
    parser.add_argument("--weights", type=Path, help="folder with trained weights")
    parser.add_argument("--out", type=Path, required=True, help="folder for the worker")
    parser.add_argument("--plain", action="store_true", help="without an upscaler")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = CONFIGS[given.config]
    network = checkpoint.read(given.weights, given.config, "cpu")[0] if given.weights else Doodle(config.shape).eval()
    checkpoint.export(given.out, "doodle", network, 0, "distil")
    for name in READER if given.plain else READER + UPSCALER:
        (given.out / name).unlink(missing_ok=True)
        (given.out / name).symlink_to(WEIGHTS / name)
    tokens, reader = Tokens(), encoder("cpu")
    noise = torch.randn(1, 3, config.shape.size, config.shape.size)
    for layout in (torch.contiguous_format, torch.channels_last):
        network.to(memory_format=layout)
        for _ in range(3):
            since = time.monotonic()
            with torch.no_grad():
                ids, mask = tokens.batch(["a blue cat"], config.tokens)
                flow.sample(network, noise, (reader(ids, mask), mask), None, given.steps, 2.5, True)
            print(f"torch, {str(layout).removeprefix('torch.')}: drawn in {time.monotonic() - since:.2f} s")


if __name__ == "__main__":
    main()
