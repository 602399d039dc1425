"""Draws scenes on the training device, many at a time: every drawing resampled by two matrix products and pasted in order.

Resampling with a tent as wide as the shrinkage is Pillow's BILINEAR; it neither aliases nor needs a copy in each size.
"""

from random import Random

import numpy as np
import torch
import torch.nn.functional as F

import colours
from grammar import MOST, PLACES, Grammar
from layout import places, snapped

KINDS = {kind: index for index, kind in enumerate(PLACES)}
LUMA = (0.299, 0.587, 0.114)
# How much of a drawing's own colour is left when it is given another.
KEPT = 0.1
# Easy scenes have things on a grid of this many cells a side.
CELLS = 8
# The share of a place's views that they show.
EASY_VIEWS = 0.17
# Samples beside a drawing that a pixel can reach: a drawing shrinks to a tenth at most.
MARGIN = 10


class Artist:
    """Turns scenes into arrays that `Canvas` draws. Runs anywhere; `things` and `boxes` as pack.read gives them, `places` as Grammar
    takes them. `easy` scenes have things on a grid, never mirrored, and the first few views of each place."""

    def __init__(self, things, boxes, easy=False, places=None):
        self.things, self.boxes, self.easy, self.grammar = things, boxes, easy, Grammar(things, easy, places)

    def arrays(self, scenes, seed):
        """Arrays for `Canvas`, one row for each scene; jitter follows from the seed. `what` is for who learns to see: the number of
        each layer's thing and colour, -1 where there is none."""
        random, count = Random(seed), len(scenes)
        # Where nothing stands, a side of 1 keeps `Canvas` from dividing by nothing.
        layers, what = np.ones((count, MOST, 4), np.float32), np.full((count, MOST, 2), -1, np.int64)
        sprites, tints = np.full((count, MOST), -1, np.int64), np.zeros((count, MOST, 4), np.float32)
        kinds, fills = np.full(count, -1, np.int64), np.zeros((count, 2, 3), np.float32)
        variants = np.zeros((count, 2), np.float32)
        for row, scene in enumerate(scenes):
            drawn = [random.choice(self.things[group.thing]["sprites"][scene.style]) for group in scene.groups]
            tint = [jittered(group.colour, random) if group.colour else None for group in scene.groups]
            for layer, place in enumerate(places(scene, [self.boxes[sprite][1] for sprite in drawn], random)):
                flip = -1.0 if not self.easy and random.random() < 0.3 else 1.0
                place = snapped(place, CELLS) if self.easy else place
                layers[row, layer] = (place.x, place.y, place.side, flip)
                sprites[row, layer] = drawn[place.group]
                group = scene.groups[place.group]
                what[row, layer] = (group.thing, colours.NAMES.index(group.colour) if group.colour else colours.NATURAL)
                if tint[place.group]:
                    tints[row, layer] = (*tint[place.group], 1.0)
            if scene.place:
                kinds[row] = KINDS[scene.place]
            fills[row] = ground(scene.fill, random)
            variants[row] = (random.random() * (EASY_VIEWS if self.easy else 1.0), random.random() * (0.5 if self.easy else 1.0))
        return {"layers": layers, "what": what, "sprites": sprites, "tints": tints, "kinds": kinds, "fills": fills, "variants": variants}


def jittered(name, random, by=0.05):
    return [min(max(value + random.uniform(-by, by), 0.0), 1.0) for value in colours.COLOURS[name]]


def ground(fill, random):
    """The colours of a background above and below."""
    if not fill:
        pale = [random.uniform(0.88, 1.0) for _ in range(3)] if random.random() < 0.5 else [1.0] * 3
        return [pale, pale]
    lighter = random.uniform(0.0, 0.3)
    mixed = [[value + (1 - value) * lighter for value in jittered(name, random)] for name in fill]
    return [mixed[0], mixed[-1]]


