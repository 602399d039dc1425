"""Pictures in few bytes: each row as differences to the pixel on the left, which deflate shrinks well. Lossless."""

import json
from pathlib import Path

import numpy as np


def folded(pictures):
    """uint8 pictures (…, height, width) as differences along the width."""
    out = pictures.copy()
    out[..., 1:] -= pictures[..., :-1]
    return out


def unfolded(differences):
    return np.cumsum(differences, axis=-1, dtype=np.uint8)


def write(folder, sprites, boxes, places, things):
    """Writes what training reads: `sprites` (n, 4, 96, 96) straight RGBA, `boxes` (n, 2) their width and height as shares of the
    square, `places` (kinds, variants, 3, 128, 128), all uint8 but the boxes, and `things` as plain data."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "drawings.npz", sprites=folded(sprites), boxes=boxes.astype(np.float32), places=folded(places))
    (folder / "things.json").write_text(json.dumps(things, ensure_ascii=False, indent=1) + "\n")


def read(folder):
    """(sprites, boxes, places, things) as `write` was given them."""
    folder = Path(folder)
    if not (folder / "drawings.npz").is_file():
        raise SystemExit(f"doodle: {folder} holds no drawings.npz; make it with models/doodle/prepare.py")
    with np.load(folder / "drawings.npz") as file:
        sprites, boxes, places = unfolded(file["sprites"]), file["boxes"], unfolded(file["places"])
    return sprites, boxes, places, json.loads((folder / "things.json").read_text())
