"""Batches to train with: batch number n follows from the seed and n alone, whoever makes it and whenever."""

from random import Random

from torch.utils.data import Dataset

import pack
from compose import Artist


def vocabulary(things, names, easy=False):
    """The things of a configuration, all where `names` is None, with one drawing each where scenes are easy; one that is missing is
    an error."""
    if names is None:
        return things
    known = {thing["name"]: thing for thing in things}
    missing = [name for name in names if name not in known]
    if missing:
        raise SystemExit(f"doodle: prepared data lacks {', '.join(missing)}; config.py names what prepare.py did not find")
    if not easy:
        return [known[name] for name in names]
    return [{**known[name], "sprites": {style: numbers[:1] for style, numbers in known[name]["sprites"].items()}} for name in names]


class Drawings:
    """What prepare.py wrote, with the things of one configuration."""

    def __init__(self, folder, config):
        self.sprites, self.boxes, self.scenery, found = pack.read(folder)
        self.things = vocabulary(found, config.things, config.easy)


class Batches(Dataset):
    """`kind` is a method of `Grammar` that draws a scene; an item is (arrays for Canvas, token ids, mask)."""

    def __init__(self, drawings, tokens, config, seed, kind="train"):
        self.artist, self.tokens, self.config, self.seed = Artist(drawings.things, drawings.boxes, config.easy, config.places), tokens, config, seed
        self.draw = getattr(self.artist.grammar, kind)

    def __getitem__(self, number):
        scenes = self.scenes(number)
        random = Random(f"{self.seed} captions {number}")
        texts = ["" if random.random() < self.config.unconditional else scene.caption for scene in scenes]
        return self.artist.arrays(scenes, f"{self.seed} layout {number}"), *self.tokens.batch(texts, self.config.tokens)

    def scenes(self, number):
        random = Random(f"{self.seed} scenes {number}")
        return [self.draw(random) for _ in range(self.config.batch)]