class Canvas:
    """Holds the drawings on a device and draws there."""

    def __init__(self, sprites, scenery, size, device):
        self.size, self.device = size, device
        self.sprites = torch.from_numpy(sprites).to(device)
        banks = torch.from_numpy(scenery).to(device).float() / 255
        shape = banks.shape
        self.places = F.adaptive_avg_pool2d(banks.flatten(0, 1), size).view(*shape[:3], size, size)
        opaque = self.sprites[:, 3].float()
        luma = sum(weight * self.sprites[:, index].float() for index, weight in enumerate(LUMA))
        self.mean = (luma * opaque).sum((1, 2)) / opaque.sum((1, 2)).clamp(min=1) / 255

    def __call__(self, arrays):
        """Pictures (n, 3, size, size) from -1 to 1 for arrays of `Artist`."""
        given = {key: torch.as_tensor(value).to(self.device, non_blocking=True) for key, value in arrays.items()}
        picture = self.background(given)
        for layer in range(MOST):
            # Rows without a thing in this layer draw sprite 0 in no ink, so that all rows do the same work.
            number = given["sprites"][:, layer]
            ink = (number >= 0).float()[:, None, None, None]
            pasted = self.paste(self.tinted(number.clamp(min=0), given["tints"][:, layer]), given["layers"][:, layer])
            picture = picture * (1 - ink * pasted[:, 3:]) + ink * pasted[:, :3]
        return picture.clamp(0, 1) * 2 - 1

    def background(self, given):
        down = torch.linspace(0, 1, self.size, device=self.device)[None, None, :, None]
        above, below = given["fills"][:, 0, :, None, None], given["fills"][:, 1, :, None, None]
        plain = (above * (1 - down) + below * down).expand(-1, -1, -1, self.size)
        variant = (given["variants"][:, 0] * self.places.shape[1]).long()
        place = self.places[given["kinds"].clamp(min=0), variant]
        place = torch.where((given["variants"][:, 1] < 0.5)[:, None, None, None], place, place.flip(-1))
        return torch.where((given["kinds"] >= 0)[:, None, None, None], place, plain)

    def tinted(self, number, tint):
        """Drawings as premultiplied RGBA (n, 4, side, side) from 0 to 1, in the colour of `tint` where its fourth value is 1:
        dark parts towards black, light ones towards white, the middle of the drawing in the colour itself."""
        drawing = self.sprites[number].float() / 255
        rgb, alpha = drawing[:, :3], drawing[:, 3:]
        luma = sum(weight * rgb[:, index:index + 1] for index, weight in enumerate(LUMA))
        level = (0.5 + 0.8 * (luma - self.mean[number][:, None, None, None])).clamp(0, 1)
        colour, coloured = tint[:, :3, None, None], tint[:, 3:, None, None]
        dark, light = colour * (2 * level).clamp(max=1), (1 - colour) * (2 * level - 1).clamp(min=0)
        mapped = (dark + 0.7 * light) * (1 - KEPT) + rgb * KEPT
        return torch.cat([(coloured * mapped + (1 - coloured) * rgb) * alpha, alpha], 1)

    def paste(self, drawing, layer):
        """The drawings resampled to where they stand in the picture (n, 4, size, size)."""
        x, y, side, flip = layer[:, 0], layer[:, 1], layer[:, 2], layer[:, 3]
        columns = self.weights(x, side, drawing.shape[-1])
        columns = torch.where((flip < 0)[:, None, None], columns.flip(-1), columns)
        rows = self.weights(y, side, drawing.shape[-1])
        return torch.matmul(torch.matmul(rows[:, None], drawing), columns[:, None].transpose(-1, -2))

    def weights(self, centre, side, count):
        """(n, size, count): how much each of `count` samples along a side adds to each pixel along the picture."""
        pixel = (torch.arange(self.size, device=self.device) + 0.5) / self.size
        at = (pixel[None] - (centre - side / 2)[:, None]) / side[:, None] * count - 0.5
        wide = (count / (side * self.size)).clamp(min=1)[:, None, None]
        # Samples beyond the drawing count in the sum, for they are transparent.
        sample = torch.arange(-MARGIN, count + MARGIN, device=self.device)
        near = (1 - (at[:, :, None] - sample).abs() / wide).clamp(min=0)
        return (near / near.sum(-1, keepdim=True).clamp(min=1e-6))[..., MARGIN:-MARGIN]
