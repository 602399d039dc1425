"""Sheets of samples: pictures side by side, each over its prompt."""

import textwrap

import numpy as np
from PIL import Image, ImageDraw

PROMPTS = (
    "a cat", "a red car", "a blue cat next to two trees at night", "three yellow stars on a black background",
    "a green frog on a mushroom", "two penguins in the snow", "a house on a hill in a meadow", "a rocket in space",
    "a purple fish under water", "a dog to the left of a tree", "a moon above a castle at night", "a pizza and a doughnut, flat style",
    "a pink rabbit in front of a house", "a big elephant in the desert", "a sailboat at sea, soft 3D", "four apples",
)
# For configurations of easy scenes.
EASY_PROMPTS = (
    "a cat", "a red car", "a blue cat next to two trees at night", "three yellow stars on a black background",
    "a green dragon", "two penguins in the snow", "a house in a meadow", "a rocket",
    "a purple fish under water", "a dog to the left of a tree", "a castle at night", "a pink unicorn",
    "a moon above a house", "a big elephant in the desert", "a sailboat at sea", "two red apples",
)
# Side of a picture on the sheet and height of the words below, in pixels; pictures in a row.
SIDE, WORDS, COLUMNS = 128, 34, 4


def image(picture):
    """A PIL picture from a tensor (3, size, size) from -1 to 1."""
    pixels = ((picture.float().cpu().numpy().transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def write(path, pictures, captions, columns=COLUMNS):
    """Writes pictures (n, 3, size, size) from -1 to 1 and their captions as one WebP."""
    rows = -(-len(pictures) // columns)
    whole = Image.new("RGB", (columns * (SIDE + 4), rows * (SIDE + WORDS)), "white")
    pen = ImageDraw.Draw(whole)
    for index, (picture, caption) in enumerate(zip(pictures, captions)):
        x, y = index % columns * (SIDE + 4), index // columns * (SIDE + WORDS)
        small = image(picture)
        whole.paste(small if small.width == SIDE else small.resize((SIDE, SIDE), Image.Resampling.NEAREST), (x, y))
        lines = textwrap.wrap(caption, 24)[:3]
        pen.multiline_text((x + 2, y + SIDE + 1), "\n".join(lines), fill="black", spacing=0, font_size=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(path, quality=82, method=4)
