"""What the worker's engine is held to: a tiny network with random weights, and what torch computes with it.

    python models/doodle/reference.py

Writes into worker/tests/doodle/, always the same: tiny-1-of-1.safetensors and guided-1-of-1.safetensors with
references.safetensors, and whole-1-of-1.safetensors. The last two take the encoder's states and make a whole engine, distilled or not.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import checkpoint
import flow
from config import Shape
from model import Doodle
from text import Tokens, encoder

HERE = Path(__file__).parent
FOLDER = HERE.parent.parent / "worker/tests/doodle"
SHAPE = Shape(size=16, patch=2, channels=(16, 32), blocks=(1, 2), attends=1, head=16, embedding=32, text=64, text_blocks=1)
WHOLE = Shape(size=32, patch=2, channels=(16, 32), blocks=(2, 2), attends=1, head=16, embedding=32, text_blocks=0)
GUIDED = Shape(size=16, patch=4, channels=(16, 32), blocks=(1, 1), attends=0, head=16, embedding=32, text_blocks=0, predicts="picture")
TIME, STEP, GUIDANCE, STEPS = 0.3, 0.25, 2.5, 4
# Some of these matrices are kept as bytes, as most of a whole network's are.
checkpoint.LARGE = 1 << 12


def exported(name, shape, stage="distil"):
    """A network of random weights, as they come back once written."""
    torch.manual_seed(3)
    network = Doodle(shape).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            # What is silent before training is not, so that every layer counts.
            parameter.copy_(torch.randn_like(parameter) * (parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.1))
    checkpoint.export(FOLDER, name, network, 1, stage)
    return checkpoint.read(FOLDER, name, "cpu")[0]


def main():
    exported("whole", WHOLE)
    network = exported("tiny", SHAPE)
    noise, states = torch.randn(1, 3, 16, 16), torch.randn(1, 5, 64)
    text, out = (states, torch.ones(1, 5, dtype=torch.bool)), {"noise": noise, "states": states}
    moment = [torch.full((1,), value) for value in (TIME, STEP, GUIDANCE)]
    with torch.no_grad():
        for name in ("zero", "wrap"):
            network.tile(name == "wrap")
            out[f"velocity_{name}"] = network(noise, *moment, *text)
            out[f"picture_{name}"] = flow.sample(network, noise, text, None, STEPS, GUIDANCE, True)
    network = exported("guided", GUIDED, "flow")
    # Rows and columns differ, that neither can be taken for the other.
    states, noise = torch.randn(2, 5, GUIDED.text), torch.randn(1, 3, 16, 24)
    text, blank = ((row[None], torch.ones(1, 5, dtype=torch.bool)) for row in states)
    with torch.no_grad():
        picture = flow.sample(network, noise, text, blank, STEPS, GUIDANCE, False)
    out |= {"guided_noise": noise, "guided_states": states, "guided_picture": picture}
    texts = [str(text) for text in np.load(HERE / "reference.npz")["texts"]]
    ids, mask = Tokens().batch(texts, 64)
    out["encoder_ids"], out["encoder_states"] = ids, encoder("cpu")(ids, mask)
    about = {"texts": json.dumps(texts)}
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, FOLDER / "references.safetensors", metadata=about)


if __name__ == "__main__":
    main()
