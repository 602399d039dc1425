"""The figures of the card: how often doodle draws what a caption says, on combinations that it was never shown.

    python models/doodle/evaluate.py --config small --guidance 1 2 3 4 --steps 8

Writes figures.json and sheets of examples, failures and the nearest pictures of training. A thing that the judge does
not find counts as wrong in colour, count and relation too.
"""

import argparse
import dataclasses
import itertools
import json
import time
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F

import checkpoint
import colours
import flow
import judge as judges
import sheet
from batches import Batches, Drawings
from compose import Artist, Canvas
from config import CONFIGS
from grammar import JUDGED
from text import Tokens, encoder
from turns import Turns

HERE = Path(__file__).parent
AT_ONCE = {"cpu": 20, "cuda": 250}
# Pictures are compared as 16×16 means: large enough to tell places and colours, small enough to forget edges.
COMPARED = 16


def verdict(scene, found):
    """For each kind of claim in a scene's caption whether what the judge found bears it out: lists of bools."""
    out = {"thing": [], "colour": [], "count": [], "four": [], "relation": []}
    for group in scene.groups:
        alike = [each for each in found if each[0] == group.thing]
        out["thing"].append(bool(alike))
        out["four" if group.count > 3 else "count"].append(len(alike) == group.count)
        if group.colour:
            out["colour"].append(bool(alike) and alike[0][1] == colours.NAMES.index(group.colour))
    if scene.relation in JUDGED:
        first, second = ([each[2:] for each in found if each[0] == group.thing] for group in scene.groups)
        out["relation"].append(bool(first) and bool(second) and holds(scene.relation, middle(first), middle(second)))
    return out


def middle(points):
    return tuple(sum(values) / len(points) for values in zip(*points))


def holds(relation, first, second):
    """Whether a relation holds between two middles (x, y), y down."""
    across, down = second[0] - first[0], second[1] - first[1]
    if relation == "left":
        return across > 0.1 and across > abs(down)
    if relation in ("above", "on"):
        return down > 0.1 and down > abs(across)
    # What stands in front stands lower.
    return down < 0 and abs(across) < 0.4


def shares(verdicts):
    """Each kind of claim with the share that is true, in per cent, and how many there were."""
    out = {}
    for kind in ("thing", "colour", "count", "four", "relation"):
        claims = [claim for each in verdicts for claim in each[kind]]
        out[kind] = {"right": round(100 * sum(claims) / max(len(claims), 1), 1), "of": len(claims)}
    return out


