"""Makes all that training reads out of the packages, once, on a CPU: drawings, places and names.

    npm ci --ignore-scripts --prefix models/doodle && python models/doodle/prepare.py

Writes models/doodle/data/prepared/: drawings.npz and things.json.
"""

import argparse
import io
import json
from pathlib import Path
from random import Random

import numpy as np
import resvg_py
from PIL import Image

import backgrounds
import pack
import things
from grammar import PLACES, STYLES

HERE = Path(__file__).parent
# Which set of drawings has which style.
SETS = dict(zip(STYLES, ("twemoji", "fluent-emoji", "noto")))
SIDE, RENDERED, VARIANTS = 96, 160, 24


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--modules", type=Path, default=HERE / "node_modules")
    arguments.add_argument("--out", type=Path, default=HERE / "data/prepared")
    given = arguments.parse_args()
    found = things.things(given.modules / "emojibase-data")
    sprites, boxes, kept = drawings(found, given.modules / "@iconify-json")
    pack.write(given.out, np.stack(sprites), np.array(boxes), scenery(), kept)
    for file in sorted(given.out.iterdir()):
        print(f"{file.stat().st_size:>12,} {file}")


def drawings(found, packages):
    """Sprites, their boxes, and the things that have a drawing in every style, each with its sprites' numbers by style."""
    sets = {style: Set(packages / name) for style, name in SETS.items()}
    sprites, boxes, kept = [], [], []
    for thing in things.plain(found):
        drawn = {style: [picture for code in thing["codes"] if (picture := a_set.picture(code)) is not None]
                 for style, a_set in sets.items()}
        if not all(drawn.values()):
            continue
        numbers = {}
        for style, pictures in drawn.items():
            numbers[style] = list(range(len(sprites), len(sprites) + len(pictures)))
            for sprite, box in pictures:
                sprites.append(sprite)
                boxes.append(box)
        kept.append({**thing, "sprites": numbers})
    return sprites, boxes, kept


class Set:
    """A set of drawings in Iconify's format (https://iconify.design/docs/types/iconify-json.html)."""

    def __init__(self, folder):
        self.icons = json.loads((folder / "icons.json").read_text())
        # Fluent's drawings go by Unicode's names alone, which Noto's code points lead to as well.
        named = (folder, folder.parent / "noto")
        self.names = next(names for each in named if (names := json.loads((each / "chars.json").read_text())))

    def picture(self, code):
        """The drawing for code points as in emojibase, (4, 96, 96) RGBA without margins and its box; None where there is none."""
        name = self.names.get(code) or self.names.get(code.replace("-fe0f", ""))
        name = self.icons.get("aliases", {}).get(name, {}).get("parent", name)
        icon = self.icons["icons"].get(name)
        if icon is None:
            return None
        width, height = (icon.get(key, self.icons.get(key, 16)) for key in ("width", "height"))
        left, top = icon.get("left", 0), icon.get("top", 0)
        svg = (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
               f'viewBox="{left} {top} {width} {height}" width="{RENDERED}" height="{RENDERED}">{icon["body"]}</svg>')
        return trimmed(raster(svg, RENDERED))


def raster(svg, side):
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True)))).convert("RGBA")


def trimmed(picture):
    """The picture without its transparent margins, centred in a square; its width and height as shares of that."""
    box = picture.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
    if box is None:
        return None
    width, height = box[2] - box[0], box[3] - box[1]
    longest = max(width, height)
    square = Image.new("RGBA", (longest, longest))
    square.paste(picture.crop(box), ((longest - width) // 2, (longest - height) // 2))
    # Pillow weighs colours by their alpha when it resizes RGBA.
    pixels = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)).copy()
    pixels[pixels[..., 3] == 0] = 0
    return pixels.transpose(2, 0, 1), (width / longest, height / longest)


def scenery():
    """All places (kinds, variants, 3, 128, 128)."""
    return np.stack([np.stack([place(kind, variant) for variant in range(VARIANTS)]) for kind in PLACES])


def place(kind, variant):
    svg = backgrounds.svg(kind, Random(f"{kind} {variant}"))
    return np.asarray(raster(svg, backgrounds.SIDE).convert("RGB")).transpose(2, 0, 1)


if __name__ == "__main__":
    main()
