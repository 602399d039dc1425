"""Four PNG files into one sheet with Pillow: `pillow.py FOLDER ROUNDS` prints a line of JSON for each way to code it."""

import io
import json
import pathlib
import sys
import time

import PIL
from PIL import Image

folder, rounds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
SIDE = 1024
files = [(folder / f"{i}.png").read_bytes() for i in range(4)]
ways = {
    "PNG, as it comes": {"format": "PNG"},
    "PNG, level 1": {"format": "PNG", "compress_level": 1},
    "WebP 80, as it comes": {"format": "WEBP", "quality": 80},
    "WebP 80, effort 2": {"format": "WEBP", "quality": 80, "method": 2},
}


def sheet(how):
    whole = Image.new("RGB", (2 * SIDE, 2 * SIDE))
    for i, file in enumerate(files):
        whole.paste(Image.open(io.BytesIO(file)), ((i % 2) * SIDE, (i // 2) * SIDE))
    out = io.BytesIO()
    whole.save(out, **how)
    return out.getvalue()


for number, (way, how) in enumerate(ways.items()):
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        made = sheet(how)
        took.append((time.perf_counter() - begun) * 1000)
    file = folder / f"pillow-{number}"
    file.write_bytes(made)
    print(json.dumps({"who": f"Pillow {PIL.__version__}", "way": way, "took": took, "file": str(file)}))