class Trial:
    """Held-out captions, a network that draws them and a judge that looks."""

    def __init__(self, given):
        self.given, self.config, self.device = given, CONFIGS[given.config], torch.device(given.device)
        weights = given.weights or HERE / "runs" / given.config
        self.folder = given.out or weights
        self.folder.mkdir(parents=True, exist_ok=True)
        self.network, self.distilled = checkpoint.read(weights, given.config, self.device)
        self.judge = judges.read(given.judge or HERE / "runs" / given.config / "judge.safetensors", self.device)
        drawings = Drawings(given.data, self.config)
        self.artist = Artist(drawings.things, drawings.boxes, self.config.easy, self.config.places)
        self.tokens = Tokens()
        self.canvas = Canvas(drawings.sprites, drawings.scenery, self.config.shape.size, self.device)
        self.encoder, self.turns = encoder(self.device), Turns(given.lock)
        training = dataclasses.replace(self.config, batch=AT_ONCE[self.device.type])
        self.training = Batches(drawings, self.tokens, training, "0 flow")
        random = Random("held out")
        self.scenes = [self.artist.grammar.unseen(random) for _ in range(given.count)]

    def groups(self):
        size = AT_ONCE[self.device.type]
        return [self.scenes[start:start + size] for start in range(0, len(self.scenes), size)]

    def real(self, seed):
        """The held-out scenes as they should look."""
        with torch.no_grad():
            return torch.cat([self.canvas(self.artist.arrays(group, f"{seed} {index}")) for index, group in enumerate(self.groups())])

    def read(self, texts):
        ids, mask = (each.to(self.device) for each in self.tokens.batch(texts, self.config.tokens))
        with torch.no_grad():
            return self.encoder(ids, mask), mask

    def drawn(self, steps, guidance):
        """What the network draws for the captions, always from the same noise."""
        generator, size, pictures = torch.Generator().manual_seed(11), self.config.shape.size, []
        for group in self.groups():
            noise = torch.randn(len(group), 3, size, size, generator=generator).to(self.device)
            text = self.read([scene.caption for scene in group])
            with self.turns.step():
                pictures.append(flow.sample(self.network, noise, text, self.read([""]), steps, guidance, self.distilled))
        return torch.cat(pictures)

    def judged(self, pictures):
        found = [each for some in pictures.split(AT_ONCE[self.device.type]) for each in judges.seen(self.judge, some)]
        return [verdict(scene, each) for scene, each in zip(self.scenes, found)]

    def nearest(self, pictures, count):
        """For each picture the least distance to `count` pictures of training (root mean square of 16×16 means, from 0 to 2)
        and the number of the batch and row where that is."""
        few, best = means(pictures), None
        for number in range(-(-count // self.training.config.batch)):
            with torch.no_grad(), self.turns.step():
                arrays = self.training.artist.arrays(self.training.scenes(number), f"0 flow layout {number}")
                away = torch.cdist(few, means(self.canvas(arrays))) / few.shape[1] ** 0.5
            least, row = away.min(1)
            found = torch.stack([least, torch.full_like(least, number), row.float()], 1)
            best = found if best is None else torch.where((found[:, :1] < best[:, :1]), found, best)
        return best

    def training_picture(self, number, row):
        arrays = self.training.artist.arrays(self.training.scenes(number), f"0 flow layout {number}")
        with torch.no_grad():
            return self.canvas(arrays)[row]


def means(pictures):
    return F.adaptive_avg_pool2d(pictures, COMPARED).flatten(1)


def copies(trial, pictures, count):
    """How near samples are to pictures of training, beside how near fresh drawings of the same captions are."""
    ours, fresh = trial.nearest(pictures, count), trial.nearest(trial.real("fresh"), count)
    order = ours[:, 0].argsort()[:8].tolist()
    pairs = [pair for index in order for pair in (pictures[index], trial.training_picture(*map(int, ours[index, 1:].tolist())))]
    captions = [text for index in order for text in (trial.scenes[index].caption, f"nearest in training, {ours[index, 0]:.3f} away")]
    sheet.write(trial.folder / "nearest.webp", pairs, captions)
    told = [{"median": round(away.median().item(), 4), "least": round(away.min().item(), 4)} for away in (ours[:, 0], fresh[:, 0])]
    return {"training_pictures": count, "samples": told[0], "fresh_drawings": told[1]}


def sheets(trial, pictures, verdicts):
    """Sheets of the first captions and of the first failures."""
    wrong = [index for index, each in enumerate(verdicts) if not all(claim for claims in each.values() for claim in claims)][:16]
    for name, chosen in (("examples", range(min(16, len(verdicts)))), ("failures", wrong)):
        if chosen:
            sheet.write(trial.folder / f"{name}.webp", [pictures[index] for index in chosen], [trial.scenes[index].caption for index in chosen])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", choices=CONFIGS, default="large")
    parser.add_argument("--data", type=Path, default=HERE / "data/prepared")
    parser.add_argument("--weights", type=Path, help="folder with the weights; the run's unless given")
    parser.add_argument("--judge", type=Path, help="the judge's file; the run's unless given")
    parser.add_argument("--out", type=Path, help="folder for figures and sheets; that of the weights unless given")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--steps", type=int, nargs="+", default=[8])
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 3.0, 4.0, 6.0])
    parser.add_argument("--training", type=int, default=20000, help="pictures of training to look for copies in")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--lock", type=Path, action="append", default=[])
    return parser.parse_args()


def main():
    given = arguments()
    if given.threads:
        torch.set_num_threads(given.threads)
    trial = Trial(given)
    figures = {"captions": given.count, "distilled": trial.distilled, "judge_on_drawings": shares(trial.judged(trial.real("own"))), "runs": []}
    print("judge", figures["judge_on_drawings"], flush=True)
    best = (-1.0, None, None)
    for steps, guidance in itertools.product(given.steps, given.guidance):
        since = time.monotonic()
        pictures = trial.drawn(steps, guidance)
        verdicts = trial.judged(pictures)
        run = {"steps": steps, "guidance": guidance, **shares(verdicts), "seconds": round(time.monotonic() - since, 1)}
        figures["runs"].append(run)
        print(run, flush=True)
        total = sum(run[kind]["right"] for kind in ("thing", "colour", "count", "relation"))
        if total > best[0]:
            best = (total, pictures, verdicts)
    sheets(trial, *best[1:])
    figures["copies"] = copies(trial, best[1], given.training)
    (trial.folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    print("copies", figures["copies"])


if __name__ == "__main__":
    main()
